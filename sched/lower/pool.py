"""Lowering average and max pools."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from mensa.golden import PoolPlan
from mensa.rtl.commands import Mode, Rounding, compute_registers
from mensa.sched.lower.blocks import Axis, Cutter, Image, Rectangle, Region, channel_ranges
from mensa.sched.lower.work import Block, Compute, Home, LayerSite, Phase

IDENTITY = compute_registers(
    BIAS=0,
    MULTIPLIER=1 << 30,
    SHIFT=1,
    ROUNDING=Rounding.SINGLE,
)
"""A requantisation that leaves its input as it is."""


def lower_pool(
    plan: PoolPlan, site: LayerSite, sources: Sequence[Home], targets: Sequence[Home]
) -> list[Block]:
    """The blocks of a pool."""
    batch, height, width, channels = plan.input_shape
    _, out_height, out_width, _ = plan.output_shape
    y = Axis(height, out_height, plan.filter_h, plan.stride_h, 1, plan.pad_top)
    x = Axis(width, out_width, plan.filter_w, plan.stride_w, 1, plan.pad_left)

    def cutter(first: int, last: int) -> Cutter:
        some = last - first
        homes = (replace(home, address=home.address + first) for home in (sources[0], targets[0]))
        inputs = Image(next(homes), batch * height, width, some, channels)
        outputs = Image(next(homes), batch * out_height, out_width, some, channels)
        return Cutter(site.machine, site.buffers, y, x, inputs, outputs)

    return [
        _block(plan, part, number, rectangle)
        for first, last in channel_ranges(site.layer, channels, site.machine.lanes, cutter)
        for part in (cutter(first, last),)
        for number in range(batch)
        for rectangle in part.rectangles(site.layer, overlap=True)
    ]


def _block(plan: PoolPlan, cutter: Cutter, number: int, rectangle: Rectangle) -> Block:
    """Rectangle `rectangle` of the outputs of image `number`."""
    y, x, beat = cutter.y, cutter.x, cutter.machine.beat_bytes
    rows, columns = y.seen(*rectangle.rows), x.seen(*rectangle.columns)
    above = number * y.inputs
    source = cutter.inputs.region((above + rows[0], above + rows[1]), columns, beat)
    above = number * y.outputs
    target = cutter.outputs.region(
        (above + rectangle.rows[0], above + rectangle.rows[1]), rectangle.columns, beat
    )
    commands = []
    for part, taps in _parts(plan, y, x, rectangle):
        window = y.start(part.rows[0]) - rows[0], x.start(part.columns[0]) - columns[0]
        start = (
            target.offset
            + (part.rows[0] - rectangle.rows[0]) * target.pitch
            + (part.columns[0] - rectangle.columns[0]) * target.pixel_pitch
        )
        registers = (
            _window(plan, cutter, part, window, source)
            | _average(plan, taps)
            | compute_registers(
                OUT_ADDRESS=start, OUT_X_STEP=target.pixel_pitch, OUT_Y_STEP=target.pitch
            )
        )
        reads = () if source.span is None else (source.span,)
        commands.append(Compute(registers, source.streamed, reads, target.span))
    return Block(source.copies, (Phase(tuple(commands)),), target.copies)


def _parts(
    plan: PoolPlan, y: Axis, x: Axis, rectangle: Rectangle
) -> Iterator[tuple[Rectangle, int]]:
    """Rectangles whose windows all have the same number of taps inside the input."""
    if plan.kind == "max":
        yield rectangle, 1
        return
    for top, bottom, high in _equal(y, *rectangle.rows):
        for left, right, wide in _equal(x, *rectangle.columns):
            yield Rectangle((top, bottom), (left, right)), high * wide


def _equal(axis: Axis, first: int, last: int) -> Iterator[tuple[int, int, int]]:
    """Ranges of outputs with the same number of taps inside the input, and that number."""
    start = first
    for output in range(first + 1, last + 1):
        taps = axis.taps_inside(start)
        if output == last or axis.taps_inside(output) != taps:
            yield start, output, taps
            start = output


def _window(
    plan: PoolPlan,
    cutter: Cutter,
    part: Rectangle,
    window: tuple[int, int],
    source: Region,
) -> dict[str, int]:
    """Registers of the window; `window` is where the first one starts, in pixels."""
    channels, lanes = cutter.inputs.channels, cutter.machine.lanes
    groups = -(-channels // lanes)
    segment = min(channels, lanes)
    last = channels - (groups - 1) * segment
    y_start, x_start = window[0], window[1] * source.pixel_pitch
    return compute_registers(
        MODE=Mode.MAX if plan.kind == "max" else Mode.SUM,
        KEEP=0,
        ACT_ADDRESS=source.offset + y_start * source.pitch + x_start,
        X_START=x_start,
        Y_START=y_start,
        INPUT_ROW_BYTES=source.row_bytes,
        INPUT_ROWS=source.height,
        PIXELS=part.pixels,
        OUT_WIDTH=part.width,
        PIXEL_X_STEP=plan.stride_w * source.pixel_pitch,
        PIXEL_Y_STEP=plan.stride_h,
        PIXEL_Y_ADDRESS_STEP=plan.stride_h * source.pitch,
        KERNEL_H=plan.filter_h,
        KERNEL_W=plan.filter_w,
        TAP_X_STEP=source.pixel_pitch,
        TAP_Y_STEP=1,
        TAP_Y_ADDRESS_STEP=source.pitch,
        SEGMENT=segment,
        LAST_SEGMENT=last,
        GROUPS=groups,
        GROUP_ACT_STEP=segment,
        GROUP_CHANNELS=segment,
        LAST_GROUP_CHANNELS=last,
        EDGE_CHANNELS=0,
        ACT_ZERO_POINT=0,
        UNIFORM=1,
        CLAMP_MIN=plan.clamp_min,
        CLAMP_MAX=plan.clamp_max,
    )


def _average(plan: PoolPlan, taps: int) -> dict[str, int]:
    """Registers that divide a sum over `taps` by their number; for a max pool, nothing."""
    if plan.kind == "max":
        return IDENTITY | compute_registers(OUT_ZERO_POINT=0)
    # The multiplier is a little more than 2**k / taps, so a half is rounded away from zero.
    k = 30 + (taps - 1).bit_length()
    return compute_registers(
        BIAS=128 * taps if plan.round_half_up else 0,
        MULTIPLIER=-(-(1 << k) // taps),
        SHIFT=31 - k,
        ROUNDING=Rounding.SINGLE,
        OUT_ZERO_POINT=-128 if plan.round_half_up else 0,
    )
