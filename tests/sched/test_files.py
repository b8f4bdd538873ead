"""Outputs are written whole or not at all, and what is not a plain file stays what it is."""

import contextlib
import os
import threading
from pathlib import Path

import pytest

from mensa.sched.files import (
    OutputError,
    check_distinct,
    check_writable,
    fresh_directory,
    new_file,
    write_text,
)

NAMES = ("a.txt", "b.txt", "c.txt")


def write_all(folder, text, names=NAMES):
    with fresh_directory(folder, NAMES) as temporary:
        for name in names:
            (temporary / name).write_text(text)


def contents(folder):
    return {path.name: path.read_text() for path in Path(folder).iterdir()}


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """An empty directory that the test runs in."""
    place = tmp_path / "place"
    place.mkdir()
    monkeypatch.chdir(place)
    return place


def test_a_link_stays_and_its_target_is_written(workplace):
    (workplace / "elsewhere").mkdir()
    target = workplace / "elsewhere" / "target.json"
    for old in (None, "old"):
        target.unlink(missing_ok=True)
        if old is not None:
            target.write_text(old)
        link = workplace / "link.json"
        link.unlink(missing_ok=True)
        link.symlink_to(Path("elsewhere") / "target.json")
        write_text(link, "new")
        assert link.is_symlink()
        assert target.read_text() == "new"
        assert [path.name for path in target.parent.iterdir()] == ["target.json"]


def test_links_in_a_circle_are_an_error(workplace):
    Path("one").symlink_to("two")
    Path("two").symlink_to("one")
    with pytest.raises(OutputError, match="circle"):
        check_writable("one")


def test_a_pipe_is_written_to_and_stays_a_pipe(workplace):
    os.mkfifo("pipe")
    Path("link").symlink_to("pipe")
    for name in ("pipe", "link"):
        got = []
        reader = threading.Thread(target=lambda got=got: got.append(Path("pipe").read_text()))
        reader.start()
        write_text(name, "text")
        reader.join(10)
        assert got == ["text"]
    assert Path("pipe").is_fifo()
    assert Path("link").is_symlink()
    assert len(list(workplace.iterdir())) == 2


def test_a_pipe_that_nobody_reads_to_the_end_is_an_error(workplace):
    os.mkfifo("pipe")
    reader = os.open("pipe", os.O_RDONLY | os.O_NONBLOCK)

    def write():
        with new_file("pipe") as place, place.open("w") as file:
            os.close(reader)
            file.write("text")

    with pytest.raises(OutputError, match="can't write pipe"):
        write()
    assert Path("pipe").is_fifo()


def test_a_file_is_as_it_was_if_the_work_fails(workplace):
    Path("report.json").write_text("old")

    def fail():
        with new_file("report.json") as temporary:
            temporary.write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert contents(".") == {"report.json": "old"}


def test_two_outputs_must_be_two_files(workplace):
    Path("link").symlink_to("x")
    os.mkfifo("pipe")
    check_distinct({"--json": Path("x"), "--trace": Path("y"), "--vcd": None})
    check_distinct({"--json": Path("pipe"), "--trace": Path("pipe")})
    for other in ("x", "./x", "link", f"../{workplace.name}/x"):
        with pytest.raises(OutputError, match="--json and --trace both write"):
            check_distinct({"--json": Path("x"), "--trace": Path(other)})


@pytest.mark.parametrize("given", [".", "link", "../place", "{absolute}"])
def test_a_directory_by_any_name_keeps_its_identity_and_gets_the_new_files(workplace, given):
    (workplace.parent / "place" / "a.txt").write_text("old")
    inode = workplace.stat().st_ino
    if given == "link":
        os.chdir("..")
        Path("link").symlink_to("place")
    write_all(given.format(absolute=workplace), "new")
    assert contents(workplace) == dict.fromkeys(NAMES, "new")
    assert workplace.stat().st_ino == inode
    assert {path.name for path in workplace.parent.iterdir()} <= {"place", "link"}


def test_a_link_to_no_directory_yet_makes_it(workplace):
    Path("link").symlink_to("hardware")
    write_all("link", "new")
    assert Path("link").is_symlink()
    assert contents("hardware") == dict.fromkeys(NAMES, "new")


@pytest.mark.parametrize("there", [False, True])
def test_a_directory_is_as_it_was_if_the_work_fails(workplace, there):
    if there:
        write_all("out", "old")

    def fail():
        with fresh_directory("out", NAMES) as temporary:
            (temporary / "a.txt").write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert sorted(path.name for path in workplace.iterdir()) == ["out"] * there
    if there:
        assert contents("out") == dict.fromkeys(NAMES, "old")


@pytest.mark.parametrize("fails_at", range(len(NAMES)))
def test_all_files_are_as_they_were_if_one_cannot_be_moved(workplace, monkeypatch, fails_at):
    before = dict.fromkeys(NAMES[1:], "old")
    Path("out").mkdir()
    for name, text in before.items():
        (Path("out") / name).write_text(text)
    right = Path.replace

    def replace(self, target):
        if self.parent.name == "new" and self.name == NAMES[fails_at]:
            raise OSError(28, "No space left on device")
        return right(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    with pytest.raises(OutputError, match="No space left"):
        write_all("out", "new")
    assert contents("out") == before


@pytest.mark.parametrize("make", [Path.mkdir, lambda path: path.symlink_to("elsewhere")])
def test_what_only_has_the_name_of_our_file_is_not_replaced(workplace, make):
    Path("out").mkdir()
    make(Path("out") / "a.txt")
    with pytest.raises(OutputError, match=r"a\.txt"):
        write_all("out", "new")


def test_what_a_killed_run_left_is_no_obstacle(workplace):
    write_all("out", "old")
    (Path("out") / ".mensa.left").mkdir()
    write_all("out", "new")
    assert (Path("out") / "a.txt").read_text() == "new"


@pytest.mark.parametrize("fails_at", [None, 0, 1])
def test_files_made_for_something_else_are_removed_or_all_is_as_it_was(
    workplace, monkeypatch, fails_at
):
    before = {"a.txt": "old", "part_1.txt": "old", "part_2.txt": "old"}
    Path("out").mkdir()
    for name, text in before.items():
        (Path("out") / name).write_text(text)
    removed = []
    right = Path.unlink

    def unlink(self, missing_ok=False):
        if len(removed) == fails_at:
            raise OSError(30, "Read-only file system")
        removed.append(self.name)
        right(self, missing_ok)

    if fails_at is not None:
        monkeypatch.setattr(Path, "unlink", unlink)
    with contextlib.ExitStack() as stack:
        if fails_at is not None:
            stack.enter_context(pytest.raises(OutputError, match="Read-only"))
        with fresh_directory("out", NAMES, r"part_\d\.txt") as temporary:
            (temporary / "a.txt").write_text("new")
    assert contents("out") == ({"a.txt": "new"} if fails_at is None else before)
    (Path("out") / "part_x.txt").write_text("yours")
    with (
        pytest.raises(OutputError, match="part_x"),
        fresh_directory("out", NAMES, r"part_\d\.txt"),
    ):
        pass
