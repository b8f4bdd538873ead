"""The runner of the suite's shares: nothing that did not run counts as passed."""

import importlib.util
import sys
from pathlib import Path

import pytest

from mensa.rtl.machine import machines

PATH = Path(__file__).parents[1] / ".ci" / "shares.py"


@pytest.fixture(scope="module")
def shares():
    """The runner, which is no module of a package."""
    spec = importlib.util.spec_from_file_location("shares", PATH)
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "shares", module)
        spec.loader.exec_module(module)
        yield module


@pytest.fixture
def project(tmp_path):
    """A project with a folder of tests of every kind."""
    (tmp_path / "tests" / "empty").mkdir(parents=True)
    for name, fact in (("good", True), ("bad", False)):
        (tmp_path / "tests" / name).mkdir()
        text = f"def test_it():\n    assert {fact}\n"
        (tmp_path / "tests" / name / f"test_{name}.py").write_text(text)
    return tmp_path


@pytest.mark.parametrize(
    ("folders", "passed"),
    [
        (("good",), True),
        (("bad",), False),
        (("empty",), False),
        (("missing",), False),
        (("good", "missing"), False),
    ],
)
def test_a_share_passes_only_if_its_tests_are_there_and_pass(shares, project, folders, passed):
    share = shares.Share("name", "what", shares.tests_of(*folders))
    assert shares.run(share, jobs=1, root=project).passed is passed


@pytest.mark.parametrize("regress", ["0", "1"])
def test_every_test_is_in_one_share(shares, regress, monkeypatch):
    monkeypatch.setenv("MENSA_REGRESS", regress)
    root = PATH.parent.parent
    words = [word for share in shares.shares() for each in share.commands for word in each]
    places = [root / word for word in words if word.startswith("tests/")]
    found = [
        path
        for place in places
        for path in (place.rglob("test_*.py") if place.is_dir() else [place])
    ]
    if regress == "1":  # place and route has a share for each machine
        place = root / "tests" / shares.PLACEMENT
        assert found.count(place) == len(shares.PLACED)
        found = [each for each in found if each != place] + [place]
        assert set(shares.PLACED) == set(machines)
    assert sorted(found) == sorted((root / "tests").rglob("test_*.py"))
