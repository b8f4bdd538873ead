"""Standstills in words; test_rtl.py has those that a real core comes to."""

from __future__ import annotations

import numpy as np
import pytest

from mensa.rtl.commands import HEADER_WORDS, Token, Unit
from mensa.rtl.program import end_word, go_word, set_word
from mensa.rtl.registers import ErrorCode
from mensa.sim.engines.watchdog import PORTS, Snapshot, who_waits

AT = HEADER_WORDS
"""The word that fetch stands at."""


def said(word, *, fetched=AT + 1, pending=(), running=(), code=ErrorCode.NONE, port=None):
    """Parts of the message, for a program that has `word` at AT, by who they are about."""
    memory = np.array([0] * AT + [word], "<u8").view(np.uint8)
    snapshot = Snapshot(
        word=AT,
        fetched=fetched,
        pending=sum(1 << unit for unit in pending),
        running=sum(1 << unit for unit in running),
    )
    snapshot.missing[Unit.COMPUTE] = 1 << Token.PARAMETERS_READY | 1 << Token.RESULTS_FREE
    if port is not None:
        index, fields = port
        for name, value in fields.items():
            setattr(snapshot.ports[index], name, value)
    return who_waits(snapshot, memory, 0, code).split("; ")


@pytest.mark.parametrize("word", [set_word(Unit.COMPUTE, "MODE", 0), go_word(Unit.COMPUTE)])
def test_fetch_waits_only_for_a_pending_unit_of_its_own_word(word):
    fetch, _, compute, *_ = said(word, pending=[Unit.COMPUTE])
    assert "for compute, whose command before is still pending" in fetch
    assert compute == "compute waits for PARAMETERS_READY and RESULTS_FREE"
    assert said(word, pending=[Unit.LOAD], running=[Unit.COMPUTE])[0] == f"fetch handles word {AT}"


def test_fetch_waits_for_its_word_and_at_the_end_for_everyone():
    fetch = said(end_word(), fetched=AT)[0]
    assert fetch == f"fetch waits for word {AT} of the program from the command port"
    fetch = said(end_word(), pending=[Unit.STORE], running=[Unit.LOAD])[0]
    assert fetch == f"fetch waits at word {AT}, END, for load and store to finish"
    fetch = said(end_word(), code=ErrorCode.BANK_CONFLICT, port=(1, {"in_flight": 2}))[0]
    assert fetch == "fetch stopped with BANK_CONFLICT and waits for data port, read"


@pytest.mark.parametrize(
    ("index", "fields", "expected"),
    [
        (0, {}, "no bursts in flight"),
        (0, {"valid": 0b01}, "no bursts in flight, core waits for ARREADY"),
        (1, {"in_flight": 1}, "1 burst in flight, core waits for RVALID"),
        (1, {"in_flight": 1, "valid": 0b10}, "1 burst in flight, memory waits for RREADY"),
        (1, {"in_flight": 1, "valid": 0b10, "ready": 0b10}, "1 burst in flight"),
        (2, {"in_flight": 3}, "3 bursts in flight, memory waits for WVALID"),
        (2, {"in_flight": 1, "valid": 0b010}, "1 burst in flight, core waits for WREADY"),
        (2, {"in_flight": 1, "complete": 1}, "1 burst in flight, core waits for BVALID"),
        (
            2,
            {"in_flight": 2, "complete": 1, "valid": 0b100},
            "2 bursts in flight, memory waits for WVALID, memory waits for BREADY",
        ),
    ],
)
def test_a_port_names_the_side_that_waits(index, fields, expected):
    parts = said(end_word(), port=(index, fields))
    assert parts[1 + len(Unit) + index] == f"{PORTS[index]}: {expected}"
