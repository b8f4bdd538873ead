"""Files that say nothing, or something false, of the shapes of computed tensors.

LiteRT works shapes out before it runs and takes no notice of them. TFLM takes them from the file,
so it can only be asked about a file that tells the truth.
"""

from dataclasses import replace

import numpy as np

#: Operators of which LiteRT does take notice: it refuses a file that is wrong about their output.
NOTICED = ("READ_VARIABLE", "SLICE")

#: More dimensions than golden's tensors have, and more elements than any memory.
IMPOSSIBLE = ((1,) * 9, (2,) * 12, (1 << 30, 1 << 30), (0, 1 << 30, 1 << 30, 1 << 30))


def computed(graph):
    """Indices of the tensors that operators write, and whose shapes follow from others."""
    operators = (operator for operator in graph.operators if not _is_stated(graph, operator))
    return {index for operator in operators for index in operator.outputs if index >= 0}


def _is_stated(graph, operator):
    # Where all have one element, SELECT keeps what the file says, as LiteRT does.
    single = all(graph.tensors[index].size == 1 for index in operator.inputs if index >= 0)
    # LiteRT refuses a handle that is said to have several elements, or none.
    return operator.op == "VAR_HANDLE" or (operator.op in ("SELECT", "SELECT_V2") and single)


def without_shapes(graph):
    """A copy in which no computed tensor has a shape."""
    return _with_shapes(graph, lambda shape: ())


def with_false_shapes(graph, seed):
    """A copy in which all computed tensors have random shapes, some that no tensor can have."""
    generator = np.random.default_rng(seed)

    def another(shape):
        if generator.random() < 0.2:
            return IMPOSSIBLE[generator.integers(len(IMPOSSIBLE))]
        ours = shape
        while ours == shape:
            ours = tuple(int(size) for size in generator.integers(0, 5, generator.integers(6)))
        return ours

    return _with_shapes(graph, another)


def _with_shapes(graph, change):
    # What is put into a subgraph has the shape that it has outside.
    called = (_changed(each, computed(each) | {*each.inputs}, change) for each in graph.subgraphs)
    return replace(_changed(graph, computed(graph), change), subgraphs=tuple(called))


def _changed(graph, wrong, change):
    tensors = tuple(
        replace(tensor, shape=change(tensor.shape)) if tensor.index in wrong else tensor
        for tensor in graph.tensors
    )
    return replace(graph, tensors=tensors)


def shapes(graph):
    """Shapes of all tensors."""
    return [tensor.shape for tensor in graph.tensors]
