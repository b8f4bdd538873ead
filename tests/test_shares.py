"""The runner of the suite's shares: nothing that did not run counts as passed."""

import importlib.util
import sys
from pathlib import Path

import pytest

PATH = Path(__file__).parents[1] / ".ci" / "shares.py"


@pytest.fixture
def shares(tmp_path, monkeypatch):
    """The runner, for a project in `tmp_path`."""
    spec = importlib.util.spec_from_file_location("shares", PATH)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "shares", module)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "ROOT", tmp_path)
    (tmp_path / "tests" / "empty").mkdir(parents=True)
    for name, fact in (("good", True), ("bad", False)):
        (tmp_path / "tests" / name).mkdir()
        text = f"def test_it():\n    assert {fact}\n"
        (tmp_path / "tests" / name / f"test_{name}.py").write_text(text)
    return module


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
def test_a_share_passes_only_if_its_tests_are_there_and_pass(shares, capsys, folders, passed):
    share = shares.Share("name", "what", shares._tests(*folders))
    assert shares.run(share, jobs=1).passed is passed


def test_the_folders_of_all_shares_are_there(shares):
    root = PATH.parent.parent
    words = [word for share in shares.shares() for each in share.commands for word in each]
    folders = [word for word in words if word.startswith("tests/")]
    assert folders
    for folder in folders:
        assert (root / folder).exists(), folder
