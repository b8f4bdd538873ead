"""A compiled network as a C header, with the steps of its driver."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["network_header"]

DRIVER = """\
 * What a driver does:
 *
 *  1. Once: reserve MENSA_MEMORY_BYTES at MENSA_MEMORY_ADDRESS, where both AXI4 ports of the core
 *     read and write. Copy every part of parameters.bin that mensa_parameters[] lists to its
 *     address, and every program_*.bin to the address of its program.
 *  2. Once: read MENSA_REG_ID, MENSA_REG_COMMAND_SET_VERSION and MENSA_REG_CONFIG_HASH; they are
 *     MENSA_MAGIC, MENSA_VERSION and MENSA_CONFIGURATION on the core that this is for.
 *     It may keep the core inside this memory: write the first and the last address to
 *     MENSA_REG_WINDOW_BASE and MENSA_REG_WINDOW_LIMIT; and end what hangs: write to
 *     MENSA_REG_WATCHDOG how many cycles nothing may move.
 *  3. Once: run mensa_setup[], if it has programs: it fills the buffers on chip. Again after an
 *     error in it, after a reset, and after programs of another network: until then programs end
 *     with MENSA_ERROR_SETUP_MISSING.
 *  4. For every inference: write the inputs to their addresses, then take the steps of
 *     mensa_steps[] in order. MENSA_STEP_PROGRAM: run the program at `value`. MENSA_STEP_HOST: the
 *     processor computes operator number `value` from tensors and variables in memory to tensors
 *     and variables in memory; what and why stands in memory_map.json. Then read the outputs.
 *  5. Variables are what the network remembers: leave them alone from one inference to the next.
 *     To begin a new sequence copy every part of parameters.bin that mensa_variables[] lists to its
 *     address again; before the first sequence they are there from 1.
 *
 * To run a program:
 *  a. Write back what the caches hold of the memory.
 *  b. Write its address to MENSA_REG_PROGRAM_ADDRESS.
 *  c. Write MENSA_CONTROL_START | MENSA_CONTROL_INTERRUPT_ENABLE to MENSA_REG_CONTROL.
 *  d. Wait for the interrupt, or until MENSA_REG_STATUS has MENSA_STATUS_DONE. A memory that does
 *     not answer keeps the core from both: if MENSA_STATUS_STOPPING stays, with an error code, the
 *     bus and the core must be reset together, and mensa_setup[] run again.
 *  e. Read MENSA_REG_STATUS: MENSA_STATUS_ERROR in it is MENSA_ERROR_NONE if all is well, else
 *     MENSA_REG_PROGRAM_WORD says which word it is about. The core can be started again at once.
 *  f. Write MENSA_STATUS_DONE to MENSA_REG_STATUS: it clears the interrupt.
 *  g. Invalidate what the caches hold of the memory.
 * To end a program before its time, while MENSA_REG_STATUS has MENSA_STATUS_BUSY, write
 * MENSA_CONTROL_RESET to MENSA_REG_CONTROL, with MENSA_CONTROL_INTERRUPT_ENABLE if the interrupt is
 * wanted, go on with d, and run mensa_setup[] again: the core has forgotten it.
