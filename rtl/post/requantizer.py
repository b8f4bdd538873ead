"""From 32-bit sums to 8-bit outputs, as TensorFlow Lite's reference kernels do it."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from mensa.rtl.arrays.streams import ACCUMULATOR_BITS
from mensa.rtl.commands import Rounding
from mensa.rtl.parts.resetless import later, resetless
from mensa.rtl.parts.unit import compute_shape
from mensa.rtl.setting import check_count

__all__ = ["LATENCY", "Requantizer", "scaling_layout"]

LATENCY = 11
"""Cycles from sums on `i` to their outputs on `o`."""

FINE_SHIFT_BITS = 2
"""Low bits of a left shift that are done with the addition before it; the others come after."""

HALF_BITS = 16
"""Operands of the wide product are cut here, so that each part fits an FPGA's multiplier."""


BIAS = compute_shape("BIAS")
MULTIPLIER = compute_shape("MULTIPLIER")
SHIFT = compute_shape("SHIFT")
"""Shapes of what scales a channel, in its record or as a command says it for all."""


def scaling_layout() -> data.StructLayout:
    """What all lanes of a row share."""
    return data.StructLayout(
        {
            "rounding": compute_shape("ROUNDING"),
            "wrapped": 1,  # the kernel's shift was too large for it: round down, and add 1
            "zero_point": signed(9),  # with that 1
            "clamp_min": compute_shape("CLAMP_MIN"),
            "clamp_max": compute_shape("CLAMP_MAX"),
        }
    )


