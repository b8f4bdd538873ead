"""What a compute command does, written down from docs/architecture.md loop by loop.

Tests compare the gateware and its closed-form timing with this. It knows nothing of either.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from mensa.golden.arithmetic.fixed_point import (
    requantize_double,
    requantize_single,
    rounding_divide_by_pot,
    wrap32,
)
from mensa.golden.arithmetic.fixed_point_functions import one_over_one_plus
from mensa.rtl.channel_record import CHANNEL_RECORD_BYTES
from mensa.rtl.commands import REGISTERS, Keep, Mode, Rounding, Unit, Width
from mensa.rtl.machine import Machine
from mensa.sim.engines.lstm_cell import cell_result

Registers = dict[str, int]

SCALED_SUM_LEFT_SHIFT = 20
TABLE_BYTES = 256
EXPONENTIAL_BYTES = 1024
COMBINE = {
    Mode.MAX: lambda values: np.max(values, 0),
    Mode.MIN: lambda values: np.min(values, 0),
    Mode.PRODUCT: lambda values: values[0] * values[1],
    Mode.SCALED_SUM: lambda values: wrap32(values[0] + values[1]),
    Mode.SCALED_DIFFERENCE: lambda values: wrap32(values[0] - values[1]),
}


@dataclass
class Fetch:
    """The chunk that a step fetches for one pixel."""

    lane: int
    address: int
    x: int
    y: int
    size: int
    tap: int
    pixel: int  #: of the command's output pixels; of a filter, which it completes


@dataclass
class Step:
    """One cycle of the feed: an activation chunk, a parameter word, both or neither."""

    group: int
    tile: int  #: counted over the command
    lanes: int
    first: bool = False  #: of its tile
    last: bool = False
    first_chunk: bool = False  #: in the tile's first chunk
    last_chunk: bool = False  #: in its last one
    fetch: Fetch | None = None
    parameter: int | None = None  #: address of the word
    byte: int = 0  #: of the segment, to which the word belongs
    count: int = 1  #: bytes of the segment that have parameters in the step, a word each
    clear: bool = False  #: of a filter's taps
    row: int = 0  #: of the array, for a filter's tap; of its word, the turn
    first_of_row: bool = False  #: of a filter's input row
    last_of_row: bool = False  #: of a filter's taps in a tap row
    result: bool = False  #: of a filter, complete with this word
    pixel: int = 0  #: which one
    table: bool = False  #: brings a part of a table


def steps(machine: Machine, r: Registers) -> Iterator[Step]:
    """The loop nest, one item a cycle."""
    if r["MODE"] == Mode.FILTER:
        yield from _filter_steps(machine, r)
        return
    if Mode(r["MODE"]).is_cell:
        yield from _cell_steps(machine, r)
        return
    if r["MODE"] == Mode.SOFTMAX:
        yield from _softmax_steps(machine, r)
        return
    vector = Mode(r["MODE"]).is_vector
    lanes_max = 1 if vector else machine.array.tile
    chunk_max = machine.lanes if vector else machine.array.chunk
    parameter = r["PARAMETER_ADDRESS"]
    tile_number = 0
    if r["MODE"] == Mode.TABLE:
        for entry in range(0, TABLE_BYTES, machine.table_step_bytes):
            yield Step(0, 0, 0, parameter=parameter + entry, table=True)
    for group in range(r["GROUPS"]):
        final = group == r["GROUPS"] - 1
        segment = r["LAST_SEGMENT"] if final else r["SEGMENT"]
        group_parameter = parameter
        for tile in range(0, r["PIXELS"], lanes_max):
            pixels = range(tile, min(tile + lanes_max, r["PIXELS"]))
            parameter = group_parameter  # every tile uses the group's parameters again
            cycles: list[Step] = []
            for ky in range(r["KERNEL_H"]):
                for kx in range(r["KERNEL_W"]):
                    for offset in range(0, segment, chunk_max):
                        size = min(chunk_max, segment - offset)
                        is_last = (ky, kx) == (r["KERNEL_H"] - 1, r["KERNEL_W"] - 1)
                        is_last = is_last and offset + size == segment and not vector
                        turns = machine.array.turns_of_word(r["WIDTH"]) if is_last else 1
                        beats = 0 if vector else machine.array.parameter_beats(size)
                        length = machine.array.chunk_cycles(turns * len(pixels), size)
                        for beat in range(1 if vector else length):
                            step = Step(group, tile_number, len(pixels))
                            step.first_chunk = ky == kx == offset == 0
                            step.last_chunk = is_last
                            lane, turn = divmod(beat, turns)
                            if lane < len(pixels) and turn == 0:
                                step.fetch = _fetch(
                                    r, lane, pixels[lane], ky, kx, group, offset, size
                                )
                            if beat < beats:
                                rows = machine.array.parameter_rows
                                step.parameter = parameter
                                step.byte = offset + beat * rows
                                step.count = min(rows, size - beat * rows)
                                if r["MODE"] == Mode.CONV:
                                    parameter += machine.array.group * step.count
                            cycles.append(step)
                    if r["MODE"] == Mode.DEPTHWISE:
                        parameter += machine.array.group
            while not vector and len(cycles) < machine.array.spacing:
                cycles.append(Step(group, tile_number, len(pixels)))
                cycles[-1].first_chunk = (
                    r["KERNEL_H"] == r["KERNEL_W"] == 1 and segment <= chunk_max
                )
            cycles[0].first = cycles[-1].last = True
            yield from cycles
            tile_number += 1


def _fetch(
    r: Registers, lane: int, pixel: int, ky: int, kx: int, group: int, offset: int, size: int
) -> Fetch:
    oy, ox = divmod(pixel, r["OUT_WIDTH"])
    along = ox * r["PIXEL_X_STEP"] + kx * r["TAP_X_STEP"] + group * r["GROUP_ACT_STEP"] + offset
    return Fetch(
        lane=lane,
        address=r["ACT_ADDRESS"]
        + oy * r["PIXEL_Y_ADDRESS_STEP"]
        + ky * r["TAP_Y_ADDRESS_STEP"]
        + along,
        x=r["X_START"] + along,
        y=r["Y_START"] + oy * r["PIXEL_Y_STEP"] + ky * r["TAP_Y_STEP"],
        size=size,
        tap=ky,
        pixel=pixel,
    )


def _filter_steps(machine: Machine, r: Registers) -> Iterator[Step]:
    parameter = r["PARAMETER_ADDRESS"]
    for group in range(r["GROUPS"]):
        size = r["LAST_SEGMENT"] if group == r["GROUPS"] - 1 else r["SEGMENT"]
        yield Step(group, group, 1, clear=True)
        for ky in range(r["KERNEL_H"]):
            for kx in range(r["KERNEL_W"]):
                row = r["FILTER_ROW"] + ky * r["FILTER_TAP_ROW_STEP"] + kx * r["FILTER_TAP_STEP"]
                last = kx == r["KERNEL_W"] - 1
                yield Step(group, group, 1, parameter=parameter, row=row, last_of_row=last)
                parameter += machine.lanes
        for row in range(r["STREAM_ROWS"]):
            for position in range(r["STREAM_COLUMNS"]):
                for tap in range(r["STREAM_TAPS"]):
                    along = position * r["STREAM_STEP"] + tap * r["TAP_X_STEP"]
                    along += group * r["GROUP_ACT_STEP"]
                    word = position * r["STREAM_TAPS"] + tap
                    pixel = _completed(r, row, word)
                    fetch = Fetch(
                        lane=0,
                        address=r["ACT_ADDRESS"] + row * r["STREAM_ROW_STEP"] + along,
                        x=r["X_START"] + along,
                        y=r["Y_START"] + row,
                        size=size,
                        tap=0,
                        pixel=pixel or 0,
                    )
                    turns = machine.array.turns(r)
                    for turn in range(turns):
                        yield Step(
                            group,
                            group,
                            1,
                            fetch=fetch if turn == 0 else None,
                            row=turn,
                            first_of_row=word == 0,
                            result=pixel is not None and turn == turns - 1,
                            pixel=fetch.pixel,
                        )


def _cell_steps(machine: Machine, r: Registers) -> Iterator[Step]:
    """A group's cell state, then of each gate the sum of its inputs and the recurrent one."""
    long = machine.recurrent_width.nbytes // 2
    for group in range(r["GROUPS"]):
        size = r["LAST_SEGMENT"] if group == r["GROUPS"] - 1 else r["SEGMENT"]
        start = group * r["GROUP_ACT_STEP"]
        reads = []
        if r["MODE"] in (Mode.CELL_STATE, Mode.HIDDEN_STATE):
            reads.append((r["STATE_ADDRESS"], 1))
        for gate in range(r["KERNEL_H"]):
            pitch = gate * r["TAP_Y_ADDRESS_STEP"]
            if r["MODE"] == Mode.DOT:
                reads.append((r["STATE_ADDRESS"] + pitch, 1))
            reads.append((r["ACT_ADDRESS"] + pitch, 1))
            if r["MODE"] != Mode.DOT:
                reads.append((r["RECURRENT_ADDRESS"] + long * pitch, long))
        for number, (address, scale) in enumerate(reads):
            yield Step(
                group,
                group,
                1,
                first=number == 0,
                last=number == len(reads) - 1,
                first_chunk=number == 0,
                fetch=Fetch(
                    lane=0,
                    address=address + scale * start,
                    x=r["X_START"] + scale * start,
                    y=r["Y_START"],
                    size=scale * size,
                    tap=number,
                    pixel=0,
                ),
            )


