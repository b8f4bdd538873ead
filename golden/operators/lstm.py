"""UNIDIRECTIONAL_SEQUENCE_LSTM with int8 or int16 activations and an int16 cell state.

Both oracles compute the same layer with other roundings. TensorFlow Lite Micro knows the plain
layer only and rounds every product twice, and it alone knows int16 activations; LiteRT also knows
peepholes, layer normalisation, projection and a coupled input gate.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mensa.golden.arithmetic.fixed_point import (
    INT32_MAX,
    Int64Array,
    double_requantizer,
    quantize_multiplier,
    requantize_double,
    requantize_int64,
    rounding_divide_by_pot,
    saturating_rounding_doubling_high_mul,
    wrap32,
)
from mensa.golden.arithmetic.gates import (
    MAX_INTEGER_BITS,
    Int16Array,
    fixed_point_sigmoid,
    fixed_point_tanh,
    interpolated_sigmoid,
    interpolated_tanh,
    look_up,
)
from mensa.golden.arithmetic.rounder import EXACT
from mensa.golden.graph import Tensor
from mensa.golden.node import INT16, Node
from mensa.golden.options import UnidirectionalSequenceLSTMOptions
from mensa.golden.per_plan import once_per_plan
from mensa.golden.plan import Int8Array, Int32Array, Plan, Rounding, Shape
from mensa.golden.registry import Array, kernel, macs, planner, shapes

# Positions of the operator's inputs. Those of one gate are a fixed distance apart.
_INPUT_WEIGHTS = 1
_RECURRENT_WEIGHTS = 5
_PEEPHOLE_WEIGHTS = 9
_BIAS = 12
_PROJECTION_WEIGHTS = 16
_PROJECTION_BIAS = 17
_HIDDEN_STATE = 18
_CELL_STATE = 19
_LAYER_NORM = 20
_ALL_INPUTS = 24
_INPUTS_WITHOUT_LAYER_NORM = 20

#: Order of the gates in the operator's inputs.
GATES = ("input", "forget", "cell", "output")
#: Fraction bits of what goes into a gate's sigmoid or tanh: it is Q3.12.
GATE_BITS = 12

_INT16_MIN, _INT16_MAX = -(1 << 15), (1 << 15) - 1


@dataclass(frozen=True, kw_only=True, eq=False)
class LayerNorm:
    """Normalisation of a gate's sum to mean 0 and deviation 1, then a factor and a bias per cell.

    Parameters
    ----------
    coefficients : int16 array ``[cells]``
        The factors.
    bias : int32 array ``[cells]``
        Of the gate, which then does not go into its sum, in units of ``2**-10`` of the factors'.
    multiplier, shift : int
        The factors' scale.
    variance_guard : int
        Stands in for a variance below 1.
    """

    coefficients: Int16Array
    bias: Int32Array
    multiplier: int
    shift: int
    variance_guard: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Gate:
    """One gate of the layer.

    ``sum = requantise(bias + input_weights @ (x - zero point)) + requantise(recurrent_weights @
    (hidden - zero point))``, in int16; without `layer_norm` it is Q3.12.

    Parameters
    ----------
    input_weights : int8 array ``[cells, inputs]``
        Of the layer's input.
    recurrent_weights : int8 array ``[cells, outputs]``
        Of the hidden state.
    bias : int64 array ``[cells]``
        Zeros with `layer_norm`, which has the bias then; int32 values in an int8 layer.
    input_multiplier, input_shift, recurrent_multiplier, recurrent_shift : int
        Factors of `requantize_double` for either product, of `requantize_int64` in an int16 layer.
    peephole_weights : int16 array ``[cells]`` or None
        Factors of the cell state, which is then added to the sum.
    peephole_multiplier, peephole_shift : int
        Factor of `requantize_double` for that product.
    layer_norm : LayerNorm or None
        What is done to the sum before the gate's function.
    """

    input_weights: Int8Array
    recurrent_weights: Int8Array
    bias: Int64Array
    input_multiplier: int
    input_shift: int
    recurrent_multiplier: int
    recurrent_shift: int
    peephole_weights: Int16Array | None = None
    peephole_multiplier: int = 0
    peephole_shift: int = 0
    layer_norm: LayerNorm | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Projection:
    """``output = clip(requantise(bias + weights @ hidden) + zero point)``.

    Parameters
    ----------
    weights : int8 array ``[outputs, cells]``
        Of the cells' products with the output gate.
    bias : int32 array ``[outputs]``
        With the share of the products' zero point.
    multiplier, shift : int
        Factor of `requantize_double`.
    clip : int
        Largest magnitude of an output, 0 for none.
    """

    weights: Int8Array
    bias: Int32Array
    multiplier: int
    shift: int
    clip: int


@dataclass(frozen=True, kw_only=True, eq=False)
class LstmPlan(Plan):
    """UNIDIRECTIONAL_SEQUENCE_LSTM.

    In each step ``cell = clip(sigmoid(forget) * cell + sigmoid(input) * tanh(cell gate))`` and
    ``hidden = sigmoid(output) * tanh(cell)``, which is the output unless there is a projection;
    forget, input, cell gate and output are the sums of `gates`.

    Parameters
    ----------
    rounding : "tflm" or "litert"
        Whose arithmetic.
    int16 : bool
        Whether input, hidden state and output are int16, and sums int64.
    time_major : bool
        Whether shapes are ``[time, batch, features]``, else ``[batch, time, features]``.
    input_shape, output_shape : tuples of int
        Of the sequences.
    cells : int
        Elements of one cell state.
    gates : dict of Gate
        By name, of `GATES`; without "input" the input gate is one less the forget gate.
    input_zero_point, hidden_zero_point, output_zero_point : int
        Of the input, of the hidden state where the next step reads it, and of what is added to
        the product of tanh(cell) and output gate.
    cell_power : int
        The cell state is in units of ``2**cell_power``.
    cell_clip : int
        Largest magnitude of the cell state, 0 for none.
    forget_multiplier, forget_shift, input_multiplier, input_shift : int
        Factors of the two products that add up to the new cell state; multiplier 0 stands for a
        rounding shift to the right.
    hidden_multiplier, hidden_shift : int
        Factor of `requantize_double` for the product of tanh(cell) and output gate.
    projection : Projection or None
        From cells to outputs.
    sigmoid, tanh, cell_tanh : int16 arrays ``[65536]``
        Functions of the gates' sums and of the cell state, of every int16 value from the lowest.
    """

    rounding: Rounding
    int16: bool
    time_major: bool
    input_shape: Shape
    output_shape: Shape
    cells: int
    gates: dict[str, Gate]
    input_zero_point: int
    hidden_zero_point: int
    output_zero_point: int
    cell_power: int
    cell_clip: int
    forget_multiplier: int
    forget_shift: int
    input_multiplier: int
    input_shift: int
    hidden_multiplier: int
    hidden_shift: int
    projection: Projection | None
    sigmoid: Int16Array
    tanh: Int16Array
    cell_tanh: Int16Array

    @property
    def operands(self) -> tuple[int, ...]:
        """The input, the hidden state and the cell state."""
        return (0, _HIDDEN_STATE, _CELL_STATE)

    @property
    def states(self) -> tuple[int, ...]:
        """The hidden state and the cell state."""
        return (_HIDDEN_STATE, _CELL_STATE)

    @property
    def batch(self) -> int:
        """Number of independent sequences."""
        return self.input_shape[1 if self.time_major else 0]

    @property
    def steps(self) -> int:
        """Length of each sequence."""
        return self.input_shape[0 if self.time_major else 1]


# --- Preparing ---


def _constant(
    node: Node, tensor: Tensor, dtype: npt.DTypeLike, shape: Shape
) -> npt.NDArray[np.int64]:
    """Elements of a constant of this type and shape."""
    node.require(
        tensor.dtype == np.dtype(dtype),
        f"must be {np.dtype(dtype)}, not {tensor.type_name or tensor.dtype}",
        tensor,
    )
    node.shape(tensor, shape)
    if tensor.data is None:
        raise node.error("must be a constant", tensor)
    return tensor.data.astype(np.int64)


def _scale(node: Node, tensor: Tensor) -> np.float32:
    """The one positive scale of a tensor."""
    node.require(
        tensor.scale.size == 1 and float(tensor.scale[0]) > 0.0,
        "must have one positive scale",
        tensor,
    )
    scale: np.float32 = tensor.scale[0]
    return scale


def _symmetric(node: Node, tensor: Tensor) -> np.float32:
    """The one positive scale of a tensor whose zero point must be 0."""
    scale = _scale(node, tensor)
    node.require(not np.any(tensor.zero_point), "must have zero point 0", tensor)
    return scale


def _state(node: Node, position: int, dtype: npt.DTypeLike, size: int) -> Tensor:
    tensor = node.input(position)
    node.require(tensor.is_variable and tensor.data is None, "the state must be a variable", tensor)
    node.require(
        tensor.dtype == np.dtype(dtype),
        f"the state must be {np.dtype(dtype)}, not {tensor.type_name or tensor.dtype}",
        tensor,
    )
    node.require(tensor.size == size, f"the state has {tensor.size} elements, wants {size}")
    return tensor


def _intermediate(node: Node, position: int) -> Tensor:
    """The tensor whose scale is that of an internal value, 0 to 3 of the gates, 4 of hidden."""
    found = node.operator.intermediates
    node.require(
        len(found) == 5 and found[position] >= 0,
        f"names {len(found)} intermediate tensors, wants 5 with their scales",
    )
    tensor = node.graph.tensors[found[position]]
    _scale(node, tensor)
    return tensor


@shapes("UNIDIRECTIONAL_SEQUENCE_LSTM")
def _shapes(node: Node) -> tuple[Shape, ...]:
    weights = node.input(_RECURRENT_WEIGHTS + GATES.index("output"))
    node.require(len(weights.shape) == 2, "must be a matrix", weights)
    return ((*node.input(0).shape[:-1], weights.shape[1]),)


@macs("UNIDIRECTIONAL_SEQUENCE_LSTM")
def _products(node: Node) -> int:
    """Every step multiplies each gate's two matrices, and the projection, once."""
    output = node.first_output()
    if output is None:
        return 0
    gates = range(len(GATES))
    positions = [
        *(_INPUT_WEIGHTS + number for number in gates),
        *(_RECURRENT_WEIGHTS + number for number in gates),
        _PROJECTION_WEIGHTS,
    ]
    matrices = (node.optional(position) for position in positions)
    steps = output.size // max(1, output.shape[-1] if output.shape else 1)
    return steps * sum(matrix.size for matrix in matrices if matrix is not None)


