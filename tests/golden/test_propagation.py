"""What follows from a file without its inputs: shapes, and constants that operators compute."""

import contextlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import mensa.golden as golden
from mensa.golden.options import (
    OPTIONS,
    GatherOptions,
    PackOptions,
    ReducerOptions,
    ReshapeOptions,
    ShapeOptions,
    StridedSliceOptions,
    UnpackOptions,
)
from tests.golden.comparison import equal
from tests.golden.disguise import IMPOSSIBLE, without_shapes
from tests.golden.makers import MAKERS
from tests.golden.strategies import layers

DRAWN = {
    "deadline": None,
    "derandomize": True,
    "database": None,
    "suppress_health_check": list(HealthCheck),
}


def integers(builder, values):
    return builder.tensor(data=np.array(values, np.int32), dtype=np.int32)


def reshaped_by_its_own_shape(dtype, shape, shown=()):
    """A network that keeps its batches and flattens the rest, as converters write it.

    Parameters: `shown` which operators' outputs the graph gives, too.
    """
    builder = golden.GraphBuilder("flatten", dtype)
    x = builder.input(shape, scale=0.5)
    sizes = builder.apply(
        "SHAPE", x, options=ShapeOptions(out_type="INT32"), dtype=np.int32, name="sizes"
    )
    first = (integers(builder, [0]), integers(builder, [1]), integers(builder, [1]))
    batches = builder.apply(
        "STRIDED_SLICE", sizes, *first, options=StridedSliceOptions(shrink_axis_mask=1)
    )
    rest = integers(builder, int(np.prod(shape[1:])))
    wanted = builder.apply("PACK", batches, rest, options=PackOptions(values_count=2))
    y = builder.tensor((shape[0], int(np.prod(shape[1:]))), scale=0.5)
    builder.operator("RESHAPE", (x, wanted), (y,))
    computed = (sizes, batches, wanted)
    return builder.build([y, *(computed[place] for place in sorted(shown))])


@settings(max_examples=20, **DRAWN)
@given(
    shape=st.lists(st.integers(1, 5), min_size=2, max_size=4),
    unsigned=st.booleans(),
    shown=st.sets(st.integers(0, 2)),
)
def check_reshapes(oracle, shape, unsigned, shown):
    dtype = np.uint8 if unsigned and oracle.name == "litert" else np.int8
    written = reshaped_by_its_own_shape(dtype, tuple(shape), shown)
    graph = golden.read(golden.write(written))
    assert [operator.op for operator in graph.operators] == ["RESHAPE"]
    assert graph.tensors[graph.operators[0].inputs[1]].data is not None
    (note,) = graph.notes
    made = [f"{operator.op} ({graph.first_output(operator)})" for operator in written.operators[:3]]
    assert note.endswith(f": {', '.join(made)}")
    assert made[0] == "SHAPE (tensor 1 'sizes')"
    x = np.arange(np.prod(shape)).astype(dtype).reshape(shape)
    computed = [index for operator in written.operators for index in operator.outputs]
    (wanted,) = oracle.run(golden.write(written), [[x]], computed)
    found = golden.run(graph, [x], keep="all", rounding=oracle.name)
    assert set(found) == {*graph.inputs, *computed}
    for index in computed:
        assert equal(found[index], wanted[index])
    # What is saved is what was read, and the oracle takes it.
    saved = golden.write(graph)
    again = golden.read(saved)
    assert [operator.op for operator in again.operators] == ["RESHAPE"]
    (theirs,) = oracle.run(saved, [[x]], list(graph.outputs))
    ours = golden.run(again, [x], rounding=oracle.name)
    assert {*ours} == {*graph.outputs}
    for index in graph.outputs:
        assert equal(ours[index], wanted[index])
        assert equal(theirs[index], wanted[index])


def test_a_shape_that_is_computed_from_shapes_is_a_constant(oracle):
    check_reshapes(oracle)


def test_a_file_without_shapes_is_reshaped_all_the_same(litert):
    written = without_shapes(reshaped_by_its_own_shape(np.int8, (2, 3, 4)))
    graph = golden.read(golden.write(written))
    assert graph.tensors[graph.outputs[0]].shape == (2, 12)
    x = np.arange(24, dtype=np.int8).reshape(2, 3, 4)
    (wanted,) = litert.run(golden.write(written), [[x]], list(graph.outputs))
    assert equal(
        golden.run(graph, [x], rounding="litert")[graph.outputs[0]], wanted[graph.outputs[0]]
    )


