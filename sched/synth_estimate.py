"""Whether a machine can fit a device, from its numbers alone."""

from __future__ import annotations

from collections.abc import Iterator

from mensa.rtl.machine import CHANNEL_RECORD_USED_BYTES, Machine
from mensa.sched.synth_device import Device, Resources, blocks_for
from mensa.sched.synth_errors import SynthesisError

__all__ = ["check_fits", "estimate"]

REQUANTISER_MULTIPLIERS = 4
"""Of a lane of the post-processor: 32 x 31 bits from multipliers of 18 x 18 (or 25 x 18)."""

VECTOR_MULTIPLIERS = 2
"""Of a lane of the vector unit: 9 x 31 bits."""


LOGIC_PER_PE = 32
"""Of a PE, at least: what chooses for its drain register. A 7 series' multiplier has an adder."""

FLIP_FLOPS_PER_PE = 50
"""Of a PE, at least: drain register and two operands of 9 bits."""


def estimate(machine: Machine, device: Device) -> Resources:
    """What a machine needs at least.

    Multipliers and block RAMs follow from the machine's numbers. Logic and flip-flops are those of
    the PEs alone.
    """
    macs, lanes = machine.peak_macs_per_cycle, machine.cols
    return Resources(
        logic=LOGIC_PER_PE * macs,
        flip_flops=FLIP_FLOPS_PER_PE * macs,
        multipliers=macs + lanes * (REQUANTISER_MULTIPLIERS + VECTOR_MULTIPLIERS),
        block_rams=sum(blocks for _, blocks in _memories(machine, device)),
    )


def _memories(machine: Machine, device: Device) -> Iterator[tuple[str, int]]:
    """Settings that give the size of a buffer, each with the block RAMs of that buffer."""
    half = machine.row_bytes // 2
    for name, banks in (
        ("activation_buffer_bytes", machine.activation_banks),
        ("parameter_buffer_bytes", 1),
    ):
        rows = getattr(machine, name) // machine.row_bytes // banks
        yield name, 2 * banks * blocks_for(device, rows, half)
    record = CHANNEL_RECORD_USED_BYTES * machine.cols
    yield "constant_entries", blocks_for(device, machine.constant_entries, record)


def check_fits(machine: Machine, device: Device) -> None:
    """Raise SynthesisError, with every number that is over, if the machine can't fit."""
    needs = estimate(machine, device)
    over = needs.over(device.has)
    if not over:
        return
    said = []
    for name in over:
        asked, there = getattr(needs, name), getattr(device.has, name)
        said.append(f"{asked:,} of {there:,} {device.says[name]}")
    if "block_rams" in over:
        parts = (f"{setting} takes {blocks:,}" for setting, blocks in _memories(machine, device))
        said[-1] += f" ({', '.join(parts)})"
    settings = _smaller(machine, device)
    raise SynthesisError(
        f"{machine.name} with {machine.rows} x {machine.cols} PEs does not fit {device.name} "
        f"({device.part}): it needs at least {', '.join(said)}; this might fit: "
        + " ".join(f"--set {name}={value}" for name, value in settings.items())
    )


def _smaller(machine: Machine, device: Device) -> dict[str, int]:
    """Settings that make the machine small enough, halving what is too large."""
    settings: dict[str, int] = {}

    def halve(*names: str) -> None:
        nonlocal machine
        changes = {name: max(1, getattr(machine, name) // 2) for name in names}
        machine = machine.replace(**changes)
        settings.update(changes)

    while set(estimate(machine, device).over(device.has)) - {"block_rams"}:
        halve("rows", "cols")
    while estimate(machine, device).over(device.has):
        halve(max(dict(_memories(machine, device)).items(), key=lambda part: part[1])[0])
    return settings