@dataclass
class _Maker:
    """What all parts of one layer's plan need to know."""

    node: Node
    rounding: Rounding
    options: UnidirectionalSequenceLSTMOptions
    data: Tensor
    hidden: Tensor
    cells: int
    features: int
    outputs: int
    cell_power: int

    def gate(self, name: str) -> Gate:
        node, number = self.node, GATES.index(name)
        x_weights = node.input(_INPUT_WEIGHTS + number)
        h_weights = node.input(_RECURRENT_WEIGHTS + number)
        bias_tensor = node.input(_BIAS + number)
        int16 = self.data.dtype == np.int16
        bias = _constant(node, bias_tensor, np.int64 if int16 else np.int32, (self.cells,))
        norm, out_scale = None, np.float32(2.0**-GATE_BITS)
        if node.optional(_LAYER_NORM + GATES.index("forget")) is not None:
            norm = self.layer_norm(number, bias)
            out_scale = _scale(node, _intermediate(node, number))
            bias = np.zeros_like(bias)
        factors = []
        for weights, source in ((x_weights, self.data), (h_weights, self.hidden)):
            scales = _symmetric(node, weights), _scale(node, source)
            # TFLM works this out in double precision, LiteRT in float32.
            if self.rounding == "tflm":
                real = float(scales[0]) * float(scales[1]) / float(out_scale)
                factors.append(quantize_multiplier(real))
            else:
                factors.append(quantize_multiplier(float(scales[0] * scales[1] / out_scale)))
        peephole = node.optional(_PEEPHOLE_WEIGHTS + (0, 1, -1, 2)[number])
        if name == "cell" or peephole is None:
            peephole_weights, peephole_factor = None, (0, 0)
        else:
            values = _constant(node, peephole, np.int16, (self.cells,))
            peephole_weights = values.astype(np.int16)
            scale = 2.0**self.cell_power * float(_symmetric(node, peephole)) / float(out_scale)
            peephole_factor = quantize_multiplier(float(np.float32(scale)))
        x_shape, h_shape = (self.cells, self.features), (self.cells, self.outputs)
        return Gate(
            input_weights=_constant(node, x_weights, np.int8, x_shape).astype(np.int8),
            recurrent_weights=_constant(node, h_weights, np.int8, h_shape).astype(np.int8),
            bias=bias,
            input_multiplier=factors[0][0],
            input_shift=factors[0][1],
            recurrent_multiplier=factors[1][0],
            recurrent_shift=factors[1][1],
            peephole_weights=peephole_weights,
            peephole_multiplier=peephole_factor[0],
            peephole_shift=peephole_factor[1],
            layer_norm=norm,
        )

    def layer_norm(self, number: int, bias: npt.NDArray[np.int64]) -> LayerNorm:
        tensor = self.node.input(_LAYER_NORM + number)
        coefficients = _constant(self.node, tensor, np.int16, (self.cells,))
        scale = _symmetric(self.node, tensor)
        multiplier, shift = quantize_multiplier(float(scale))
        # The kernel shifts by 12 more, to Q3.12.
        guard = np.float32(10000) * scale
        self.node.require(float(guard) <= INT32_MAX, "its scale is too large", tensor)
        return LayerNorm(
            coefficients=coefficients.astype(np.int16),
            bias=bias.astype(np.int32),
            multiplier=multiplier,
            shift=shift + GATE_BITS,
            variance_guard=max(1, int(guard)),
        )

    def projection(self, between: Tensor) -> Projection | None:
        node = self.node
        weights = node.optional(_PROJECTION_WEIGHTS)
        bias_tensor = node.optional(_PROJECTION_BIAS)
        if weights is None:
            node.require(bias_tensor is None, "has a projection's bias but no weights")
            return None
        values = _constant(node, weights, np.int8, (self.outputs, self.cells))
        bias = np.zeros(self.outputs, np.int64)
        if bias_tensor is not None:
            bias = _constant(node, bias_tensor, np.int32, (self.outputs,))
        product = _symmetric(node, weights) * _scale(node, between)
        multiplier, shift = quantize_multiplier(float(product / _scale(node, self.hidden)))
        output = node.output()
        clip = np.float32(self.options.proj_clip) / _scale(node, output)
        return Projection(
            weights=values.astype(np.int8),
            bias=wrap32(bias + node.zero_point(between) * values.sum(axis=1)).astype(np.int32),
            multiplier=multiplier,
            shift=shift,
            clip=int(min(float(clip), 127.0)),
        )


