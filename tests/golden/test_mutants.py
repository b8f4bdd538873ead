"""Damaged files run or are refused with golden's one exception, quickly and in little memory."""

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import mensa.golden as golden
from tests.golden.comparison import REGRESS
from tests.golden.makers import MAKERS
from tests.models import NETWORKS

ROOT = Path(__file__).parents[2]
COUNT = 20_000 if REGRESS else 2_000
GRAPHS_PER_OPERATOR = "1000" if REGRESS else "1"


def run_mutants(*arguments):
    """Counts of files that run and are refused; there must be no others."""
    # A warning of NumPy's is something that escapes, too.
    command = [sys.executable, "-W", "error", "-m", "tests.golden.mutants"]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONSAFEPATH"}
    found = subprocess.run(
        [*command, *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=1200,
    )
    *wrong, last = found.stdout.splitlines()
    assert not wrong, "\n".join(wrong)
    counts = json.loads(last)
    assert counts["wrong"] == 0
    # The damage is neither so small that nothing is refused nor so great that nothing runs.
    assert min(counts["runs"], counts["refused"]) > (counts["runs"] + counts["refused"]) // 50
    return counts


def test_files_damaged_at_random_run_or_are_refused():
    counts = run_mutants(str(COUNT), "0", *NETWORKS.values())
    assert counts["runs"] + counts["refused"] == COUNT


def test_files_with_the_worst_in_any_one_field_run_or_are_refused():
    counts = run_mutants("fields", GRAPHS_PER_OPERATOR)
    assert counts["runs"] + counts["refused"] > 50 * len(MAKERS)


@pytest.mark.parametrize(
    "shape",
    [
        (0, (1 << 31) - 1, (1 << 31) - 1, 7),  # no elements, and yet beyond any memory
        ((1 << 31) - 1,) * 4,
        (1 << 20, 1 << 10),
        (-1, 4),
        (1,) * 9,
    ],
)
def test_shapes_that_no_memory_can_hold_are_refused(shape):
    builder = golden.GraphBuilder("huge")
    x = builder.input(shape, scale=1.0)
    y = builder.tensor(shape, scale=1.0)
    builder.operator("SOFTMAX", (x,), (y,))
    with pytest.raises(golden.GraphError):
        golden.read(golden.write(builder.build([y])))


def test_a_file_whose_parts_refer_to_themselves_is_refused():
    builder = golden.GraphBuilder("loop")
    x = builder.input((1, 4), scale=1.0)
    data = golden.write(builder.build([builder.softmax(x)]))
    words = np.frombuffer(data[: len(data) // 4 * 4], "<u4")
    for at in 4 * np.flatnonzero(words < len(data)):
        for target in (0, 4, 8):
            changed = bytearray(data)
            changed[at : at + 4] = ((target - int(at)) % (1 << 32)).to_bytes(4, "little")
            with contextlib.suppress(golden.GraphError):
                graph = golden.read(bytes(changed))
                golden.run(graph, [np.zeros((1, 4), np.int8)])
