"""Whether another revision makes the same Verilog, command words and reports as this tree.

    python scripts/same_outputs.py REVISION [MODEL.tflite ...]

Both trees run `mensa rtl`, `mensa compile` and `mensa run` (the timing model) for a few machines,
the bundled digits and every network given; the files must be equal, byte for byte. The hash of the
configuration stands in Verilog and programs: where it differs, it is taken for the same. Prints a
line for each machine and network, and the files that differ; exit code 1 if any does.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]

# Square, wide, with few lanes and a port of its own, and the named machine.
MACHINES = {
    "8x8": "rows=8 cols=8 parameter_buffer_bytes=32768 activation_buffer_bytes=32768",
    "4x12": "rows=4 cols=12 parameter_buffer_bytes=16384 activation_buffer_bytes=65536",
    "16x16": "rows=16 cols=16 post_lanes=3 port_bytes=16 activation_banks=8 constant_entries=128",
    "edge_tpu": "",
}
# Options of lowering, which revisions keep in different places of a JSON file, and a machine's kind
# of array, which early ones don't say.
_ANYWHERE = {"prefetch", "residency", "lowering", "array"}
# Entries that early revisions have for one machine, later ones for each.
_BY_MACHINE = {"machine": "machines", "memory": "memories"}
ONLY = "the only one"
_HASH = re.compile(r"#define MENSA_CONFIGURATION 0x([0-9A-F]+)u")


def run(tree: Path, folder: Path, arguments: list[str]) -> None:
    """Run `mensa` as `tree` has it; what it prints is one of the outputs."""
    environment = {**os.environ, "PYTHONPATH": str(tree / "typing"), "PYTHONSAFEPATH": "1"}
    scripts = tomllib.loads((tree / "pyproject.toml").read_text())["project"]["scripts"]
    module, function = scripts["mensa"].split(":")
    code = f"import sys; from {module} import {function}; sys.exit({function}())"
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        check=False,
    )
    said = done.stdout + (done.stderr if done.returncode else b"")
    (folder / "said.txt").write_bytes(said + b"exit code %d\n" % done.returncode)


def _content(path: Path) -> bytes:
    if path.suffix != ".json":
        return path.read_bytes()

    def kept(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        tree = {key: value for key, value in pairs if key not in _ANYWHERE}
        for one, several in _BY_MACHINE.items():
            if one in tree and isinstance(tree[one], dict):
                tree[several] = {ONLY: tree.pop(one)}
            elif isinstance(tree.get(several), dict):
                tree[several] = dict(zip([ONLY], tree[several].values(), strict=True))
        return tree

    return json.dumps(json.loads(path.read_text(), object_pairs_hook=kept), sort_keys=True).encode()


def contents(folder: Path, mask: bool) -> dict[str, bytes]:
    """The files of a folder by name; if `mask`, without the hash."""
    files = {
        str(path.relative_to(folder)): _content(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    header = next((text for name, text in files.items() if name.endswith("registers.h")), b"")
    found = _HASH.search(header.decode()) if mask else None
    if found:
        number = int(found[1], 16)
        # yosys writes a constant of which few bits are set with fewer bits, and in hexadecimal.
        few = b"%d'h%x" % (number.bit_length(), number)
        hashes = [few, b"32'd%d" % number, b"%d" % number, b"0x%X" % number]
        hashes += [b"0x%08X" % number, b"%08x" % number, number.to_bytes(4, "little")]
        # The identifier of a set-up follows from its words, the header's hash among them.
        setup = next((text for name, text in files.items() if "setup.bin" in name), b"")[5:8]
        if any(setup):
            hashes += [b"%06x" % int.from_bytes(setup, "little"), setup]
        for each in hashes:
            files = {name: content.replace(each, b"HASH") for name, content in files.items()}
    return files


def compare(trees: list[Path], folder: Path, title: str, arguments: list[str]) -> bool:
    """Run one command in every tree, and print what became of its files."""
    folders = [folder / f"{number}" for number in range(len(trees))]
    for tree, place in zip(trees, folders, strict=True):
        place.mkdir(parents=True)
        run(tree, place, arguments)
    for mask, note in ((False, "the same"), (True, "the same but for the configuration's hash")):
        theirs, ours = (contents(place, mask) for place in folders)
        names = sorted({*theirs, *ours})
        different = [name for name in names if theirs.get(name) != ours.get(name)]
        if not different:
            size = sum(map(len, ours.values()))
            print(f"{title}: {note}, {len(ours)} files, {size:,} B", flush=True)
            return True
    print(f"{title}: DIFFERENT: {', '.join(different)}", flush=True)
    return False


def main(revision: str, *models: str) -> int:
    """Compare this tree with a revision of it. Returns: the exit code."""
    paths = [str(Path(model).resolve()) for model in models]
    with tempfile.TemporaryDirectory() as name:
        there = Path(name)
        before = there / "before"
        git = ["git", "-C", str(ROOT), "worktree"]
        subprocess.run([*git, "add", "-q", "--detach", str(before), revision], check=True)
        try:
            same = True
            for machine, settings in MACHINES.items():
                options = [f"--set={setting}" for setting in settings.split()]
                jobs = [("rtl", ["rtl", "edge_tpu", *options, "-o", "hardware"])]
                for path in ["", *paths]:
                    network = Path(path).stem or "digits"
                    given = [path] if path else []
                    report = ["--json", "report.json"]
                    jobs.append((f"run {network}", ["run", *given, *options, *report]))
                    if path:
                        compiled = ["compile", path, *options, "-o", "network"]
                        jobs.append((f"compile {network}", compiled))
                for number, (title, arguments) in enumerate(jobs):
                    folder = there / f"{machine}-{number}"
                    same &= compare([before, ROOT], folder, f"{machine}: {title}", arguments)
        finally:
            subprocess.run([*git, "remove", "--force", str(before)], check=True)
    return 0 if same else 1


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
