"""Graphs whose inputs and outputs are not what they usually are."""

from __future__ import annotations

import dataclasses

import numpy as np
from hypothesis import strategies as st

import mensa.golden as golden
from mensa.golden.schema import INT4, RESOURCE
from tests.golden.strategies import layers

INPUT = (1, 4)
SCALE = 0.1


class _Ends:
    """Makes each graph on a fresh builder; a method is a graph, named for what is odd about it."""

    def __init__(self):
        self.b = golden.GraphBuilder("ends")

    def x(self, shape=INPUT):
        return self.b.input(shape, scale=SCALE)

    def constant(self):
        return self.b.tensor(data=[[-5, 0, 7, 127]], scale=SCALE, name="constant")

    def state(self):
        return self.b.tensor(INPUT, scale=SCALE, zero_point=3, is_variable=True, name="state")

    def doubled(self, x):
        return self.b.add(x, x, scale=SCALE)

    def constant_output(self):
        x, c = self.x(), self.constant()
        return self.b.build([self.doubled(x), c])

    def constant_output_beside_the_host(self):
        x, c = self.x(), self.constant()
        return self.b.build([c, self.b.softmax(x)])

    def only_constants_are_outputs(self):
        self.doubled(self.x())
        return self.b.build([self.constant()])

    def constant_that_is_read_is_output(self):
        x, c = self.x(), self.constant()
        return self.b.build([self.b.add(x, c, scale=SCALE), c])

    def reshaped_constant_is_output(self):
        c = self.constant()
        y = self.b.reshape(c, (4, 1))
        return self.b.build([y, c, self.b.add(self.x((4, 1)), y, scale=SCALE)])

    def nothing_but_constants(self):
        return self.b.build([self.doubled(self.constant())])

    def input_is_output(self):
        x = self.x()
        return self.b.build([x, self.doubled(x)])

    def reshaped_input_is_output(self):
        x = self.x()
        return self.b.build([self.b.reshape(x, (2, 2)), x])

    def output_twice(self):
        y = self.doubled(self.x())
        return self.b.build([y, y])

    def all_ends_twice(self):
        x, c = self.x(), self.constant()
        y = self.doubled(x)
        return self.b.build([c, x, y, c, x, y])

    def input_twice(self):
        x = self.x()
        graph = self.b.build([self.doubled(x)])
        return dataclasses.replace(graph, inputs=(x, x))

    def unread_input(self):
        self.x((1, 3))
        return self.b.build([self.doubled(self.x())])

    def unread_input_is_output(self):
        unread = self.x((1, 3))
        return self.b.build([self.doubled(self.x()), unread])

    def no_outputs(self):
        self.doubled(self.x())
        return self.b.build([])

    def no_operators(self):
        return self.b.build([self.x(), self.constant()])

    def no_operators_and_no_inputs(self):
        return self.b.build([self.constant()])

    def nothing_at_all(self):
        return self.b.build([])

    def state_is_read_and_output(self):
        x, state = self.x(), self.state()
        return self.b.build([self.b.add(x, state, scale=SCALE), state])

    def state_is_read_on_the_host(self):
        state = self.state()
        return self.b.build([self.b.softmax(state), self.doubled(self.x())])

    def state_is_input(self):
        x, state = self.x(), self.state()
        graph = self.b.build([self.b.add(x, state, scale=SCALE), state])
        return dataclasses.replace(graph, inputs=(x, state))


def _odd_graphs():
    names = [name for name in vars(_Ends) if name.count("_") and not name.startswith("_")]
    return {name: getattr(_Ends(), name)() for name in names}


#: By what is odd about them.
ENDS = _odd_graphs()


@st.composite
def odd_ends(draw, oracle):
    """A strategy for `layers` whose outputs are any of their tensors, some of them twice.

    One input more, or one more constant, is read by nobody. `oracle` is the one that runs them.
    """
    layer = draw(layers(dtypes=("int8",), oracle=oracle))
    graph = layer.graph
    tensor = dataclasses.replace(graph.tensors[graph.inputs[0]], index=len(graph.tensors))
    inputs = graph.inputs
    if draw(st.booleans()):
        inputs = draw(st.permutations((*inputs, tensor.index)))
    else:
        content = np.random.default_rng(layer.seed).integers(0, 128, tensor.shape)
        tensor = dataclasses.replace(tensor, data=content.astype(tensor.dtype))
    tensors = (*graph.tensors, tensor)
    # What the oracles give for constants of int4 is packed; for handles of variables, nothing.
    ends = [each.index for each in tensors if each.type_name not in (INT4, RESOURCE)]
    outputs = draw(st.lists(st.sampled_from(ends), min_size=1, max_size=4))
    changed = dataclasses.replace(
        graph, tensors=tensors, inputs=tuple(inputs), outputs=tuple(outputs)
    )
    return dataclasses.replace(layer, graph=changed, text=f"{layer.text}, outputs {outputs}")