def on_constants(layer):
    """The layer with constants for inputs, and its outputs flattened."""
    graph = layer.graph
    given = dict(zip(graph.inputs, layer.inputs()[0], strict=True))
    tensors = [
        replace(tensor, data=given.get(tensor.index, tensor.data)) for tensor in graph.tensors
    ]
    operators = list(graph.operators)
    flat = []
    for index in graph.outputs:
        flat.append(len(tensors))
        # A new shape of [0] alone would mean a scalar.
        size = graph.tensors[index].size
        tensor = replace(graph.tensors[index], index=flat[-1], shape=(1, size))
        tensors.append(tensor)
        options = ReshapeOptions(new_shape=tensor.shape)
        operators.append(
            golden.Operator(len(operators), "RESHAPE", (index,), (tensor.index,), options)
        )
    return replace(
        graph, tensors=tuple(tensors), operators=tuple(operators), inputs=(), outputs=tuple(flat)
    )


def runs(graph, arrays):
    """All tensors by either oracle's arithmetic, of those that can run it, by its name."""
    found = {}
    for rounding in ("tflm", "litert"):
        with contextlib.suppress(golden.GraphError):
            found[rounding] = golden.run(graph, arrays, keep="all", rounding=rounding)
    return found


def static(graph, found):
    """Tensors that are constants if the inputs are, of a network that was run."""
    first, *others = found.values()
    known = {tensor.index for tensor in graph.tensors if tensor.data is not None}
    known |= {*graph.inputs}
    folded = []
    for operator in graph.operators:
        inputs = {index for index in operator.inputs if index >= 0}
        if not inputs or not inputs <= known:
            continue
        if all(equal(first[i], each[i]) for i in operator.outputs for each in others):
            known |= {*operator.outputs}
            folded += operator.outputs
    return tuple(sorted(folded))


@pytest.mark.parametrize("op", sorted(MAKERS))
def test_an_operator_on_constants_is_one_where_the_oracles_agree(op):
    oracle, types = next(
        (name, types) for name, types in MAKERS[op].types.items() if not isinstance(types, str)
    )

    @settings(max_examples=5, **DRAWN)
    @given(layer=layers(operators=(op,), dtypes=types, floats=True, oracle=oracle))
    def check(layer):
        wanted = runs(layer.graph, layer.inputs()[0])
        constant = golden.read(golden.write(on_constants(layer)))
        assert constant.folded == static(layer.graph, wanted)
        found = runs(constant, [])
        assert set(wanted) <= set(found)
        for name, theirs in wanted.items():
            ours = found[name]
            assert {*constant.folded, *constant.outputs} <= set(ours)
            assert all(equal(ours[index], theirs[index]) for index in ours if index in theirs)

    check()


def test_constants_on_which_the_oracles_differ_are_left_to_them(oracle):
    builder = golden.GraphBuilder("six")
    x = builder.tensor(data=np.arange(-128, 128), scale=0.1)
    y = builder.apply("RELU6", x, scale=0.02, zero_point=-128)
    z = builder.reshape(y, (16, 16))
    written = golden.write(builder.build([z]))
    graph = golden.read(written)
    assert [operator.op for operator in graph.operators] == ["RELU6", "RESHAPE"]
    (wanted,) = oracle.run(written, [[]], [z])
    assert equal(golden.run(graph, [], rounding=oracle.name)[z], wanted[z])


def test_an_operator_that_only_writes_an_output_stays():
    builder = golden.GraphBuilder("sizes")
    x = builder.input((2, 3), scale=1.0)
    y = builder.apply("SHAPE", x, options=ShapeOptions(out_type="INT32"), dtype=np.int32)
    graph = golden.read(golden.write(builder.build([y])))
    assert (len(graph.operators), graph.folded, graph.notes) == (1, (), ())
    assert golden.run(graph, [np.zeros((2, 3), np.int8)])[y].tolist() == [2, 3]


def test_an_operator_of_which_one_output_is_read_and_one_is_the_graphs_is_folded(oracle):
    builder = golden.GraphBuilder("rows and columns")
    x = builder.input((2, 3), scale=1.0)
    sizes = builder.apply("SHAPE", x, options=ShapeOptions(out_type="INT32"), dtype=np.int32)
    rows, columns = builder.apply_all("UNPACK", sizes, options=UnpackOptions(num=2))
    parts = columns, integers(builder, 2)
    turned = builder.apply("PACK", *parts, options=PackOptions(values_count=2))
    y = builder.tensor((3, 2), scale=1.0)
    builder.operator("RESHAPE", (x, turned), (y,))
    data = golden.write(builder.build([rows, y]))
    graph = golden.read(data)
    assert [operator.op for operator in graph.operators] == ["RESHAPE"]
    arrays = [np.arange(6, dtype=np.int8).reshape(2, 3)]
    (wanted,) = oracle.run(data, [arrays], [rows, y])
    found = golden.run(graph, arrays, rounding=oracle.name)
    assert all(equal(found[index], wanted[index]) for index in (rows, y))


