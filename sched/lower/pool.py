"""Lowering average and max pools, and whatever slides a window over each channel by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from mensa.golden import PoolPlan
from mensa.rtl.commands import Mode, Rounding, compute_registers
from mensa.sched.lower.blocks import Axis, Cutter, Image, Rectangle, Region, channel_ranges
from mensa.sched.lower.elementwise import IDENTITY
from mensa.sched.lower.work import Block, Compute, Home, LayerSite, Phase, Registers


@dataclass(frozen=True)
class Window:
    """A window that slides over images, each channel by itself.

    Attributes
    ----------
    input_shape, output_shape : tuples of int
        ``[batch, height, width, channels]``.
    kernel, stride, padding : pairs of int
        Of height and width: taps, pixels from window to window, pixels before the input.
    """

    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)


def lower_pool(
    plan: PoolPlan, site: LayerSite, sources: Sequence[Home], targets: Sequence[Home]
) -> list[Block]:
    """The blocks of a pool."""
    window = Window(
        plan.input_shape,
        plan.output_shape,
        (plan.filter_h, plan.filter_w),
        (plan.stride_h, plan.stride_w),
        (plan.pad_top, plan.pad_left),
    )
    clamps = compute_registers(CLAMP_MIN=plan.clamp_min, CLAMP_MAX=plan.clamp_max, ACT_ZERO_POINT=0)
    if plan.kind == "max":
        largest = IDENTITY | compute_registers(MODE=Mode.MAX) | clamps
        return window_blocks(window, lambda taps: largest, site, sources[0], targets[0])
    mean = compute_registers(MODE=Mode.SUM) | clamps
    return window_blocks(
        window, lambda taps: mean | _average(plan, taps), site, sources[0], targets[0], by_taps=True
    )


Arithmetic = Callable[[int], Registers]
"""Registers that say what is done with so many taps: mode, zero points, requantisation, clamps."""


def window_blocks(
    window: Window,
    arithmetic: Arithmetic,
    site: LayerSite,
    source: Home,
    target: Home,
    *,
    by_taps: bool = False,
) -> list[Block]:
    """The blocks of an operator whose windows slide over images.

    Parameters: `by_taps` is whether windows that reach out of the input are other commands than
    those inside, since `arithmetic` is by the number of taps inside; else that number is 0.
    """
    batch, height, width, channels = window.input_shape
    _, out_height, out_width, _ = window.output_shape
    y = Axis(height, out_height, window.kernel[0], window.stride[0], 1, window.padding[0])
    x = Axis(width, out_width, window.kernel[1], window.stride[1], 1, window.padding[1])

    def cutter(first: int, last: int) -> Cutter:
        some = last - first
        homes = (replace(home, address=home.address + first) for home in (source, target))
        inputs = Image(next(homes), batch * height, width, some, channels)
        outputs = Image(next(homes), batch * out_height, out_width, some, channels)
        return Cutter(site.machine, site.buffers, y, x, inputs, outputs)

    def parts(rectangle: Rectangle) -> Iterator[tuple[Rectangle, int]]:
        return _parts(y, x, rectangle) if by_taps else iter([(rectangle, 0)])

    return [
        _block(arithmetic, part, number, rectangle, parts(rectangle))
        for first, last in channel_ranges(site.layer, channels, site.machine.lanes, cutter)
        for part in (cutter(first, last),)
        for number in range(batch)
        for rectangle in part.rectangles(site.layer, overlap=True)
    ]


def _block(
    arithmetic: Arithmetic,
    cutter: Cutter,
    number: int,
    rectangle: Rectangle,
    parts: Iterator[tuple[Rectangle, int]],
) -> Block:
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
    for part, taps in parts:
        start_of = y.start(part.rows[0]) - rows[0], x.start(part.columns[0]) - columns[0]
        start = (
            target.offset
            + (part.rows[0] - rectangle.rows[0]) * target.pitch
            + (part.columns[0] - rectangle.columns[0]) * target.pixel_pitch
        )
        registers = (
            _loops(cutter, part, start_of, source)
            | dict(arithmetic(taps))
            | compute_registers(
                OUT_ADDRESS=start, OUT_X_STEP=target.pixel_pitch, OUT_Y_STEP=target.pitch
            )
        )
        reads = () if source.span is None else (source.span,)
        commands.append(Compute(registers, source.streamed, reads, target.span))
    return Block(source.copies, (Phase(tuple(commands)),), target.copies)


def _parts(y: Axis, x: Axis, rectangle: Rectangle) -> Iterator[tuple[Rectangle, int]]:
    """Rectangles whose windows all have the same number of taps inside the input."""
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


def _loops(
    cutter: Cutter, part: Rectangle, window: tuple[int, int], source: Region
) -> dict[str, int]:
    """Registers of the loops; `window` is where the first window starts, in pixels."""
    y, x = cutter.y, cutter.x
    channels, lanes = cutter.inputs.channels, cutter.machine.lanes
    groups = -(-channels // lanes)
    segment = min(channels, lanes)
    last = channels - (groups - 1) * segment
    y_start, x_start = window[0], window[1] * source.pixel_pitch
    return compute_registers(
        KEEP=0,
        ACT_ADDRESS=source.offset + y_start * source.pitch + x_start,
        X_START=x_start,
        Y_START=y_start,
        INPUT_ROW_BYTES=source.row_bytes,
        INPUT_ROWS=source.height,
        PIXELS=part.pixels,
        OUT_WIDTH=part.width,
        PIXEL_X_STEP=x.stride * source.pixel_pitch,
        PIXEL_Y_STEP=y.stride,
        PIXEL_Y_ADDRESS_STEP=y.stride * source.pitch,
        KERNEL_H=y.kernel,
        KERNEL_W=x.kernel,
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
        UNIFORM=1,
    )


def _average(plan: PoolPlan, taps: int) -> dict[str, int]:
    """Registers that divide a sum over `taps` by their number."""
    # The multiplier is a little more than 2**k / taps, so a half is rounded away from zero.
    k = 30 + (taps - 1).bit_length()
    return compute_registers(
        BIAS=128 * taps if plan.round_half_up else 0,
        MULTIPLIER=-(-(1 << k) // taps),
        SHIFT=31 - k,
        ROUNDING=Rounding.SINGLE,
        OUT_ZERO_POINT=-128 if plan.round_half_up else 0,
    )