"""

_ROLES = ("input", "output")


def network_header(about: Mapping[str, Any]) -> str:
    """Return the C header of a memory map (`mensa.sched.compile.memory_map`)."""
    lines = [
        f"/* The network {_comment(about['model'])} on the accelerator "
        f"{about['machine']['name']}. Made by mensa.",
        " *",
        *DRIVER.splitlines(),
        " */",
        "#ifndef MENSA_NETWORK_H",
        "#define MENSA_NETWORK_H",
        "",
        "#include <stdint.h>",
        "",
        '#include "registers.h"',
        "",
        f"#if MENSA_CONFIGURATION != {_hex(about['configuration'])}",
        '#error "registers.h is of a core with another configuration"',
        "#endif",
        "",
        _define("MEMORY_ADDRESS", _hex(about["memory"]["address"])),
        _define("MEMORY_BYTES", f"{about['memory']['bytes']}u"),
        "",
        "struct mensa_segment {",
        "  uint32_t address; /* in memory */",
        "  uint32_t offset;  /* in parameters.bin */",
        "  uint32_t bytes;",
        "};",
        "",
        *_array(
            "struct mensa_segment mensa_parameters",
            [_segment(each) for each in about["parameters"]["segments"]],
        ),
        "",
        "/* Variables, with what they are when a sequence begins. */",
        *_array(
            "struct mensa_segment mensa_variables", [_segment(each) for each in about["variables"]]
        ),
        "",
        "/* Programs: where the file program_*.bin belongs, and its bytes. */",
    ]
    for program in about["programs"]:
        name = f"PROGRAM_{program['name'].upper()}"
        lines.append(_define(f"{name}_ADDRESS", _hex(program["address"])))
        lines.append(_define(f"{name}_BYTES", f"{program['bytes']}u"))
    setup = [each for each in about["programs"] if each["name"] == "setup"]
    lines += [
        "",
        "enum mensa_step_kind { MENSA_STEP_PROGRAM, MENSA_STEP_HOST };",
        "",
        "struct mensa_step {",
        "  enum mensa_step_kind kind;",
        "  uint32_t value; /* address of the program, or number of the operator */",
        "};",
        "",
        *_array(
            "struct mensa_step mensa_setup",
            ["{MENSA_STEP_PROGRAM, MENSA_PROGRAM_SETUP_ADDRESS}"] * len(setup),
        ),
        "",
        *_array("struct mensa_step mensa_steps", [_step(each) for each in about["steps"]]),
    ]
    for role in _ROLES:
        lines += ["", f"/* {role.capitalize()}s: {_TENSOR} */"]
        lines += _tensors(about, role)
    lines += ["", f"/* Variables, as mensa_variables[]: {_TENSOR} */"]
    for number, variable in enumerate(about["variables"]):
        lines += _stored(f"VARIABLE_{number}", variable)
    return "\n".join([*lines, "", "#endif"]) + "\n"


_TENSOR = "dense, little-endian, the last dimension fastest; real = scale * (value - zero point)."


def _define(name: str, value: str) -> str:
    return f"#define MENSA_{name} {value}"


def _hex(value: int) -> str:
    return f"0x{value:08X}u"


def _array(declaration: str, entries: list[str]) -> Iterator[str]:
    """A constant array and its length; C knows no empty ones, so that one has a zero entry."""
    name = declaration.split("mensa_")[-1].upper()
    yield _define(f"{name}_COUNT", f"{len(entries)}u")
    yield f"static const {declaration}[] = {{"
    yield from (f"  {entry}," for entry in entries or ["{0}"])
    yield "};"


def _segment(part: Mapping[str, Any]) -> str:
    return f"{{{_hex(part['address'])}, {part['offset']}u, {part['bytes']}u}}"


def _step(step: Mapping[str, Any]) -> str:
    if "program" in step:
        return f"{{MENSA_STEP_PROGRAM, MENSA_PROGRAM_{step['program']}_ADDRESS}}"
    return f"{{MENSA_STEP_HOST, {step['host']}u}} /* {step['op']} */"


def _tensors(about: Mapping[str, Any], role: str) -> Iterator[str]:
    """Inputs or outputs, numbered in the network's order."""
    stored = {each["index"]: each for each in about["tensors"]}
    tensors = [stored[index] for index in about[f"{role}s"] if index in stored]
    yield _define(f"{role.upper()}S", f"{len(tensors)}u")
    for number, tensor in enumerate(tensors):
        yield from _stored(f"{role.upper()}_{number}", tensor)


def _stored(name: str, tensor: Mapping[str, Any]) -> Iterator[str]:
    """Where one is and what its values mean."""
    shape = "x".join(map(str, tensor["shape"]))
    yield f"/* {_comment(tensor['name'])}: {tensor['type']} {shape} */"
    yield _define(f"{name}_ADDRESS", _hex(tensor["address"]))
    yield _define(f"{name}_BYTES", f"{tensor['bytes']}u")
    if len(tensor["scale"]) == 1:
        yield _define(f"{name}_SCALE", f"{tensor['scale'][0]!r}f")
        yield _define(f"{name}_ZERO_POINT", f"({tensor['zero_point'][0]})")


def _comment(text: str) -> str:
    """Return text that can't end a comment or break its line."""
    return re.sub(r"[^\x20-\x7e]|\*/|/\*|\\", "?", text)