def test_an_operator_whose_output_is_read_before_it_is_written_stays():
    builder = golden.GraphBuilder("backwards")
    x, sizes = builder.input((2, 3), scale=1.0), builder.tensor((2,), dtype=np.int32)
    y = builder.tensor((3, 2), scale=1.0)
    builder.operator("RESHAPE", (x, sizes), (y,))
    builder.operator("SHAPE", (x,), (sizes,), ShapeOptions(out_type="INT32"))
    graph = golden.read(golden.write(builder.build([y, sizes])))
    assert [operator.op for operator in graph.operators] == ["RESHAPE", "SHAPE"]
    with pytest.raises(golden.GraphError, match="RESHAPE"):
        golden.run(graph, [np.zeros((2, 3), np.int8)])


def test_what_a_called_subgraph_computes_from_constants_is_told_with_its_number():
    first = golden.GraphBuilder("first")
    one = first.tensor(data=[[5]], scale=0.5, name="one")
    many = first.apply("BROADCAST_TO", one, integers(first, [1, 4]), name="many")
    first.assign_variable(first.var_handle("memory"), many)
    builder = golden.GraphBuilder("calls")
    builder.subgraph(first.build([]))
    builder.call_once(first.build([]))
    x = builder.input((2, 3), scale=0.5)
    sizes = builder.apply("SHAPE", x, options=ShapeOptions(out_type="INT32"), dtype=np.int32)
    y = builder.tensor((2, 3), scale=0.5)
    builder.operator("RESHAPE", (x, sizes), (y,))
    handle = builder.var_handle("memory")
    z = builder.read_variable(handle, (1, 4), scale=0.5)
    passed_over, ours, theirs = golden.read(golden.write(builder.build([y, z]))).notes
    assert "subgraph 1 " in passed_over
    assert ours.startswith("computed when")
    assert theirs.startswith("in subgraph 2: computed when")
    assert theirs.endswith(": BROADCAST_TO (tensor 2 'many')")


def test_what_a_kernel_refuses_of_constants_is_refused_when_it_runs():
    builder = golden.GraphBuilder("outside")
    table = builder.tensor(data=np.zeros((3, 2)), scale=1.0)
    rows = builder.apply("GATHER", table, integers(builder, [3]), options=GatherOptions())
    y = builder.add(rows, builder.input((1, 2), scale=1.0), scale=1.0)
    graph = golden.read(golden.write(builder.build([y])))
    with pytest.raises(golden.GraphError, match=r"operator 0 .GATHER.*an index is not"):
        golden.run(graph, [np.zeros((1, 2), np.int8)])


def test_constants_beyond_the_budget_are_refused_and_not_computed():
    builder = golden.GraphBuilder("many")
    one = builder.tensor(data=np.zeros((1, 1)), scale=1.0)
    many = builder.apply("TILE", one, integers(builder, [1 << 15, 1 << 16]))
    y = builder.apply("MEAN", many, integers(builder, [0, 1]), options=ReducerOptions())
    data = golden.write(builder.build([y]))
    with pytest.raises(golden.GraphError, match=r"tensors up to this one take .* max_bytes"):
        golden.read(data)


def test_shapes_of_an_unknown_operator_are_the_files():
    builder = golden.GraphBuilder("unknown")
    x = builder.input((2, 3), scale=1.0)
    y = builder.tensor((4, 5), scale=1.0)
    builder.operator("CUSTOM:unheard_of", (x,), (y,))
    z = builder.tensor((1,), scale=1.0)
    builder.operator("QUANTIZE", (y,), (z,))
    graph = golden.read(golden.write(builder.build([z])))
    assert [tensor.shape for tensor in graph.tensors] == [(2, 3), (4, 5), (4, 5)]


def without_elements(op, dtype, shape, count, output, **options):
    """A layer whose further inputs are constants of no elements."""
    builder = golden.GraphBuilder("empty", dtype)
    x = builder.input(shape, scale=0.5)
    width = (0, 2) if op == "PAD" else (0,)
    kinds = {"data": np.zeros(width), "dtype": np.int32}
    if op == "CONCATENATION":
        kinds = {"data": np.zeros((0, *shape[1:])), "scale": 0.25}
    constants = [builder.tensor(**kinds) for _ in range(count)]
    y = builder.tensor(output, scale=0.5)
    builder.operator(op, (x, *constants), (y,), OPTIONS[op](**options))
    return builder.build([y])


