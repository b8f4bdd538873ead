"""The jobs of an operator: what its commands do one after another.

Most operators are one job, some are several stages (`stages.py`). The vector unit walks through
both operands of a pair in the same steps, so a computed one that is broadcast is written out in
full before (`broadcast.py`); of constants that is done when the network is lowered.
"""

from __future__ import annotations

from dataclasses import dataclass

from mensa.golden import Operator, Plan, Tensor
from mensa.sched.lower.views import Place

__all__ = ["Job"]


@dataclass(frozen=True, eq=False)
class Job:
    """What some commands of an operator do.

    Attributes
    ----------
    operator : Operator
        Whose they are.
    work, operands : Plan, tuple of Tensor
        What they compute, and what of that are operands of the operator.
    sources, results : tuples of Place
        What they read and write. Tensors are numbered as in the graph; negative numbers are tensors
        that only lowering knows.
    """

    operator: Operator
    work: Plan
    operands: tuple[Tensor, ...]
    sources: tuple[Place, ...]
    results: tuple[Place, ...]

    @property
    def read(self) -> tuple[int, ...]:
        """The tensors that it reads, or parts of."""
        return tuple(place.tensor for place in self.sources)

    @property
    def written(self) -> tuple[int, ...]:
        """The tensors that it writes, or parts of."""
        return tuple(place.tensor for place in self.results)