def _softmax_steps(machine: Machine, r: Registers) -> Iterator[Step]:
    """The table, then three times through each row, waiting for what the next pass needs."""
    for entry in range(0, EXPONENTIAL_BYTES, machine.exponential_step_bytes):
        yield Step(0, 0, 0, parameter=r["PARAMETER_ADDRESS"] + entry, table=True)
    levels = math.ceil(math.log2(machine.exponential_lanes))
    for row in range(r["PIXELS"]):
        for number in range(3):
            for group in range(r["GROUPS"]):
                final = group == r["GROUPS"] - 1
                along = group * r["GROUP_ACT_STEP"]
                fetch = Fetch(
                    lane=0,
                    address=r["ACT_ADDRESS"] + row * r["PIXEL_Y_ADDRESS_STEP"] + along,
                    x=r["X_START"] + along,
                    y=0,
                    size=r["LAST_SEGMENT"] if final else r["SEGMENT"],
                    tap=int(number == 1),
                    pixel=row,
                )
                yield Step(
                    group,
                    row,
                    1,
                    first=group == 0,
                    last=number == 2 or (number == 1 and final),
                    first_chunk=number == 2,
                    fetch=fetch,
                )
            if number < 2:
                yield from (Step(0, row, 1) for _ in range(levels + (1, 56)[number]))


