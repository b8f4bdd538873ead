"""`mensa doctor`: the tools that are there and those that are missing."""

from __future__ import annotations

import typer

from mensa.sched.cli.options import JsonOption
from mensa.sched.cli.status import CHECK_FAILED


def doctor(json_file: JsonOption = None) -> None:
    """Say which tools are there, which are missing, and how to get them.

    Example: mensa doctor
    """
    from mensa.sched.cli.tools import examine
    from mensa.sched.files import check_writable, write_json

    check_writable(json_file)
    findings = examine()
    for finding in findings:
        if not finding.missing:
            state = f"{finding.version}"
        else:
            state = f"MISSING{'' if finding.needed else ' (optional)'}: {finding.remedy}"
        print(f"{finding.tool:19} {finding.purpose:42} {state}")
    if json_file is not None:
        answer = [finding.to_json() for finding in findings]
        write_json(json_file, answer)
    if any(finding.missing and finding.needed for finding in findings):
        raise typer.Exit(CHECK_FAILED)
