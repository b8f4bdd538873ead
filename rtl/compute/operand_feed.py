"""The operand feed: fetches what the address generator asks for and hands it to the arithmetic."""

from __future__ import annotations

from collections.abc import Set
from typing import Any

from amaranth.hdl import Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from mensa.rtl import timing
from mensa.rtl.arrays.kind import kind_layout
from mensa.rtl.arrays.nest import POSITION_BITS, size_shape
from mensa.rtl.arrays.streams import (
    OPERAND_BITS,
    WORD_MARKS,
    activations_signature,
    keep_fields,
    parameters_signature,
)
from mensa.rtl.buffers.buffer import ReadPort
from mensa.rtl.commands import BUFFER_ADDRESS_BITS, CHANNELS_BITS, Mode, Unit
from mensa.rtl.compute import address_generator
from mensa.rtl.compute.address_generator import AddressGenerator
from mensa.rtl.machine import Machine
from mensa.rtl.parts.resetless import later, resetless
from mensa.rtl.parts.unit import is_one_of, is_tiled, is_vector, registers_layout
from mensa.rtl.post.post_processor import announcement_layout

__all__ = ["LATENCY", "READS", "OperandFeed"]

READS = data.StructLayout({"parameters": 1, "activations": 1})
"""What is read in a cycle."""

BOUNDS_CYCLES = 3

BUFFER_CYCLES = BOUNDS_CYCLES + timing.READ_LATENCY
"""Cycles from a beat of the address generator to its bytes."""

READ_CYCLES = address_generator.LATENCY + BOUNDS_CYCLES
"""Cycles from a step of the loop nest to its read of the buffers."""

LATENCY = address_generator.LATENCY + BUFFER_CYCLES + 1
"""Cycles from a step of the loop nest to its operands: address generator, bounds, buffer, zero
points."""


def _vector_bytes(machine: Machine) -> int:
    """Bytes that the vector unit, the softmax unit or the LSTM cell takes at once."""
    return max(machine.lanes, machine.recurrent_width.nbytes * machine.state_lanes)


def _word_bytes(machine: Machine) -> int:
    """Bytes of an activation word: a chunk, what other units take, a filter's of all columns."""
    passed = machine.array.group if Mode.FILTER in machine.modes else 0
    return max(machine.array.chunk, _vector_bytes(machine), passed)


def _table_bytes(machine: Machine) -> int:
    """Bytes of a table that come at once."""
    if machine.exponential_lanes:
        return machine.exponential_step_bytes
    return machine.table_step_bytes


class _Modes:
    """The mode, decoded into registers, for they drive much; as late as its beats' bytes come."""

    def __init__(self, m: Module, mode: Value, own: Set[Mode]):
        mode = later(m, mode, BOUNDS_CYCLES, name="mode")
        self.reads_taps = Signal()  # while the buffers' addresses are found
        m.d.sync += self.reads_taps.eq(is_one_of(mode, {Mode.FILTER} & own))
        mode = later(m, mode, BUFFER_CYCLES - BOUNDS_CYCLES - 1, name="mode")
        self.vector, self.tiled, self.is_filter = Signal(), Signal(), Signal()
        self.is_max, self.is_min, self.has_operands = Signal(), Signal(), Signal()
        m.d.sync += [
            self.vector.eq(is_vector(mode)),
            self.tiled.eq(is_tiled(mode)),
            self.is_filter.eq(is_one_of(mode, {Mode.FILTER} & own)),
            self.is_max.eq(mode == Mode.MAX),
            self.is_min.eq(mode == Mode.MIN),
            self.has_operands.eq(is_one_of(mode, {each for each in Mode if each.has_operands})),
        ]


class _Operands:
    """What the buffers' bytes need of a command for the array, as late as its beats come.

    The next command's registers may be there before the last ones.
    """

    def __init__(self, m: Module, r: Any):
        def delayed(value: Value, name: str) -> Any:
            return later(m, value, BUFFER_CYCLES, name=name)

        self.is_depthwise = delayed(r.mode == Mode.DEPTHWISE, "is_depthwise")
        self.depth_multiplier = delayed(r.depth_multiplier, "depth_multiplier")
        self.act_zero_point = delayed(r.act_zero_point, "act_zero_point")
        self.parameter_zero_point = delayed(r.parameter_zero_point, "parameter_zero_point")


