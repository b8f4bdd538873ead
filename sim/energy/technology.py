"""Technology: the process, its devices and their temperature, which energy and area depend on."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from mensa.rtl.setting import check_known
from mensa.sim.energy.constants import constants

__all__ = ["Technology", "TechnologyError"]


class TechnologyError(ValueError):
    """A technology that can't be; the message says which setting and what it may be."""


@dataclass(frozen=True, kw_only=True)
class Technology:
    """What machines are made of; all of a system's alike.

    Attributes
    ----------
    node_nm : int or float
        The process. Constants of logic and buffers are of 22 nm, and scaled to it.
    device : str
        Transistors of buffers and logic: lstp (low standby power), lop (low operating power) or
        hp (high performance). Their leakage differs by three orders of magnitude.
    temperature_k : int
        Of the chip, 300 or 350: leakage grows with it.
    power_gated : bool
        Whether a machine that has nothing to do leaks nothing.
    """

    node_nm: int | float = 22
    device: str = "lstp"
    temperature_k: int = 300
    power_gated: bool = False

    def __post_init__(self) -> None:
        known = constants()
        node = self.node_nm
        least, most = known.nodes
        if not isinstance(node, int | float) or isinstance(node, bool) or not least <= node <= most:
            raise TechnologyError(f"node_nm must be between {least} and {most}, not {node!r}")
        if not isinstance(self.device, str) or self.device not in known.devices:
            raise TechnologyError(f"device is {', '.join(known.devices)}, not {self.device!r}")
        temperature = self.temperature_k
        if not isinstance(temperature, int) or temperature not in known.temperatures:
            kelvins = " or ".join(map(str, known.temperatures))
            raise TechnologyError(f"temperature_k is {kelvins}, not {self.temperature_k!r}")
        if not isinstance(self.power_gated, bool):
            raise TechnologyError(f"power_gated is on or off, not {self.power_gated!r}")

    def replace(self, **changes: Any) -> Technology:
        """Return a copy with some settings changed.

        Raises: TechnologyError if a setting does not exist or its value is refused.
        """
        check_known(changes, {field.name for field in dataclasses.fields(self)}, TechnologyError)
        return dataclasses.replace(self, **changes)
