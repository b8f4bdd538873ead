"""When operands reach an array, and its sums leave it: the contract, for arrays of any kind."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from amaranth.lib import data

from mensa.rtl.arrays.array import Array
from mensa.rtl.arrays.filter.filter_stream import filter_taps
from mensa.rtl.arrays.streams import activations_signature, parameters_signature, results_signature
from mensa.rtl.commands import Mode, Width
from tests.rtl import bench
from tests.rtl.arrays.work import Filter, Tile, random_filter, random_tile
from tests.rtl.lockstep import pack, play, unpack


@dataclass
class Row:
    """A row of results: which pixel's, whether its tile's last, whether a filter's, its sums, if
    they are anyone's."""

    row: int
    last: bool
    alone: bool
    sums: np.ndarray | None


@dataclass
class Part:
    """Chunks `first` to `end` - 1 of a tile, and whether its sums begin or end in the array."""

    tile: Tile
    first: int
    end: int
    place: int = 0
    resumes: bool = False
    keeps: bool = False


def word_of(layout: Any, values: Any, **fields: int) -> int:
    """A word of a stream; what is said of no field may be anything."""
    word = 0
    for name, field in layout:
        bits = layout[name].width
        value = fields.get(name, random.getrandbits(bits) if bits else 0)
        if name == "values":
            value = pack(map(int, values), 9)
        word |= (value & ((1 << bits) - 1)) << field.offset
    return word