class _Beats:
    """The beat that the address generator gave n cycles ago, as `asked[n]`, `valid[n]` with it."""

    def __init__(self, m: Module, o: Any):
        self.asked, self.valid = [o.payload], [o.valid]
        for stage in range(1, BUFFER_CYCLES + 1):
            self.asked.append(later(m, self.asked[-1], name=f"asked_{stage}"))
            self.valid.append(Signal(name=f"valid_{stage}"))
            m.d.sync += self.valid[-1].eq(self.valid[-2])


class _Bounds:
    """Which of the chunk's bytes lie inside the input row: low to high - 1."""

    def __init__(self, shape: range):
        self.low, self.high = resetless(shape), resetless(shape)


class OperandFeed(wiring.Component):
    """Reads activations and parameters, subtracts zero points, blanks what is padding.

    Latency is `LATENCY` cycles from a step of the loop nest, throughput one step a cycle.

    Parameters
    ----------
    machine : Machine
        Gives R, C, L and the word.

    Members
    -------
    start, active, kind
        As of `AddressGenerator`.
    registers : In(registers_layout(Unit.COMPUTE))
        The command, from its start until three cycles after its last step; then another one's, if
        both are for the array, else until `LATENCY` cycles after it.
    reads : Out(READS)
        A beat wants a word of parameters, or one of activations.
    read_activation, read_parameter : Out(ReadPort)
        To the buffers.
    activations : Out(activations_signature(machine.array))
        For the array: the bytes of a chunk for one lane.
    parameters : Out(parameters_signature(machine.array))
        For the array: one value per column and byte of the beat, zeros where a tile's last beat has
        no parameters. In mode FILTER: a beat that clears the taps, the tap of array row `row`, or
        a word of activations, `last` if a result is complete with it.
    vector : Out(stream of {first, last, tap, inside, values: signed(9) each}, always ready)
        For the vector unit, the softmax unit and the LSTM cell: the bytes of a tap, L or what the
        cell takes. `inside` says which are there of those that the softmax unit takes.
    table : Out(stream of bytes, always ready)
        In modes TABLE and SOFTMAX before their values: the table from its first byte on.
    announce : Out(stream of announcement_layout(machine), always ready)
        For the post-processor: where a lane's result goes.
    """

    def __init__(self, machine: Machine):
        self._machine = machine
        super().__init__(
            {
                "start": In(1),
                "registers": In(registers_layout(Unit.COMPUTE)),
                "kind": In(kind_layout()),
                "active": Out(1),
                "reads": Out(READS),
                "read_activation": Out(ReadPort(machine.row_bytes)),
                "read_parameter": Out(ReadPort(machine.parameter_row_bytes)),
                "activations": Out(activations_signature(machine.array)),
                "parameters": Out(parameters_signature(machine.array)),
                "vector": Out(
                    stream.Signature(
                        data.StructLayout(
                            {
                                "first": 1,
                                "last": 1,
                                "tap": 1,
                                "inside": machine.exponential_lanes,
                                "values": data.ArrayLayout(
                                    signed(OPERAND_BITS), _vector_bytes(machine)
                                ),
                            }
                        ),
                        always_ready=True,
                    )
                ),
                "table": Out(
                    stream.Signature(data.ArrayLayout(8, _table_bytes(machine)), always_ready=True)
                ),
                "announce": Out(stream.Signature(announcement_layout(machine), always_ready=True)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        modes = _Modes(m, self.registers.mode, self._machine.array.own_modes)
        command = _Operands(m, self.registers)
        m.submodules.generator = generator = AddressGenerator(self._machine)
        m.d.comb += [
            generator.start.eq(self.start),
            generator.registers.eq(self.registers),
            generator.kind.eq(self.kind),
            self.active.eq(generator.active),
            self.reads.parameters.eq(generator.o.valid & generator.o.payload.fetch_parameter),
            self.reads.activations.eq(generator.o.valid & generator.o.payload.fetch_activation),
        ]
        self._announce(m, generator)
        beats = _Beats(m, generator.o)
        bounds = self._bounds(m, beats)
        inside = self._read(m, beats, modes, bounds)
        zero_point, blank = self._prepare(m, beats, modes, command)
        word = self._activations(m, modes, inside, zero_point)
        weights = self._weights(m, modes, command, blank)
        self._hand_out(m, beats, modes, word, weights)
        m.d.sync += self.vector.payload.inside.eq(inside)
        return m

    def _announce(self, m: Module, generator: AddressGenerator) -> None:
        """Tell the post-processor where results go as soon as that is known."""
        beat = generator.o.payload
        m.d.comb += [
            self.announce.valid.eq(generator.o.valid & beat.announce),
            self.announce.payload.first.eq(~beat.lane.any()),
            self.announce.payload.lanes.eq(beat.lanes),
            self.announce.payload.address.eq(beat.out_address),
            self.announce.payload.entry.eq(beat.entry),
            self.announce.payload.channels.eq(beat.channels),
        ]

    def _bounds(self, m: Module, beats: _Beats) -> _Bounds:
        """Cycles 1 and 2: find out which of the chunk's bytes lie inside the input row."""
        beat, size = beats.asked[0], beats.asked[1].size
        # 1: how far it lies from the row's ends.
        before, room = resetless(signed(POSITION_BITS + 1)), resetless(signed(POSITION_BITS + 1))
        there = Signal()
        m.d.sync += [
            before.eq(-beat.x),
            room.eq(self.registers.input_row_bytes - beat.x),
            there.eq(beats.valid[0] & beat.fetch_activation & beat.row_valid),
        ]
        # 2: cut to the chunk.
        bounds = _Bounds(size_shape(self._machine.array))
        with m.If(before < 0):
            m.d.sync += bounds.low.eq(0)
        with m.Else():
            m.d.sync += bounds.low.eq(Mux(before < size, before, size))
        with m.If(~there | (room < 0)):
            m.d.sync += bounds.high.eq(0)
        with m.Else():
            m.d.sync += bounds.high.eq(Mux(room < size, room, size))
        return bounds

    def _read(self, m: Module, beats: _Beats, modes: _Modes, bounds: _Bounds) -> Signal:
        """Cycle 3: the bounds as addresses, and as a mask; then the buffers read.

        Returns: the mask, when their bytes come.
        """
        lanes, cols = self._machine.lanes, self._machine.array.group
        low, high = bounds.low, bounds.high
        beat, asked = beats.asked[2], beats.asked[3]
        inside = resetless(_word_bytes(self._machine))
        reads = Signal()
        first, last = resetless(BUFFER_ADDRESS_BITS), resetless(BUFFER_ADDRESS_BITS)
        parameter_last = resetless(BUFFER_ADDRESS_BITS)
        # Of several bytes of the reduction, whatever the beat needs of it.
        rows = self._machine.array.parameter_rows
        reach = rows * cols - 1 if rows > 1 else Mux(modes.reads_taps, lanes - 1, cols - 1)
        m.d.sync += [
            reads.eq(low < high),
            first.eq(beat.address + low),
            last.eq(beat.address + high - 1),
            parameter_last.eq(beat.parameter_address + reach),
        ]
        m.d.sync += [inside[byte].eq((low <= byte) & (byte < high)) for byte in range(len(inside))]
        m.d.comb += [
            self.read_activation.valid.eq(reads),
            self.read_activation.address.eq(asked.address),
            self.read_activation.first.eq(first),
            self.read_activation.last.eq(last),
            self.read_parameter.valid.eq(beats.valid[3] & asked.fetch_parameter),
            self.read_parameter.address.eq(asked.parameter_address),
            self.read_parameter.first.eq(asked.parameter_address),
            self.read_parameter.last.eq(parameter_last),
        ]
        return later(m, inside, timing.READ_LATENCY, name="inside")

    def _prepare(
        self, m: Module, beats: _Beats, modes: _Modes, command: _Operands
    ) -> tuple[Signal, Signal]:
        """Decide what to do with the buffers' bytes, a cycle before these come.

        Returns: the activations' zero point, and for each byte of the reduction that a beat is for
        a bit for each column that sees no parameter.
        """
        coming, array = beats.asked[-2], self._machine.array
        diagonal = [coming.diagonal]  # where each byte's columns begin, and its last one's end
        for row in range(array.parameter_rows):
            end = Signal(CHANNELS_BITS + 1, name=f"diagonal_end_{row}" if row else "diagonal_end")
            multiple = command.depth_multiplier * (row + 1) if row else command.depth_multiplier
            m.d.sync += end.eq(beats.asked[-3].diagonal + multiple)
            diagonal.append(end)
        zero_point = Signal(signed(8))
        blank = Signal(array.parameter_rows * array.group)
        with m.If(modes.is_max | modes.is_min):
            m.d.sync += zero_point.eq(0)
        with m.Elif(modes.has_operands & coming.operand):
            m.d.sync += zero_point.eq(self.registers.act_zero_point_1)
        with m.Else():
            m.d.sync += zero_point.eq(command.act_zero_point)
        for place in range(len(blank)):
            row, col = divmod(place, array.group)
            seen = (diagonal[row] <= col) & (col < diagonal[row + 1])
            m.d.sync += blank[place].eq(~coming.fetch_parameter | (command.is_depthwise & ~seen))
        return zero_point, blank

    def _activations(
        self, m: Module, modes: _Modes, inside: Signal, zero_point: Signal
    ) -> data.View[data.ArrayLayout]:
        """Subtract the zero point from each byte; one outside the input counts as nothing."""
        outside = Mux(modes.is_max, -128, Mux(modes.is_min, 127, 0))
        word = resetless(data.ArrayLayout(signed(OPERAND_BITS), len(inside)))
        for byte in range(len(inside)):
            value = self.read_activation.data.word_select(byte, 8).as_signed()
            m.d.sync += word[byte].eq(Mux(inside[byte], value - zero_point, outside))
        return word

    def _weights(
        self, m: Module, modes: _Modes, command: _Operands, blank: Signal
    ) -> data.View[data.ArrayLayout]:
        """Subtract the zero point from each parameter; a column that sees none gets 0.

        Where each byte of the reduction has no parameters of its own, it sees those of the first.
        """
        weights = resetless(data.ArrayLayout(signed(OPERAND_BITS), len(blank)))
        cols = self._machine.array.group
        shared = command.is_depthwise | modes.is_filter
        for place in range(len(blank)):
            byte = self.read_parameter.data.word_select(place, 8)
            if place >= cols:
                first = self.read_parameter.data.word_select(place % cols, 8)
                byte = Mux(shared, first, byte)
            value = byte.as_signed()
            m.d.sync += weights[place].eq(
                Mux(blank[place], 0, value - command.parameter_zero_point)
            )
        return weights

    def _hand_out(
        self,
        m: Module,
        beats: _Beats,
        modes: _Modes,
        word: data.View[data.ArrayLayout],
        weights: data.View[data.ArrayLayout],
    ) -> None:
        """Hand the operands to the array, or to the vector unit."""
        is_filter, tiled = modes.is_filter, modes.tiled
        here, here_valid = beats.asked[-1], beats.valid[-1]
        operands = later(m, here, name="operands")
        ends = here.last | here.keeps if self._machine.array.kept_tiles > 1 else here.last
        has_parameters = Mux(is_filter, 1, tiled & (here.fetch_parameter | ends))
        m.d.sync += [
            self.activations.valid.eq(here_valid & here.fetch_activation & tiled),
            self.vector.valid.eq(here_valid & here.fetch_activation & modes.vector),
            self.parameters.valid.eq(here_valid & has_parameters),
            self.table.valid.eq(here_valid & here.fetch_parameter & modes.vector),
        ]
        m.d.comb += [
            self.activations.payload.lane.eq(operands.lane),
            self.vector.payload.first.eq(operands.first),
            self.vector.payload.last.eq(operands.last),
            self.vector.payload.tap.eq(operands.operand),
            self.parameters.payload.first.eq(operands.first),
            self.parameters.payload.last.eq(operands.last),
        ]
        m.d.comb += [
            self.parameters.payload[name].eq(operands[name])
            for name in keep_fields(self._machine.array)
        ]
        if self._machine.array.leaves_by_pixel:
            m.d.comb += [self.activations.payload[mark].eq(operands[mark]) for mark in WORD_MARKS]
        if Mode.FILTER in self._machine.modes:
            m.d.sync += [
                self.parameters.payload.clear.eq(is_filter & here.clear),
                self.parameters.payload.tap.eq(is_filter & here.fetch_parameter),
            ]
            m.d.comb += self.parameters.payload.row.eq(operands.lane)
        passes = Signal()  # activations take the parameters' way
        m.d.sync += passes.eq(is_filter & here.fetch_activation)
        parameters, activations = self.parameters.payload.values, self.activations.payload.values
        vector = self.vector.payload.values
        for place in range(len(weights)):
            weight = weights[place]
            if Mode.FILTER in self._machine.modes and place < self._machine.array.group:
                weight = Mux(passes, word[place], weight)
            m.d.comb += parameters[place].eq(weight)
        m.d.comb += [
            self.table.payload[i].eq(weights[i][:8]) for i in range(len(self.table.payload))
        ]
        m.d.comb += [activations[i].eq(word[i]) for i in range(self._machine.array.chunk)]
        m.d.comb += [vector[i].eq(word[i]) for i in range(len(vector))]
