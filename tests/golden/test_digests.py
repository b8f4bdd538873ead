"""Golden against committed digests of the oracles' outputs: needs no oracle."""

import json
import warnings
from pathlib import Path

import pytest

import mensa.golden as golden
from tests.golden.digest_cases import cases, digest, digest_tensors
from tests.golden.oracles import available

RECORD = json.loads((Path(__file__).parent / "oracle_digests.json").read_text())
AGAIN = "run scripts/oracle_digests.py"


@pytest.mark.parametrize("rounding", ["tflm", "litert"])
def test_golden_equals_the_recorded_oracle(rounding):
    if not available(rounding):
        warnings.warn(
            f"{RECORD['oracles'][rounding]} IS NOT INSTALLED: golden is compared with "
            "recorded digests of its outputs only",
            stacklevel=1,
        )
    names = set()
    for case in cases(rounding):
        name = f"{rounding}/{case.name}"
        names.add(name)
        recorded = RECORD["cases"][name]
        assert digest(case.data) == recorded["file"], f"{name} is another file now: {AGAIN}"
        graph = golden.read(case.data)
        runs = [golden.run(graph, x, keep="all", rounding=rounding) for x in case.inputs]
        found = digest_tensors(runs, case.tensors)
        wrong = [
            graph.tensors[int(i)].name for i, d in found.items() if d != recorded["tensors"][i]
        ]
        assert not wrong, f"{name}: {wrong}"
    assert names == {name for name in RECORD["cases"] if name.startswith(f"{rounding}/")}
