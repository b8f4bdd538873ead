"""Writes the digests of oracle outputs that stand in where an oracle's wheel can't be had.

For seeded one-operator graphs and for the bundled network, runs both oracles and writes a hash
of the file and one of every activation to ``tests/golden/oracle_digests.json``. A test compares
golden with these digests always. Run from the repository's root, with the extra `test`::

    PYTHONSAFEPATH=1 python scripts/oracle_digests.py
"""

from __future__ import annotations

import json
import sys
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
WHEELS = {"tflm": "tflite-micro", "litert": "ai-edge-litert"}


def main() -> None:
    """Runs the oracles on every case and writes the file."""
    # The cases and the workers are the tests' own.
    sys.path.append(str(ROOT))  # last: our sched must not stand before the standard library's
    digest_cases = import_module("tests.golden.digest_cases")
    oracles = import_module("tests.golden.oracles")

    versions = {name: f"{wheel} {version(wheel)}" for name, wheel in WHEELS.items()}
    recorded: dict[str, dict[str, Any]] = {}
    for name in WHEELS:
        with oracles.Oracle(name) as oracle:
            for case in digest_cases.cases(name):
                answers = oracle.run(case.data, case.inputs, case.tensors)
                recorded[f"{name}/{case.name}"] = {
                    "file": digest_cases.digest(case.data),
                    "tensors": digest_cases.digest_tensors(answers, case.tensors),
                }
    text = json.dumps({"oracles": versions, "cases": recorded}, indent=1, sort_keys=True)
    (ROOT / "tests" / "golden" / "oracle_digests.json").write_text(text + "\n")
    sys.stdout.write(f"{len(recorded)} cases\n")


if __name__ == "__main__":
    main()
