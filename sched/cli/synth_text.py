"""What `mensa synth` prints."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields

from mensa.rtl.fpga.synthesis import Synthesis

__all__ = ["lines"]


def lines(result: Synthesis) -> Iterator[str]:
    """Lines for a terminal: resources, clock, critical path."""
    machine, device = result.machine, result.device
    grade = "" if result.speed_grade is None else f", speed grade {result.speed_grade}"
    yield (
        f"{machine.name} ({machine.array.size}) on {device.name} "
        f"({device.part}{grade}), {result.seconds:.0f} s"
    )
    for field in fields(result.used):
        used, there = getattr(result.used, field.name), getattr(device.has, field.name)
        says = device.says[field.name]
        yield f"  {used:>9,} of {there:>9,}  {used / there:>4.0%}  {says}"
    if result.moved is not None:
        yield (
            f"  {result.moved.flip_flops:,} more flip-flops are registers of blocks: operands of "
            f"{result.moved.operands} and products of {result.moved.products} multipliers, "
            f"{result.moved.reads} ports of block RAMs"
        )
    if result.copies is not None:
        yield (
            f"  {result.copies.flip_flops:,} of the flip-flops and "
            f"{result.copies.look_up_tables:,} of the look-up tables are copies of others, which "
            "many cells read"
        )
    if result.fmax_hz is None:
        yield "  yosys counted the cells; nothing was placed, so there is no clock"
        return
    aim = f"place and route aimed at {result.frequency_hz / 1e6:g} MHz, seed {result.seed}"
    yield f"  Fmax {result.fmax_hz / 1e6:.1f} MHz ({aim})"
    if result.critical_path:
        yield f"  critical path, {sum(hop.ns for hop in result.critical_path):.2f} ns:"
    for number, hop in enumerate(result.critical_path):
        arrow = "from" if number == 0 else "  ->"
        cells = f"{hop.cells} cell{'s' if hop.cells != 1 else ''}"
        yield f"    {hop.ns:5.2f} ns  {arrow} {hop.signal}  ({cells})"
