"""FPGAs that `mensa synth` knows: what they have, and what their tools call it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

__all__ = ["TARGETS", "Device", "Resources", "blocks_for"]


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What a design needs, or a device has.

    Attributes
    ----------
    logic : int
        Look-up tables, each half of a wide one and of a carry cell counted.
    flip_flops : int
        Registers of one bit.
    multipliers : int
        Hard multipliers.
    block_rams : int
        Hard memories.
    """

    logic: int
    flip_flops: int
    multipliers: int
    block_rams: int

    def over(self, limit: Resources) -> list[str]:
        """Return the names of the fields that are larger than in `limit`."""
        names = [field.name for field in fields(self)]
        return [name for name in names if getattr(self, name) > getattr(limit, name)]


@dataclass(frozen=True, kw_only=True)
class Device:
    """One target.

    Attributes
    ----------
    name : str
        What `--target` calls it.
    part : str
        What its vendor calls it.
    has : Resources
        What is there.
    says : mapping of str to str
        What the vendor calls each field of `Resources`.
    shapes : tuple of (int, int)
        Depths and bytes of a block RAM whose bytes are written one by one.
    option : str or None
        Of nextpnr; None where yosys alone counts the resources.
    """

    name: str
    part: str
    has: Resources
    says: Mapping[str, str]
    shapes: tuple[tuple[int, int], ...]
    option: str | None


_ECP5_NAMES = {
    "logic": "LUT4 (TRELLIS_COMB)",
    "flip_flops": "flip-flops (TRELLIS_FF)",
    "multipliers": "18x18 multipliers (MULT18X18D)",
    "block_rams": "18 kbit block RAMs (DP16KD)",
}
_SHAPES = ((2048, 1), (1024, 2), (512, 4))

_XC7_NAMES = {
    "logic": "LUT6",
    "flip_flops": "flip-flops",
    "multipliers": "DSP slices (DSP48E1)",
    "block_rams": "18 kbit block RAMs (RAMB18E1, two of which are a RAMB36E1)",
}

# Lattice FPGA-DS-02012, ECP5 and ECP5-5G family, table 1.1; AMD DS180, 7 series overview, table 6.
TARGETS = {
    device.name: device
    for device in (
        Device(
            name="ecp5-25k",
            part="LFE5U-25F",
            has=Resources(logic=24_288, flip_flops=24_288, multipliers=28, block_rams=56),
            says=_ECP5_NAMES,
            shapes=_SHAPES,
            option="--25k",
        ),
        Device(
            name="ecp5-85k",
            part="LFE5U-85F",
            has=Resources(logic=83_640, flip_flops=83_640, multipliers=156, block_rams=208),
            says=_ECP5_NAMES,
            shapes=_SHAPES,
            option="--85k",
        ),
        Device(
            name="xc7",
            part="XC7A200T, the largest Artix-7",
            has=Resources(logic=134_600, flip_flops=269_200, multipliers=740, block_rams=730),
            says=_XC7_NAMES,
            shapes=_SHAPES,
            option=None,
        ),
    )
}
"""Every target, by name."""


def blocks_for(device: Device, depth: int, row_bytes: int) -> int:
    """Block RAMs of a memory of `depth` rows whose bytes are written one by one."""
    return min(-(-depth // deep) * -(-row_bytes // wide) for deep, wide in device.shapes)