def _completed(r: Registers, row: int, word: int) -> int | None:
    """The output pixel whose sum is complete with a word of a filter's input row."""
    for j in range(r["PIXELS"] // r["OUT_WIDTH"]):
        for i in range(r["OUT_WIDTH"]):
            if (
                row == r["STREAM_FIRST_ROW"] + j * r["PIXEL_Y_STEP"]
                and word == r["STREAM_FIRST"] + i * r["STREAM_RESULT_STEP"]
            ):
                return j * r["OUT_WIDTH"] + i
    return None


def out_address(r: Registers, group: int, pixel: int) -> int:
    oy, ox = divmod(pixel, r["OUT_WIDTH"])
    return (
        r["OUT_ADDRESS"]
        + group * (r["GROUP_CHANNELS"] << r["WIDTH"])
        + oy * r["OUT_Y_STEP"]
        + ox * r["OUT_X_STEP"]
    )


def channels(r: Registers, group: int, pixel: int) -> int:
    if pixel % r["OUT_WIDTH"] == r["OUT_WIDTH"] - 1 and r["EDGE_CHANNELS"]:
        return r["EDGE_CHANNELS"]
    return r["LAST_GROUP_CHANNELS"] if group == r["GROUPS"] - 1 else r["GROUP_CHANNELS"]


@dataclass
class Write:
    """A row of outputs: when it is written, counted from the feed's first step to its tile's last
    one, in which place of its tile, and what."""

    last_step: int
    row: int
    address: int
    data: bytes


@dataclass
class Reference:
    """Buffers, and the sums that stay in the array from one command to the next."""

    machine: Machine
    activation: np.ndarray  #: uint8
    parameter: np.ndarray  #: uint8
    constant: np.ndarray  #: uint8
    sums: dict[int, np.ndarray] = field(init=False, default_factory=dict)
    """Of the latest command's tiles, by their number: [rows, cols]."""

    def run(self, r: Registers) -> list[Write]:
        """Carry out a command. Returns: its writes in their order, already made."""
        by_mode = {Mode.FILTER: self._filter, Mode.SOFTMAX: self._softmax}
        writes = by_mode.get(Mode(r["MODE"]), self._tiles)(r)
        for write in writes:
            at = slice(write.address, write.address + len(write.data))
            self.activation[at] = np.frombuffer(write.data, np.uint8)
        return writes

    def _tiles(self, r: Registers, machine: Machine | None = None) -> list[Write]:
        writes: list[Write] = []
        tile: list[tuple[int, Step]] = []
        for number, step in enumerate(steps(machine or self.machine, r)):
            if step.table:
                continue
            tile.append((number, step))
            if step.last:
                writes += self._tile(r, tile)
                tile = []
        return writes

    def _filter(self, r: Registers) -> list[Write]:
        """What the same registers mean in DEPTHWISE on an array that has a column for each lane,
        written when the filter's results come."""
        narrow = self.machine.replace(cols=self.machine.lanes, post_lanes=None)
        writes = self._tiles(r | {"MODE": int(Mode.DEPTHWISE), "DEPTH_MULTIPLIER": 1}, narrow)
        data = {write.address: write.data for write in writes}
        assert len(data) == len(writes)
        complete = [(n, s) for n, s in enumerate(steps(self.machine, r)) if s.result]
        assert len(complete) == len(writes)
        addresses = [out_address(r, step.group, step.pixel) for _, step in complete]
        return [
            Write(number, 0, address, data[address])
            for (number, _), address in zip(complete, addresses, strict=True)
        ]

    def _softmax(self, r: Registers) -> list[Write]:
        at = r["PARAMETER_ADDRESS"]
        table = self.parameter[at : at + EXPONENTIAL_BYTES].view("<i4").astype(np.int64)
        table[0] = (1 << 31) - 1
        taken = list(enumerate(steps(self.machine, r)))
        writes = []
        for row in range(r["PIXELS"]):
            reads = [
                (number, step)
                for number, step in taken
                if step.first_chunk and step.fetch.pixel == row
            ]
            values = [self._bytes(r, step.fetch, 0, 0) for _, step in reads]
            exponentials = [table[max(map(max, values)) - each] for each in values]
            total = sum(int(((each[each >= 0] + (1 << 11)) >> 12).sum()) for each in exponentials)
            places = 32 - total.bit_length()
            scale = int(one_over_one_plus(np.array((total << places) - (1 << 31))))
            by_row = {"MULTIPLIER": scale, "SHIFT": places - 35}
            for (number, step), each in zip(reads, exponentials, strict=True):
                if places >= 4:
                    outputs = self._post(r | by_row, each[None, :], 0)[0].astype(np.int8)
                else:
                    # Shifts of 32 and more are what the kernel's 32 bits make of them.
                    high = (wrap32(each + r["BIAS"]) * scale + (1 << 30)) >> 31
                    outputs = (high >> (3 - places)) + 1 + r["OUT_ZERO_POINT"]
                    outputs = np.clip(outputs, r["CLAMP_MIN"], r["CLAMP_MAX"]).astype(np.int8)
                writes.append(Write(number, 0, out_address(r, step.group, row), outputs.tobytes()))
        return writes

    def _tile(self, r: Registers, tile: list[tuple[int, Step]]) -> list[Write]:
        mode, group = r["MODE"], tile[0][1].group
        pixels: dict[int, int] = {}  # by lane
        words: dict[int, int] = {}  # by lane, the step of its last word
        if Mode(mode).is_vector:
            sums = self._vector(r, [step for _, step in tile])[None, :]
            pixels[0] = tile[0][1].fetch.pixel
        else:
            array, number_of_tile = self.machine.array, tile[0][1].tile
            if r["KEEP"] & Keep.CONTINUE:
                sums = self.sums[number_of_tile]
            else:
                sums = np.zeros((array.tile, array.group), np.int64)
            chunk: dict[int, np.ndarray] = {}
            start = 0
            for place, (number, step) in enumerate(tile):
                if step.fetch is not None:
                    words[step.fetch.lane] = number
                    if step.fetch.lane == 0:
                        chunk, start = {}, place
                        parameters = []
                    chunk[step.fetch.lane] = self._bytes(r, step.fetch, r["ACT_ZERO_POINT"], 0)
                    pixels.setdefault(step.fetch.lane, step.fetch.pixel)
                if step.parameter is not None:
                    parameters += [self._word(r, step, row) for row in range(step.count)]
                following = tile[place + 1][1].fetch if place + 1 < len(tile) else None
                if place + 1 == len(tile) or (following is not None and following.lane == 0):
                    assert len(chunk) == step.lanes <= place + 1 - start + 1
                    for lane, values in chunk.items():
                        sums[lane] += values @ np.array(parameters)
            sums = self.sums[number_of_tile] = wrap32(sums)
        if r["KEEP"] & Keep.UNDRAINED:
            return []
        outputs = self._post(r, sums, r["CONSTANT_ENTRY"] + group)
        outputs = outputs.astype(f"<i{1 << r['WIDTH']}")
        leaves = self.machine.array.leaves_by_pixel and not Mode(mode).is_vector
        return [
            Write(
                words[lane] if leaves else tile[-1][0],
                0 if leaves else lane,
                out_address(r, group, pixel),
                outputs[lane, : channels(r, group, pixel)].tobytes(),
            )
            for lane, pixel in sorted(pixels.items(), reverse=not leaves)
        ]

    def _bytes(self, r: Registers, fetch: Fetch, zero_point: int, outside: int) -> np.ndarray:
        values = np.full(fetch.size, outside, np.int64)
        for i in range(fetch.size):
            if 0 <= fetch.x + i < r["INPUT_ROW_BYTES"] and 0 <= fetch.y < r["INPUT_ROWS"]:
                values[i] = int(
                    self.activation[fetch.address + i : fetch.address + i + 1].view("i1")[0]
                )
                values[i] -= zero_point
        return values

    def _word(self, r: Registers, step: Step, row: int) -> np.ndarray:
        """What the columns see with byte `row` of a step."""
        cols = self.machine.array.group
        start = step.parameter + (row * cols if r["MODE"] == Mode.CONV else 0)
        word = self.parameter[start : start + cols].view("i1").astype(np.int64)
        word = np.pad(word, (0, cols - len(word)))  # columns that a filter does not use
        word -= r["PARAMETER_ZERO_POINT"]
        if r["MODE"] == Mode.DEPTHWISE:
            column = np.arange(cols)
            word[column // r["DEPTH_MULTIPLIER"] != step.byte + row] = 0
        return word

    def _vector(self, r: Registers, taps: list[Step]) -> np.ndarray:
        mode = Mode(r["MODE"])
        if mode.is_cell:
            return self._cell(r, [step.fetch for step in taps])
        values = []
        for step in taps:
            fetch = step.fetch
            second = mode.has_operands and fetch.tap == 1
            zero_point = r["ACT_ZERO_POINT_1" if second else "ACT_ZERO_POINT"]
            if mode.is_extremum:
                value = self._bytes(r, fetch, 0, -128 if mode == Mode.MAX else 127)
            else:
                value = self._bytes(r, fetch, zero_point, 0)
            if mode.is_scaled:
                multiplier = r[f"SCALE_{int(second)}_MULTIPLIER"]
                shift = r[f"SCALE_{int(second)}_SHIFT"]
                high = ((value << SCALED_SUM_LEFT_SHIFT) * multiplier + (1 << 30)) >> 31
                value = rounding_divide_by_pot(high, shift)
            values.append(value)
        if mode == Mode.TABLE:
            start = r["PARAMETER_ADDRESS"]
            table = self.parameter[start : start + TABLE_BYTES].view("i1").astype(np.int64)
            return table[values[0] + 128]
        return np.asarray(COMBINE.get(mode, lambda each: np.sum(each, 0))(values))

    def _cell(self, r: Registers, reads: list[Fetch]) -> np.ndarray:
        channels = min(each.size for each in reads) // 2
        mode = Mode(r["MODE"])
        operands = [
            self.activation[each.address : each.address + each.size]
            .view(f"<i{each.size // channels}")
            .astype(np.int64)
            for each in reads
        ]
        if mode == Mode.DOT:
            return wrap32((np.array(operands[::2]) * np.array(operands[1::2])).sum(0))
        state = operands.pop(0) if mode != Mode.GATE_SUM else None
        recurrent = [(each << 47) >> 47 for each in operands[1::2]]
        sums = list(zip(operands[::2], recurrent, strict=True))
        if mode == Mode.GATE_SUM:
            return np.clip(np.add(*sums[0]), -(1 << 15), (1 << 15) - 1)
        return cell_result(self.machine.cell, mode, r["STATE_INTEGER_BITS"], state, sums)

    def _post(self, r: Registers, sums: np.ndarray, entry: int) -> np.ndarray:
        if r["UNIFORM"]:
            bias, multiplier, shift = r["BIAS"], r["MULTIPLIER"], r["SHIFT"]
        else:
            at = entry * self.machine.constant_entry_bytes
            records = self.constant[at : at + CHANNEL_RECORD_BYTES * sums.shape[1]]
            records = records.reshape(-1, CHANNEL_RECORD_BYTES)
            bias = records[:, 0:4].copy().view("<i4")[:, 0].astype(np.int64)
            multiplier = records[:, 4:8].copy().view("<i4")[:, 0].astype(np.int64)
            shift = records[:, 8].copy().view("i1").astype(np.int64)
        x = wrap32(sums + bias)
        scale = requantize_double if r["ROUNDING"] == Rounding.DOUBLE else requantize_single
        y = scale(x, multiplier, shift) + r["OUT_ZERO_POINT"]
        return np.clip(y, r["CLAMP_MIN"], r["CLAMP_MAX"])


def random_buffers(machine: Machine, rng: random.Random) -> Reference:
    """Buffers full of random bytes, and channel records that make outputs of every size."""
    records = b"".join(
        b"".join(
            (
                rng.choice([0, rng.randrange(-3000, 3000)]).to_bytes(4, "little", signed=True)
                + rng.randrange(1 << 30, 1 << 31).to_bytes(4, "little")
                + rng.randrange(-12, -4).to_bytes(1, "little", signed=True)
                + bytes(7)
            )
            for _ in range(machine.array.group)
        ).ljust(machine.constant_entry_bytes, b"\0")
        for _ in range(machine.constant_entries)
    )
    return Reference(
        machine,
        *(
            np.frombuffer(data, np.uint8).copy()
            for data in (
                rng.randbytes(machine.activation_buffer_bytes),
                rng.randbytes(machine.parameter_bytes),
                records,
            )
        ),
    )


ATTEMPTS = 100_000
"""Commands that are drawn until one fits a machine; of some modes there may be none that does."""


def random_commands(machine: Machine, rng: random.Random, mode: Mode) -> list[Registers]:
    """A command, or the few of one whose sums are kept, that only touch bytes which are there.

    An image of dense rows in the lower half of the activation buffer, windows over it that reach
    into its padding, and outputs in the upper half, where nobody reads them.
    """
    for _ in range(ATTEMPTS):
        r = _random_command(machine, rng, mode)
        if r is None:
            continue
        if (
            mode != Mode.CONV
            or r["GROUPS"] > 1
            or r["PIXELS"] > machine.array.tile * machine.array.kept_tiles
            or rng.random() < 0.4
        ):
            return [r]
        chain = []
        for number in range(count := rng.randrange(2, 4)):
            keep = Keep.CONTINUE * (number > 0) | Keep.UNDRAINED * (number < count - 1)
            chain.append(r | {"KEEP": keep, "PARAMETER_ADDRESS": _parameter_address(machine, rng)})
        return chain
    raise ValueError(f"no command of mode {mode.name} fits {machine.name}")


def _parameter_address(machine: Machine, rng: random.Random, most: int = 63) -> int:
    """Where parameters may begin: anywhere in a buffer, at a word in an array's own memory."""
    unit = machine.array.group if machine.array.store_bytes else 1
    return rng.randrange(most // unit + 1) * unit


def _random_softmax_command(machine: Machine, rng: random.Random) -> Registers | None:
    """A random table, rows in the lower half of the activation buffer, results in the upper."""
    lanes, half = machine.exponential_lanes, machine.activation_buffer_bytes // 2
    group = rng.choice([lanes, rng.randrange(1, lanes + 1)])
    groups = rng.randrange(1, 5)
    last = rng.randrange(1, group + 1)
    elements = (groups - 1) * group + last
    rows, pitch = rng.randrange(1, 4), elements + rng.randrange(9)
    out_pitch = elements + rng.randrange(9)
    beyond = machine.parameter_bytes - EXPONENTIAL_BYTES
    if max(rows * pitch, rows * out_pitch) > half or beyond < 0:
        return None
    r = {register.name: 0 for register in REGISTERS[Unit.COMPUTE]}
    return r | {
        "MODE": int(Mode.SOFTMAX),
        "INPUT_ROW_BYTES": elements,
        "INPUT_ROWS": 1,
        "PIXELS": rows,
        "OUT_WIDTH": 1,
        "KERNEL_H": 1,
        "KERNEL_W": 1,
        "ACT_ADDRESS": rng.randrange(half - rows * pitch + 1),
        "PIXEL_Y_ADDRESS_STEP": pitch,
        "PARAMETER_ADDRESS": _parameter_address(machine, rng, min(64, beyond)),
        "SEGMENT": group,
        "LAST_SEGMENT": last,
        "GROUPS": groups,
        "GROUP_ACT_STEP": group,
        "GROUP_CHANNELS": group,
        "LAST_GROUP_CHANNELS": last,
        "UNIFORM": 1,
        "BIAS": rng.choice([0, 0, rng.randrange(-(1 << 31), 1 << 31)]),
        "OUT_ZERO_POINT": rng.choice([-128, rng.randrange(-128, 128)]),
        "CLAMP_MIN": rng.choice([-128, rng.randrange(-128, 0)]),
        "CLAMP_MAX": rng.choice([127, rng.randrange(128)]),
        "OUT_ADDRESS": rng.randrange(half, 2 * half - rows * out_pitch + 1),
        "OUT_Y_STEP": out_pitch,
    }


def _random_cell_command(machine: Machine, rng: random.Random, mode: Mode) -> Registers | None:
    """Random sums and states in the lower half of the activation buffer, results in the upper."""
    lanes, half = machine.state_lanes, machine.activation_buffer_bytes // 2
    group = rng.choice([lanes, rng.randrange(1, lanes + 1)])
    groups = rng.randrange(1, 5)
    last = rng.randrange(1, group + 1)
    cells = (groups - 1) * group + last
    gates = {Mode.CELL_STATE: rng.randrange(2, 4), Mode.DOT: rng.randrange(1, 7)}.get(mode, 1)
    pitch = 2 * cells + rng.choice([0, rng.randrange(9)])
    long = machine.recurrent_width.nbytes // 2

    def place(nbytes: int) -> int | None:
        return rng.randrange(half - nbytes + 1) if nbytes <= half else None

    states = gates * pitch if mode == Mode.DOT else 2 * cells
    sums, recurrent, state = place(gates * pitch), place(long * gates * pitch), place(states)
    if sums is None or recurrent is None or state is None:
        return None
    width = Width.INT16 if mode in (Mode.CELL_STATE, Mode.GATE_SUM) else Width.BYTE
    if mode == Mode.DOT and Width.INT32 in machine.widths and 2 * group <= machine.lanes:
        width = rng.choice([width, Width.INT32])
    out_bytes = cells * width.nbytes
    bits = min(8 * width.nbytes, 17)
    r = {register.name: 0 for register in REGISTERS[Unit.COMPUTE]}
    return r | {
        "MODE": int(mode),
        "INPUT_ROW_BYTES": 2 * long * cells,
        "INPUT_ROWS": 1,
        "PIXELS": 1,
        "OUT_WIDTH": 1,
        "KERNEL_H": gates,
        "KERNEL_W": 1,
        "ACT_ADDRESS": sums,
        "RECURRENT_ADDRESS": recurrent,
        "STATE_ADDRESS": state,
        "STATE_INTEGER_BITS": rng.randrange(7),
        "TAP_Y_ADDRESS_STEP": pitch,
        "SEGMENT": 2 * group,
        "LAST_SEGMENT": 2 * last,
        "GROUPS": groups,
        "GROUP_ACT_STEP": 2 * group,
        "GROUP_CHANNELS": group,
        "LAST_GROUP_CHANNELS": last,
        "UNIFORM": 1,
        "MULTIPLIER": 1 << 30 if width == Width.INT16 else rng.randrange(1 << 30, 1 << 31),
        "SHIFT": 1 if width == Width.INT16 else -22 if width == Width.BYTE else -14,
        "ROUNDING": rng.randrange(2),
        "OUT_ZERO_POINT": 0 if width == Width.INT16 else rng.randrange(-128, 128),
        "CLAMP_MIN": rng.choice([-(1 << (bits - 1)), rng.randrange(-(1 << (bits - 1)), 0)]),
        "CLAMP_MAX": rng.choice([(1 << (bits - 1)) - 1, rng.randrange(1 << (bits - 1))]),
        "OUT_ADDRESS": rng.randrange(half, machine.activation_buffer_bytes - out_bytes + 1),
        "WIDTH": int(width),
    }


def as_tiles(machine: Machine, filter_command: Registers) -> Registers | None:
    """The tiled command that does what a filter does; None where its parameters lie otherwise."""
    if machine.lanes != machine.array.group:
        return None
    return filter_command | {"MODE": int(Mode.DEPTHWISE), "DEPTH_MULTIPLIER": 1}


def _random_command(machine: Machine, rng: random.Random, mode: Mode) -> Registers | None:
    if mode.is_cell:
        return _random_cell_command(machine, rng, mode)
    if mode == Mode.SOFTMAX:
        return _random_softmax_command(machine, rng)
    cols = machine.group_channels(mode)
    depth = rng.choice([1, rng.randrange(1, 4), rng.randrange(1, 2 * cols + 2)])
    height, width = rng.randrange(1, 6), rng.randrange(1, 7)
    kernels = [(2, 1), (3, 3), (1, 4), (3, 2)]
    # Small arrays can filter few of the larger ones.
    kernels += [(1, 1), (1, 1)] if mode != Mode.FILTER else [*kernels, (1, 1)]
    if mode == Mode.FILTER and machine.array.tap_places >= 25:
        kernels += [(5, 5), (5, 5), (4, 2)]
    kernel_h, kernel_w = rng.choice(kernels)
    stride_y, stride_x = rng.randrange(1, 3), rng.randrange(1, 3)
    dilation_y, dilation_x = rng.choice([(1, 1), (1, 1), (2, 1), (1, 2), (2, 3)])
    out_width = rng.randrange(1, 6)
    pixels = rng.choice([rng.randrange(1, 4), rng.randrange(1, 4 * machine.array.tile)])
    top, left = rng.randrange(0, 3), rng.randrange(0, 3)
    multiplier = 1
    group_step = 0
    if mode == Mode.CONV:
        groups, group_channels = rng.randrange(1, 4), rng.randrange(1, cols + 1)
        last_channels = rng.randrange(1, group_channels + 1)
        segment = last_segment = depth
        tap_x_step = dilation_x * depth
        if dilation_x == 1 and rng.random() < 0.7:
            segment = last_segment = kernel_w * depth
            kernel_w, tap_x_step = 1, rng.randrange(100)
    else:
        if mode == Mode.FILTER:
            pixels = out_width * rng.choice([1, rng.randrange(1, 5)])
        if mode == Mode.DEPTHWISE:
            multiplier = rng.choice([1, rng.randrange(1, cols + 1)])
        segment = min(
            depth, rng.choice([cols // multiplier, rng.randrange(1, cols // multiplier + 1)])
        )
        groups = -(-depth // segment)
        last_segment = depth - (groups - 1) * segment
        group_channels, last_channels = segment * multiplier, last_segment * multiplier
        group_step = segment
        tap_x_step = dilation_x * depth
    pitch = width * depth
    r = {register.name: 0 for register in REGISTERS[Unit.COMPUTE]}
    r.update(
        MODE=int(mode),
        X_START=-left * depth,
        Y_START=-top,
        INPUT_ROW_BYTES=pitch,
        INPUT_ROWS=height,
        PIXELS=pixels,
        OUT_WIDTH=out_width,
        PIXEL_X_STEP=stride_x * depth,
        PIXEL_Y_STEP=stride_y,
        PIXEL_Y_ADDRESS_STEP=stride_y * pitch,
        KERNEL_H=kernel_h,
        KERNEL_W=kernel_w,
        TAP_X_STEP=tap_x_step,
        TAP_Y_STEP=dilation_y,
        TAP_Y_ADDRESS_STEP=dilation_y * pitch,
        SEGMENT=segment,
        LAST_SEGMENT=last_segment,
        GROUPS=groups,
        GROUP_ACT_STEP=group_step,
        GROUP_CHANNELS=group_channels,
        LAST_GROUP_CHANNELS=last_channels,
        DEPTH_MULTIPLIER=multiplier,
        PARAMETER_ADDRESS=_parameter_address(machine, rng),
        CONSTANT_ENTRY=rng.randrange(machine.constant_entries),
        ACT_ZERO_POINT=rng.choice([0, -128, 127, rng.randrange(-128, 128)]),
        ACT_ZERO_POINT_1=rng.randrange(-128, 128),
        PARAMETER_ZERO_POINT=rng.choice([0, 0, rng.randrange(-128, 128)]),
        SCALE_0_MULTIPLIER=rng.randrange(1 << 30, 1 << 31),
        SCALE_0_SHIFT=rng.randrange(0, 4),
        SCALE_1_MULTIPLIER=rng.randrange(1 << 30, 1 << 31),
        SCALE_1_SHIFT=rng.randrange(0, 4),
        ROUNDING=rng.randrange(2),
        OUT_ZERO_POINT=rng.randrange(-128, 128),
        CLAMP_MIN=rng.choice([-128, -128, rng.randrange(-128, 0)]),
        CLAMP_MAX=rng.choice([127, 127, rng.randrange(0, 128)]),
    )
    image_bytes = height * pitch
    half = machine.activation_buffer_bytes // 2
    if image_bytes > half:
        return None
    image = rng.randrange(half - image_bytes + 1)
    if mode.has_operands:
        # Two images of the same shape: the tap rows; the second may lie below the first.
        images = sorted((image, rng.randrange(half - image_bytes + 1)))
        first, second = images if rng.random() < 0.5 else reversed(images)
        r.update(KERNEL_H=2, KERNEL_W=1, TAP_Y_STEP=0, TAP_Y_ADDRESS_STEP=second - first)
    else:
        first = image
    if mode == Mode.TABLE:
        r.update(KERNEL_H=1, KERNEL_W=1, ACT_ZERO_POINT=0, PARAMETER_ZERO_POINT=0)
        if machine.parameter_bytes < 64 + TABLE_BYTES:
            return None
    r["ACT_ADDRESS"] = first + r["Y_START"] * pitch + r["X_START"]
    uniform = mode.is_vector or rng.random() < 0.3
    if uniform:
        right = -24 if mode.is_scaled else -9 if mode == Mode.PRODUCT else rng.randrange(-6, 1)
        r.update(
            UNIFORM=1,
            BIAS=rng.randrange(-300, 300),
            MULTIPLIER=rng.choice([0, 1 << 30, rng.randrange(1 << 30, 1 << 31)]),
            SHIFT=rng.choice([right + 4, right + 2, right]),
        )
    # Negative starts as the hardware's registers hold them; addresses wrap at their width.
    out_rows = -(-pixels // out_width)
    out_depth = (groups - 1) * group_channels + last_channels
    out_x_step = out_depth + rng.choice([0, rng.randrange(4)])
    out_y_step = out_x_step * out_width + rng.choice([0, rng.randrange(20)])
    out_bytes = out_rows * out_y_step + machine.array.group
    if half + out_bytes > machine.activation_buffer_bytes or groups > 4:
        return None
    out = rng.randrange(half, machine.activation_buffer_bytes - out_bytes + 1)
    if r["CONSTANT_ENTRY"] + groups > machine.constant_entries:
        return None
    words = r["KERNEL_H"] * r["KERNEL_W"] * groups * (segment if mode == Mode.CONV else 1)
    if 64 + words * cols > machine.parameter_bytes:
        return None
    if words * pixels > 2000:
        return None
    r.update(OUT_ADDRESS=out, OUT_X_STEP=out_x_step, OUT_Y_STEP=out_y_step)
    if rng.random() < 0.3:
        # Of the array's columns beyond a group's, CONV defines what they compute.
        most = cols if mode == Mode.CONV else min(group_channels, last_channels)
        r["EDGE_CHANNELS"] = rng.randrange(1, most + 1)
    if not _widen(machine, rng, r):
        return None
    if mode == Mode.FILTER:
        stream = machine.array.stream(r, pitch)
        if stream is None:
            return None
        r.update(stream)
    return r


def _widen(machine: Machine, rng: random.Random, r: Registers) -> bool:
    """Make results wider, sometimes; what lies across a row then has another place."""
    widths = [width for width in machine.widths if width != Width.INT32]
    one_row = r["PIXELS"] == 1 or machine.array.tile == 1
    if Width.INT32 in machine.widths and one_row and Mode(r["MODE"]).is_tiled:
        widths.append(Width.INT32)
    width = rng.choice([Width.BYTE, rng.choice(widths), widths[-1]])
    if width == Width.BYTE:
        return True
    row = machine.row_bytes
    most = 1 << (max(r["GROUP_CHANNELS"], 1).bit_length() - 1)
    if r["GROUPS"] > 1 and r["GROUP_CHANNELS"] != most:
        return False

    def up(value: int) -> int:
        return -(-value // row) * row

    nbytes = (r["GROUPS"] * max(r["GROUP_CHANNELS"], r["LAST_GROUP_CHANNELS"])) << width
    x_step = up(nbytes)
    y_step = x_step * r["OUT_WIDTH"]
    total = y_step * -(-r["PIXELS"] // r["OUT_WIDTH"])
    start = machine.activation_buffer_bytes - up(total)
    if start < machine.activation_buffer_bytes // 2:
        return False
    if width == Width.INT32 and (
        (2 * machine.lanes) & (2 * machine.lanes - 1) or not machine.array.takes_long_rows
    ):
        return False
    r.update(
        WIDTH=int(width),
        OUT_ADDRESS=start,
        OUT_X_STEP=x_step,
        OUT_Y_STEP=y_step,
        EDGE_CHANNELS=0,
        CLAMP_MIN=-(1 << 15) if width == Width.INT16 else -(1 << 16),
        CLAMP_MAX=rng.choice([(1 << 15) - 1, rng.randrange(1 << 15)]),
    )
    return True