def _check_plain(node: Node) -> None:
    """Requires a layer without anything that TensorFlow Lite Micro does not know."""
    node.require(
        len(node.operator.inputs) == _ALL_INPUTS,
        f"has {len(node.operator.inputs)} inputs, TensorFlow Lite Micro wants {_ALL_INPUTS}",
    )
    positions = (*range(_PEEPHOLE_WEIGHTS, _BIAS), _PROJECTION_WEIGHTS, _PROJECTION_BIAS)
    extra = [node.optional(position) for position in (*positions, *range(_LAYER_NORM, _ALL_INPUTS))]
    known = node.optional(_INPUT_WEIGHTS) is not None and not any(extra)
    node.require(
        known,
        "TensorFlow Lite Micro has no peephole, projection, layer normalisation or coupled "
        "input gate: choose rounding='litert'",
    )


@planner("UNIDIRECTIONAL_SEQUENCE_LSTM")
def _lstm(node: Node, rounding: Rounding) -> Plan:
    options = node.options(UnidirectionalSequenceLSTMOptions)
    node.require(
        len(node.operator.inputs) in (_INPUTS_WITHOUT_LAYER_NORM, _ALL_INPUTS),
        f"has {len(node.operator.inputs)} inputs, wants {_ALL_INPUTS}",
    )
    # LiteRT takes it for this one whatever the file says.
    node.require(
        rounding == "litert" or options.activation == "TANH",
        f"activation {options.activation} is not TANH",
    )
    for limit in (options.cell_clip, options.proj_clip):
        node.require(math.isfinite(limit) and limit >= 0.0, f"can't clip to {limit!r}")
    data, output = node.input(0), node.output()
    types = (np.dtype(np.int8), *(INT16 if rounding == "tflm" else ()))
    node.quantized(data, types)
    node.quantized(output, types)
    node.same_type(data, output)
    node.require(
        len(data.shape) == 3,
        f"must have shape [batch, time, features], not {list(data.shape)}",
        data,
    )
    if rounding == "tflm":
        _check_plain(node)
    batch = data.shape[1 if options.time_major else 0]
    last_weights = node.input(_INPUT_WEIGHTS + GATES.index("output"))
    node.require(len(last_weights.shape) == 2, "must be a matrix", last_weights)
    cells, features = last_weights.shape
    (out_shape,) = _shapes(node)
    outputs = out_shape[-1]
    node.shape(output, out_shape)
    node.require(min(cells, features, outputs, batch) > 0, "a tensor is empty")
    hidden = _state(node, _HIDDEN_STATE, data.dtype, batch * outputs)
    cell = _state(node, _CELL_STATE, np.int16, batch * cells)
    node.quantized(hidden, types)
    cell_scale = _symmetric(node, cell)
    power_real = np.float32(math.log(float(cell_scale))) * np.float32(1 / math.log(2.0))
    cell_power = round(float(power_real))
    node.require(
        abs(float(power_real) - cell_power) < 1e-3, "its scale must be a power of two", cell
    )
    maker = _Maker(node, rounding, options, data, hidden, cells, features, outputs, cell_power)
    coupled = node.optional(_INPUT_WEIGHTS) is None
    names = GATES[1:] if coupled else GATES
    if coupled:
        for position in (_RECURRENT_WEIGHTS, _PEEPHOLE_WEIGHTS, _BIAS, _LAYER_NORM):
            node.require(node.optional(position) is None, f"has input {position} but no input gate")
    peepholes = [
        node.optional(_PEEPHOLE_WEIGHTS + number) is not None
        for number in ((1, 2) if coupled else (0, 1, 2))
    ]
    node.require(any(peepholes) == all(peepholes), "has some peepholes but not all")
    normed = [node.optional(_LAYER_NORM + GATES.index(name)) is not None for name in names]
    node.require(any(normed) == all(normed), "has some layer normalisations but not all")
    # With more outputs than cells the kernel reads beyond the cell state.
    node.require(not any(peepholes) or outputs <= cells, "has peepholes and too many outputs")
    projection = None
    if rounding == "tflm":
        node.require(outputs == cells, f"has {outputs} outputs for {cells} cells", output)
        node.require(-30 <= cell_power <= 2, "its scale is out of range", cell)
        forget = quantize_multiplier(2.0**-15 * float(cell_scale) / float(cell_scale))
        combine = quantize_multiplier(2.0**-30 / float(cell_scale))
        hidden_factor = quantize_multiplier(2.0**-30 / float(_scale(node, hidden)))
        hidden_out = node.zero_point(hidden)
        sigmoid, tanh = interpolated_sigmoid(), interpolated_tanh(-GATE_BITS)
        cell_tanh = interpolated_tanh(cell_power)
        clip = float(np.float32(options.cell_clip)) / float(cell_scale)
    else:
        between = _intermediate(node, 4)
        node.require(0 <= 15 + cell_power <= MAX_INTEGER_BITS, "its scale is out of range", cell)
        projection = maker.projection(between)
        node.require(
            projection is not None or outputs == cells,
            f"has {outputs} outputs for {cells} cells and no projection",
            output,
        )
        forget, combine = (0, -15), (0, -30 - cell_power)
        scale = 2.0**-15 / float(_scale(node, between)) * 2.0**-15
        hidden_factor = quantize_multiplier(float(np.float32(scale)))
        hidden_out = node.zero_point(between)
        if projection is not None:
            hidden_out = -hidden_out
        sigmoid, tanh = fixed_point_sigmoid(), fixed_point_tanh(15 - GATE_BITS)
        cell_tanh = fixed_point_tanh(15 + cell_power)
        clip = float(np.float32(options.cell_clip) / cell_scale)
    return LstmPlan(
        rounding=rounding,
        int16=data.dtype == np.int16,
        time_major=options.time_major,
        input_shape=data.shape,
        output_shape=out_shape,
        cells=cells,
        gates={name: maker.gate(name) for name in names},
        input_zero_point=node.zero_point(data),
        hidden_zero_point=node.zero_point(hidden),
        output_zero_point=hidden_out,
        cell_power=cell_power,
        cell_clip=int(min(clip, 32767.0)),
        forget_multiplier=forget[0],
        forget_shift=forget[1],
        input_multiplier=combine[0],
        input_shift=combine[1],
        hidden_multiplier=hidden_factor[0],
        hidden_shift=hidden_factor[1],
        projection=projection,
        sigmoid=sigmoid,
        tanh=tanh,
        cell_tanh=cell_tanh,
    )


