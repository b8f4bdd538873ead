"""The documented command line is the one that there is."""

from pathlib import Path

import pytest
import typer

from mensa.rtl.registers import register_map_markdown
from mensa.sched.cli import app, invoke
from mensa.sched.cli_reference import page

ROOT = Path(__file__).parents[2]
COMMANDS = sorted(typer.main.get_command(app).commands)


def test_the_documentation_is_up_to_date():
    assert (ROOT / "docs" / "cli.md").read_text() == page(), (
        "run: python -m mensa.sched.cli_reference > docs/cli.md"
    )


def test_the_register_map_is_up_to_date():
    assert (ROOT / "docs" / "registers.md").read_text() == register_map_markdown(), (
        "run: python -m mensa.rtl.registers > docs/registers.md"
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command, capsys):
    assert invoke([command, "--help"]) == 0
    assert f"Example: mensa {command}" in capsys.readouterr().out
