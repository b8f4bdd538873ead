"""What a kernel works out from a plan, once per plan."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TypeVar
from weakref import WeakKeyDictionary

from mensa.golden.plan import Plan

AnyPlan = TypeVar("AnyPlan", bound=Plan)
Result = TypeVar("Result")


def once_per_plan(make: Callable[[AnyPlan], Result]) -> Callable[[AnyPlan], Result]:
    """`make`, which is called once for each plan; its result is kept as long as the plan lives.

    Plans and their arrays never change. The result must not hold the plan, which would then hold
    itself.
    """
    kept: WeakKeyDictionary[AnyPlan, Result] = WeakKeyDictionary()

    @wraps(make)
    def found(plan: AnyPlan) -> Result:
        result = kept.get(plan)
        if result is None:
            result = kept[plan] = make(plan)
        return result

    return found
