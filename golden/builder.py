"""Building graphs by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from mensa.golden.error import GraphError
from mensa.golden.families import register_all
from mensa.golden.graph import Graph, Operator, Tensor
from mensa.golden.options import (
    OPTIONS,
    AddOptions,
    CallOnceOptions,
    Conv2DOptions,
    DepthwiseConv2DOptions,
    FullyConnectedOptions,
    NoOptions,
    Options,
    Pool2DOptions,
    ReshapeOptions,
    SoftmaxOptions,
    VarHandleOptions,
)
from mensa.golden.registry import output_likeness, output_shapes
from mensa.golden.schema import RESOURCE, TENSOR_TYPES

_TYPE_NAMES = {np.dtype(kind): name for name, kind in TENSOR_TYPES.values() if kind is not None}

# Versions that the kernels ask for; an operator's version grows with the types it takes.
_INT8_VERSIONS = {
    "ADD": 2,
    "AVERAGE_POOL_2D": 2,
    "BROADCAST_TO": 2,
    "CONV_2D": 3,
    "DEPTHWISE_CONV_2D": 3,
    "FULLY_CONNECTED": 4,
    "MAX_POOL_2D": 2,
    "QUANTIZE": 2,
    "RESHAPE": 1,
    "SOFTMAX": 2,
}


class GraphBuilder:
    """Puts a graph together tensor by tensor and operator by operator.

    Tensors are named by the indices that `tensor`, `input` and the operators' methods return::

        builder = GraphBuilder("one layer")
        x = builder.input((1, 8, 8, 3), scale=0.05, zero_point=-3)
        y = builder.conv2d(x, weights, bias, weight_scale=0.02, scale=0.1, zero_point=4)
        graph = builder.build([y])

    Parameters
    ----------
    name : str
        The graph's name.
    dtype : numpy dtype
        Type of activations and weights, int8 or uint8; with int16 activations, weights are int8
        and biases int64.
    """

    def __init__(self, name: str = "", dtype: npt.DTypeLike = np.int8) -> None:
        self.name = name
        self.dtype = np.dtype(dtype)
        self._tensors: list[Tensor] = []
        self._operators: list[Operator] = []
        self._inputs: list[int] = []
        self._subgraphs: list[Graph] = []

    def tensor(
        self,
        shape: tuple[int, ...] | None = None,
        *,
        name: str = "",
        dtype: npt.DTypeLike | None = None,
        scale: npt.ArrayLike | None = None,
        zero_point: npt.ArrayLike = 0,
        quantized_dimension: int = 0,
        data: npt.ArrayLike | None = None,
        is_variable: bool = False,
        type_name: str | None = None,
    ) -> int:
        """Adds a tensor; with `data` a constant, with `is_variable` a state. Returns: its index.

        Parameters: `scale` and `zero_point` one number or one per index along
        `quantized_dimension`; without `scale` the tensor is not quantised. `type_name` where the
        file's type is not that of `dtype`: "INT4" for int8 constants of 4 bits, "RESOURCE".
        """
        kind = self.dtype if dtype is None else np.dtype(dtype)
        array = None if data is None else np.asarray(data, dtype=kind, order="C")
        if array is not None and shape is None:
            shape = array.shape
        if shape is None:
            raise GraphError("a tensor without data needs a shape")
        scales = np.zeros(0, np.float32)
        zero_points = np.zeros(0, np.int64)
        if scale is not None:
            scales = np.atleast_1d(np.asarray(scale, dtype=np.float32))
            zero_points = np.broadcast_to(np.asarray(zero_point, np.int64), scales.shape).copy()
        index = len(self._tensors)
        self._tensors.append(
            Tensor(
                index=index,
                name=name or f"tensor_{index}",
                shape=tuple(int(size) for size in shape),
                dtype=kind,
                scale=scales,
                zero_point=zero_points,
                quantized_dimension=quantized_dimension,
                data=None if array is None else array.reshape(shape),
                is_variable=is_variable,
                type_name=_TYPE_NAMES.get(kind, "") if type_name is None else type_name,
            )
        )
        return index

    def input(
        self,
        shape: tuple[int, ...],
        *,
        scale: float | None = None,
        zero_point: int = 0,
        dtype: npt.DTypeLike | None = None,
        name: str = "",
    ) -> int:
        """Adds an input of the graph. Returns: its tensor index."""
        index = self.tensor(shape, name=name, dtype=dtype, scale=scale, zero_point=zero_point)
        self._inputs.append(index)
        return index

    def operator(
        self,
        op: str,
        inputs: tuple[int, ...],
        outputs: tuple[int, ...],
        options: Options | None = None,
        version: int | None = None,
        *,
        intermediates: tuple[int, ...] = (),
        custom_options: bytes = b"",
    ) -> int:
        """Adds any operator on tensors that are there. Returns: its first output's index, or -1."""
        if options is None:
            options = OPTIONS[op]() if op in OPTIONS else NoOptions()
        if version is None:
            version = _INT8_VERSIONS.get(op, 1)
        self._operators.append(
            Operator(
                len(self._operators),
                op,
                inputs,
                outputs,
                options,
                version,
                intermediates,
                custom_options,
            )
        )
        return outputs[0] if outputs else -1

    def apply(
        self,
        op: str,
        *inputs: int,
        options: Options | None = None,
        scale: npt.ArrayLike | None = None,
        zero_point: npt.ArrayLike = 0,
        dtype: npt.DTypeLike | None = None,
        name: str = "",
    ) -> int:
        """Adds any operator whose output's shape follows from its inputs and options.

        Parameters: `inputs` tensor indices, -1 for one that is absent. The output's `scale`,
        `zero_point` and `dtype` are the first input's where they are not given; those of SELECT are
        the second's, and comparisons give bools.
        Returns: the output's index.
        """
        outputs = self.apply_all(
            op,
            *inputs,
            options=options,
            scale=scale,
            zero_point=zero_point,
            dtype=dtype,
            name=name,
        )
        if len(outputs) != 1:
            raise GraphError(f"{op} has {len(outputs)} outputs here: use apply_all")
        return outputs[0]

    def apply_all(
        self,
        op: str,
        *inputs: int,
        options: Options | None = None,
        scale: npt.ArrayLike | None = None,
        zero_point: npt.ArrayLike = 0,
        dtype: npt.DTypeLike | None = None,
        name: str = "",
    ) -> tuple[int, ...]:
        """As `apply`, for any number of outputs, all of one scale. Returns: their indices."""
        register_all()
        position, of_its_own = output_likeness(op)
        like = self._tensors[inputs[position]]
        if dtype is None:
            dtype = of_its_own
        kind = like.dtype if dtype is None else np.dtype(dtype)
        if scale is None and kind == like.dtype and like.scale.size:
            scale, zero_point = like.scale, like.zero_point
        if options is None and op in OPTIONS:
            options = OPTIONS[op]()
        draft = Operator(len(self._operators), op, inputs, (), options or NoOptions())
        shapes = output_shapes(self.build([]), draft)
        outputs = tuple(
            self.tensor(shape, scale=scale, zero_point=zero_point, dtype=kind, name=name)
            for shape in shapes
        )
        self.operator(op, inputs, outputs, options)
        return outputs

    def build(self, outputs: list[int]) -> Graph:
        """The graph, with these outputs."""
        return Graph(
            tuple(self._tensors),
            tuple(self._operators),
            tuple(self._inputs),
            tuple(outputs),
            self.name,
            subgraphs=tuple(self._subgraphs),
        )

    def subgraph(self, graph: Graph) -> int:
        """Adds a subgraph that operators can call. Returns: its number in the file."""
        self._subgraphs.append(graph)
        return len(self._subgraphs)

    def call_once(self, graph: Graph) -> None:
        """Adds CALL_ONCE of a graph that assigns variables their first values."""
        options = CallOnceOptions(init_subgraph_index=self.subgraph(graph))
        self.operator("CALL_ONCE", (), (), options)

    def var_handle(self, shared_name: str, container: str = "") -> int:
        """Adds VAR_HANDLE. Returns: the index of the tensor that stands for the variable."""
        handle = self.tensor((), dtype=np.void, type_name=RESOURCE, name=shared_name)
        options = VarHandleOptions(container=container, shared_name=shared_name)
        return self.operator("VAR_HANDLE", (), (handle,), options)

    def read_variable(
        self,
        handle: int,
        shape: tuple[int, ...],
        *,
        scale: npt.ArrayLike | None = None,
        zero_point: npt.ArrayLike = 0,
        dtype: npt.DTypeLike | None = None,
        name: str = "",
    ) -> int:
        """Adds READ_VARIABLE; the rest as in `tensor`. Returns: the output's index."""
        y = self.tensor(shape, dtype=dtype, scale=scale, zero_point=zero_point, name=name)
        return self.operator("READ_VARIABLE", (handle,), (y,))

    def assign_variable(self, handle: int, value: int) -> None:
        """Adds ASSIGN_VARIABLE of the tensor `value`."""
        self.operator("ASSIGN_VARIABLE", (handle, value), ())

    def _shape(self, index: int) -> tuple[int, ...]:
        return self._tensors[index].shape

    def _windows(
        self,
        x: int,
        window: tuple[int, int],
        stride: tuple[int, int],
        padding: str,
        dilation: tuple[int, int] = (1, 1),
    ) -> tuple[int, int]:
        sizes = []
        for size, taps, step, gap in zip(
            self._shape(x)[1:3], window, stride, dilation, strict=True
        ):
            reach = (taps - 1) * gap + 1
            sizes.append(-(-(size if padding == "SAME" else size - reach + 1) // step))
        return sizes[0], sizes[1]

    def _weights(
        self,
        weights: npt.NDArray[Any] | int,
        scale: npt.ArrayLike,
        zero_point: int,
        quantized_dimension: int = 0,
    ) -> int:
        if isinstance(weights, int):
            return weights
        return self.tensor(
            data=weights,
            dtype=np.int8 if self.dtype == np.int16 else None,
            scale=scale,
            zero_point=zero_point,
            quantized_dimension=quantized_dimension,
            name="weights",
        )

    def _bias(
        self,
        x: int,
        bias: npt.ArrayLike | None,
        weight_scale: npt.ArrayLike,
        dtype: npt.DTypeLike | None = None,
    ) -> tuple[int, ...]:
        if bias is None:
            return ()
        if dtype is None:
            dtype = np.int64 if self.dtype == np.int16 else np.int32
        scales = np.atleast_1d(np.asarray(weight_scale, np.float32)) * self._tensors[x].scale[0]
        return (self.tensor(data=bias, dtype=dtype, scale=scales, name="bias"),)

    def _bias_type(self, dtype: npt.DTypeLike | None) -> str:
        """What the options of a layer say of its sums; nothing by default."""
        return "FLOAT32" if dtype is None else _TYPE_NAMES[np.dtype(dtype)]

    def _convolution(
        self,
        op: str,
        inputs: tuple[int, ...],
        channels: int,
        options: Conv2DOptions | DepthwiseConv2DOptions,
        scale: float,
        zero_point: int,
        name: str,
    ) -> int:
        """Adds a convolution to so many `channels` of `inputs`: data, filters, maybe a bias."""
        kernel_h, kernel_w = self._shape(inputs[1])[1:3]
        rows = self._windows(
            inputs[0],
            (kernel_h, kernel_w),
            (options.stride_h, options.stride_w),
            options.padding,
            (options.dilation_h, options.dilation_w),
        )
        shape = (self._shape(inputs[0])[0], *rows, channels)
        y = self.tensor(shape, scale=scale, zero_point=zero_point, name=name)
        return self.operator(op, inputs, (y,), options)

    def conv2d(
        self,
        x: int,
        weights: npt.NDArray[Any] | int,
        bias: npt.ArrayLike | None,
        *,
        weight_scale: npt.ArrayLike,
        weight_zero_point: int = 0,
        scale: float,
        zero_point: int = 0,
        stride: tuple[int, int] = (1, 1),
        dilation: tuple[int, int] = (1, 1),
        padding: str = "SAME",
        activation: str = "NONE",
        bias_dtype: npt.DTypeLike | None = None,
        name: str = "",
    ) -> int:
        """Adds CONV_2D. Returns: the output's index.

        Parameters: `weights` ``[output channels, kernel height, kernel width, input channels /
        groups]``, `bias` int32 ``[output channels]``, `weight_scale` one or one per output
        channel, `scale` and `zero_point` of the output, `stride` and `dilation` (vertical,
        horizontal). With int16 activations, `bias_dtype` int32 or int64 is the bias's type and
        what sums are added up in. Instead of `weights`, the index of a tensor that computes them.
        """
        filters = self._weights(weights, weight_scale, weight_zero_point)
        inputs = (x, filters, *self._bias(x, bias, weight_scale, bias_dtype))
        options = Conv2DOptions(
            quantized_bias_type=self._bias_type(bias_dtype),
            padding=padding,
            stride_h=stride[0],
            stride_w=stride[1],
            dilation_h=dilation[0],
            dilation_w=dilation[1],
            activation=activation,
        )
        outputs = self._shape(filters)[0]
        return self._convolution("CONV_2D", inputs, outputs, options, scale, zero_point, name)

    def depthwise_conv2d(
        self,
        x: int,
        weights: npt.NDArray[Any] | int,
        bias: npt.ArrayLike | None,
        *,
        weight_scale: npt.ArrayLike,
        weight_zero_point: int = 0,
        scale: float,
        zero_point: int = 0,
        stride: tuple[int, int] = (1, 1),
        dilation: tuple[int, int] = (1, 1),
        padding: str = "SAME",
        activation: str = "NONE",
        name: str = "",
    ) -> int:
        """Adds DEPTHWISE_CONV_2D; as `conv2d`, `weights` ``[1, height, width, channels]``."""
        dimension = 3 if np.size(weight_scale) > 1 else 0
        filters = self._weights(weights, weight_scale, weight_zero_point, dimension)
        outputs, channels = self._shape(filters)[3], self._shape(x)[3]
        inputs = (x, filters, *self._bias(x, bias, weight_scale))
        options = DepthwiseConv2DOptions(
            padding=padding,
            stride_h=stride[0],
            stride_w=stride[1],
            dilation_h=dilation[0],
            dilation_w=dilation[1],
            depth_multiplier=outputs // channels,
            activation=activation,
        )
        op = "DEPTHWISE_CONV_2D"
        return self._convolution(op, inputs, outputs, options, scale, zero_point, name)

    def fully_connected(
        self,
        x: int,
        weights: npt.NDArray[Any] | int,
        bias: npt.ArrayLike | None,
        *,
        weight_scale: npt.ArrayLike,
        weight_zero_point: int = 0,
        scale: float,
        zero_point: int = 0,
        activation: str = "NONE",
        keep_num_dims: bool = False,
        bias_dtype: npt.DTypeLike | None = None,
        name: str = "",
    ) -> int:
        """Adds FULLY_CONNECTED; as `conv2d`, `weights` ``[outputs, inputs]``.

        Parameters: the output is ``[rows, outputs]``, or with `keep_num_dims` of the input's
        shape but for the last dimension.
        """
        filters = self._weights(weights, weight_scale, weight_zero_point)
        outputs, depth = self._shape(filters)
        size = int(np.prod(self._shape(x), dtype=np.int64))
        bias_input = self._bias(x, bias, weight_scale, bias_dtype) or (-1,)
        shape: tuple[int, ...] = (size // depth, outputs)
        if keep_num_dims:
            shape = (*self._shape(x)[:-1], outputs)
        y = self.tensor(shape, scale=scale, zero_point=zero_point, name=name)
        options = FullyConnectedOptions(
            activation=activation,
            keep_num_dims=keep_num_dims,
            quantized_bias_type=self._bias_type(bias_dtype),
        )
        return self.operator("FULLY_CONNECTED", (x, filters, *bias_input), (y,), options)

    def add(
        self,
        first: int,
        second: int,
        *,
        scale: float,
        zero_point: int = 0,
        activation: str = "NONE",
        name: str = "",
    ) -> int:
        """Adds ADD; the inputs' shapes may broadcast. Returns: the output's index."""
        shape = np.broadcast_shapes(self._shape(first), self._shape(second))
        y = self.tensor(shape, scale=scale, zero_point=zero_point, name=name)
        # Scales that are powers of two mean nothing special.
        options = AddOptions(activation=activation, pot_scale_int16=self.dtype != np.int16)
        return self.operator("ADD", (first, second), (y,), options)

    def pool2d(
        self,
        kind: str,
        x: int,
        *,
        window: tuple[int, int],
        stride: tuple[int, int],
        padding: str = "VALID",
        activation: str = "NONE",
        name: str = "",
    ) -> int:
        """Adds AVERAGE_POOL_2D or MAX_POOL_2D, `kind` "average" or "max", at x's own scale."""
        source = self._tensors[x]
        n, _, _, channels = source.shape
        shape = (n, *self._windows(x, window, stride, padding), channels)
        y = self.tensor(shape, scale=source.scale, zero_point=source.zero_point, name=name)
        options = Pool2DOptions(
            padding=padding,
            stride_h=stride[0],
            stride_w=stride[1],
            filter_h=window[0],
            filter_w=window[1],
            activation=activation,
        )
        op = {"average": "AVERAGE_POOL_2D", "max": "MAX_POOL_2D"}[kind]
        return self.operator(op, (x,), (y,), options)

    def reshape(self, x: int, shape: tuple[int, ...], *, name: str = "") -> int:
        """Adds RESHAPE to `shape`, given as a second input too. Returns: the output's index."""
        source = self._tensors[x]
        wanted = self.tensor(data=np.array(shape, np.int32), dtype=np.int32, name="shape")
        y = self.tensor(
            shape,
            dtype=source.dtype,
            scale=source.scale if source.scale.size else None,
            zero_point=source.zero_point,
            name=name,
        )
        return self.operator("RESHAPE", (x, wanted), (y,), ReshapeOptions(new_shape=shape))

    def softmax(self, x: int, *, beta: float = 1.0, name: str = "") -> int:
        """Adds SOFTMAX over the last dimension. Returns: the output's index."""
        scale, zero_point = 1 / 256, 0 if self.dtype == np.uint8 else -128
        if self.dtype == np.int16:
            scale, zero_point = 1 / 32768, 0
        y = self.tensor(self._shape(x), scale=scale, zero_point=zero_point, name=name)
        return self.operator("SOFTMAX", (x,), (y,), SoftmaxOptions(beta=beta))

    def quantize(
        self,
        x: int,
        *,
        scale: float,
        zero_point: int = 0,
        dtype: npt.DTypeLike | None = None,
        name: str = "",
    ) -> int:
        """Adds QUANTIZE from x's type and scale to `dtype` and `scale`."""
        y = self.tensor(self._shape(x), dtype=dtype, scale=scale, zero_point=zero_point, name=name)
        return self.operator("QUANTIZE", (x,), (y,))

    def top_k(
        self, x: int, k: int, *, places: npt.DTypeLike = np.int32, name: str = ""
    ) -> tuple[int, int]:
        """Adds TOPK_V2 along the last dimension. Returns: the indices of both outputs.

        Parameters: `k` how many, `places` the type of the second output, int32 or int16.
        """
        source = self._tensors[x]
        count = self.tensor(data=np.array([k], np.int32), dtype=np.int32, name="k")
        shape = (*source.shape[:-1], k)
        largest = self.tensor(
            shape,
            dtype=source.dtype,
            scale=source.scale if source.scale.size else None,
            zero_point=source.zero_point,
            name=name,
        )
        where = self.tensor(shape, dtype=places, name=name and f"{name}_places")
        self.operator("TOPK_V2", (x, count), (largest, where))
        return largest, where
