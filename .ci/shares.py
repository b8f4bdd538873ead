"""Runs the shares of the test suite one after another and says how long each took.

`make test` runs all of them; `python .ci/shares.py NAME...` runs some. The exit status is 0 only if
every share passed. The last line sums up pytest's closing lines.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TESTS = ROOT / "tests"

FULL_SIZE = "sched/test_full_size.py"

PLACEMENT = "rtl/fpga/test_placement.py"

PLACED = ("edge_tpu", "jacquard", "pascal", "pavlov")
"""Machines of which it has a test, each a share: an hour of place and route."""

PACKAGES = ("mensa.golden", "mensa.rtl", "mensa.sim", "mensa.sched")

PYTHON_TOOL = (sys.executable, "-m")


@dataclass(frozen=True)
class Share:
    """One part of the suite: a name, and the commands that it consists of."""

    name: str
    what: str
    commands: tuple[tuple[str, ...], ...]


def tests_of(*folders: str) -> tuple[tuple[str, ...], ...]:
    """Return the commands of a share: all tests of these folders and files below `tests`.

    One that is missing fails: pytest says which.
    """
    paths = [f"tests/{folder}" for folder in folders]
    return ((*PYTHON_TOOL, "pytest", "-rs", "--durations=5", "--durations-min=5", *paths),)


def placement_of(name: str) -> tuple[tuple[str, ...], ...]:
    """Return the commands of a share: place and route of a machine."""
    (command,) = tests_of(PLACEMENT)
    return ((*command, "-k", f"[{name}]"),)


def _inside(folder: str) -> set[str]:
    """Return the files of tests, and the folders that have some, in a folder of `tests`."""
    return {
        path.relative_to(TESTS).as_posix()
        for path in (TESTS / folder).iterdir()
        if path.match("test_*.py") or any(path.rglob("test_*.py"))
    }


def shares() -> list[Share]:
    """Return all shares, the quick ones first."""
    top = [path.name for path in sorted(TESTS.glob("test_*.py"))]
    units = _inside("rtl") - {"rtl/fpga"}
    # Without MENSA_REGRESS they are skipped, which needs no shares.
    placed = PLACED if os.environ.get("MENSA_REGRESS") == "1" else ()
    synthesis = _inside("rtl/fpga") - ({PLACEMENT} if placed else set())
    systems = _inside("sched") - {FULL_SIZE}
    return [
        Share(
            "lint",
            "lint and types",
            (
                (*PYTHON_TOOL, "ruff", "check", "--quiet"),
                (*PYTHON_TOOL, "ruff", "format", "--check", "--quiet"),
                (str(Path(sys.executable).with_name("lint-imports")), "--no-cache", "--no-logo"),
                (*PYTHON_TOOL, "mypy", *(part for name in PACKAGES for part in ("-p", name))),
            ),
        ),
        Share("golden", "tests/golden", tests_of("golden")),
        Share("units", "tests/rtl without fpga", tests_of(*sorted(units))),
        Share("fpga", "tests/rtl/fpga without place and route", tests_of(*sorted(synthesis))),
        *(
            Share(f"place_{name}", f"an 8 x 8 {name}, placed and routed", placement_of(name))
            for name in placed
        ),
        Share("engines", "tests/sim", tests_of("sim")),
        Share("systems", "tests/sched without full size", tests_of(*sorted(systems), *top)),
        Share("networks", f"tests/{FULL_SIZE}", tests_of(FULL_SIZE)),
    ]


@dataclass(frozen=True)
class Outcome:
    """What became of a share."""

    share: Share
    passed: bool
    seconds: float
    closing: str


def run(share: Share, jobs: int, root: Path = ROOT) -> Outcome:
    """Run a share of the project in `root`; its output goes to the terminal as it comes."""
    print(f"\n=== {share.name}: {share.what}", flush=True)
    start = time.monotonic()
    passed, closing = True, ""
    for command in share.commands:
        is_pytest = "pytest" in command
        if is_pytest and jobs > 1:
            command = (*command, "-n", str(jobs), "--dist", "worksteal")
        status, lines = _stream(command, root)
        if is_pytest:
            closing = next((line for line in reversed(lines) if _counts(line)), "no tests ran")
        passed = passed and status == 0  # pytest's is not 0 if there were no tests
    return Outcome(share, passed, time.monotonic() - start, closing)


def _stream(command: tuple[str, ...], root: Path) -> tuple[int, list[str]]:
    environment = {**os.environ, "PYTHONSAFEPATH": "1", "MYPYPATH": "typing"}
    lines = []
    with subprocess.Popen(
        command,
        cwd=root,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            lines.append(line.rstrip())
    return process.returncode, lines


def _counts(line: str) -> Counter[str]:
    """Return the numbers of a closing line such as ``12 passed, 1 skipped in 3.4s``, or nothing."""
    if not re.search(r"\bin \d+\.\d+s\b", line):
        return Counter()
    pairs = re.findall(r"(\d+) (passed|failed|errors?|skipped|xfailed|xpassed)\b", line)
    return Counter({kind.removesuffix("s"): int(number) for number, kind in pairs})


def main() -> int:
    """Run the shares named on the command line, or all."""
    known = {share.name: share for share in shares()}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(known))
    parser.add_argument("--jobs", type=int, default=2, help="processes of pytest")
    arguments = parser.parse_args()
    for name in arguments.names:
        if name not in known:
            parser.error(f"no share {name!r}; there are {', '.join(known)}")
    outcomes = [run(known[name], arguments.jobs) for name in arguments.names or known]

    print("\n=== shares")
    for outcome in outcomes:
        verdict = "passed" if outcome.passed else "FAILED"
        line = f"{outcome.share.name:14} {verdict}  {outcome.seconds:6.1f} s  {outcome.closing}"
        print(line.rstrip())
    total: Counter[str] = sum((_counts(outcome.closing) for outcome in outcomes), Counter())
    seconds = sum(outcome.seconds for outcome in outcomes)
    failed = [outcome.share.name for outcome in outcomes if not outcome.passed]
    if failed:
        print(f"failed: {', '.join(failed)}")
    if total:
        counts = ", ".join(f"{total[kind]} {kind}" for kind in sorted(total))
        print(f"===== {counts} in {seconds:.2f}s =====")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
