"""Small circuits, what yosys makes of them and what a pass makes of that, in lockstep.

A case is the body of a module with the ports `clk`, `other`, its inverse, and `i` and `o`, of 64
bits. All cases are in one design.
"""

import json
import subprocess
from pathlib import Path

from mensa.sim.engines import verilator
from tests.rtl.fpga.yosys import run_yosys

TOP = "source"

LIBRARY = "read_verilog -DNO_INCLUDES +/ecp5/cells_sim.v; read_verilog -lib +/ecp5/cells_bb.v"
"""yosys' models of an ECP5's cells, and the ports of those that have none."""

MAIN = Path(__file__).with_name("lockstep_main.cpp")


def verilog(cases):
    """The cases, each a module, and a module with all of them. Parameters: texts by name."""
    ports = "input clk, other, input [63:0] i, output [63:0] o"
    modules = [f"module {name}({ports});{text}\nendmodule" for name, text in cases.items()]
    # yosys would share what has the same input.
    instances = [f"{name} {name}(clk, other, i_{name}, o_{name});" for name in cases]
    inputs, outputs = (", ".join(f"{way}_{name}" for name in cases) for way in "io")
    top = f"module {TOP}(input clk, other, input [63:0] {inputs}, output [63:0] {outputs});"
    return "\n".join([*modules, top, *instances, "endmodule", ""])


def case_of(cases, cell):
    """Which case a cell belongs to; yosys names it after an output, or what it is in."""
    return max((name for name in cases if name in cell), key=len)


def cells(netlist, *kinds):
    """Cells of these types, by name."""
    found = netlist["modules"][TOP]["cells"]
    return {name: cell for name, cell in found.items() if cell["type"] in kinds}


def synthesize(source, folder):
    """What yosys makes of Verilog for an ECP5. Returns: the tree of its JSON."""
    (folder / "source.v").write_text(source)
    run_yosys(f"read_verilog source.v; synth_ecp5 -top {TOP}; write_json source.json", folder)
    return json.loads((folder / "source.json").read_text())


def differing(source, cases, circuits, folder, models=""):
    """Run netlists beside their source.

    Parameters
    ----------
    source : str
        Verilog of the source.
    cases : sequence or mapping of str
        Names of the cases, at most 64.
    circuits : mapping
        Netlists by name.
    folder : Path
        Where files are made.
    models : str
        Verilog of the cells that yosys has no models of.

    Returns
    -------
    dict
        For each circuit, the set of cases in which it ever differs from the source.
    """
    assert len(cases) <= 64
    script, parts = "", [source, _lockstep(cases, circuits), models]
    for name, circuit in circuits.items():
        alone = {"modules": {name: circuit["modules"][TOP]}}
        (folder / f"{name}.json").write_text(json.dumps(alone))
        script += f"design -reset; {LIBRARY}; read_json {name}.json; hierarchy -top {name}; proc; "
        script += f"flatten; check -assert; opt_clean; write_verilog -noattr {name}.v; "
    run_yosys(script, folder)
    parts += [(folder / f"{name}.v").read_text() for name in circuits]
    build = verilator.build(
        verilator.Build(
            name="circuits before and after a pass", verilog="\n".join(parts),
            top="lockstep", sources=(MAIN,), flags=(), optimise="-O0",
        )
    )  # fmt: skip
    done = subprocess.run([build], capture_output=True, text=True, check=True, timeout=120)
    return {
        circuit: {name for number, name in enumerate(cases) if int(mask, 16) >> number & 1}
        for circuit, mask in zip(circuits, done.stdout.split(), strict=True)
    }


def _lockstep(cases, others):
    """A module that runs other circuits beside the source, and tells which case differs."""
    circuits = [TOP, *others]
    lines = [f"wire [63:0] {', '.join(f'{each}_{name}' for name in cases)};" for each in circuits]
    for circuit in circuits:
        pins = ", ".join(f".i_{name}(i), .o_{name}({circuit}_{name})" for name in cases)
        lines.append(f"{circuit} {circuit}(.clk(clk), .other(~clk), {pins});")
    for number, other in enumerate(others):
        differs = ", ".join(f"{TOP}_{name} !== {other}_{name}" for name in reversed(cases))
        lines.append(f"assign differs[{number}] = {{{differs}}};")
    last = len(others) - 1
    top = f"module lockstep(input clk, input [63:0] i, output [63:0] differs [0:{last}]);"
    return "\n".join([top, *lines, "endmodule", ""])
