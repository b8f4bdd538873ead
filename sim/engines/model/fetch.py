"""When the fetch unit has which word: the exact timing of rtl/shell/fetch_unit.py, without it.

Cycle 0 is the first busy cycle. With p(k) the cycle in which word k is handled, the caller asks for
words in order and tells when it handled them:

    fetch = FetchTiming(len(words), port)
    for k, word in enumerate(words):
        p = max(p + 1, fetch.available(k), ...)
        fetch.handled(k, p)

The header's words 0 and 1 are handled like any other, each in the first cycle it can be, so
p(0) = available(0), which is latency + FETCH_LATENCY, and p(1) = max(p(0) + 1, available(1)).
"""

from __future__ import annotations

from typing import Protocol

from mensa.rtl.commands import WORD_BYTES
from mensa.rtl.registers import FETCH_BURST_WORDS, FETCH_FIFO_WORDS, FETCH_LATENCY

__all__ = ["BurstPort", "FetchTiming"]


class BurstPort(Protocol):
    """One read port of the memory, asked burst by burst, in order."""

    def read(self, request: int, beats: int, address: int = 0) -> tuple[int, list[int]]:
        """Read a burst whose ARVALID is high from cycle `request` on, RREADY always.

        Returns
        -------
        int
            Cycle in which it is accepted.
        list of int
            Cycle in which each beat is transferred.
        """
        ...


class FetchTiming:
    """The fetch unit's requests and FIFO.

    Costs a constant time per burst, whatever the latency and bandwidth.

    Parameters
    ----------
    words : int
        Words of the program, header and END included.
    port : BurstPort
        The command port of the memory, fresh.
    address : int
        The program's in memory.
    """

    def __init__(self, words: int, port: BurstPort, address: int = 0):
        self._address = address
        self._words = words
        self._port = port
        self._available: list[int] = []  # by word
        self._handled: list[int] = []  # by word
        self._accepted = -1  # cycle of the latest burst

    @property
    def beats(self) -> int:
        """Beats that the program's fetch transfers in all: whole bursts."""
        return -(-self._words // FETCH_BURST_WORDS) * FETCH_BURST_WORDS

    def available(self, k: int) -> int:
        """First cycle in which word `k` can be handled; all before it must have been handled."""
        while len(self._available) <= k:
            burst = len(self._available) // FETCH_BURST_WORDS
            request = self._accepted + 1
            if burst > 0:
                room = FETCH_BURST_WORDS * (burst + 1) - FETCH_FIFO_WORDS - 1
                request = max(request, 1 + self._handled[max(1, room)])
            self._accepted, transfers = self._port.read(
                request, FETCH_BURST_WORDS, self._address + burst * FETCH_BURST_WORDS * WORD_BYTES
            )
            self._available += [cycle + FETCH_LATENCY for cycle in transfers]
        return self._available[k]

    def handled(self, k: int, cycle: int) -> None:
        """Note that word `k` is handled in `cycle`; words come in order."""
        if k != len(self._handled):
            raise ValueError(f"word {len(self._handled)} is next to be handled, not word {k}")
        self._handled.append(cycle)
