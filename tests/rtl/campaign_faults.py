"""Kinds of faults that a campaign draws, each with what the core must say about it."""

from __future__ import annotations

import dataclasses
from collections import Counter
from dataclasses import dataclass, field

from mensa.rtl.commands import HEADER_WORDS, REGISTER_NUMBER, REGISTERS, Opcode, Token, Unit
from mensa.rtl.machine import AXI_PAGE_BYTES
from mensa.rtl.registers import FETCH_BURST_WORDS, PROGRAM_ALIGNMENT_BYTES, ErrorCode

MEMORY_BYTES = 1 << 16
PROGRAMS = ("setup", "inference")
SLVERR, DECERR = 2, 3
WATCHDOG = 500
"""Cycles; longer than any stall that a run draws, and than any command computes."""

WATCHDOGS = {code for code in ErrorCode if code.name.startswith("WATCHDOG_")}


@dataclass(frozen=True)
class Target:
    """A program that a fault happens to.

    Attributes
    ----------
    name : str
        Of PROGRAMS.
    address : int
        In memory.
    words : tuple of int
        The program.
    beats : mapping
        What it moves on channels of memory, by their names in `Fault.responses`.
    cycles : int
        That it takes without stalls.
    """

    name: str
    address: int
    words: tuple[int, ...]
    beats: dict[str, int]
    cycles: int

    def sets(self, unit, names):
        """(index of a SET, index of the GO that it is for) of registers of a unit."""
        numbers = {REGISTER_NUMBER[unit][name] for name in names}
        found, waiting = [], []
        for index, word in enumerate(self.words[HEADER_WORDS:], HEADER_WORDS):
            if word >> 56 == Opcode.SET << 4 | unit and word >> 48 & 255 in numbers:
                waiting.append(index)
            if word >> 56 == Opcode.GO << 4 | unit:
                found += [(each, index) for each in waiting]
                waiting = []
        return found


@dataclass(frozen=True)
class Fault:
    """What is done to a run, and what must become of it.

    Attributes
    ----------
    target : Target
        The program, as it is in memory.
    codes : set of ErrorCode
        One of them ends the program; after NONE its results are golden's.
    word : int or None
        PROGRAM_WORD after an error; None is any.
    unit : Unit or None
        After an error, PROGRAM_WORD is the index of a GO for this unit.
    responses : dict of (str, int) to int
        By channel ("fetch", "load" or "store") and beat, a response other than OKAY.
    held : str or None
        Channel that moves nothing from `held_beat` on until the core is STOPPING.
    watchdog, window_limit : int
        Registers.
    reset_after, start_after : int or None
        Cycles after the start at which CONTROL is written once more.
    knows_setup : bool
        Whether it is certain what the core holds of the set-up afterwards.
    """

    target: Target
    codes: set[ErrorCode]
    word: int | None = None
    unit: Unit | None = None
    responses: dict[tuple[str, int], int] = field(default_factory=dict)
    held: str | None = None
    held_beat: int = 0
    watchdog: int = 0
    window_limit: int = 0xFFFFFFFF
    reset_after: int | None = None
    start_after: int | None = None
    knows_setup: bool = True


def _with_word(target, index, word):
    words = (*target.words[:index], word, *target.words[index + 1 :])
    return dataclasses.replace(target, words=words)


def nothing(rng, target):
    return Fault(target, {ErrorCode.NONE})


def _response(rng, channel, beats):
    return {(channel, rng.randrange(beats)): rng.choice([SLVERR, DECERR])}


