"""Counting random layers that were compared, and saying why the two oracles differ on some.

Every test of random layers hands its counts to pytest's report; scripts/operator_table.py makes
docs/operators.md of them.
"""

from __future__ import annotations

import json
import os
from collections import Counter

import numpy as np

import mensa.golden as golden

REGRESS = os.environ.get("MENSA_REGRESS") == "1"
#: Random layers per operator and oracle, and inputs of each.
EXAMPLES = 3000 if REGRESS else 50
INPUTS = 3
#: What the counts are called in pytest's report.
PROPERTY = "comparison"

_POWERS = (
    "Of int16 tensors whose scales are powers of two: LiteRT shifts them into one another, TFLM "
    "rescales them"
)
_SCALES = (
    "TFLM multiplies the scales in double precision, LiteRT in float32: a multiplier may differ "
    "in its last bits, and a sum in the middle between two outputs then goes either way"
)
_EXTREMA = (
    "Of floats, where all dimensions are reduced: LiteRT begins with the first element, which "
    "stays if it is NaN; TFLM with the finite number furthest from the wanted end"
)
_TABLES = "TFLM computes int8 values in fixed point, LiteRT in float32"

#: By operator, why TFLM and LiteRT give different outputs for one and the same file.
DIFFERENCES = {
    "ABS": _SCALES,
    "ADD": f"{_POWERS}. Of int32 numbers: TFLM takes no notice of the fused activation",
    "BATCH_MATMUL": _SCALES,
    "FULLY_CONNECTED": "TFLM rounds a sum twice, after the high product and after the shift, and "
    "multiplies one of 64 bits (int16 values) by 15 bits of the multiplier; LiteRT multiplies "
    "either in double precision and rounds once",
    "LEAKY_RELU": _SCALES,
    "LOGISTIC": _TABLES,
    "MUL": _SCALES,
    "PRELU": _SCALES,
    "REDUCE_MAX": _EXTREMA,
    "REDUCE_MIN": _EXTREMA,
    "RELU": _SCALES,
    "RELU6": "TFLM clamps the input's own values and takes no notice of the output's scale and "
    "zero point; LiteRT requantises",
    "RSQRT": "Of int16 values: TFLM computes in fixed point, LiteRT interpolates a table",
    "SOFTMAX": "Of int16 values: the tables are made in single precision by TFLM, in double by "
    "LiteRT",
    "SPACE_TO_BATCH_ND": "TFLM's kernel never sets what it pads with, which in fresh memory is 0; "
    "LiteRT's pads with the zero point",
    "SUB": _POWERS,
    "SUM": "LiteRT takes the bytes of int8 values for unsigned numbers",
    "SVDF": _SCALES,
    "TANH": _TABLES,
    "UNIDIRECTIONAL_SEQUENCE_LSTM": "TFLM interpolates sigmoid and tanh between entries of a "
    "table and rounds every product twice; LiteRT computes both in 16-bit fixed point",
}


class Comparison:
    """Counts of the layers of one operator, by the type of their activations.

    Parameters
    ----------
    op : str
        The operator.
    oracle : str
        Whose outputs golden's were equal to.
    ties : bool
        Whether the scales of the layers were chosen so that sums fall between two outputs.
    """

    def __init__(self, op, oracle, ties=False):
        self.op, self.oracle, self.ties = op, oracle, ties
        self.cases = Counter()
        self.shared = Counter()
        self.differing = Counter()

    def add(self, graph, differs=None):
        """Counts a layer; `differs` says whether the other oracle's outputs were others."""
        kind = activation_type(graph)
        self.cases[kind] += 1
        if differs is not None:
            self.shared[kind] += 1
            self.differing[kind] += differs

    def finish(self, record_property):
        """Checks that there were enough layers, and reports the counts."""
        if not self.ties:
            assert self.cases.total() >= EXAMPLES, f"only {self.cases.total()} layers compared"
        if self.differing.total():
            assert self.op in DIFFERENCES, (
                f"TFLM and LiteRT differ on {self.differing.total()} of {self.shared.total()} "
                f"layers of {self.op}: find out why and say so in DIFFERENCES"
            )
        record_property(PROPERTY, json.dumps(vars(self)))

    @staticmethod
    def not_made(op, oracle, reason, record_property):
        """Reports that this oracle can't run the operator, and why."""
        record_property(PROPERTY, json.dumps({"op": op, "oracle": oracle, "reason": reason}))


def activation_type(graph):
    """Name of the type of the last operator's first input that is not a constant.

    The bools by which SELECT chooses don't count where it chooses among others.
    """
    inputs = (graph.tensors[index] for index in graph.operators[-1].inputs if index >= 0)
    names = [tensor.dtype.name for tensor in inputs if tensor.data is None]
    return next((name for name in names if name != "bool"), names[0])


def runs_with(graph, oracle):
    """Whether this oracle can run the graph, as far as golden knows."""
    try:
        golden.check_supported(graph, oracle.name)
    except golden.GraphError:
        return False
    return True


def differ(one, other):
    """Whether two lists of answers, dicts of arrays by tensor index, differ in any bit or type."""
    return any(
        not equal(found[index], wanted[index])
        for found, wanted in zip(one, other, strict=True)
        for index in wanted
    )


def equal(one, other):
    """Whether two arrays have the same type, shape and bits; one NaN is as good as another."""
    if (one.dtype, one.shape) != (other.dtype, other.shape):
        return False
    if one.dtype.kind != "f":
        return np.array_equal(one, other)
    # The sign of a zero counts.
    return np.array_equal(one, other, equal_nan=True) and not np.any(
        (np.signbit(one) != np.signbit(other)) & (one == 0)
    )
