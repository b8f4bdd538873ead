"""The post-processor: from a row of sums to bytes in the activation buffer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from mensa.rtl import timing
from mensa.rtl.arrays.streams import ACCUMULATOR_BITS, results_signature
from mensa.rtl.buffers.buffer import WritePort
from mensa.rtl.channel_record import CHANNEL_RECORD_BYTES, first_bit
from mensa.rtl.commands import (
    BUFFER_ADDRESS_BITS,
    CHANNELS_BITS,
    ENTRY_BITS,
    Mode,
    Unit,
    Width,
)
from mensa.rtl.machine import Machine
from mensa.rtl.parts.resetless import later, resetless
from mensa.rtl.parts.unit import compute_shape, is_tiled, registers_layout
from mensa.rtl.post import requantizer

__all__ = ["LATENCY", "PostProcessor", "announcement_layout", "places_in_flight", "tiles_in_flight"]

LATENCY = 3 + timing.RECORDS_LATENCY + requantizer.LATENCY
"""Cycles from a row of sums on `results` to the write of its first lanes: two to look up where it
goes, its channels' records, one to choose what scales it, then the requantiser."""

_RECORDS_WAIT = timing.RECORDS_LATENCY - 1
"""Cycles from a part of a row to its channels' records, asked for in the cycle before it."""


def tiles_in_flight(machine: Machine) -> int:
    """Tiles of which results were announced and have not all come; a power of two.

    A tile's results are announced while its first chunk is fetched, and the last comes the array's
    latency after its last beat; before it come tiles that are at least the spacing apart.
    """
    return 1 << _tiles_before(machine).bit_length()