class Schedule:
    """Puts tiles and filters onto an array's inputs as early as its contract allows, or with
    bubbles."""

    def __init__(self, array: Array, rng: random.Random | None):
        self.array = array
        self.rng = rng
        self.words: dict[int, int] = {}
        self.beats: dict[int, int] = {}
        self.filter: list[int] = []  # by cycle
        self.latest = {False: -array.tile * array.group, True: -4}  # last beat of a tile, a filter
        self.results: dict[int, Row] = {}
        self.word_layout = activations_signature(array).members["payload"].shape
        self.beat_layout = parameters_signature(array).members["payload"].shape

    @property
    def cycles(self) -> int:
        return max(self.results) + 2

    def bubble(self, most: int) -> int:
        return self.rng.randrange(most) if self.rng else 0

    def settle(self, is_filter: bool) -> None:
        """As soon as it may, the array becomes what `is_filter` says, a cycle ahead."""
        tile, word = self.latest[False], self.latest[True]
        room = tile + self.array.clearance + 3 if is_filter else word + 4
        change = max(room, tile, word, 0) + self.bubble(3)
        self.filter += [int(word > tile)] * (change - len(self.filter)) + [int(is_filter)]

    def word(self, cycle: int, values: np.ndarray, **marks: int) -> None:
        assert cycle not in self.words
        values = np.pad(values, (0, self.array.chunk - len(values)))
        self.words[cycle] = word_of(self.word_layout, values, **marks)

    def beat(self, cycle: int, values: np.ndarray, **marks: int) -> None:
        assert cycle not in self.beats
        self.beats[cycle] = word_of(self.beat_layout, values, **marks)

    def result(self, cycle: int, row: Row) -> None:
        assert cycle not in self.results
        self.results[cycle] = row

    def tiles(self, tiles: list[Tile]) -> None:
        array = self.array
        self.settle(False)
        cycle = len(self.filter)
        latest = cycle - array.spacing
        turns = array.turns_of_word(Width.BYTE)
        kept: dict[int, int] = {}  # by place: the latest beat that kept sums there
        for part in self.parts(tiles):
            tile, chunks = part.tile, part.tile.chunks[part.first : part.end]
            pixels = len(tile.activations)
            starts, length = [], 0
            for number, size in enumerate(chunks):
                length += self.bubble(4)
                starts.append(length)
                is_last = number == len(chunks) - 1
                length += array.chunk_cycles(pixels * (turns if is_last else 1), size)
            last = starts[-1] + array.parameter_beats(chunks[-1]) - 1
            cycle = max(cycle, latest + array.spacing - last)
            if part.resumes:
                cycle = max(cycle, kept[part.place] + 4 - starts[0])
            done = sum(tile.chunks[: part.first])
            marks = {"resumes": 0, "keeps": 0, "place": part.place}
            for start, size in zip(starts, chunks, strict=True):
                is_last = start == starts[-1]
                step = turns if is_last else 1
                for pixel in range(pixels):
                    self.word(
                        cycle + start + step * pixel,
                        tile.activations[pixel, done : done + size],
                        lane=pixel,
                        opens=int(done == 0),
                        closes=int(is_last),
                        ends=int(is_last and pixel == pixels - 1),
                    )
                for beat in range(array.parameter_beats(size)):
                    begins, ends = start + beat == starts[0], start + beat == last
                    if array.kept_tiles > 1:
                        marks |= {"resumes": begins & part.resumes, "keeps": ends & part.keeps}
                    self.beat(
                        cycle + start + beat,
                        self._parameters(tile.parameters[done : done + size], beat),
                        **marks,
                        first=int(begins and not part.resumes),
                        last=int(ends and not part.keeps),
                    )
                done += size
            latest = cycle + last
            if part.keeps:
                kept[part.place] = latest
            else:
                self._tile_leaves(tile, latest, cycle + starts[-1])
            self.latest[False] = cycle + length - 1 if array.leaves_by_pixel else latest
            cycle += length + self.bubble(2 * array.chunk)

    def parts(self, tiles: list[Tile]) -> Iterator[Part]:
        """Tiles, whole; or of some that an array can keep the first chunks, then the others."""
        rng = self.rng or random.Random(len(tiles))
        while tiles:
            count = rng.randint(1, self.array.kept_tiles)
            mine, tiles = tiles[:count], tiles[count:]
            if self.array.kept_tiles == 1 or any(len(tile.chunks) == 1 for tile in mine):
                yield from (Part(tile, 0, len(tile.chunks)) for tile in mine)
                continue
            cuts = [rng.randrange(1, len(tile.chunks)) for tile in mine]
            for place, (tile, cut) in enumerate(zip(mine, cuts, strict=True)):
                yield Part(tile, 0, cut, place, keeps=True)
            for place, (tile, cut) in enumerate(zip(mine, cuts, strict=True)):
                yield Part(tile, cut, len(tile.chunks), place, resumes=True)

    def _parameters(self, chunk: np.ndarray, beat: int) -> np.ndarray:
        """Of the bytes of a beat; of bytes that the chunk doesn't have, anything."""
        count = self.array.parameter_rows
        values = np.random.default_rng(beat).integers(-256, 256, (count, self.array.group))
        mine = chunk[beat * count : (beat + 1) * count]
        values[: len(mine)] = mine
        return values.reshape(-1)

    def _tile_leaves(self, tile: Tile, last: int, last_chunk: int) -> None:
        """When the rows of its results come."""
        array, sums = self.array, tile.sums()
        latency, pixels = array.latency(Mode.CONV), len(sums)
        if array.leaves_by_pixel:
            turns = array.turns_of_word(Width.BYTE)
            for pixel in range(pixels):
                at = last_chunk + turns * pixel + latency
                self.result(at, Row(pixel, pixel == pixels - 1, False, sums[pixel]))
            return
        for row in range(array.tile):
            at = last + latency - row * array.pace
            self.result(at, Row(row, row == 0, False, sums[row] if row < pixels else None))

    def filters(self, filters: list[Filter]) -> None:
        array = self.array
        self.settle(True)
        cycle = len(self.filter)
        for work in filters:
            before = cycle
            for group in range(work.command["GROUPS"]):
                cycle = self._taps(work, group, cycle)
                cycle = self._words(work, group, cycle)
            assert cycle - before == array.own_feed_cycles(work.command)
            self.latest[True] = cycle - 1
            cycle += self.bubble(2 * array.chunk)

    def _taps(self, work: Filter, group: int, cycle: int) -> int:
        """Forget the taps of the group before, and put this one's into their places."""
        c, columns = work.command, np.arange(self.array.group)
        self.beat(cycle, columns, clear=1, tap=0, last=0)
        taps = work.taps[group].reshape(-1, self.array.group)
        for number, (row, values) in enumerate(zip(filter_taps(c), taps, strict=True)):
            ends_row = self.array.lines and number % c["KERNEL_W"] == c["KERNEL_W"] - 1
            wide = np.tile(values, self.array.parameter_rows)
            self.beat(cycle + 1 + number, wide, clear=0, tap=1, row=row, last=int(bool(ends_row)))
        return cycle + 1 + len(taps)

    def _words(self, work: Filter, group: int, cycle: int) -> int:
        """The words of each input row, and which of them completes which pixel."""
        array, c, sums = self.array, work.command, work.sums(group)
        turns, cols = array.turns(c), array.group
        offsets = [
            position * c["STREAM_STEP"] + tap * c["TAP_X_STEP"]
            for position in range(c["STREAM_COLUMNS"])
            for tap in range(c["STREAM_TAPS"])
        ]
        pixels = {c["STREAM_FIRST"] + x * c["STREAM_RESULT_STEP"]: x for x in range(c["OUT_WIDTH"])}
        for y, row_bytes in enumerate(work.rows[group]):
            out_y, between = divmod(y - c["STREAM_FIRST_ROW"], c["PIXEL_Y_STEP"])
            for number, offset in enumerate(offsets):
                complete = out_y >= 0 and between == 0 and number in pixels
                for turn in range(turns):
                    marks = {"row": turn, "first": int(number == 0)} if array.lines else {}
                    done = complete and turn == turns - 1
                    values = row_bytes[offset : offset + cols]
                    self.beat(cycle, values, clear=0, tap=0, last=int(done), **marks)
                    if done:
                        at = cycle + array.latency(Mode.FILTER)
                        self.result(at, Row(0, True, True, sums[out_y, pixels[number]]))
                    cycle += 1
        return cycle


