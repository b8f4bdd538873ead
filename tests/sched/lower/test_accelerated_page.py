"""docs/accelerated.md is made of what the code does, and names every operator that runs."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from mensa import golden
from mensa.sched.lower.accelerated_page import KINDS, graph_of, page
from mensa.sched.lower.lowerings import LOWERINGS, OPERATORS, PARAMETERISED
from mensa.sched.lower.supported import why_on_host
from tests.golden.makers import MAKERS
from tests.golden.strategies import layers

ROOT = Path(__file__).parents[3]
LISTED = {name for kind in KINDS for name in kind.operators}


SELDOM = {"RESIZE_BILINEAR"}
"""Which few drawn layers keep to the restrictions of."""


def test_the_page_lists_them_all():
    assert LISTED == OPERATORS
    assert set(MAKERS) >= OPERATORS


def test_the_page_is_up_to_date():
    assert (ROOT / "docs" / "accelerated.md").read_text() == page(), (
        "run: python -m mensa.sched.lower.accelerated_page > docs/accelerated.md"
    )


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.operators[0])
def test_the_samples_run_on_the_machine(kind):
    graph = graph_of(kind)
    assert all(why_on_host(graph, operator) is None for operator in graph.operators)
    assert {operator.op for operator in graph.operators} & set(kind.operators)


@pytest.mark.parametrize("op", sorted(MAKERS))
def test_an_operator_is_listed_if_the_machine_runs_it(op):
    oracle = "tflm" if MAKERS[op].types["tflm"] and not isinstance(
        MAKERS[op].types["tflm"], str) else "litert"  # fmt: skip
    known = MAKERS[op].types[oracle]
    types = [kind for kind in ("int8", "uint8") if not isinstance(known, str) and kind in known]
    if not types:
        pytest.skip("no oracle runs it on 8 bits")
    ran = []

    @settings(
        max_examples=12,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(layers(operators=(op,), dtypes=types, oracle=oracle))
    def look(layer):
        for operator in layer.graph.operators:
            if operator.op == op and op not in OPERATORS:
                kind = type(golden.plan(layer.graph, operator, oracle))
                assert kind not in (*LOWERINGS, *PARAMETERISED), f"{op} could run on the machine"
            elif operator.op == op and why_on_host(layer.graph, operator, oracle) is None:
                ran.append(operator)

    look()
    assert bool(ran) == (op in OPERATORS) or op in SELDOM
