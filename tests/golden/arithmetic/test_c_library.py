"""The C library's functions are near those in double precision, which stand in for them."""

import math

import numpy as np
import pytest

from mensa.golden.arithmetic import c_library

FUNCTIONS = {
    "erfc": math.erfc,
    "expm1": math.expm1,
    "log": lambda x: math.log(x) if x > 0 else -math.inf,
    "tanh": math.tanh,
}


def numbers(name):
    x = np.random.default_rng(17).normal(0, 3, 5000).astype(np.float32)
    return np.append(np.abs(x), np.float32(0)) if name == "log" else x


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_librarys_function_is_within_a_few_units_of_the_last_place(name):
    x = numbers(name).reshape(-1, 1)
    found = c_library.c_function(name, x)
    real = np.array([FUNCTIONS[name](each) for each in x.ravel().tolist()]).reshape(x.shape)
    assert found.dtype == np.float32
    finite = np.isfinite(real)
    np.testing.assert_array_equal(found[~finite], real[~finite])
    assert np.all(np.abs(found[finite] - real[finite]) <= 8 * np.spacing(np.abs(found[finite])))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_without_a_library_results_are_rounded_from_double_precision(name):
    function = c_library.find(name, ("there-is-no-such-library",))
    x = numbers(name)
    with np.errstate(divide="ignore"):
        found = np.array([function(each) for each in x.tolist()], np.float32)
    real = np.array([FUNCTIONS[name](each) for each in x.tolist()]).astype(np.float32)
    different = found != real
    # NumPy's double precision may be a unit of its own last place off, which seldom shows.
    assert np.mean(different) < 1e-3
