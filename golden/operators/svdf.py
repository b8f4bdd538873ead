"""SVDF: a fully connected layer factored into features and time, which remembers the past."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mensa.golden.arithmetic.fixed_point import quantize_multiplier, requantize_double, wrap32
from mensa.golden.node import Node
from mensa.golden.options import SVDFOptions
from mensa.golden.plan import Int8Array, Int32Array, Plan, Rounding, Shape
from mensa.golden.registry import Array, kernel, macs, planner, shapes

_STATE = 4


@dataclass(frozen=True, kw_only=True, eq=False)
class SvdfPlan(Plan):
    """SVDF with int8 activations.

    Every run, each filter's memory moves by one place and takes ``requantise(feature_weights @
    (input - input_zero_point))`` as its newest element. ``output = clamp(requantise(bias + sum
    over the filters of a unit of time_weights . memory) + output_zero_point)``.

    Parameters
    ----------
    input_shape, output_shape : tuples of int
        ``[batch, features]`` and ``[batch, units]``.
    feature_weights : int8 array ``[filters, features]``
        Of the newest input.
    time_weights : int16 or int8 array ``[filters, memory]``
        Of what is remembered, the newest last.
    bias : int32 array ``[units]``
        Zeros where the file has none.
    rank : int
        Filters per unit.
    state_type : numpy.dtype
        int16 or int8.
    input_zero_point, state_zero_point, output_zero_point : int
        Of the tensors.
    feature_multiplier, feature_shift, time_multiplier, time_shift : int
        Factors of `requantize_double`.
    """

    input_shape: Shape
    output_shape: Shape
    feature_weights: Int8Array
    time_weights: npt.NDArray[Any]
    bias: Int32Array
    rank: int
    state_type: np.dtype[Any]
    input_zero_point: int
    state_zero_point: int
    output_zero_point: int
    feature_multiplier: int
    feature_shift: int
    time_multiplier: int
    time_shift: int

    @property
    def operands(self) -> tuple[int, ...]:
        """The input and the state."""
        return (0, _STATE)

    @property
    def states(self) -> tuple[int, ...]:
        """The state: what is remembered, ``[batch, filters * memory]``."""
        return (_STATE,)


@shapes("SVDF")
def _shape(node: Node) -> tuple[Shape, ...]:
    data, features = node.input(0), node.input(1)
    for tensor in (data, features):
        node.require(len(tensor.shape) == 2, "must be a matrix", tensor)
    rank, filters = node.options(SVDFOptions).rank, features.shape[0]
    node.require(rank > 0 and filters % rank == 0, f"{filters} filters of rank {rank}")
    return ((data.shape[0], filters // rank),)


@macs("SVDF")
def _products(node: Node) -> int:
    """Every run multiplies the features of each row, and all that is remembered of it."""
    data, features, times = node.optional(0), node.optional(1), node.optional(2)
    if data is None or not data.shape or features is None or times is None:
        return 0
    return data.shape[0] * (features.size + times.size)


@planner("SVDF")
def _svdf(node: Node, rounding: Rounding) -> Plan:
    options = node.options(SVDFOptions)
    data, features, times, output = node.input(0), node.input(1), node.input(2), node.output()
    state = node.input(_STATE)
    for tensor in (data, output):
        node.require(tensor.dtype == np.int8, f"must be int8, not {tensor.type_name}", tensor)
        node.eight_bit(tensor)
    for tensor in (data, features, times, state):
        node.require(
            len(tensor.shape) == 2 and tensor.size > 0, "must be a matrix, not empty", tensor
        )
    node.require(
        rounding == "tflm" or options.activation == "RELU",
        f"LiteRT takes only the activation RELU here, not {options.activation}",
    )
    filters, memory = times.shape
    node.shape(features, (filters, data.shape[1]))
    node.shape(output, _shape(node)[0])
    node.shape(state, (data.shape[0], memory * filters))
    node.require(features.dtype == np.int8, "must be int8", features)
    types = ("int8", "int16") if rounding == "tflm" else ("int16",)
    node.require(times.dtype.name in types, f"can't be {times.type_name}", times)
    node.same_type(times, state)
    node.require(state.is_variable and state.data is None, "must be a variable", state)
    for tensor in (features, times, state):
        node.require(
            tensor.scale.size == 1 and float(tensor.scale[0]) > 0.0, "must have one scale", tensor
        )
    for tensor in (features, times):
        node.require(not np.any(tensor.zero_point), "must have zero point 0", tensor)
        if tensor.data is None:
            raise node.error("weights must be a constant", tensor)
    zero_point = int(state.zero_point[0])
    node.require(
        zero_point == 0 or (state.dtype == np.int8 and -128 <= zero_point <= 127),
        f"zero point {zero_point} does not fit",
        state,
    )
    bias_tensor = node.optional(3)
    node.require(
        bias_tensor is not None or rounding == "litert", "TensorFlow Lite Micro wants a bias"
    )
    bias = np.zeros(output.shape[1], np.int32)
    if bias_tensor is not None:
        node.require(bias_tensor.dtype == np.int32, "bias must be int32", bias_tensor)
        node.require(bias_tensor.size == bias.size, "has the wrong size", bias_tensor)
        if bias_tensor.data is None:
            raise node.error("bias must be a constant", bias_tensor)
        bias = bias_tensor.data.reshape(-1).astype(np.int32)
    factors = []
    for one, two, result in ((data, features, state), (state, times, output)):
        # LiteRT works this out in float32, TFLM in double precision.
        real = float(one.scale[0] * two.scale[0] / result.scale[0])
        if rounding == "tflm":
            real = float(one.scale[0]) * float(two.scale[0]) / float(result.scale[0])
        factors.append(quantize_multiplier(real))
    assert features.data is not None
    assert times.data is not None
    return SvdfPlan(
        input_shape=data.shape,
        output_shape=output.shape,
        feature_weights=features.data.view(np.int8),
        time_weights=times.data,
        bias=bias,
        rank=options.rank,
        state_type=state.dtype,
        input_zero_point=node.zero_point(data),
        state_zero_point=zero_point,
        output_zero_point=node.zero_point(output),
        feature_multiplier=factors[0][0],
        feature_shift=factors[0][1],
        time_multiplier=factors[1][0],
        time_shift=factors[1][1],
    )


@kernel(SvdfPlan)
def svdf(plan: SvdfPlan, x: Int8Array, state: Array) -> tuple[Int8Array, Array]:
    """Output and new state. Parameters: int8 ``plan.input_shape`` and the state before."""
    batch, filters = x.shape[0], len(plan.feature_weights)
    data = x.reshape(plan.input_shape).astype(np.float64) - plan.input_zero_point
    # Sums of products of 9 bits, and of 16 bits, are exact in a double.
    product = (data @ plan.feature_weights.T.astype(np.float64)).astype(np.int64)
    scaled = requantize_double(wrap32(product), plan.feature_multiplier, plan.feature_shift)
    limits = np.iinfo(plan.state_type)
    newest = np.clip(scaled, limits.min, limits.max) + plan.state_zero_point
    memory = state.reshape(batch, filters, -1).copy()
    memory[:, :, :-1] = memory[:, :, 1:].copy()
    memory[:, :, -1] = newest.astype(plan.state_type)
    remembered = memory.astype(np.int64) - plan.state_zero_point
    total = (remembered * plan.time_weights.astype(np.int64)).sum(axis=2)
    units = total.reshape(batch, -1, plan.rank).sum(axis=2) + plan.bias
    value = requantize_double(wrap32(units), plan.time_multiplier, plan.time_shift)
    result = np.clip(wrap32(value + plan.output_zero_point), -128, 127).astype(np.int8)
    return result, memory.reshape(state.shape)
