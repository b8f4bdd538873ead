"""At the end, lines say how many files the commands were given, and how they ended."""

from __future__ import annotations

from collections import Counter

from tests.properties import recorded

ENDED = "how commands ended"
"""Property of a test: kind of file, how many files, and how often a command had each status."""


def pytest_terminal_summary(terminalreporter):
    """Print the lines, also where the tests ran in several processes."""
    found = recorded(terminalreporter, ENDED)
    if not found:
        return
    endings = sum((Counter(each) for _, _, each in found), Counter())
    statuses = Counter()
    for ending, count in endings.items():
        statuses[ending.split()[-1]] += count
    kinds = ", ".join(f"{count} {kind}" for kind, count, _ in found)
    terminalreporter.write_line(
        f"files given to the command line: {sum(count for _, count, _ in found)} ({kinds})"
    )
    each = ", ".join(f"{ending}: {count}" for ending, count in sorted(endings.items()))
    total = ", ".join(f"{count} with status {status}" for status, count in sorted(statuses.items()))
    terminalreporter.write_line(
        f"commands ended without a traceback: {endings.total()} ({total}; {each})"
    )
