"""Whether another revision makes the same Verilog, command words and reports as this tree.

    python scripts/same_outputs.py REVISION [MODEL.tflite ...]

Both trees run `mensa rtl`, `mensa compile` and `mensa run` (the timing model) for a few machines,
the bundled digits and every network given; the files must be equal, byte for byte. The hash of the
configuration stands in Verilog and programs: where it differs, it is taken for the same. Prints a
line for each machine and network, and the files that differ; exit code 1 if any does.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

# Square, wide, with few lanes and a port of its own, and the named machine.
MACHINES = {
    "8x8": "rows=8 cols=8 parameter_buffer_bytes=32768 activation_buffer_bytes=32768",
    "4x12": "rows=4 cols=12 parameter_buffer_bytes=16384 activation_buffer_bytes=65536",
    "16x16": "rows=16 cols=16 post_lanes=3 port_bytes=16 activation_banks=8 constant_entries=128",
    "edge_tpu": "",
}
_SECONDS = re.compile(rb'"\w*seconds": .*')
_HASH = re.compile(r"#define MENSA_CONFIGURATION 0x([0-9A-F]+)u")


def run(tree: Path, folder: Path, arguments: list[str]) -> None:
    """Run `mensa` as `tree` has it; what it prints is one of the outputs."""
    environment = {**os.environ, "PYTHONPATH": str(tree / "typing"), "PYTHONSAFEPATH": "1"}
    code = "import sys; from mensa.sched.entry import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        check=False,
    )
    said = done.stdout + (done.stderr if done.returncode else b"")
    (folder / "said.txt").write_bytes(said + b"exit code %d\n" % done.returncode)


def contents(folder: Path, mask: bool) -> dict[str, bytes]:
    """The files of a folder by name, without the times and, if `mask`, without the hash."""
    files = {
        str(path.relative_to(folder)): _SECONDS.sub(b"", path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    header = next((text for name, text in files.items() if name.endswith(".h")), b"")
    found = _HASH.search(header.decode()) if mask else None
    if found:
        number = int(found[1], 16)
        hashes = [b"%d" % number, b"%08x" % number, b"%08X" % number, number.to_bytes(4, "little")]
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
