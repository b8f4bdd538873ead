"""The vector unit: what needs no weights, such as pooling, arithmetic of two operands, tables."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from mensa.rtl.commands import SCALED_SUM_LEFT_SHIFT, TABLE_BYTES, Mode
from mensa.rtl.parts.resetless import later, resetless
from mensa.rtl.setting import check_count

__all__ = ["LATENCY", "VectorUnit"]

LATENCY = 9
"""Cycles from the last tap on `i` to the result on `o`."""

PART_BITS = 16
"""Bits of a multiplier that one of an FPGA's multipliers takes at a time."""

VALUE_BITS = 9

PRODUCT_BITS = 2 * VALUE_BITS

FINE_SHIFT_BITS = 2
"""Low bits of a right shift that are shifted out a cycle before the others."""


class VectorUnit(wiring.Component):
    """L lanes that each do with the values of their taps what the mode says.

    One tap a cycle; `first` starts a reduction and `last` ends it. Latency is `LATENCY` cycles.
    Each lane has a table of its own, all with the same content.

    Parameters
    ----------
    lanes : int
        L, at least 1.
    table_step_bytes : int
        Entries of a table that come at once, a power of two up to 256.

    Members
    -------
    mode : In(Mode)
        A vector mode; this and the scales are constant while values are inside.
    multiplier, shift : In(ArrayLayout(31, 2)), In(ArrayLayout(5, 2))
        Where both operands are rescaled: scales of tap 0 and tap 1.
    i : In(stream of {first, last, tap, values: L x signed(9)}, always ready)
        Values with their zero points subtracted. A product's second tap comes after its first.
    table : In(stream of bytes, always ready)
        A table's entries, from that of -128 on; all of them, before the values that they are for.
    o : Out(stream of L x signed(32), always ready)
        Results.
    """

    def __init__(self, lanes: int, table_step_bytes: int = 4):
        check_count("Lanes", lanes)
        self._lanes = lanes
        self._step = table_step_bytes
        super().__init__(
            {
                "mode": In(Mode),
                "multiplier": In(data.ArrayLayout(31, 2)),
                "shift": In(data.ArrayLayout(5, 2)),
                "i": In(
                    stream.Signature(
                        data.StructLayout(
                            {
                                "first": 1,
                                "last": 1,
                                "tap": 1,
                                "values": data.ArrayLayout(signed(VALUE_BITS), lanes),
                            }
                        ),
                        always_ready=True,
                    )
                ),
                "table": In(
                    stream.Signature(data.ArrayLayout(8, table_step_bytes), always_ready=True)
                ),
                "o": Out(stream.Signature(data.ArrayLayout(signed(32), lanes), always_ready=True)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        is_extremum, is_min, scaled, is_difference, is_product, is_table = (
            Signal(name=name)
            for name in (
                "is_extremum", "is_min", "scaled", "is_difference", "is_product", "is_table",
            )
        )  # fmt: skip
        mode = self.mode
        scales = (mode == Mode.SCALED_SUM) | (mode == Mode.SCALED_DIFFERENCE)
        m.d.sync += [
            is_extremum.eq((mode == Mode.MAX) | (mode == Mode.MIN)),
            is_min.eq(mode == Mode.MIN),
            scaled.eq(scales),
            is_difference.eq(mode == Mode.SCALED_DIFFERENCE),
            is_product.eq(mode == Mode.PRODUCT),
            is_table.eq(mode == Mode.TABLE),
        ]
        # A table takes as many rows as this counts; so it is 0 again when all are there.
        row = Signal(range(TABLE_BYTES // self._step))
        with m.If(self.table.valid):
            m.d.sync += row.eq(row + 1)

        # Marks of the taps inside: bit n, of the one that came n + 1 cycles ago.
        i = self.i.payload
        valid, first, last, tap = (
            Signal(LATENCY - 1, name=name) for name in ("valid", "first", "last", "tap")
        )
        m.d.sync += [
            valid.eq(Cat(self.i.valid, valid)),
            first.eq(Cat(i.first, first)),
            last.eq(Cat(i.last, last)),
            tap.eq(Cat(i.tap, tap)),
            self.o.valid.eq(valid[-1] & last[-1]),
        ]
        # What the lanes share, each in the stage that needs it.
        multiplier = resetless(31)
        half, divides = resetless(31), resetless()
        m.d.sync += multiplier.eq(1)
        with m.If(scales):
            m.d.sync += multiplier.eq(self.multiplier[i.tap])
        shift = resetless(5)
        m.d.sync += [shift.eq(0), half.eq(0), divides.eq(0)]
        with m.If(scaled):
            m.d.sync += [
                shift.eq(self.shift[tap[3]]),
                half.eq((1 << self.shift[tap[3]]) >> 1),
                divides.eq(self.shift[tap[3]].any()),
            ]
        fine = later(m, shift[:FINE_SHIFT_BITS])
        coarse = later(m, shift[FINE_SHIFT_BITS:], 2)

        for number in range(self._lanes):
            m.submodules[f"lane_{number}"] = lane = Module()
            # 1: operand. 2 to 4: times its multiplier, by parts, each with registers of its own.
            value = resetless(signed(VALUE_BITS))
            low, high = (resetless(signed(VALUE_BITS + PART_BITS), name=n) for n in ("low", "high"))
            product = resetless(signed(41))
            left, right = later(lane, value), resetless(31, name="right")
            before = resetless(signed(VALUE_BITS))  # of a product, the first operand
            with lane.If(valid[0] & ~tap[0]):
                lane.d.sync += before.eq(value)
            lane.d.sync += [
                value.eq(i.values[number]),
                right.eq(Mux(is_product, before, multiplier)),
                low.eq(left * right[:PART_BITS]),
                high.eq(left * right[PART_BITS:]),
                product.eq(low + (high << PART_BITS)),
            ]
            # Or the table's entry, as late.
            entry = self._look_up(lane, i.values[number], row)
            with lane.If(is_table):
                lane.d.sync += product.eq(entry)
            # 5 to 8: the two rounded divisions of ((value << 20) * multiplier) by 2**31 and by
            # 2**shift, which is shifted out in two stages.
            high_half = resetless(signed(32))
            with lane.If(scaled):
                rounded = product + (1 << (30 - SCALED_SUM_LEFT_SHIFT))
                lane.d.sync += high_half.eq(rounded >> (31 - SCALED_SUM_LEFT_SHIFT))
            with lane.Else():
                # Of a product's operand only the low bits of its 31 are what they should be.
                lane.d.sync += high_half.eq(product[:PRODUCT_BITS].as_signed())
            total, near, operand = (
                resetless(signed(33)),
                resetless(signed(33)),
                resetless(signed(32)),
            )
            away = (high_half < 0) & divides
            lane.d.sync += [
                total.eq(high_half + half - away),
                near.eq(total >> fine),
                operand.eq(near >> (coarse << FINE_SHIFT_BITS)),
            ]
            # 9: accumulate. What the largest is taken of are values as they came.
            so_far = self.o.payload[number]
            ours, best = operand[:VALUE_BITS].as_signed(), so_far[:VALUE_BITS].as_signed()
            better = Mux(is_min, ours < best, ours > best)
            with lane.If(valid[-1]):
                with lane.If(first[-1] | is_product | (is_extremum & better)):
                    lane.d.sync += so_far.eq(operand)
                with lane.Elif(is_difference):
                    lane.d.sync += so_far.eq(so_far - operand)
                with lane.Elif(~is_extremum):
                    lane.d.sync += so_far.eq(so_far + operand)
        return m

    def _look_up(self, lane: Module, value: Value, row: Signal) -> Signal:
        """The table's entry of a value, three cycles later."""
        low = self._step.bit_length() - 1
        lane.submodules.table = table = memory.Memory(
            shape=8 * self._step, depth=TABLE_BYTES // self._step, init=[]
        )
        write, read = table.write_port(), table.read_port()
        number = value[:8] ^ (TABLE_BYTES // 2)  # that of -128 is the first
        lane.d.comb += [
            write.en.eq(self.table.valid),
            write.addr.eq(row),
            write.data.eq(self.table.payload.as_value()),
            read.addr.eq(number[low:]),
        ]
        # What a block RAM gives takes long unless a register follows at once, which moves into it.
        entries = later(lane, read.data, name="entries")
        which = later(lane, number[:low], 2) if low else 0
        entry = resetless(signed(8), name="entry")
        lane.d.sync += entry.eq(entries.word_select(which, 8))
        return entry
