"""Standard streams of every kind: encodings, full disks, readers that leave, Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from mensa import golden

PROGRAM = Path(sys.executable).parent / "mensa"

LOCALES = {
    # Without these two, Python takes UTF-8 where the locale is C.
    "C": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    "ascii": {"PYTHONIOENCODING": "ascii:strict"},
    "latin-1": {"PYTHONIOENCODING": "latin-1"},
    "UTF-8": {"LC_ALL": "C.UTF-8", "PYTHONUTF8": "1"},
}


def odd_network():
    """A network whose tensors have names that most encodings lack, and that break lines."""
    builder = golden.GraphBuilder("odd", np.int8)
    x = builder.input((1, 4), scale=0.5, name="入力\n\x1b[31m\ud7ff[/bold]")
    y = builder.softmax(builder.add(x, x, scale=1.0, name="é\u202e"))
    return builder.build([x, y])


def environment(locale):
    kept = {key: value for key, value in os.environ.items() if not key.startswith("LC_")}
    return {**kept, **LOCALES[locale]}


def mensa(*arguments, locale="UTF-8", **options):
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    return subprocess.run(
        [PROGRAM, *arguments], env=environment(locale), check=False, timeout=120, **options
    )


@pytest.fixture
def network(tmp_path):
    path = tmp_path / "网é.tflite"
    golden.save(odd_network(), path)
    return path


@pytest.mark.parametrize("locale", LOCALES)
def test_names_are_printed_in_any_encoding(network, tmp_path, locale):
    answer = tmp_path / "värden.json"
    done = mensa("golden", network, "--json", answer, locale=locale)
    assert (done.returncode, done.stderr) == (0, b"")
    encoding = "utf-8" if locale == "UTF-8" else "latin-1" if locale == "latin-1" else "ascii"
    shown = done.stdout.decode(encoding)
    assert ("入力" in shown) is (encoding == "utf-8")
    assert "\\n\\x1b[31m" in shown  # on one line
    assert "[/bold]" in shown
    graph = odd_network()
    names = [entry["name"] for entry in json.loads(answer.read_text("utf-8"))["outputs"]]
    assert names == [graph.tensors[index].name for index in graph.outputs]


@pytest.mark.parametrize("locale", LOCALES)
def test_what_is_wrong_is_said_on_one_line_in_any_encoding(tmp_path, locale):
    done = mensa("run", tmp_path / "не\nт.tflite", locale=locale)
    assert done.returncode == 2
    assert done.stdout == b""
    assert done.stderr.startswith(b"mensa: error: can't read ")
    assert done.stderr.count(b"\n") == 1


def test_a_name_that_is_no_text_in_the_locale(tmp_path):
    path = os.fsencode(tmp_path) + b"/\xff\xfe.tflite"
    Path(os.fsdecode(path)).write_bytes(golden.write(odd_network()))
    for command in (["run", path], ["compile", path, "-o", path + b".d"]):
        done = mensa(*command)
        assert (done.returncode, done.stderr) == (0, b""), command


@pytest.mark.parametrize("command", ["inspect", "disasm"])  # with tables, and without
def test_a_full_disk_behind_standard_output_is_one_line(network, command):
    with open("/dev/full", "wb") as full:
        done = mensa(command, network, stdout=full)
    assert done.returncode == 2
    assert done.stderr == b"mensa: error: can't write the output: No space left on device\n"


@pytest.mark.parametrize("close", [">&-", "2>&-", ">&- 2>&- <&-"])
def test_streams_may_be_closed(network, close):
    for name, status in ((network, 0), (network.with_name("missing.tflite"), 2)):
        done = subprocess.run(
            ["sh", "-c", f'"$0" inspect "$1" {close}', PROGRAM, name],
            capture_output=True,
            check=False,
        )
        assert done.returncode == status
        # What the one stream lacks doesn't go to the other.
        assert bool(done.stdout) is (status == 0 and ">&-" not in close.split())
        assert bool(done.stderr) is (status == 2 and "2>&-" not in close.split())


@pytest.mark.parametrize("engine", ["model", "functional"])
def test_an_interrupted_run_says_so_and_leaves_nothing(tmp_path, engine):
    process = subprocess.Popen(
        [PROGRAM, "run", "--engine", engine, "--input", "random", "--steps", "100000",
         "--json", "report.json"],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        time.sleep(1.5)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        shown, said = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130
    assert shown == b""
    *progress, last = said.splitlines()
    assert last == b"mensa: error: interrupted"
    assert all(b" done, now " in line for line in progress)
    assert list(tmp_path.iterdir()) == []
