"""No file ends a command in a traceback: every odd file, every command that takes a network.

The figures at the end of::

    python -m pytest tests/sched/cli/test_every_file.py

say how many files and commands there were and how they ended; with MENSA_REGRESS=1 there are many
more.
"""

from __future__ import annotations

import io
import itertools
import json
import os
import sys
import traceback
import warnings
from collections import Counter
from pathlib import Path

import pytest

import mensa.golden as golden
from mensa.sched.cli import progress
from mensa.sched.cli.main import invoke
from tests.golden.makers import MAKERS
from tests.sched.cli import odd_files
from tests.sched.cli.test_streams import mensa
from tests.sched.conftest import ENDED
from tests.sim.pool import POOL, ROOMY

REGRESS = os.environ.get("MENSA_REGRESS") == "1"
LAYERS, DAMAGED = (10_000, 3_000) if REGRESS else (60, 60)
ON_RTL = 1_000_000 if REGRESS else 10
"""Files of each kind that the RTL runs at most."""

SETTINGS = tuple(
    part
    for name in ("rows", "cols", "parameter_buffer_bytes", "activation_buffer_bytes")
    for part in ("--set", f"{name}={POOL[ROOMY].settings[name]}")
)

COMMANDS = {
    "inspect": ("inspect", "{file}", "--json", "inspect.json"),
    "golden": ("golden", "{file}", "--json", "golden.json", "--save-tensors", "tensors.npz"),
    "golden zeros": ("golden", "{file}", "--input", "zeros", "--rounding", "litert"),
    "model": (
        *("run", "{file}", *SETTINGS, "--steps", "2"),
        *("--json", "model.json", "--trace", "trace.json"),
    ),
    "functional": (
        *("run", "{file}", *SETTINGS, "--engine", "functional", "--check", "--steps", "2"),
        *("--json", "functional.json"),
    ),
    "disasm": ("disasm", "{file}", *SETTINGS),
    "compile": ("compile", "{file}", *SETTINGS, "-o", "compiled"),
}
RTL = ("run", "{file}", *SETTINGS, "--engine", "rtl", "--check", "--json", "rtl.json")

ENCODINGS = ("ascii", "utf-8")


def sound_layers():
    return odd_files.layers(LAYERS)


def odd_options():
    return odd_files.options(odd_files.layers(LAYERS))


def damaged_files():
    return odd_files.damaged(odd_files.layers(LAYERS), DAMAGED)


KINDS = {
    "odd ends": odd_files.ends,
    "odd names": odd_files.names,
    "odd file names": odd_files.file_names,
    "refused files": odd_files.files,
    "odd structures": odd_files.structures,
    "wild networks": odd_files.wild,
    "sound layers": sound_layers,
    "odd options": odd_options,
    "damaged files": damaged_files,
}


def run(monkeypatch, arguments, encoding):
    """Exit status of a command, or its traceback; and what it printed, on both streams."""
    streams = {}
    for name in ("stdout", "stderr"):
        streams[name] = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="strict")
        monkeypatch.setattr(sys, name, streams[name])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # it would be printed, too
            status = invoke(arguments)
    except BaseException:
        status = traceback.format_exc()
    finally:
        texts = []
        for stream in streams.values():
            stream.flush()
            texts.append(stream.buffer.getvalue().decode(encoding))
        monkeypatch.undo()
    return status, *texts


def complaint(status, shown, said):
    """What is wrong with how a command ended, or nothing."""
    if status == 0 and not said and "Traceback" not in shown:
        return ""
    one_line = said.startswith("mensa: error: ") and said.count("\n") == 1 and said[-1] == "\n"
    if status == 2 and one_line and said[:-1].isprintable() and "Traceback" not in said + shown:
        return ""
    # Status 1 would say that an engine differs from golden.
    return f"{status}: {said}"


def strict_json(path):
    def refuse(constant):
        raise ValueError(f"{path} has {constant}")

    json.loads(path.read_text("utf-8"), parse_constant=refuse)


@pytest.mark.parametrize("kind", KINDS)
def test_no_file_ends_a_command_in_a_traceback(tmp_path, monkeypatch, record_property, kind):
    monkeypatch.chdir(tmp_path)
    endings, wrong, on_rtl, count = Counter(), [], 0, 0

    def attempt(name, command, arguments, encoding):
        """Run a command on the file. Returns: whether its status was 0."""
        for path in tmp_path.glob("*.json"):
            path.unlink()
        with monkeypatch.context() as patch:
            patch.setattr(progress, "PATIENCE_SECONDS", 1e6)
            words = [word.format(file=file) for word in arguments]
            status, shown, said = run(patch, words, encoding)
        endings[f"{command.split()[0]} {status if isinstance(status, int) else 'traceback'}"] += 1
        found = complaint(status, shown, said)
        if found:
            wrong.append(f"{name}, {command}, {encoding}: {found}")
        for path in tmp_path.glob("*.json"):
            strict_json(path)
        return status == 0

    for number, (name, data) in enumerate(KINDS[kind]().items()):
        if not odd_files.is_small(data):
            continue
        count += 1
        file = name if kind == "odd file names" else "net.tflite"
        Path(file).write_bytes(data)
        ended = {}
        for place, (command, arguments) in enumerate(COMMANDS.items()):
            encoding = ENCODINGS[(number + place) % len(ENCODINGS)]
            ended[command] = attempt(name, command, arguments, encoding)
        if ended["functional"] and on_rtl < ON_RTL:
            on_rtl += 1
            attempt(name, "rtl", RTL, ENCODINGS[number % len(ENCODINGS)])
        # All agree on whether it can be lowered, and all engines on whether it can be run.
        lowered = ended["disasm"] is ended["compile"]
        computed = ended["model"] is ended["functional"]
        if not (lowered and computed and ended["golden"] >= ended["model"] <= ended["disasm"]):
            wrong.append(f"{name}: {ended}")
    assert not wrong, f"{len(wrong)}:\n" + "\n".join(wrong[:20])
    record_property(ENDED, (kind, count, dict(endings)))


def test_there_is_a_sound_layer_of_every_operator():
    graphs = [golden.read(data) for data in odd_files.layers(LAYERS).values()]
    there = {operator.op for graph in graphs for operator in graph.operators}
    assert {*MAKERS} <= there


#: What is spoken of in every locale, besides hard file names: a tensor's name, and an operator's
#: that is refused.
SPOKEN = ("tensor_name_1", "operator_name_2")


@pytest.mark.parametrize("locale", ["C", "UTF-8"])
def test_no_file_ends_a_process_in_a_traceback_in_any_locale(tmp_path, monkeypatch, locale):
    monkeypatch.chdir(tmp_path)
    encoding = "ascii" if locale == "C" else "utf-8"
    names = odd_files.names()
    files = {f"{name}.tflite": names[name] for name in SPOKEN} | odd_files.file_names()
    commands = itertools.cycle(COMMANDS.values())
    statuses = set()
    for file, data in files.items():
        Path(file).write_bytes(data)
        done = mensa(*(word.format(file=file) for word in next(commands)), locale=locale)
        found = complaint(
            done.returncode, done.stdout.decode(encoding), done.stderr.decode(encoding)
        )
        assert not found, f"{file!r}: {found}"
        statuses.add(done.returncode)
        for path in tmp_path.glob("*.json"):
            strict_json(path)
            path.unlink()
    assert statuses == {0, 2}