# --- Computing ---


def _int16(x: Int64Array) -> Int64Array:
    result: Int64Array = np.minimum(np.maximum(x, _INT16_MIN), _INT16_MAX)
    return result


def _int8(x: Int64Array) -> Int64Array:
    result: Int64Array = np.minimum(np.maximum(x, -128), 127)
    return result


class _Matrix:
    """``x @ weights.T`` exactly, for x of at most 9 bits, or 16 of an int16 layer."""

    def __init__(self, weights: Int8Array, int16: bool = False) -> None:
        magnitudes = np.abs(weights.astype(np.int64)).sum(axis=1)
        exact = (1 << 15 if int16 else 255) * int(magnitudes.max()) < EXACT
        self._weights = weights.T.astype(np.float32 if exact else np.float64)

    def __call__(self, x: Int64Array) -> Int64Array:
        total: Int64Array = (x.astype(self._weights.dtype) @ self._weights).astype(np.int64)
        return total


@dataclass(frozen=True, kw_only=True, eq=False)
class _Form:
    """What a layer's kernel works out once.

    Parameters
    ----------
    input_product, recurrent_product : _Matrix
        With the weights of all gates, in the order of ``LstmPlan.gates``.
    bias : int64 array ``[gates * cells]``
        Of all gates.
    input_scaled, recurrent_scaled, hidden_scaled : functions
        Requantise the sums of all gates, which wrap to 32 bits first in an int8 layer, and the
        product of tanh(cell) and output gate.
    cell_scaled : function
        Of the two products ``[2, batch, cells]`` that add up to the new cell state, to int16.
    projection : _Matrix or None
        From cells to outputs.
    """

    input_product: _Matrix
    recurrent_product: _Matrix
    bias: Int64Array
    input_scaled: Callable[[Int64Array], Int64Array]
    recurrent_scaled: Callable[[Int64Array], Int64Array]
    hidden_scaled: Callable[[Int64Array], Int64Array]
    cell_scaled: Callable[[Int64Array], Int64Array]
    projection: _Matrix | None