def has_filters(array: Array) -> bool:
    return Mode.FILTER in array.own_modes


def inputs_of(name: str, plan: Schedule) -> Iterator[tuple[str, list[int]]]:
    """What is driven in each cycle; without a transfer a stream has noise."""
    if has_filters(plan.array):
        yield f"{name}__filter", plan.filter
    for port, items, layout in (
        ("activations", plan.words, plan.word_layout),
        ("parameters", plan.beats, plan.beat_layout),
    ):
        noise = random.getrandbits(data.Layout.cast(layout).size)
        yield f"{name}__{port}__valid", [int(t in items) for t in range(plan.cycles)]
        yield f"{name}__{port}__payload", [items.get(t, noise) for t in range(plan.cycles)]


def have_no_ready(dut: Any, arrays: Iterable[str]) -> None:
    """Of several arrays side by side."""
    for name in arrays:
        for port in ("activations", "parameters", "results"):
            stream = f"{name}__{port}"
            assert hasattr(dut, f"{stream}__valid")
            assert not hasattr(dut, f"{stream}__ready")


async def leave_at_their_exact_cycles(
    dut: Any, arrays: Mapping[str, Array], *, idle: bool, tiles: int, filters: int = 0
) -> None:
    """Work on several arrays side by side: random tiles, and by turns filters if they have them."""
    rng = np.random.default_rng(random.getrandbits(32))
    pauses = random.Random(random.getrandbits(32)) if idle else None
    inputs, outputs, schedules = {}, [], {}
    for name, array in arrays.items():
        plan = schedules[name] = Schedule(array, pauses)
        turns = 3 if has_filters(array) else 0
        for _ in range(turns):
            plan.tiles([random_tile(rng, array) for _ in range(tiles // 3)])
            plan.filters([random_filter(rng, array) for _ in range(filters // 4)])
        if turns:
            plan.filters([random_filter(rng, array)])
        plan.tiles([random_tile(rng, array) for _ in range(1 if turns else tiles)])
        inputs |= dict(inputs_of(name, plan))
        outputs += [f"{name}__results__valid", f"{name}__results__payload"]
    cycles = max(plan.cycles for plan in schedules.values())
    await bench.start(dut, **dict.fromkeys(inputs, 0))
    seen = await play(dut, cycles, inputs, outputs)

    for name, array in arrays.items():
        plan = schedules[name]
        valid = seen[f"{name}__results__valid"]
        assert [t for t, v in enumerate(valid) if v] == sorted(plan.results), name
        for t, row in plan.results.items():
            _check(array, seen[f"{name}__results__payload"][t], row, (name, t))


def _check(array: Array, word: int, wanted: Row, where: Any) -> None:
    layout = results_signature(array).members["payload"].shape

    def field(name: str) -> int:
        return word >> layout[name].offset & ((1 << layout[name].width) - 1)

    assert field("row") == wanted.row, where
    assert field("last") == wanted.last, where
    assert field("alone") == wanted.alone, where
    if wanted.sums is not None:
        assert unpack(field("values"), 32, array.group) == list(wanted.sums), where