def fetch_error(rng, target):
    bursts = -(-len(target.words) // FETCH_BURST_WORDS)
    responses = _response(rng, "fetch", bursts * FETCH_BURST_WORDS)
    ((_, beat),) = responses
    if beat >= len(target.words):  # nobody asks for what is behind END
        return Fault(target, {ErrorCode.NONE}, responses=responses)
    known = beat >= HEADER_WORDS
    return Fault(target, {ErrorCode.BUS_ERROR}, word=beat, responses=responses, knows_setup=known)


def load_error(rng, target):
    responses = _response(rng, "load", target.beats["load"])
    return Fault(target, {ErrorCode.LOAD_BUS_ERROR}, unit=Unit.LOAD, responses=responses)


def store_error(rng, target):
    responses = _response(rng, "store", target.beats["store"])
    return Fault(target, {ErrorCode.STORE_BUS_ERROR}, unit=Unit.STORE, responses=responses)


def several_errors(rng, target):
    responses, codes = {}, set()
    for channel, code in (("fetch", "BUS"), ("load", "LOAD_BUS"), ("store", "STORE_BUS")):
        beats = len(target.words) if channel == "fetch" else target.beats[channel]
        for _ in range(rng.randint(0, 3) if beats else 0):
            responses |= _response(rng, channel, beats)
            codes.add(ErrorCode[f"{code}_ERROR"])
    return Fault(target, codes or {ErrorCode.NONE}, responses=responses, knows_setup=False)


def bad_header(rng, target):
    def other(bits):
        return rng.randrange(1, 1 << bits)

    code, index, change = rng.choice(
        [
            (ErrorCode.BAD_MAGIC, 0, other(32)),
            (ErrorCode.BAD_VERSION, 0, other(8) << 32),
            (ErrorCode.WRONG_CONFIGURATION, 1, other(32)),
        ]
    )
    changed = _with_word(target, index, target.words[index] ^ change)
    return Fault(changed, {code}, word=index, knows_setup=False)


def other_setup(rng, target):
    mine = target.words[0] >> 40
    other = rng.choice([each for each in (1, mine - 1, mine + 1, mine ^ 1 << 23) if each != mine])
    if not 0 < other < 1 << 24:
        other = mine ^ 2 or 1
    changed = _with_word(target, 0, target.words[0] & (1 << 40) - 1 | other << 40)
    return Fault(changed, {ErrorCode.SETUP_MISSING}, knows_setup=False)


def bad_word(rng, target):
    index = rng.randrange(HEADER_WORDS, len(target.words) - 1)
    unit = rng.choice(list(Unit))
    wrong = [op for op in range(16) if op not in set(Opcode)]
    low = rng.getrandbits(32)
    word = rng.choice(
        [
            rng.choice(wrong) << 60 | rng.getrandbits(60),
            Opcode.SET << 60 | rng.randrange(len(Unit), 16) << 56 | low,
            Opcode.GO << 60 | rng.randrange(len(Unit), 16) << 56 | low & 0xFFFF,
            Opcode.SET << 60 | unit << 56 | rng.randrange(len(REGISTERS[unit]), 256) << 48 | low,
        ]
    )
    return Fault(_with_word(target, index, word), {ErrorCode.BAD_COMMAND}, word=index)


def no_end(rng, target):
    # It is about the word that should be there, behind the last one that is counted.
    last = len(target.words) - 1
    changed = _with_word(target, last, Opcode.SET << 60 | rng.getrandbits(8))
    return Fault(changed, {ErrorCode.NO_END}, word=last + 1)


IMPOSSIBLE = {
    Unit.LOAD: {"ROWS": [0], "ROW_BYTES": [0], "SPACE": [3]},
    Unit.STORE: {"ROWS": [0], "ROW_BYTES": [0]},
    Unit.COMPUTE: {name: [0] for name in ("KERNEL_H", "KERNEL_W", "GROUPS", "PIXELS", "OUT_WIDTH")}
    | {"MODE": [6, 7]},
}
"""Values that no command can have."""


def _outcome_of_set(rng, target, sets, value):
    index, go = rng.choice(sets)
    word = target.words[index]
    return _with_word(target, index, word & ~0xFFFFFFFF | value(word & 0xFFFFFFFF)), go


def refused(rng, target):
    candidates = [
        (unit, name, values, sets)
        for unit, registers in IMPOSSIBLE.items()
        for name, values in registers.items()
        if (sets := target.sets(unit, [name]))
    ]
    unit, _, values, sets = rng.choice(candidates)
    changed, go = _outcome_of_set(rng, target, sets, lambda _: rng.choice(values))
    return Fault(changed, {ErrorCode.REFUSED}, word=go, unit=unit)


def misaligned(rng, target):
    unit = rng.choice([unit for unit in (Unit.LOAD, Unit.STORE) if _copies(target, unit)])
    changed, go = _outcome_of_set(rng, target, _copies(target, unit), lambda value: value ^ 1)
    return Fault(changed, {ErrorCode.REFUSED}, word=go, unit=unit)


def _copies(target, unit):
    return target.sets(unit, ["MEMORY_ADDRESS"])


def deadlock(rng, target):
    promised: Counter[Token] = Counter()
    candidates = []
    for index, word in enumerate(target.words[HEADER_WORDS:], HEADER_WORDS):
        if word >> 60 != Opcode.GO:
            continue
        wait, signal = word >> 48 & 255, word >> 40 & 255
        for token in Token:
            if promised[token] < 1 and not wait >> token & 1:
                candidates.append((index, word | 1 << 48 + token))
            promised[token] += (signal >> token & 1) - (wait >> token & 1)
    index, word = rng.choice(candidates)
    return Fault(_with_word(target, index, word), {ErrorCode.DEADLOCK}, word=index)


def _outside(rng, target, unit, code):
    beyond = rng.randrange(MEMORY_BYTES, 1 << 32, MEMORY_BYTES)
    changed, go = _outcome_of_set(
        rng, target, _copies(target, unit), lambda value: (value + beyond) & 0xFFFFFFFF
    )
    return Fault(changed, {code}, word=go, unit=unit, window_limit=MEMORY_BYTES - 1)


def load_outside(rng, target):
    return _outside(rng, target, Unit.LOAD, ErrorCode.LOAD_OUTSIDE)


def store_outside(rng, target):
    return _outside(rng, target, Unit.STORE, ErrorCode.STORE_OUTSIDE)


def fetch_outside(rng, target):
    # The program begins in the window's last page, or behind it.
    end = rng.randrange(MEMORY_BYTES // 2, MEMORY_BYTES, AXI_PAGE_BYTES)
    bursts = -(-len(target.words) // FETCH_BURST_WORDS)
    inside = rng.randrange(bursts)
    moved = dataclasses.replace(target, address=end - inside * PROGRAM_ALIGNMENT_BYTES)
    return Fault(
        moved, {ErrorCode.FETCH_OUTSIDE}, word=inside * FETCH_BURST_WORDS, window_limit=end - 1,
        knows_setup=False,
    )  # fmt: skip


def unaligned(rng, target):
    moved = dataclasses.replace(target, address=target.address + rng.choice([1, 4, 8, 64]))
    return Fault(moved, {ErrorCode.UNALIGNED_PROGRAM}, knows_setup=False)


def _fetched(target):
    """Words that are read: whole bursts, what lies behind END too."""
    return -(-len(target.words) // FETCH_BURST_WORDS) * FETCH_BURST_WORDS


def silent_fetch(rng, target):
    beat = rng.randrange(_fetched(target))
    return Fault(
        target, {ErrorCode.WATCHDOG_FETCH}, watchdog=WATCHDOG, held="fetch", held_beat=beat,
        knows_setup=beat > FETCH_BURST_WORDS,
    )  # fmt: skip


def silent_load(rng, target):
    held = rng.choice(["load", "load", "load_request"])
    beat = rng.randrange(target.beats["load"]) if held == "load" else 0
    return Fault(
        target, {ErrorCode.WATCHDOG_LOAD}, unit=Unit.LOAD, watchdog=WATCHDOG, held=held,
        held_beat=beat,
    )  # fmt: skip


def _silent_store(target, held, beat=0):
    return Fault(
        target, {ErrorCode.WATCHDOG_STORE}, unit=Unit.STORE, watchdog=WATCHDOG, held=held,
        held_beat=beat,
    )  # fmt: skip


def silent_store(rng, target):
    return _silent_store(target, "store", rng.randrange(target.beats["store"]))


def silent_store_data(rng, target):
    return _silent_store(target, "store_data")


def silent_store_request(rng, target):
    return _silent_store(target, "store_request")


def impatient_watchdog(rng, target):
    return Fault(
        target, {ErrorCode.NONE, *WATCHDOGS}, watchdog=rng.randint(1, 60), knows_setup=False
    )


def soft_reset(rng, target):
    after = rng.randrange(1, target.cycles + 50)
    # With a slower memory it takes longer, but never less.
    ended = {ErrorCode.NONE} if after > target.cycles - 40 else set()
    return Fault(target, {ErrorCode.RESET} | ended, reset_after=after)


def soft_reset_in_silence(rng, target):
    beats = {"load": target.beats["load"], "load_request": 1, "fetch": _fetched(target)}
    if target.name == "inference":
        beats |= {"store": target.beats["store"], "store_data": 1, "store_request": 1}
    held = rng.choice(list(beats))
    return Fault(
        target, {ErrorCode.RESET}, held=held, held_beat=rng.randrange(beats[held]),
        reset_after=rng.randrange(2000, 2500),
    )  # fmt: skip


def start_while_busy(rng, target):
    return Fault(target, {ErrorCode.NONE}, start_after=rng.randrange(1, 60))


KINDS = (
    *(nothing, fetch_error, load_error, store_error, several_errors, bad_header, other_setup),
    *(bad_word, no_end, refused, misaligned, deadlock, load_outside, store_outside),
    *(fetch_outside, unaligned, silent_fetch, silent_load, silent_store, silent_store_data),
    *(silent_store_request, impatient_watchdog, soft_reset, soft_reset_in_silence),
    start_while_busy,
)
"""Functions from a random source and a `Target` to a `Fault`."""

INFERENCE_ONLY = {
    *(store_error, other_setup, store_outside),
    *(silent_store, silent_store_data, silent_store_request),
}
"""What the set-up, which stores nothing and needs no set-up, can't have."""


def draw(rng, targets, kind):
    """A fault of that kind. Parameters: `targets` by name."""
    name = "inference" if kind in INFERENCE_ONLY else rng.choice(PROGRAMS)
    return kind(rng, targets[name])