class Requantizer(wiring.Component):
    """Adds the bias, scales by a fixed-point multiplier, adds the zero point and clamps.

    The scale is ``multiplier * 2**(shift - 31)``. A left shift wraps at 32 bits; see
    docs/architecture.md for both roundings, and `mensa.golden.arithmetic.fixed_point` for the same
    in NumPy.
    Latency is `LATENCY` cycles, throughput one row of values a cycle.

    Parameters
    ----------
    lanes : int
        Values of a row, at least 1.
    result_bits : int
        Bits of an output, up to 17; bounds of the clamp are within them.

    Members
    -------
    i : In(stream of {scaling: scaling_layout(), lanes: [{value: signed(32), bias: signed(32),
           multiplier: unsigned(31), shift: signed(6)}, …]}, always ready)
        `shift` is positive for left, -31 to 30.
    o : Out(stream of [signed(result_bits), …], always ready)
        Outputs, in order.
    """

    def __init__(self, lanes: int, result_bits: int = 8):
        check_count("Lanes", lanes)
        self._lanes = lanes
        self._result_bits = result_bits
        lane = data.StructLayout(
            {
                "value": signed(ACCUMULATOR_BITS),
                "bias": BIAS,
                "multiplier": MULTIPLIER,
                "shift": SHIFT,
            }
        )
        row = data.StructLayout(
            {"scaling": scaling_layout(), "lanes": data.ArrayLayout(lane, lanes)}
        )
        super().__init__(
            {
                "i": In(stream.Signature(row, always_ready=True)),
                "o": Out(
                    stream.Signature(
                        data.ArrayLayout(signed(result_bits), lanes), always_ready=True
                    )
                ),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        valid = Signal(LATENCY)
        m.d.sync += valid.eq(Cat(self.i.valid, valid))
        m.d.comb += self.o.valid.eq(valid[-1])

        # scaling[n] belongs to the row that is n cycles behind `i`.
        scaling = [self.i.payload.scaling]
        for stage in range(1, LATENCY):
            scaling.append(later(m, scaling[-1], name=f"scaling_{stage}"))

        # The bounds before the zero point is added, for stage 10.
        bits = self._result_bits
        lowest, highest = resetless(signed(bits + 1)), resetless(signed(bits + 1))
        m.d.sync += [
            lowest.eq(scaling[8].clamp_min[:bits].as_signed() - scaling[8].zero_point),
            highest.eq(scaling[8].clamp_max[:bits].as_signed() - scaling[8].zero_point),
        ]

        for number in range(self._lanes):
            m.submodules[f"lane_{number}"] = lane = Module()
            _build_lane(
                lane,
                self.i.payload.lanes[number],
                scaling,
                (lowest, highest),
                self.o.payload[number],
            )
        return m


def _build_lane(
    m: Module, i: data.View, scaling: list[data.View], bounds: tuple[Value, Value], o: Value
) -> None:
    """Add a lane's stages to `m`; the number of each is that of the registers it ends in."""
    lowest, highest = bounds

    # 1 and 2: bias, and left shift, of which the first stage has time for the low bits.
    left, right = Signal(5), resetless(5)
    coarse_left = resetless(5 - FINE_SHIFT_BITS)
    biased, shifted = resetless(signed(32)), resetless(signed(32))
    m.d.comb += left.eq(Mux(i.shift < 0, 0, i.shift))
    m.d.sync += [
        biased.eq((i.value + i.bias) << left[:FINE_SHIFT_BITS]),
        coarse_left.eq(left[FINE_SHIFT_BITS:]),
        right.eq(Mux(i.shift < 0, -i.shift, 0)),
        shifted.eq(biased << (coarse_left << FINE_SHIFT_BITS)),
    ]
    # 3 and 4: multiply, by parts that fit an FPGA's multipliers and the registers in front of them.
    value, multiplier = later(m, shifted), later(m, i.multiplier, 3)
    value_low, value_high = value[:HALF_BITS], value[HALF_BITS:].as_signed()
    multiplier_low, multiplier_high = multiplier[:HALF_BITS], multiplier[HALF_BITS:]
    low, high = resetless(32), resetless(signed(32))
    middle_0, middle_1 = resetless(signed(33)), resetless(signed(33))
    m.d.sync += [
        low.eq(value_low * multiplier_low),
        middle_0.eq(value_low * multiplier_high),
        middle_1.eq(value_high * multiplier_low),
        high.eq(value_high * multiplier_high),
    ]
    # 5 and 6: add the parts.
    middle = resetless(signed(34))
    outer = resetless(signed(64))
    product = resetless(signed(64))
    m.d.sync += [
        middle.eq(middle_0 + middle_1),
        outer.eq(Cat(low, high)),
        product.eq(outer + (middle << HALF_BITS)),
    ]
    # 7: where it rounds twice, round to a multiple of 2**31 here.
    halved, rounded = Signal(signed(64)), resetless(signed(64))
    m.d.comb += halved.eq(product + (1 << 30))
    with m.If(scaling[6].rounding == Rounding.DOUBLE):
        m.d.sync += rounded.eq(halved & ~((1 << 31) - 1))
    with m.Else():
        m.d.sync += rounded.eq(product)
    half = resetless(62)
    right_6 = later(m, right, 5)
    m.d.sync += half.eq(Mux(scaling[6].wrapped, 0, (1 << 30) << right_6))
    # 8 and 9: divide by 2**(31 + right shift), halves away from zero.
    quotient = resetless(signed(34))
    near = resetless(signed(34))
    m.d.sync += [
        near.eq((rounded + half - ((rounded < 0) & ~scaling[7].wrapped)) >> 31),
        quotient.eq(near >> later(m, right_6, 2)),
    ]
    # 10 and 11: zero point and clamp. Beyond the bounds' bits the sign alone decides.
    kept, rest = quotient[: len(lowest)].as_signed(), quotient[len(lowest) - 1 :]
    beyond = rest.any() & ~rest.all()
    too_low, too_high, inside = resetless(), resetless(), resetless(o.shape())
    m.d.sync += [
        too_low.eq(Mux(beyond, rest[-1], kept < lowest)),
        too_high.eq(Mux(beyond, ~rest[-1], kept > highest)),
        inside.eq(quotient + scaling[9].zero_point),
    ]
    with m.If(too_low):
        m.d.sync += o.eq(scaling[10].clamp_min)
    with m.Elif(too_high):
        m.d.sync += o.eq(scaling[10].clamp_max)
    with m.Else():
        m.d.sync += o.eq(inside)
