"""Lowering moves: commands of the vector unit that give every byte as it is.

A command walks up to three loops around a run of bytes: rows and columns of a grid, and groups of
channels, which lie side by side in the result. Further loops become further commands.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from mensa.golden import Plan, Tensor
from mensa.rtl.commands import Mode, Unit, compute_registers, register
from mensa.sched.lower.blocks import OVERLAP_BLOCKS, even, largest
from mensa.sched.lower.elementwise import IDENTITY
from mensa.sched.lower.error import LoweringError
from mensa.sched.lower.moves import Loop, Move, moves
from mensa.sched.lower.work import Block, Compute, Copy, Home, LayerSite, Phase, Span

__all__ = ["commands_needed", "lower_move", "move_blocks"]

_LEAST_RESULTS = 64
"""A block that is made only so that copying and computing overlap keeps so many results of up to
L bytes."""

_MOST_COLUMNS = register(Unit.COMPUTE, "OUT_WIDTH").most
_MOST_GROUPS = register(Unit.COMPUTE, "GROUPS").most
_MOST_PIXELS = register(Unit.COMPUTE, "PIXELS").most
_MOST_ROW_BYTES = register(Unit.COMPUTE, "INPUT_ROW_BYTES").most
_MOST_STEP = min(
    register(Unit.COMPUTE, name).most for name in ("PIXEL_X_STEP", "OUT_X_STEP", "GROUP_ACT_STEP")
)

_ONCE = Loop(1, 0, 0)

_BY_TABLE = compute_registers(MODE=Mode.TABLE, PARAMETER_ADDRESS=0, PARAMETER_ZERO_POINT=0)

_End = Literal["source", "target"]


def lower_move(
    plan: Plan, site: LayerSite, sources: Sequence[Home], targets: Sequence[Home]
) -> list[Block]:
    """The blocks of an operator that computes nothing."""
    return [
        block
        for move in moves(plan, site.operands)
        for block in move_blocks(move, site, sources[move.source], targets[move.target])
    ]


def move_blocks(move: Move, site: LayerSite, source: Home, target: Home) -> Iterator[Block]:
    """The blocks of a move; its table, if it has one, is the parameters of their phases."""
    return _Mover(move, site, source, target).blocks()


def commands_needed(plan: Plan, operands: Sequence[Tensor], most: int) -> int:
    """Commands of an operator all of whose tensors are on chip; at most `most` + 1 are counted.

    A machine with lanes enough needs fewer.
    """
    total = 0
    for move in moves(plan, operands):
        whole, rest = divmod(move.run, _MOST_ROW_BYTES)
        pieces = whole + (rest > 0)  # of a run that no command holds
        total += pieces * _chosen(min(move.run, _MOST_ROW_BYTES), move.loops, 0).commands
        if total > most:
            return most + 1
    return total


@dataclass(frozen=True)
class _Grid:
    """Which loops of a move are in a command, and which are around it."""

    groups: Loop | None
    columns: Loop
    rows: Loop
    others: tuple[Loop, ...]

    @property
    def commands(self) -> int:
        """How many it needs."""
        return math.prod(loop.count for loop in self.others)


@functools.lru_cache
def _chosen(run: int, loops: tuple[Loop, ...], lanes: int) -> _Grid:
    """The grid with the fewest commands."""
    found = []
    places = range(len(loops))
    for chosen in itertools.product((None, *places), repeat=3):
        used = [place for place in chosen if place is not None]
        if len(set(used)) < len(used):
            continue
        groups, columns, rows = (None if place is None else loops[place] for place in chosen)
        grid = _Grid(
            groups,
            columns or _ONCE,
            rows or _ONCE,
            tuple(loops[place] for place in places if place not in used),
        )
        if _is_possible(run, grid, lanes):
            found.append(grid)
    # Of equals one with long rows of the grid.
    return min(found, key=lambda grid: (grid.commands, -grid.columns.count))


def _is_possible(run: int, grid: _Grid, lanes: int) -> bool:
    """Whether the registers can hold the loops."""
    columns, groups = grid.columns, grid.groups
    row_bytes = (columns.count - 1) * columns.source_step + run
    if groups is not None:
        row_bytes += (groups.count - 1) * groups.source_step
        if (
            run > lanes
            or groups.target_step != run
            or groups.source_step < 0
            or groups.source_step > _MOST_STEP
            or groups.count > _MOST_GROUPS
        ):
            return False
    return (
        columns.source_step >= 0
        and max(columns.source_step, columns.target_step) <= _MOST_STEP
        and columns.count <= _MOST_COLUMNS
        and row_bytes <= _MOST_ROW_BYTES
        and columns.count * grid.rows.count <= _MOST_PIXELS
    )


@dataclass(frozen=True)
class _Layout:
    """How one end of a move lies in the activation buffer.

    Attributes
    ----------
    start : int
        Address of the first byte that is moved, in its slot where it is streamed.
    steps : tuple of int
        Of the move's loops.
    span : Span
        From the lowest byte to the highest.
    copies : tuple of Copy
        Between memory and its slot; none on chip.
    """

    start: int
    steps: tuple[int, ...]
    span: Span
    copies: tuple[Copy, ...] = ()


@dataclass(frozen=True)
class _Mover:
    """Makes blocks of a move from one tensor to another.

    Attributes
    ----------
    move : Move
        All of it.
    site : LayerSite
        What for.
    source, target : Home
        Where its tensors are.
    """

    move: Move
    site: LayerSite
    source: Home
    target: Home

    def blocks(self) -> Iterator[Block]:
        """The blocks, in the order of the results."""
        for part in self._cut(self.move):
            yield self._block(part)

    def _block(self, part: Move) -> Block:
        target = self._layout(part, "target")
        source = None if part.is_fill else self._layout(part, "source")
        loops = tuple(
            Loop(loop.count, step, out)
            for loop, step, out in zip(
                part.loops,
                source.steps if source else itertools.repeat(0),
                target.steps,
                strict=False,
            )
        )
        reads = (source.span,) if source and self.source.on_chip else ()
        writes = target.span if self.target.on_chip else None
        streamed = compute_registers(ACT_ADDRESS=1) if source and not self.source.on_chip else {}
        grid = _chosen(part.run, loops, self.site.machine.lanes)
        common = self._registers(part, grid) | ({} if part.table is None else _BY_TABLE)
        commands = []
        for turns in itertools.product(*(range(loop.count) for loop in reversed(grid.others))):
            steps = list(zip(turns, reversed(grid.others), strict=True))
            at = sum(turn * loop.source_step for turn, loop in steps)
            out = sum(turn * loop.target_step for turn, loop in steps)
            registers = common | compute_registers(
                ACT_ADDRESS=source.start + at if source else 0,
                OUT_ADDRESS=target.start + out,
            )
            commands.append(Compute(registers, streamed, reads, writes))
        loads = source.copies if source else ()
        return Block(loads, (Phase(tuple(commands)),), target.copies)

    def _registers(self, part: Move, grid: _Grid) -> dict[str, int]:
        """All registers of a command but its addresses."""
        columns, rows, groups = grid.columns, grid.rows, grid.groups
        if groups is None:
            channels = min(part.run, self.site.machine.lanes)
            count = -(-part.run // channels)
            last, step = part.run - (count - 1) * channels, channels
        else:
            channels = last = part.run
            count, step = groups.count, groups.source_step
        row_bytes = (columns.count - 1) * columns.source_step + (count - 1) * step + last
        value = part.value
        return IDENTITY | compute_registers(
            MODE=Mode.MAX,
            KEEP=0,
            X_START=0,
            Y_START=0,
            # Nothing is inside of an input without rows, so a fill reads nothing.
            INPUT_ROW_BYTES=row_bytes if value is None else 0,
            INPUT_ROWS=1 if value is None else 0,
            PIXELS=columns.count * rows.count,
            OUT_WIDTH=columns.count,
            PIXEL_X_STEP=columns.source_step,
            PIXEL_Y_STEP=0,
            PIXEL_Y_ADDRESS_STEP=rows.source_step,
            KERNEL_H=1,
            KERNEL_W=1,
            TAP_X_STEP=0,
            TAP_Y_STEP=0,
            TAP_Y_ADDRESS_STEP=0,
            SEGMENT=channels,
            LAST_SEGMENT=last,
            GROUPS=count,
            GROUP_ACT_STEP=step,
            GROUP_CHANNELS=channels,
            LAST_GROUP_CHANNELS=last,
            EDGE_CHANNELS=0,
            ACT_ZERO_POINT=0,
            UNIFORM=1,
            OUT_ZERO_POINT=0,
            CLAMP_MIN=-128 if value is None else value,
            CLAMP_MAX=127 if value is None else value,
            OUT_X_STEP=columns.target_step,
            OUT_Y_STEP=rows.target_step,
        )

    def _cut(self, part: Move) -> Iterator[Move]:
        """Parts of a move whose streamed ends fit their slots, the largest that do."""
        trouble = self._trouble(part)
        if trouble is None:
            yield part
            return
        if not part.loops:
            yield from self._cut_run(part)
            return
        place = _widest(part, trouble)
        loop = part.loops[place]

        def fits(count: int) -> bool:
            return self._trouble(_turns(part, place, 0, count)) is None

        count = even(loop.count, max(1, largest(loop.count, fits)))
        for first in range(0, loop.count, count):
            yield from self._cut(_turns(part, place, first, min(count, loop.count - first)))

    def _cut_run(self, part: Move) -> Iterator[Move]:
        """The same of a run of bytes, in whole beats if possible."""
        beat = self.site.machine.beat_bytes
        most = largest(
            -(-part.run // beat) - 1,
            lambda beats: self._trouble(replace(part, run=beats * beat)) is None,
        )
        size = most * beat
        while not size and beat > 1:
            beat //= 2
            size = beat if self._trouble(replace(part, run=beat)) is None else 0
        if not size:
            machine = self.site.machine
            raise LoweringError(
                self.site.layer,
                f"not even a byte of it fits a bank of the activation buffer, which has "
                f"{machine.activation_bank_bytes} B; raise activation_buffer_bytes",
            )
        for first in range(0, part.run, size):
            yield replace(
                part,
                run=min(size, part.run - first),
                source_start=part.source_start + first,
                target_start=part.target_start + first,
            )

    def _trouble(self, part: Move) -> _End | None:
        """Which end of a part doesn't fit its slot, or is better cut; None for neither."""
        lanes = self.site.machine.lanes
        if not part.is_fill and self._slot_bytes(part, "source") > self._room("source"):
            return "source"
        if self._slot_bytes(part, "target") > self._room("target"):
            return "target"
        if part.run > min(_MOST_GROUPS * lanes, _MOST_ROW_BYTES):
            return "target"
        if self.target.moves or (self.source.moves and not part.is_fill):
            whole = _results(self.move, lanes)
            if _results(part, lanes) > max(-(-whole // OVERLAP_BLOCKS), _LEAST_RESULTS):
                return "target"
        return None

    def _room(self, end: _End) -> int:
        buffers = self.site.buffers
        return (buffers.inputs if end == "source" else buffers.outputs).slot_bytes

    def _slot_bytes(self, part: Move, end: _End) -> int:
        """Bytes of a slot that an end needs, wherever the part begins; 0 on chip."""
        home = self.source if end == "source" else self.target
        if home.on_chip:
            return 0
        beat = self.site.machine.beat_bytes
        unit = math.gcd(beat, *(_step(loop, end) for loop in self.move.loops))
        if part.run < min(beat, self.move.run):
            unit = math.gcd(unit, part.run)
        layout = self._layout(part, end, with_copies=False)
        first = home.address + _start(part, end)
        return beat - unit + first % unit + layout.span.end - layout.span.start

    def _layout(self, part: Move, end: _End, *, with_copies: bool = True) -> _Layout:
        """How an end lies in the buffer: on chip as in its tensor, in a slot without its gaps.

        A gap that costs no beats to load is loaded; only what is written is stored.
        """
        home = self.source if end == "source" else self.target
        beat = self.site.machine.beat_bytes
        steps = [_step(loop, end) for loop in part.loops]
        below = sum(
            min(0, (loop.count - 1) * step) for loop, step in zip(part.loops, steps, strict=True)
        )
        lowest = home.address + _start(part, end) + below
        if home.on_chip:
            nbytes = part.run + sum(
                (loop.count - 1) * abs(step) for loop, step in zip(part.loops, steps, strict=True)
            )
            return _Layout(lowest - below, tuple(steps), Span(lowest, lowest + nbytes))
        gap = beat if end == "source" else 0
        row = nbytes = part.run
        rows: list[tuple[int, int, int]] = []
        placed = [0] * len(steps)
        for place in sorted(range(len(steps)), key=lambda place: abs(steps[place])):
            count, step = part.loops[place].count, abs(steps[place])
            pitch = step
            if rows or step > row + gap:
                pitch = nbytes + (step - nbytes) % beat
                rows.append((count, step, pitch))
            else:
                row += (count - 1) * step
            nbytes += (count - 1) * pitch
            placed[place] = pitch if steps[place] >= 0 else -pitch
        offset = lowest % beat
        start = offset - sum(
            min(0, (loop.count - 1) * step) for loop, step in zip(part.loops, placed, strict=True)
        )
        copies = _copies(lowest, offset, row, rows) if with_copies else ()
        return _Layout(start, tuple(placed), Span(offset, offset + nbytes), copies)


def _copies(
    address: int, offset: int, row_bytes: int, rows: Sequence[tuple[int, int, int]]
) -> tuple[Copy, ...]:
    """Copies of rows in loops, each with its count and its pitches in memory and in the slot."""
    if not rows:
        return (Copy(address, offset, row_bytes),)
    inner = max(rows)
    outer = list(rows)
    outer.remove(inner)
    made = []
    for turns in itertools.product(*(range(count) for count, _, _ in reversed(outer))):
        steps = list(zip(turns, reversed(outer), strict=True))
        far = sum(turn * memory_pitch for turn, (_, memory_pitch, _) in steps)
        near = sum(turn * pitch for turn, (_, _, pitch) in steps)
        made.append(Copy(address + far, offset + near, row_bytes, *inner))
    return tuple(made)


def _step(loop: Loop, end: _End) -> int:
    return loop.source_step if end == "source" else loop.target_step


def _start(part: Move, end: _End) -> int:
    return part.source_start if end == "source" else part.target_start


def _results(part: Move, lanes: int) -> int:
    """What the vector unit gives, in cycles."""
    return part.nbytes // part.run * -(-part.run // lanes)


def _widest(part: Move, end: _End) -> int:
    """The loop with the largest step at one end; of equals, the outermost."""
    steps = [(abs(_step(loop, end)), place) for place, loop in enumerate(part.loops)]
    return max(steps)[1]


def _turns(part: Move, place: int, first: int, count: int) -> Move:
    """Some turns of a loop of a move."""
    loop = part.loops[place]
    kept = (replace(loop, count=count),) if count > 1 else ()
    return replace(
        part,
        source_start=part.source_start + first * loop.source_step,
        target_start=part.target_start + first * loop.target_step,
        loops=(*part.loops[:place], *kept, *part.loops[place + 1 :]),
    )