@once_per_plan
def _form(plan: LstmPlan) -> _Form:
    gates = plan.gates.values()

    def scaled(factors: list[tuple[int, int]]) -> Callable[[Int64Array], Int64Array]:
        columns = np.repeat(np.array(factors, np.int64), plan.cells, axis=0)
        multiplier, shift = columns[:, 0], columns[:, 1]
        if plan.int16:
            return lambda total: requantize_int64(total, multiplier, shift)
        requantized = double_requantizer(multiplier, shift)
        return lambda total: requantized(wrap32(total))

    input_weights = np.concatenate([gate.input_weights for gate in gates])
    recurrent_weights = np.concatenate([gate.recurrent_weights for gate in gates])
    return _Form(
        input_product=_Matrix(input_weights, plan.int16),
        recurrent_product=_Matrix(recurrent_weights, plan.int16),
        bias=np.concatenate([gate.bias for gate in gates]),
        input_scaled=scaled([(gate.input_multiplier, gate.input_shift) for gate in gates]),
        recurrent_scaled=scaled(
            [(gate.recurrent_multiplier, gate.recurrent_shift) for gate in gates]
        ),
        hidden_scaled=double_requantizer(plan.hidden_multiplier, plan.hidden_shift),
        cell_scaled=_cell_scaled(plan),
        projection=None if plan.projection is None else _Matrix(plan.projection.weights),
    )


