"""Operators of several jobs, one after another, on chip and streamed, on one machine and two."""

import numpy as np
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from mensa import golden
from mensa.golden.options import BatchMatMulOptions, ConcatenationOptions
from mensa.sched.lower import lower
from mensa.sched.placement import Placement
from tests.machines import any_options
from tests.sched.lower.hazards import Watcher
from tests.sched.runner import assert_equals_golden, machine_of, random_inputs

KINDS = {"scale": 0.1, "zero_point": 3}
ROOMY = machine_of(8, 8, 1 << 14, 1 << 14)
MACHINES = [
    machine_of(4, 5, 300, 600, port=8),
    machine_of(3, 9, 120, 1200),
    machine_of(8, 4, 2000, 4000),
]
MOST_ROWS = 20


class Matrices:
    """A network of matrices that grows operator by operator."""

    def __init__(self, draw):
        self.draw = draw
        self.builder = golden.GraphBuilder("matrices")
        self.shapes = {}
        size = draw(st.integers(1, 9))
        for shape in ((size, size), (size, size), (1, size), (size, 1)):
            self.add(self.builder.input(shape, **KINDS), shape)
        self.inputs = len(self.shapes)

    def add(self, tensor, shape):
        self.shapes[tensor] = shape

    def any(self, fits=lambda shape: True):
        """Any tensor whose shape fits, and its shape."""
        known = [each for each, shape in self.shapes.items() if fits(shape)]
        chosen = self.draw(st.sampled_from(known))
        return chosen, self.shapes[chosen]

    def grow(self):
        """One more operator."""
        kinds = (self.pair, self.product, self.prelu, self.join, self.cut, self.reshape, self.turn)
        self.draw(st.sampled_from(kinds))()

    def pair(self):
        x, shape = self.any()
        pairs = {
            number: [sorted(sizes) for sizes in zip(shape, other, strict=True)]
            for number, other in self.shapes.items()
        }
        fitting = [n for n, sizes in pairs.items() if all(a in (1, b) for a, b in sizes)]
        y = self.draw(st.sampled_from(fitting))
        result = tuple(most for _, most in pairs[y])
        op = self.draw(st.sampled_from(["ADD", "SUB", "MUL", "MAXIMUM"]))
        self.add(self.builder.apply(op, x, y, **KINDS), result)

    def product(self):
        adjoints = self.draw(st.booleans()), self.draw(st.booleans())
        x, shape = self.any()
        rows, depth = shape[::-1] if adjoints[0] else shape
        fitting = [n for n, each in self.shapes.items() if each[adjoints[1]] == depth]
        if not fitting:
            return
        y = self.draw(st.sampled_from(fitting))
        options = BatchMatMulOptions(adj_x=adjoints[0], adj_y=adjoints[1])
        columns = self.shapes[y][not adjoints[1]]
        self.add(
            self.builder.apply("BATCH_MATMUL", x, y, options=options, **KINDS), (rows, columns)
        )

    def prelu(self):
        x, shape = self.any()
        y, _ = self.any(lambda other: all(b in (1, a) for a, b in zip(shape, other, strict=True)))
        self.add(self.builder.apply("PRELU", x, y, **KINDS), shape)

    def join(self):
        x, (rows, columns) = self.any()
        y, (others, _) = self.any(lambda other: other[1] == columns)
        if rows + others <= MOST_ROWS:
            options = ConcatenationOptions(axis=0)
            joined = self.builder.apply("CONCATENATION", x, y, options=options, **KINDS)
            self.add(joined, (rows + others, columns))

    def cut(self):
        x, (rows, columns) = self.any()
        first = self.draw(st.integers(0, rows - 1))
        count = self.draw(st.integers(1, rows - first))
        ends = (
            self.builder.tensor(data=each, dtype=np.int32)
            for each in ([first, 0], [count, columns])
        )
        self.add(self.builder.apply("SLICE", x, *ends, **KINDS), (count, columns))

    def reshape(self):
        x, shape = self.any()
        self.add(self.builder.reshape(x, shape[::-1]), shape[::-1])

    def turn(self):
        """On the host."""
        x, shape = self.any()
        axis = self.builder.tensor(data=[0], dtype=np.int32)
        self.add(self.builder.apply("REVERSE_V2", x, axis, **KINDS), shape)

    def built(self):
        computed = list(self.shapes)[self.inputs :]
        assume(computed)
        outputs = st.lists(st.sampled_from(computed), min_size=1, max_size=3, unique=True)
        return self.builder.build(self.draw(outputs))


@st.composite
def graphs(draw):
    matrices = Matrices(draw)
    for _ in range(draw(st.integers(2, 8))):
        matrices.grow()
    return matrices.built()


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(graphs(), st.sampled_from(MACHINES), any_options, st.data())
def test_any_networks_of_matrices_equal_golden(graph, machine, options, data):
    names = st.sampled_from([machine.name, machine.name, ROOMY.name])
    several = data.draw(st.booleans())
    operators = {
        operator.index: data.draw(names) if several else machine.name
        for operator in graph.operators
    }
    rounding = data.draw(st.sampled_from(["tflm", "litert"]))
    lowered = lower(graph, Placement((ROOMY, machine), operators), rounding, options)
    for layer in lowered.layers:
        assert (layer.reason is None) == (layer.op != "REVERSE_V2")
    assert_equals_golden(lowered, random_inputs(graph, 3), Watcher)
