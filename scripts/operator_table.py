"""Compares random layers with both oracles and writes docs/operators.md about it.

Runs the tests that compare, 3,000 random layers per operator and oracle as ``make regress`` does,
and writes what they counted to ``tests/golden/operator_record.json``, and the page made of that.
Nothing is written unless all of them pass. From the repository's root, with the extra `test`::

    PYTHONSAFEPATH=1 python scripts/operator_table.py [--jobs N] [--page] [--operators A,B]

With ``--operators`` only these are compared, on random layers; of the others the record stays as it
was, and so does what was counted on chosen scales.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

ROOT = Path(__file__).parents[1]
TESTS = ("test_random_layers.py", "operators/test_detection.py", "test_ties.py")
RANDOM = "test_random_layers.py::test_a_random_layer_equals_the_oracle[{oracle}-{op}]"
WHEELS = {"tflm": "tflite-micro", "litert": "ai-edge-litert"}


def compare(tests: list[str], jobs: int, name: str) -> list[dict[str, Any]]:
    """Runs tests of golden. Returns: what they reported under this name."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", f"--junitxml={report}"]
        command += ["-o", "junit_family=xunit1", "-n", str(jobs), "--dist", "worksteal"]
        command += [f"tests/golden/{test}" for test in tests]
        environment = {**os.environ, "PYTHONSAFEPATH": "1", "MENSA_REGRESS": "1"}
        if subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode:
            sys.exit("a comparison failed: nothing is written")
        properties = ElementTree.parse(report).iter("property")
        return [json.loads(each.attrib["value"]) for each in properties if each.get("name") == name]


def main() -> None:
    """Makes the record, unless --page asks for the page alone, and the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=2, help="processes; 2 if not given")
    parser.add_argument("--page", action="store_true", help="only make the page again")
    parser.add_argument("--operators", help="names with commas between; all if not given")
    arguments = parser.parse_args()
    sys.path.append(str(ROOT))  # last: our sched must not stand before the standard library's
    operator_page = import_module("tests.golden.operator_page")
    if not arguments.page:
        start = time.monotonic()
        tests = list(TESTS)
        if arguments.operators:
            names = arguments.operators.split(",")
            tests = [RANDOM.format(oracle=oracle, op=op) for op in names for oracle in WHEELS]
        reports = compare(tests, arguments.jobs, import_module("tests.golden.comparison").PROPERTY)
        versions = {name: f"{wheel} {version(wheel)}" for name, wheel in WHEELS.items()}
        record = operator_page.gather(reports, versions)
        if arguments.operators:
            before = json.loads(operator_page.RECORD.read_text())
            for op, entry in record["operators"].items():
                entry["ties"] = before["operators"].get(op, entry)["ties"]
            record["operators"] = before["operators"] | record["operators"]
        text = json.dumps(record, indent=1, sort_keys=True)
        operator_page.RECORD.write_text(text + "\n")
        minutes = (time.monotonic() - start) / 60
        sys.stdout.write(f"{len(reports)} comparisons in {minutes:.1f} minutes\n")
    operator_page.PAGE.write_text(operator_page.page(json.loads(operator_page.RECORD.read_text())))


if __name__ == "__main__":
    main()
