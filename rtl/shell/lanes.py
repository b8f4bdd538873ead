"""The data port as several AXI ports in lock step, where a beat is wider than AXI's widest."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Const, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from mensa.rtl.axi import ReadSignature, WriteSignature, beat_size

__all__ = ["Lanes", "ReadLanes", "WriteLanes"]


def _share(m: Module, valid: Value, lanes: list[tuple[Signal, Value]], name: str) -> Value:
    """Offer to each lane what all must take, once. Returns: whether all have it.

    Parameters: `lanes`, valid and ready of each.
    """
    taken = [Signal(name=f"{name}_taken_{lane}") for lane in range(len(lanes))]
    done = Cat(have | ready for have, (_, ready) in zip(taken, lanes, strict=True)).all()
    for have, (offered, ready) in zip(taken, lanes, strict=True):
        m.d.comb += offered.eq(valid & ~have)
        m.d.sync += have.eq(valid & ~done & (have | ready))
    return done


def _address(address: Value, beat_bytes: int, lanes: int) -> Value:
    """Where a burst begins in each lane's part of the memory."""
    low = beat_bytes.bit_length() - 1
    kept = low - (lanes.bit_length() - 1)
    return Cat(Const(0, kept), address[low:])


class Lanes(wiring.Component):
    """Of a port with beats of B bytes, N ports with beats of B / N.

    Byte b of the beat at memory address A, a multiple of B, is byte b modulo B / N of lane b / (B /
    N), which has it at address A / N: so each lane has a memory of its own, or every N-th word of
    one. All lanes transfer the same bursts and beats; one that is ahead of another waits for it.
    There is no latency.

    Parameters
    ----------
    address_bits, beat_bytes, lanes : int
        The wide port's, and N.

    Members
    -------
    bus : In
        The wide port.
    lane_0, … : Out
        The narrow ones.
    """

    _signature: type[ReadSignature] | type[WriteSignature]

    def __init__(self, address_bits: int, beat_bytes: int, lanes: int):
        if lanes < 2 or lanes & (lanes - 1) or beat_bytes % lanes:
            raise ValueError(
                f"Lanes must be a power of two of at least 2 that divides {beat_bytes}, "
                f"not {lanes!r}"
            )
        self._beat_bytes, self._count = beat_bytes, lanes
        super().__init__(
            {
                "bus": In(self._signature(address_bits, beat_bytes)),
                **{
                    f"lane_{lane}": Out(self._signature(address_bits, beat_bytes // lanes))
                    for lane in range(lanes)
                },
            }
        )

    @property
    def lanes(self) -> list[Any]:
        """The narrow ports."""
        return [getattr(self, f"lane_{lane}") for lane in range(self._count)]

    def _request(self, m: Module, channel: str) -> None:
        """Give a burst to all lanes."""
        bus = self.bus

        def signal(port: Any, name: str) -> Any:
            return getattr(port, f"{channel}{name}")

        ports = [(signal(lane, "valid"), signal(lane, "ready")) for lane in self.lanes]
        m.d.comb += signal(bus, "ready").eq(_share(m, signal(bus, "valid"), ports, channel))
        address = _address(signal(bus, "addr"), self._beat_bytes, self._count)
        for lane in self.lanes:
            m.d.comb += [
                signal(lane, "addr").eq(address),
                signal(lane, "size").eq(beat_size(self._beat_bytes // self._count)),
                *(signal(lane, name).eq(signal(bus, name)) for name in ("len", "burst", "prot")),
            ]

    def _collect(self, m: Module, channel: str) -> None:
        """Take an answer when all lanes have it; an error of one is an error of all."""
        bus, lanes = self.bus, self.lanes

        def signal(port: Any, name: str) -> Any:
            return getattr(port, f"{channel}{name}")

        there = Cat(signal(lane, "valid") for lane in lanes).all()
        responses = [signal(lane, "resp") for lane in lanes]
        m.d.comb += [
            signal(bus, "valid").eq(there),
            signal(bus, "resp").eq(
                Cat(Cat(response[bit] for response in responses).any() for bit in range(2))
            ),
            *(signal(lane, "ready").eq(there & signal(bus, "ready")) for lane in lanes),
        ]


class ReadLanes(Lanes):
    """The lanes of a read port; see `Lanes`."""

    _signature = ReadSignature

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        self._request(m, "ar")
        self._collect(m, "r")
        m.d.comb += [
            self.bus.rdata.eq(Cat(lane.rdata for lane in self.lanes)),
            self.bus.rlast.eq(self.lanes[0].rlast),
        ]
        return m


class WriteLanes(Lanes):
    """The lanes of a write port; see `Lanes`."""

    _signature = WriteSignature

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        self._request(m, "aw")
        bus = self.bus
        ports = [(lane.wvalid, lane.wready) for lane in self.lanes]
        m.d.comb += bus.wready.eq(_share(m, bus.wvalid, ports, "w"))
        for number, lane in enumerate(self.lanes):
            m.d.comb += [
                lane.wdata.eq(bus.wdata.word_select(number, len(lane.wdata))),
                lane.wstrb.eq(bus.wstrb.word_select(number, len(lane.wstrb))),
                lane.wlast.eq(bus.wlast),
            ]
        self._collect(m, "b")
        return m