def _cell_scaled(plan: LstmPlan) -> Callable[[Int64Array], Int64Array]:
    """Products ``[2, batch, cells]`` of two int16 numbers each times their factors, to int16."""
    multipliers = np.array([plan.forget_multiplier, plan.input_multiplier]).reshape(2, 1, 1)
    shifts = np.array([plan.forget_shift, plan.input_shift]).reshape(2, 1, 1)
    if multipliers.any():
        requantized = double_requantizer(multipliers, shifts)
        return lambda products: _int16(requantized(products))
    return lambda products: (
        rounding_divide_by_pot(products, -shifts).astype(np.int16).astype(np.int64)
    )


def _inverse_square_root(x: int) -> tuple[int, int]:
    """Multiplier and shift of ``1 / sqrt(x)`` (``GetInvSqrtQuantizedMultiplierExp``, common.h)."""
    if x <= 1:
        return INT32_MAX, 0
    right = 11
    while x >= 1 << 29:
        x //= 4
        right += 1
    pairs = (32 - x.bit_length() - 1) // 2 - 1
    right -= pairs
    x <<= 2 * pairs
    mul = saturating_rounding_doubling_high_mul

    def left(value: Int64Array, bits: int) -> Int64Array:
        shifted: Int64Array = np.clip(wrap32(value) << bits, -(1 << 31), INT32_MAX)
        return shifted

    # Newton-Raphson in Q3.28 from the guess of one.
    half = rounding_divide_by_pot(x >> 1, 1)
    root = np.asarray(1 << 28, np.int64)
    for _ in range(5):
        cube = left(mul(mul(root, root), root), 6)
        root = left(mul((1 << 28) + (1 << 27), root) - mul(half, cube), 3)
    result = int(mul(root, 1518500250))  # sqrt(2) / 2 in Q0.31
    if right < 0:
        return int(wrap32(result << -right)), 0
    return result, -right


