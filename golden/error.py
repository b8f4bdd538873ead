"""The one exception that golden raises for a file or an input it can't take."""

from __future__ import annotations


class GraphError(ValueError):
    """A network, an operator, a tensor or an input that golden can't take.

    Parameters
    ----------
    reason : str
        What was wanted, what was given, and where possible what to change.
    operator : str or None
        The operator at fault, for example ``"operator 3 (CONV_2D)"``.
    tensor : str or None
        The tensor at fault, for example ``"tensor 7 'conv1/weights'"``.
    """

    def __init__(
        self, reason: str, *, operator: str | None = None, tensor: str | None = None
    ) -> None:
        self.reason = reason
        self.operator = operator
        self.tensor = tensor
        where = ", ".join(each for each in (operator, tensor) if each is not None)
        super().__init__(printable(f"{where}: {reason}" if where else reason))


def printable(text: str) -> str:
    """A text on one line of a terminal: what would break the line or is no character is escaped.

    Names in a file may hold anything.
    """
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)
