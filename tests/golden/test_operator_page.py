"""docs/operators.md says what the code has and what the last long run of the tests counted."""

import json

import pytest

from mensa.golden.families import supported
from tests.golden.comparison import DIFFERENCES
from tests.golden.makers import MAKERS
from tests.golden.operator_page import COMMAND, ORACLES, PAGE, RECORD, page
from tests.golden.operators.test_detection import OP as DETECTION

OPERATORS = json.loads(RECORD.read_text())["operators"]
AGAIN = f"run {COMMAND}"
LEAST = 3000


def test_the_page_is_made_of_the_record():
    assert PAGE.read_text() == page(json.loads(RECORD.read_text())), f"{AGAIN} --page"


def test_every_operator_of_golden_is_compared_and_on_the_page():
    assert set(supported()) == {*MAKERS, DETECTION}
    assert set(OPERATORS) == set(supported()), AGAIN


@pytest.mark.parametrize("op", sorted(MAKERS))
@pytest.mark.parametrize("oracle", ORACLES)
def test_every_type_that_is_drawn_was_compared_in_enough_cases(op, oracle):
    types, recorded = MAKERS[op].types[oracle], OPERATORS[op][oracle]
    if isinstance(types, str):
        assert recorded == types, AGAIN
        return
    assert set(types) <= set(recorded), AGAIN
    assert sum(recorded.values()) >= LEAST, AGAIN


def test_every_operator_was_compared_with_an_oracle():
    for op, entry in OPERATORS.items():
        counts = [entry[oracle] for oracle in ORACLES if isinstance(entry[oracle], dict)]
        assert max(sum(each.values()) for each in counts) >= LEAST, op


def test_a_cause_is_given_exactly_where_a_difference_was_measured():
    measured = {
        op
        for op, entry in OPERATORS.items()
        if entry["ties"][0] or any(entry["differing"].values())
    }
    assert measured == set(DIFFERENCES), AGAIN
