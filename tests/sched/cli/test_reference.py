"""The documented command line is the one that there is."""

import dataclasses
from pathlib import Path

import pytest
import typer

from mensa.rtl.arrays.jacquard.jacquard import Jacquard
from mensa.rtl.arrays.pavlov.pavlov import Pavlov
from mensa.rtl.machine import edge_tpu
from mensa.rtl.registers import register_map_markdown
from mensa.sched.cli.app import app
from mensa.sched.cli.main import invoke
from mensa.sched.cli.reference import page
from mensa.sim.host import Host
from mensa.sim.memory import Memory
from mensa.sim.soc import HOST_PREFIX, MEMORY_PREFIX

ROOT = Path(__file__).parents[3]
COMMANDS = sorted(typer.main.get_command(app).commands)


def test_the_documentation_is_up_to_date():
    assert (ROOT / "docs" / "cli.md").read_text() == page(), (
        "run: python -m mensa.sched.cli.reference > docs/cli.md"
    )


@pytest.mark.parametrize(
    ("names", "prefix"),
    [
        (edge_tpu.settings.keys() - {"array"}, ""),
        ({field.name for field in dataclasses.fields(Memory)}, MEMORY_PREFIX),
        ({field.name for field in dataclasses.fields(Host)}, HOST_PREFIX),
    ],
)
def test_every_setting_is_documented_once(names, prefix):
    of_edge_tpu, of_jacquard, _, of_pavlov = page().split("Those of `")
    for name in names:
        assert of_edge_tpu.count(f"\n| `{prefix}{name}=") == 1, name
    for kind, says in ((Jacquard, of_jacquard), (Pavlov, of_pavlov)):
        own = {field.name for field in dataclasses.fields(kind)} - edge_tpu.settings.keys()
        for name in own:
            assert says.count(f"\n| `{name}=") == 1, name


def test_the_register_map_is_up_to_date():
    assert (ROOT / "docs" / "registers.md").read_text() == register_map_markdown(), (
        "run: python -m mensa.rtl.registers > docs/registers.md"
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command, capsys):
    assert invoke([command, "--help"]) == 0
    assert f"Example: mensa {command}" in capsys.readouterr().out
