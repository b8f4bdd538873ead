"""What the numbers of a configuration may be, and the error that says so."""

from __future__ import annotations

from collections.abc import Collection, Iterable

__all__ = [
    "MachineError",
    "check_count",
    "check_known",
    "check_power_of_two",
    "check_range",
    "next_power_of_two",
]


class MachineError(ValueError):
    """A configuration that can't be built; the message says which number and what it may be."""


def check_known(
    names: Iterable[str], known: Collection[str], error: type[ValueError] = MachineError
) -> None:
    """Raise `error` for the first of `names` that is not `known`; it lists those that are."""
    for name in names:
        if name not in known:
            raise error(f"no setting {name!r}; settings are {', '.join(sorted(known))}")


def check_count(what: str, value: object) -> None:
    """Raise TypeError unless `value` is a positive integer; `what` it counts begins the message."""
    if not isinstance(value, int) or value < 1:
        raise TypeError(f"{what} must be a positive integer, not {value!r}")


def check_range(setting: str, value: object, low: int, high: int, note: str = "") -> None:
    """Raise MachineError unless `value` is an integer from `low` to `high`; `note` follows them."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise MachineError(f"{setting} must be an integer, not {value!r}")
    if not low <= value <= high:
        raise MachineError(f"{setting} must be between {low} and {high}{note}, not {value}")


def check_power_of_two(setting: str, value: object, low: int, high: int) -> None:
    """Raise MachineError unless `value` is a power of two from `low` to `high`."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise MachineError(f"{setting} must be an integer, not {value!r}")
    if not low <= value <= high or value & (value - 1):
        raise MachineError(
            f"{setting} must be a power of two between {low} and {high}, not {value}"
        )


def next_power_of_two(n: int) -> int:
    """The least power of two that is not below `n`."""
    return 1 << (n - 1).bit_length()
