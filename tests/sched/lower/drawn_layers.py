"""Random layers of one operator, which a machine must compute as golden does."""

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from mensa import golden
from mensa.sched.lower import LoweringError, lower
from mensa.sched.placement import all_on
from tests.golden.makers import MAKERS
from tests.golden.strategies import layers
from tests.sched.runner import assert_equals_golden


def assert_drawn_layers_equal_golden(op, machine, *, examples, least, check=None):
    """Compare drawn 8-bit layers of `op`, with either rounding, that run on `machine`.

    Parameters: at least `least` of about `examples` must be compared; `check` is called with each
    `Lowered` before it runs.
    """
    compared = 0
    kinds = [
        (rounding, kind)
        for rounding in ("tflm", "litert")
        for kind in MAKERS[op].types[rounding]
        if kind in ("int8", "uint8")
    ]
    cases = st.sampled_from(kinds).flatmap(
        lambda case: st.tuples(
            st.just(case[0]), layers(operators=(op,), dtypes=(case[1],), oracle=case[0])
        )
    )

    @settings(
        max_examples=examples,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    )
    @given(cases)
    def compare(case):
        nonlocal compared
        rounding, layer = case
        try:
            golden.check_supported(layer.graph, rounding)
            lowered = lower(layer.graph, all_on(machine), rounding)
        except (golden.GraphError, LoweringError):
            assume(False)
        assume(all(each.reason is None for each in lowered.layers if each.op == op))
        if check is not None:
            check(lowered)
        assert_equals_golden(lowered, layer.inputs()[0])
        compared += 1

    compare()
    assert compared >= least
