"""Where real networks are looked for: MENSA_MODELS, else ../shared/models beside the checkout."""

import os
from pathlib import Path

import pytest

_GIVEN = os.environ.get("MENSA_MODELS")
FOLDER = Path(_GIVEN) if _GIVEN else Path(__file__).parents[2] / "shared" / "models"
_FILES = sorted(FOLDER.glob("*.tflite"), key=lambda path: path.stat().st_size)
#: All networks of the folder by name, the smallest files first.
NETWORKS = {path.stem: path for path in _FILES}


def network_path(name):
    """The file of one network; the test is skipped where it is missing."""
    if name not in NETWORKS:
        pytest.skip(f"no {name}.tflite in {FOLDER}: set MENSA_MODELS to the folder of networks")
    return NETWORKS[name]