def _toward_zero(x: Int64Array, divisor: int) -> Int64Array:
    """``x / divisor`` as C divides integers."""
    result: Int64Array = np.sign(x) * (np.abs(x) // divisor)
    return result


def _normalized(norm: LayerNorm, total: Int64Array) -> Int64Array:
    """Layer normalisation of sums ``[batch, cells]`` (``ApplyLayerNorm``)."""
    cells = total.shape[1]
    out = np.empty_like(total)
    share = (1 << 20) // cells
    for row, result in zip(total, out, strict=True):
        mean = wrap32(_toward_zero(row.sum() * 1024, cells))
        variance = (row * row).sum() * share - mean * mean
        spread = int(wrap32(_toward_zero(np.asarray(variance), 1 << 20)))
        if spread < 1:
            spread = norm.variance_guard
        unit = requantize_double(1024 * row - mean, *_inverse_square_root(spread))
        weighted = wrap32(unit * norm.coefficients + norm.bias)
        rounded = _toward_zero(np.where(weighted > 0, weighted + 512, weighted - 512), 1024)
        result[:] = _int16(requantize_double(rounded, norm.multiplier, norm.shift))
    return out


def _peephole(plan: LstmPlan, gate: Gate, total: Int64Array, cell: Int64Array) -> Int64Array:
    """Sums ``[batch, cells]`` with the cell state's share."""
    assert gate.peephole_weights is not None
    # LiteRT goes through the rows of both that it works on at a time, with time first those of all
    # sequences, as if each had as many elements as the layer has outputs; with a projection these
    # may be fewer than its cells.
    width = plan.output_shape[-1]
    parts = 1 if plan.time_major else plan.batch
    flat, seen = total.reshape(parts, -1).copy(), cell.reshape(parts, -1)
    count = plan.batch // parts * width
    weights = np.tile(gate.peephole_weights[:width].astype(np.int64), plan.batch // parts)
    product = seen[:, :count] * weights
    scaled = requantize_double(product, gate.peephole_multiplier, gate.peephole_shift)
    flat[:, :count] = _int16(flat[:, :count] + scaled)
    return flat.reshape(total.shape)


@kernel(LstmPlan)
def lstm(
    plan: LstmPlan, x: Array, hidden: Array, cell: Int16Array
) -> tuple[Array, Array, Int16Array]:
    """Outputs of all steps and the states after the last.

    Parameters: int8, or int16 of an int16 layer, ``plan.input_shape``, the states of the same type
    ``[batch, outputs]`` and int16 ``[batch, cells]`` before the first step. Returns:
    ``plan.output_shape`` and both states.
    """
    clipped = _int16 if plan.int16 else _int8
    form = _form(plan)
    data = x.reshape(plan.input_shape).astype(np.int64) - plan.input_zero_point
    if not plan.time_major:
        data = data.transpose(1, 0, 2)
    state = hidden.reshape(plan.batch, -1).astype(np.int64)
    memory = cell.reshape(plan.batch, plan.cells).astype(np.int64)
    # The input's products do not depend on the state: all steps at once.
    flat = data.reshape(-1, data.shape[2])
    shares = _int16(form.input_scaled(form.input_product(flat) + form.bias))
    shares = shares.reshape(plan.steps, plan.batch, -1)
    out = np.empty((plan.steps, plan.batch, plan.output_shape[-1]), x.dtype)
    columns = {
        name: slice(number * plan.cells, (number + 1) * plan.cells)
        for number, name in enumerate(plan.gates)
    }

    def gate_sum(name: str) -> Int64Array:
        gate = plan.gates[name]
        total = totals[:, columns[name]]
        if gate.peephole_weights is not None:
            total = _peephole(plan, gate, total, memory)
        return total if gate.layer_norm is None else _normalized(gate.layer_norm, total)

    for step in range(plan.steps):
        share = form.recurrent_scaled(form.recurrent_product(state - plan.hidden_zero_point))
        if plan.rounding == "tflm":
            share = _int16(share)
        totals = _int16(wrap32(shares[step] + share))
        forget = look_up(plan.sigmoid, gate_sum("forget"))
        if "input" in plan.gates:
            taken = look_up(plan.sigmoid, gate_sum("input"))
        else:
            taken = _INT16_MAX - forget
        update = look_up(plan.tanh, gate_sum("cell"))
        kept, added = form.cell_scaled(np.stack((forget * memory, taken * update)))
        memory = _int16(kept + added)
        if plan.cell_clip > 0:
            memory = np.clip(memory, -plan.cell_clip, plan.cell_clip)
        opened = look_up(plan.sigmoid, gate_sum("output"))
        value = form.hidden_scaled(opened * look_up(plan.cell_tanh, memory))
        value = clipped(wrap32(value + plan.output_zero_point))
        if plan.projection is not None:
            value = _project(plan, plan.projection, value)
        state = value
        out[step] = state
    ordered = out if plan.time_major else out.transpose(1, 0, 2)
    return np.ascontiguousarray(ordered), state.astype(x.dtype), memory.astype(np.int16)


def _project(plan: LstmPlan, projection: Projection, value: Int64Array) -> Int64Array:
    """Outputs ``[batch, outputs]`` of the cells' values ``[batch, cells]``."""
    product = _form(plan).projection
    assert product is not None
    total = wrap32(product(value) + projection.bias)
    scaled = requantize_double(total, projection.multiplier, projection.shift)
    result = _int8(wrap32(scaled + plan.hidden_zero_point))
    if projection.clip > 0:
        result = np.clip(result, -projection.clip, projection.clip)
    return result