def places_in_flight(machine: Machine) -> int:
    """Results that were announced and have not come; a power of two.

    Tiles free their places with their last result. In other modes a result is announced and comes
    in a cycle of its own; those of the array's own modes may come behind tiles, or before them, and
    those of the LSTM cell have several cycles between them.
    """
    array = machine.array
    tiles = (_tiles_before(machine) + 1) * array.tile
    if array.leaves_by_pixel:
        # The tile that is announced, the one that leaves, and those between them, which take a
        # cycle for each result.
        tiles = 2 * array.tile + timing.FEED_LATENCY + array.latency(Mode.CONV)
    own = max((timing.FEED_LATENCY + array.latency(mode) for mode in array.own_modes), default=0)
    vector = timing.FEED_LATENCY + timing.VECTOR_LATENCY
    if machine.state_lanes:
        cells = timing.FEED_LATENCY + timing.CELL_LATENCY[machine.cell or ""]
        vector = max(vector, -(-cells // timing.cell_taps(Mode.DOT, 1)))
    return 1 << max(tiles + own, vector).bit_length()


def _tiles_before(machine: Machine) -> int:
    """Tiles whose results may still be on their way when a tile's last result is announced."""
    array = machine.array
    return (timing.FEED_LATENCY + array.latency(Mode.CONV)) // array.spacing + 1


def announcement_layout(machine: Machine) -> data.StructLayout:
    """Where a result will go; told before it comes."""
    return data.StructLayout(
        {
            "first": 1,  # of its tile, whose results are announced in the order of their rows
            "lanes": range(machine.array.tile + 1),  # results of the tile that are announced
            "address": BUFFER_ADDRESS_BITS,
            "entry": ENTRY_BITS,
            "channels": CHANNELS_BITS,
        }
    )


def _context_layout() -> data.StructLayout:
    """What results need of their command."""
    return data.StructLayout(
        {
            "scaling": requantizer.scaling_layout(),
            "uniform": 1,
            "by_row": 1,
            "bias": requantizer.BIAS,
            "multiplier": requantizer.MULTIPLIER,
            "shift": requantizer.SHIFT,
        }
    )


def _target_layout() -> data.StructLayout:
    """Where a result goes, and which command it is of."""
    return data.StructLayout(
        {
            "address": BUFFER_ADDRESS_BITS,
            "entry": ENTRY_BITS,
            "channels": CHANNELS_BITS,
            "width": compute_shape("WIDTH"),
            "context": range(timing.COMMANDS_IN_FLIGHT),
        }
    )


def _write_layout(lanes: int) -> data.StructLayout:
    """Where the bytes of L channels go, at most two of each in a cycle."""
    return data.StructLayout(
        {
            "address": BUFFER_ADDRESS_BITS,
            "last": BUFFER_ADDRESS_BITS,
            "mask": 2 * lanes,
            "width": compute_shape("WIDTH"),
            "upper": 1,  # of two cycles' bytes, the second one's
        }
    )


@dataclass(frozen=True)
class _Places:
    """The announced results of tiles that have not come: one place after another."""

    base: Signal
    """Place of the first result of the tile that comes."""
    tile: Signal
    """Number of that tile."""
    targets: memory.ReadPort
    """By its place, where a result goes."""
    sizes: memory.ReadPort
    """By its tile's number, how many results are announced."""


@dataclass(frozen=True)
class _Row:
    """A row of sums whose place has been looked up."""

    valid: Signal
    sums: Value
    """All, or the first L if the rest is still where it came."""
    alone: Value
    target: data.View[data.StructLayout]


@dataclass(frozen=True)
class _Part:
    """L channels of a row, which are requantised side by side."""

    valid: Signal
    values: Value
    context: Value
    """Number of the command."""
    write: data.View[data.StructLayout]


class PostProcessor(wiring.Component):
    """Requantises rows of C sums, L a cycle, and writes each to the address announced for it.

    In the tiled modes the rows of a tile may come in any order, and one that was not announced
    (beyond the pixels of the last tile) is dropped; in the other modes every result comes alone, as
    a tile of one row. Tiles come in the order of their announcement. Latency is `LATENCY` cycles
    for the first L channels, a cycle more for each L after them; the next row may come after as
    many cycles as the row takes. Results of four bytes take twice as many.

    Results of up to `timing.COMMANDS_IN_FLIGHT` commands may be inside: each is treated as the
    command asks that was there when it was announced.

    Parameters
    ----------
    machine : Machine
        Gives R, C, L and the word.

    Members
    -------
    start : In(1)
        Strobe in the first cycle of a command's `registers`, at least two cycles before its first
        announcement.
    registers : In(registers_layout(Unit.COMPUTE))
        The command whose results are being announced.
    announce : In(stream of announcement_layout(machine), always ready)
        One per result, at least two cycles before it.
    results : In(results_signature(machine.array))
        Of the array, or of the vector unit.
    row_multiplier, row_shift, row_wrapped : In(31), In(signed(6)), In(1)
        Of a softmax's row, from its first result to four cycles behind its last, what scales it.
    entry, part : Out(ENTRY_BITS), Out(range(machine.array.pace))
        Entry of the constant buffer to read, and which L of its channels.
    records : In(L x 16 bytes)
        Their records, `timing.RECORDS_LATENCY` cycles later.
    write : Out(WritePort)
        To the activation buffer.
    """

    def __init__(self, machine: Machine):
        self._machine = machine
        super().__init__(
            {
                "start": In(1),
                "registers": In(registers_layout(Unit.COMPUTE)),
                "announce": In(stream.Signature(announcement_layout(machine), always_ready=True)),
                "results": In(results_signature(machine.array)),
                "row_multiplier": In(requantizer.MULTIPLIER),
                "row_shift": In(requantizer.SHIFT),
                "row_wrapped": In(1),
                "entry": Out(ENTRY_BITS),
                "part": Out(range(machine.array.pace)),
                "records": In(8 * CHANNEL_RECORD_BYTES * machine.lanes),
                "write": Out(WritePort(machine.row_bytes)),
            }
        )

    @property
    def _is_wide(self) -> bool:
        """Whether results may have more than a byte."""
        return self._machine.result_bits > 8

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        tiled = Signal()
        m.d.sync += tiled.eq(is_tiled(self.registers.mode))
        number, contexts = self._keep_contexts(m)
        places = self._keep_places(m, tiled, number)
        row = self._find_place(m, places)
        part = self._cut(m, row)
        m.submodules.requantizer = scaler = requantizer.Requantizer(
            self._machine.lanes, self._machine.result_bits
        )
        self._scale(m, part, contexts, scaler)
        self._write(m, part, scaler)
        return m

    def _keep_contexts(self, m: Module) -> tuple[Signal, memory.ReadPort]:
        """What results need of their command is kept under the command's number.

        Returns: the number of the command that starts next, and what to read them with.
        """
        r, contexts = self.registers, timing.COMMANDS_IN_FLIGHT
        assert contexts & (contexts - 1) == 0, "the number of a command wraps"
        m.submodules.contexts = context_memory = memory.Memory(
            shape=_context_layout(), depth=contexts, init=[]
        )
        context_write, context_read = (
            context_memory.write_port(),
            context_memory.read_port(domain="comb"),
        )
        number = Signal(range(contexts))
        with m.If(self.start):
            m.d.sync += number.eq(number + 1)
        m.d.comb += [
            context_write.en.eq(self.start),
            context_write.addr.eq(number),
            context_write.data.scaling.rounding.eq(r.rounding),
            context_write.data.scaling.zero_point.eq(r.out_zero_point),
            context_write.data.scaling.clamp_min.eq(r.clamp_min),
            context_write.data.scaling.clamp_max.eq(r.clamp_max),
            context_write.data.uniform.eq(r.uniform),
            context_write.data.by_row.eq(r.mode == Mode.SOFTMAX),
            context_write.data.bias.eq(r.bias),
            context_write.data.multiplier.eq(r.multiplier),
            context_write.data.shift.eq(r.shift),
        ]
        return number, context_read

    def _keep_places(self, m: Module, tiled: Signal, number: Signal) -> _Places:
        """Results are announced into one place after another."""
        rows = self._machine.array.tile
        places, slots = places_in_flight(self._machine), tiles_in_flight(self._machine)
        m.submodules.where = where = memory.Memory(
            shape=_target_layout(),
            depth=places,
            init=[],
            attrs={"no_rw_check": 1},  # as in a buffer: a place isn't read while it is written
        )
        m.submodules.tiles = tiles = memory.Memory(shape=range(rows + 1), depth=slots, init=[])
        where_write, where_read = where.write_port(), where.read_port()
        tiles_write, tiles_read = tiles.write_port(), tiles.read_port(domain="comb")
        told = self.announce.payload
        next_place, base = Signal(range(places)), Signal(range(places))
        next_tile, tile = Signal(range(slots)), Signal(range(slots))
        m.d.comb += [
            where_write.en.eq(self.announce.valid),
            where_write.addr.eq(next_place),
            where_write.data.address.eq(told.address),
            where_write.data.entry.eq(told.entry),
            where_write.data.channels.eq(told.channels),
            where_write.data.width.eq(self.registers.width if self._is_wide else 0),
            where_write.data.context.eq(number - 1),
            tiles_write.en.eq(self.announce.valid & told.first),
            tiles_write.addr.eq(next_tile),
            tiles_write.data.eq(told.lanes),
        ]
        with m.If(self.announce.valid):
            m.d.sync += next_place.eq(next_place + 1)
            with m.If(told.first & tiled):
                m.d.sync += next_tile.eq(next_tile + 1)
        return _Places(base, tile, where_read, tiles_read)

    def _find_place(self, m: Module, places: _Places) -> _Row:
        """Cycles 1 and 2: look up where the row goes."""
        result = self.results.payload
        rows_now = Signal(range(self._machine.array.tile + 1))
        valid_1, valid_2 = Signal(), Signal()
        m.d.comb += [
            places.sizes.addr.eq(places.tile),
            rows_now.eq(Mux(result.alone, 1, places.sizes.data)),
            places.targets.addr.eq(places.base + result.row),
        ]
        with m.If(self.results.valid & result.last):
            m.d.sync += [
                places.base.eq(places.base + rows_now),
                places.tile.eq(places.tile + ~result.alone),
            ]
        m.d.sync += [
            valid_1.eq(self.results.valid & (result.row < rows_now)),
            valid_2.eq(valid_1),
        ]
        # Where rows are far apart, one stays where it comes; only others are on their way.
        moving = self._machine.lanes if self._machine.array.rows_are_apart else len(result.values)
        values = Cat(result.values[place] for place in range(moving))
        return _Row(
            valid=valid_2,
            sums=later(m, values, 2, name="sums"),
            alone=later(m, result.alone, 2, name="alone"),
            target=later(m, places.targets.data, name="where"),
        )

    def _cut(self, m: Module, row: _Row) -> _Part:
        """Cycle 3: ask for the records of the row's channels.

        The row stays while more of its channels follow; no other comes meanwhile.
        """
        array, lanes = self._machine.array, self._machine.lanes
        parts = array.pace
        sums = resetless(ACCUMULATOR_BITS * array.group)
        first = Signal(ACCUMULATOR_BITS * lanes)
        other, is_other = resetless(row.sums.shape()), resetless()  # of no tile
        m.d.comb += first.eq(sums)
        if array.rows_are_apart:
            with m.If(self.results.valid & ~self.results.payload.alone):
                m.d.sync += sums.eq(self.results.payload.values)
            with m.If(is_other):
                m.d.comb += first.eq(other)
        valid, more = Signal(), Signal()
        part = resetless(range(parts))
        target = resetless(_target_layout())
        upper = Signal()  # the second cycle of a part whose results have four bytes each

        def is_long(target: Any, channels: Value) -> Value:
            """Whether a part with so many channels, or more, takes two cycles."""
            return (target.width == Width.INT32) & (2 * channels > lanes) & self._is_wide

        with m.If(more):
            m.d.comb += self.entry.eq(target.entry)
            m.d.sync += target.address.eq(
                target.address + Mux(self._is_wide & target.width.any(), 2 * lanes, lanes)
            )
            with m.If(is_long(target, target.channels) & ~upper):
                m.d.comb += self.part.eq(part)
                m.d.sync += [upper.eq(1), more.eq(target.channels > lanes)]
            with m.Else():
                after = target.channels - lanes
                if parts > 1:
                    m.d.sync += sums.eq(sums >> (ACCUMULATOR_BITS * lanes))
                m.d.comb += self.part.eq(part + 1)
                m.d.sync += [
                    target.channels.eq(after),
                    upper.eq(0),
                    more.eq(((parts > 2) & (target.channels > 2 * lanes)) | is_long(target, after)),
                ]
        with m.Else():
            m.d.comb += self.entry.eq(row.target.entry)
            there = row.target.channels
            if array.rows_are_apart:
                m.d.sync += [other.eq(row.sums), is_other.eq(row.alone)]
            else:
                m.d.sync += sums.eq(row.sums)
            m.d.sync += [
                target.eq(row.target),
                upper.eq(0),
                more.eq(row.valid & (((parts > 1) & (there > lanes)) | is_long(row.target, there))),
            ]
        m.d.sync += [valid.eq(row.valid | more), part.eq(self.part)]
        writes = self._bytes(m, target, upper)
        return _Part(valid, first, target.context, writes)

    def _bytes(self, m: Module, target: Any, upper: Signal) -> data.View[data.StructLayout]:
        """Two cycles: which bytes of memory the results of a part have."""
        lanes = self._machine.lanes
        channels = resetless(range(lanes + 1))
        address, width, second = later(m, target.address), later(m, target.width), later(m, upper)
        m.d.sync += channels.eq(Mux(target.channels > lanes, lanes, target.channels))
        nbytes = Signal(range(2 * lanes + 1))
        with m.Switch(width):
            with m.Case(Width.BYTE):
                m.d.comb += nbytes.eq(channels)
            if self._is_wide:
                with m.Case(Width.INT16):
                    m.d.comb += nbytes.eq(2 * channels)
                with m.Default():
                    over = 2 * channels > lanes
                    m.d.comb += nbytes.eq(
                        Mux(second, 4 * channels - 2 * lanes, Mux(over, 2 * lanes, 4 * channels))
                    )
        writes = resetless(_write_layout(lanes))
        m.d.sync += [
            writes.address.eq(address),
            writes.last.eq(address + nbytes - 1),
            writes.mask.eq((Const(1, 2 * lanes + 1) << nbytes) - 1),
            writes.width.eq(width),
            writes.upper.eq(second),
        ]
        return writes

    def _scale(
        self,
        m: Module,
        part: _Part,
        contexts: memory.ReadPort,
        scaler: requantizer.Requantizer,
    ) -> None:
        """Give the requantiser each channel, with what scales it.

        That is its record, or what its command or its softmax's row says, which is looked up until
        the records come.
        """
        lanes = self._machine.lanes
        values = later(m, part.values, _RECORDS_WAIT, name="values")
        m.d.comb += contexts.addr.eq(later(m, part.context, _RECORDS_WAIT - 1, name="context"))
        looked_up = Signal(_context_layout())
        m.d.comb += looked_up.eq(contexts.data)
        if Mode.SOFTMAX in self._machine.modes:
            with m.If(contexts.data.by_row):
                m.d.comb += [
                    looked_up.multiplier.eq(self.row_multiplier),
                    looked_up.shift.eq(self.row_shift),
                    looked_up.scaling.wrapped.eq(self.row_wrapped),
                    looked_up.scaling.zero_point.eq(
                        contexts.data.scaling.zero_point + self.row_wrapped
                    ),
                ]
        context = later(m, looked_up, name="scales")
        scales = Signal(_RECORDS_WAIT)  # bit n: a part was there n + 1 cycles ago
        m.d.sync += scales.eq(Cat(part.valid, scales))

        row = scaler.i.payload
        m.d.sync += [scaler.i.valid.eq(scales[-1]), row.scaling.eq(context.scaling)]
        for lane in range(lanes):
            record = self.records.word_select(lane, 8 * CHANNEL_RECORD_BYTES)
            m.d.sync += row.lanes[lane].value.eq(values.word_select(lane, ACCUMULATOR_BITS))
            with m.If(context.uniform):
                m.d.sync += [
                    row.lanes[lane].bias.eq(context.bias),
                    row.lanes[lane].multiplier.eq(context.multiplier),
                    row.lanes[lane].shift.eq(context.shift),
                ]
            with m.Else():
                for name in ("bias", "multiplier", "shift"):
                    field = row.lanes[lane][name]
                    m.d.sync += field.eq(record.bit_select(first_bit(name), len(field)))

    def _write(self, m: Module, part: _Part, scaler: requantizer.Requantizer) -> None:
        """Write what the requantiser gives."""
        writes = later(m, part.write, _RECORDS_WAIT - 1 + requantizer.LATENCY, name="writes")
        lanes, results = self._machine.lanes, scaler.o.payload

        def written(width: Width) -> Value:
            """The results of a part in so many bytes each, one behind the other."""
            return Cat(_resized(each, 8 * width.nbytes) for each in results)

        chosen = Signal(16 * lanes)
        with m.Switch(writes.width):
            with m.Case(Width.BYTE):
                m.d.comb += chosen.eq(written(Width.BYTE))
            if self._is_wide:
                with m.Case(Width.INT16):
                    m.d.comb += chosen.eq(written(Width.INT16))
                with m.Default():
                    m.d.comb += chosen.eq(
                        written(Width.INT32).word_select(writes.upper, len(chosen))
                    )
        m.d.comb += [
            self.write.valid.eq(scaler.o.valid),
            self.write.address.eq(writes.address),
            self.write.first.eq(writes.address),
            self.write.last.eq(writes.last),
            self.write.data.eq(chosen),
            self.write.mask.eq(writes.mask),
        ]


def _resized(value: Value, bits: int) -> Value:
    """A signed value with more bits, or its lowest."""
    value = Value.cast(value)
    more = bits - len(value)
    return Cat(value, value[-1].replicate(more)) if more > 0 else value[:bits]
