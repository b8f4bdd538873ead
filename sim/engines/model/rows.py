"""Rows of a memory's banks, and its refresh: how much longer a burst takes to be answered.

The C++ twin is `Rows` in sim/engines/harness/memory.hpp; docs/architecture.md, "Memory, and its
time", has the rules.
"""

from __future__ import annotations

from mensa.sim.memory import PortTiming

__all__ = ["Rows"]


class Rows:
    """The open rows of one channel.

    Parameters
    ----------
    timing : PortTiming
        With rows, refresh, both or neither.
    """

    def __init__(self, timing: PortTiming):
        self._timing = timing
        self._open: dict[int, tuple[int, int]] = {}  # by bank: its row, and in which interval

    def delay(self, accepted: int, address: int, nbytes: int) -> int:
        """Cycles that a burst of so many bytes waits for its rows, which are open afterwards.

        Parameters: the cycle in which it is accepted. A refresh closes all rows.
        """
        timing = self._timing
        if not timing.row_bytes:
            return 0
        interval = accepted // timing.refresh_interval if timing.refresh_interval else 0
        missed = 0
        for row in range(
            address // timing.row_bytes, (address + nbytes - 1) // timing.row_bytes + 1
        ):
            bank = row % timing.banks
            if self._open.get(bank) != (row, interval):
                self._open[bank] = row, interval
                missed += 1
        return missed * timing.row_miss

    def after_refresh(self, cycle: int) -> int:
        """The first cycle from `cycle` on that is in no refresh."""
        timing = self._timing
        if not timing.refresh_interval:
            return cycle
        interval, place = divmod(cycle, timing.refresh_interval)
        return cycle if interval == 0 or place >= timing.refresh else cycle - place + timing.refresh
