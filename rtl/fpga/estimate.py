"""Whether a machine can fit a device, from its numbers alone."""

from __future__ import annotations

from collections.abc import Iterator

from mensa.rtl.channel_record import CHANNEL_RECORD_USED_BYTES
from mensa.rtl.fpga.device import Device, Resources, blocks_for
from mensa.rtl.fpga.errors import SynthesisError
from mensa.rtl.machine import Machine, MachineError

__all__ = ["check_fits", "estimate"]

REQUANTISER_MULTIPLIERS = 4
"""Of a lane of the post-processor: 32 x 31 bits from multipliers of 18 x 18 (or 25 x 18)."""

VECTOR_MULTIPLIERS = 2
"""Of a lane of the vector unit: 9 x 31 bits."""

CELL_MULTIPLIERS = {"tflm": 2, "litert": 10}
"""Of a lane of the LSTM cell, by whose arithmetic, without those with a constant factor."""


SOFTMAX_MULTIPLIERS = 4
"""Of the softmax unit: one product of 32 x 32 bits, whatever its lanes."""


def estimate(machine: Machine, device: Device) -> Resources:
    """What a machine needs at least.

    Multipliers and block RAMs follow from the machine's numbers. Logic and flip-flops are those of
    the array's multiply-accumulators alone.
    """
    macs, lanes = machine.peak_macs_per_cycle, machine.lanes
    return Resources(
        logic=machine.array.logic_per_mac * macs,
        flip_flops=machine.array.flip_flops_per_mac * macs,
        multipliers=macs
        + lanes * (REQUANTISER_MULTIPLIERS + VECTOR_MULTIPLIERS)
        + machine.state_lanes * CELL_MULTIPLIERS.get(machine.cell or "", 0)
        + (SOFTMAX_MULTIPLIERS if machine.exponential_lanes else 0),
        block_rams=sum(blocks for _, blocks in _memories(machine, device)),
    )


def _memories(machine: Machine, device: Device) -> Iterator[tuple[str, int]]:
    """Settings that give the size of a buffer, each with the block RAMs of that buffer."""

    def halves(nbytes: int, banks: int) -> int:
        rows = nbytes // machine.row_bytes // banks
        return 2 * banks * blocks_for(device, rows, machine.row_bytes // 2)

    array = machine.array
    yield (
        "activation_buffer_bytes",
        halves(machine.activation_buffer_bytes, machine.activation_banks),
    )
    if array.store_bytes:
        row = machine.parameter_row_bytes
        yield machine.parameter_setting, blocks_for(device, array.store_bytes // row, row)
    else:
        yield machine.parameter_setting, halves(machine.parameter_bytes, 1)
    record = CHANNEL_RECORD_USED_BYTES * machine.constant_row_records
    rows = machine.constant_entries * machine.constant_entry_rows
    yield "constant_entries", blocks_for(device, rows, record)


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
    smaller = _smaller(machine, device).items()
    proposal = " ".join(f"--set {name}={value}".lower() for name, value in smaller)
    raise SynthesisError(
        f"{machine.name} with {machine.array.size} does not fit {device.name} "
        f"({device.part}): it needs at least {', '.join(said)}; "
        + (f"this might fit: {proposal}" if proposal else "no smaller array or buffer would do")
    )


def _smaller(machine: Machine, device: Device) -> dict[str, int | None]:
    """Settings that make the machine small enough, halving what is too large.

    Empty if none do. The post-processor's lanes are halved first, twice: the array does the work.
    """
    before = machine
    changed: dict[str, int | None] = {}

    def change(**changes: int | None) -> None:
        nonlocal machine
        machine = machine.replace(**changes)
        changed.update(changes)

    def over() -> set[str]:
        return set(estimate(machine, device).over(device.has))

    def halve_array() -> None:
        smaller = {name: max(1, edge // 2) for name, edge in machine.array.edges.items()}
        change(**smaller, post_lanes=None, cell_lanes=None)

    # A port wider than the array needs, as of a stacked memory, widens all buffers.
    if machine.replace(port_bytes=None).beat_bytes < machine.beat_bytes:
        change(port_bytes=None)
    while over() - {"block_rams"}:
        if 4 * machine.lanes > machine.array.group and machine.lanes > 1:
            change(post_lanes=machine.lanes // 2, cell_lanes=None)
        else:
            halve_array()
    while over():
        largest = max(dict(_memories(machine, device)).items(), key=lambda part: part[1])[0]
        try:
            change(**{largest: machine.settings[largest] // 2})
        except MachineError:  # it is as small as the array allows
            if set(machine.array.edges.values()) == {1}:
                return {}
            halve_array()
    return {name: value for name, value in changed.items() if value != before.settings[name]}
