"""Rows and refresh, worked out by hand."""

from __future__ import annotations

from mensa.sim.engines.model.dma import ReadPort, WritePort
from mensa.sim.engines.model.rows import Rows
from mensa.sim.memory import PortTiming

ROWS = PortTiming(5, 1, 1, 4, row_bytes=64, banks=2, row_miss=7)
BOTH = ROWS._replace(refresh_interval=100, refresh=20)


def test_a_burst_waits_for_each_row_that_is_not_open():
    rows = Rows(ROWS)
    assert rows.delay(0, 0, 64) == 7  # row 0 of bank 0
    assert rows.delay(1, 32, 32) == 0  # the same
    assert rows.delay(2, 64, 64) == 7  # row 1, bank 1
    assert rows.delay(3, 0, 128) == 0  # both are open
    assert rows.delay(4, 100, 64) == 7  # row 1 is open, row 2 in bank 0 is not
    assert rows.delay(5, 0, 1) == 7  # it has closed row 0
    assert rows.delay(6, 0, 256) == 2 * 7  # rows 0 to 3, of which 0 and 1 are open
    assert rows.delay(7, 0, 64) == 7  # and aren't any more


def test_a_refresh_closes_all_rows_and_puts_answers_behind_it():
    rows = Rows(BOTH)
    assert rows.delay(98, 0, 64) == 7
    assert rows.delay(99, 0, 64) == 0
    assert rows.delay(100, 0, 64) == 7
    assert rows.delay(199, 0, 64) == 0
    assert [rows.after_refresh(cycle) for cycle in (0, 19, 99, 100, 119, 120, 205)] == [
        0, 19, 99, 120, 120, 120, 220,
    ]  # fmt: skip


def test_without_rows_or_refresh_nothing_is_added():
    rows = Rows(PortTiming(5, 1, 1, 4))
    assert rows.delay(3, 0, 4096) == 0
    assert rows.after_refresh(12345) == 12345


def test_a_read_port_offers_so_much_later():
    port = ReadPort(BOTH, beat_bytes=16)
    assert port.burst(10, 4, address=0) == (10, 10 + 5 + 7 + 3)
    assert port.burst(11, 4, address=0) == (11, 26 + 3)  # open: as soon as the channel is free
    assert port.burst(90, 4, address=64) == (90, 120 + 3)  # 90 + 5 + 7 is in the refresh


def test_a_write_port_answers_so_much_later():
    port = WritePort(BOTH, beat_bytes=16)
    accepted, response = port.burst(10, 0, 4, address=0)
    assert (accepted, response) == (10, 11 + 3 + 5 + 7)
    assert port.burst(80, 0, 4, address=0) == (80, 81 + 3 + 5)  # its row is open
    assert port.burst(92, 0, 4, address=0) == (92, 120)  # 93 + 3 + 5 is in the refresh
