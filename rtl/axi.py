"""AXI4 and AXI4-Lite interfaces, as wiring signatures seen from the manager.

Signal names are those of the AMBA AXI specification (IHI 0022), in lower case.
"""

from __future__ import annotations

from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["LiteSignature", "ReadSignature", "WriteSignature", "beat_size"]

INCR = 0b01
"""Burst type whose addresses rise from beat to beat."""

OKAY = 0b00
"""Response of a transfer that went well."""


def beat_size(beat_bytes: int) -> int:
    """AxSIZE of a beat of `beat_bytes`, a power of two."""
    return beat_bytes.bit_length() - 1


class ReadSignature(wiring.Signature):
    """The read channels (AR, R) of an AXI4 manager without identifiers.

    Parameters: `address_bits`; `beat_bytes`, a power of two.
    """

    def __init__(self, address_bits: int, beat_bytes: int):
        self.address_bits = address_bits
        self.beat_bytes = beat_bytes
        super().__init__(
            {
                "araddr": Out(address_bits),
                "arlen": Out(8),
                "arsize": Out(3),
                "arburst": Out(2),
                "arprot": Out(3),
                "arvalid": Out(1),
                "arready": In(1),
                "rdata": In(8 * beat_bytes),
                "rresp": In(2),
                "rlast": In(1),
                "rvalid": In(1),
                "rready": Out(1),
            }
        )


class WriteSignature(wiring.Signature):
    """The write channels (AW, W, B) of an AXI4 manager without identifiers.

    Parameters: `address_bits`; `beat_bytes`, a power of two.
    """

    def __init__(self, address_bits: int, beat_bytes: int):
        self.address_bits = address_bits
        self.beat_bytes = beat_bytes
        super().__init__(
            {
                "awaddr": Out(address_bits),
                "awlen": Out(8),
                "awsize": Out(3),
                "awburst": Out(2),
                "awprot": Out(3),
                "awvalid": Out(1),
                "awready": In(1),
                "wdata": Out(8 * beat_bytes),
                "wstrb": Out(beat_bytes),
                "wlast": Out(1),
                "wvalid": Out(1),
                "wready": In(1),
                "bresp": In(2),
                "bvalid": In(1),
                "bready": Out(1),
            }
        )


class LiteSignature(wiring.Signature):
    """An AXI4-Lite manager with 32-bit data.

    Parameters: `address_bits`.
    """

    def __init__(self, address_bits: int):
        self.address_bits = address_bits
        super().__init__(
            {
                "awaddr": Out(address_bits),
                "awprot": Out(3),
                "awvalid": Out(1),
                "awready": In(1),
                "wdata": Out(32),
                "wstrb": Out(4),
                "wvalid": Out(1),
                "wready": In(1),
                "bresp": In(2),
                "bvalid": In(1),
                "bready": Out(1),
                "araddr": Out(address_bits),
                "arprot": Out(3),
                "arvalid": Out(1),
                "arready": In(1),
                "rdata": In(32),
                "rresp": In(2),
                "rvalid": In(1),
                "rready": Out(1),
            }
        )