EMPTY = {
    "CONCATENATION": ((2, 3), 1, (2, 3), {}),
    "MEAN": ((2, 3), 1, (2, 3), {}),
    "PAD": ((), 1, (), {}),
    "RESHAPE": ((1, 1), 1, (), {}),
    "SLICE": ((), 2, (), {}),
    "STRIDED_SLICE": ((2, 3), 3, (2, 3), {}),
    "TILE": ((), 1, (), {}),
    # LiteRT leaves the output as the memory was.
    "TRANSPOSE": ((), 1, (), {}),
}
#: Those that TFLM runs, too.
EMPTY_TFLM = ("CONCATENATION", "MEAN", "RESHAPE", "SLICE")


@pytest.mark.parametrize("buffers", [True, False])
@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16])
@pytest.mark.parametrize("op", EMPTY)
def test_a_constant_without_elements_is_one(op, dtype, buffers, oracle):
    shape, count, output, options = EMPTY[op]
    if op == "CONCATENATION" and dtype != np.uint8:
        count = 0
    written = without_elements(op, dtype, shape, count, output, **options)
    if not buffers:
        tensors = [
            tensor if tensor.size else replace(tensor, data=None) for tensor in written.tensors
        ]
        written = replace(written, tensors=tuple(tensors))
    data = golden.write(written)
    graph = golden.read(data)
    assert all(tensor.data is not None for tensor in graph.tensors if not tensor.size)
    x = (np.arange(np.prod(shape, dtype=int)) + 1).astype(dtype).reshape(shape)
    (y,) = graph.outputs
    runs = oracle.name == "litert" or (op in EMPTY_TFLM and dtype != np.uint8)
    if runs:
        found = golden.run(graph, [x], rounding=oracle.name)[y]
        wanted = x.reshape(output) if op == "TRANSPOSE" else oracle.run(data, [[x]], [y])[0][y]
        assert equal(found, wanted)
        assert equal(found, x.reshape(output))
    again = golden.read(golden.write(graph))
    assert [tensor.data is None for tensor in again.tensors] == [
        tensor.data is None for tensor in graph.tensors
    ]


@pytest.mark.parametrize("shape", IMPOSSIBLE)
def test_an_impossible_shape_of_a_computed_tensor_is_passed_over(shape, litert):
    builder = golden.GraphBuilder("stale")
    x = builder.input((2, 3), scale=0.5)
    y = builder.add(x, x, scale=1.0)
    graph = builder.build([builder.apply("TRANSPOSE", y, integers(builder, [1, 0]))])
    stale = golden.write(with_shape(graph, y, shape))
    assert golden.read(stale).tensors[y].shape == (2, 3)
    arrays, (output,) = [np.arange(6, dtype=np.int8).reshape(2, 3)], graph.outputs
    (wanted,) = litert.run(stale, [arrays], [output])
    assert equal(golden.run(golden.read(stale), arrays, rounding="litert")[output], wanted[output])


def with_shape(graph, index, shape):
    """A copy in which one tensor has this shape."""
    tensors = list(graph.tensors)
    tensors[index] = replace(tensors[index], shape=shape)
    return replace(graph, tensors=tuple(tensors))


@pytest.mark.parametrize("shape", IMPOSSIBLE)
@pytest.mark.parametrize(
    "role", ["an input", "a constant", "of an unknown operator", "never written", "unused"]
)
def test_an_impossible_shape_that_no_operator_puts_right_is_refused(role, shape):
    builder = golden.GraphBuilder("impossible")
    x = builder.input((2, 3), scale=0.5)
    data = np.zeros((2, 3)) if role == "a constant" else None
    y, z = (builder.tensor((2, 3), data=each, scale=0.5) for each in (data, None))
    if role == "of an unknown operator":
        builder.operator("CUSTOM:unheard_of", (x,), (y,))
    target = x if role == "an input" else y
    sizes = builder.apply("SHAPE", z if role == "unused" else target, dtype=np.int32)
    graph = builder.build([builder.apply("CAST", sizes, dtype=np.float32)])
    with pytest.raises(golden.GraphError, match=rf"tensor {target} .*shape \[") as refused:
        golden.read(golden.write(with_shape(graph, target, shape)))
    assert refused.value.tensor == str(graph.tensors[target])
