"""Files that `mensa` may be given as networks, by what is odd about them: sound ones and others."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools

import numpy as np

import mensa.golden as golden
from mensa.golden import schema
from mensa.golden.compiled import DEVICES, PROBABLE_DEVICES
from mensa.golden.options import LeakyReluOptions, NoOptions, Pool2DOptions
from tests.golden.disguise import with_false_shapes, without_shapes
from tests.golden.graph_ends import ENDS
from tests.golden.mutants import corpus, mutate, worst
from tests.golden.test_options import with_options
from tests.golden.test_propagation import reshaped_by_its_own_shape
from tests.golden.tflite.model_files import changed
from tests.golden.tflite.test_files import compiled, sparse_weights
from tests.golden.tflite.test_passed_over import CALLERS, calling
from tests.golden.wild_networks import CASES
from tests.golden.wild_networks import wild as wild_network

SMALL_BYTES, SMALL_MACS = 1 << 20, 1 << 22
"""What a damaged file may ask for here: larger ones take long, however well they are answered."""

NAMES = (
    "",
    "入力",
    "é\u202eb",
    "a\nb\rc\x1b[31m\x07",
    "[/bold][red]",
    ":boom:",
    "%s{0}\\",
    "n" * 300,
)
"""Names of tensors, of custom operators, and of files as far as the system takes them."""


def _layer(name="x"):
    """A convolution and a SOFTMAX, whose tensors all have this name."""
    builder = golden.GraphBuilder("layer")
    x = builder.input((1, 4, 4, 2), scale=0.5, name=name)
    weights = np.arange(-27, 27, dtype=np.int8).reshape(3, 3, 3, 2)
    y = builder.conv2d(x, weights, [1, 2, 3], weight_scale=0.1, scale=2.0, name=name)
    return builder.build([builder.softmax(builder.reshape(y, (1, 48)))])


def ends():
    """Odd inputs and outputs."""
    return {name: golden.write(graph) for name, graph in ENDS.items()}


def names():
    """Names that are hard to print."""
    found = {}
    for number, name in enumerate(NAMES):
        found[f"tensor_name_{number}"] = golden.write(_layer(name))
        graph = _layer(name)
        last = dataclasses.replace(graph.operators[-1], op=f"CUSTOM:{name}")
        found[f"operator_name_{number}"] = golden.write(
            dataclasses.replace(graph, operators=(*graph.operators[:-1], last))
        )
    found["name_that_is_no_text"] = golden.write(_layer("qqqqqqqq")).replace(
        b"qqqq", b"\xff\xfe\xc0q"
    )
    return found


def file_names():
    """Files of hard names, by that name."""
    data = golden.write(_layer())
    return {f"{name[:200]}.tflite": data for name in NAMES if name and "/" not in name}


def files():
    """Files that are none, and those that golden refuses for what they say."""
    sound = golden.write(_layer())
    noise = np.random.default_rng(0).bytes(3000)
    found = {
        "empty": b"",
        "one_byte": b"T",
        "noise": noise,
        "noise_with_the_magic": noise[:4] + b"TFL3" + noise[8:],
        "another_schema": sound.replace(b"TFL3", b"TFL2"),
        "a_program": b"PK\x03\x04" + noise,
        "text": b"[machine]\nrows = 8\n",
    }
    found |= {f"cut_at_{at}": sound[:at] for at in range(4, len(sound), len(sound) // 12)}
    return found | _refused() | _types(sound) | _empty()


def _refused():
    builder = golden.GraphBuilder("float", np.float32)
    x = builder.input((1, 4))
    y = builder.tensor((1, 2))
    weights = builder.tensor(data=np.ones((2, 4)))
    builder.operator("FULLY_CONNECTED", (x, weights), (y,), version=1)
    floats = builder.build([y])

    builder = golden.GraphBuilder("wrong")
    x = builder.input((1, 4, 4, 1), scale=1.0)
    y = builder.tensor((1, 3, 3, 1), scale=1.0)
    options = Pool2DOptions(padding="SAME", stride_h=1, stride_w=1, filter_h=2, filter_w=2)
    builder.operator("MAX_POOL_2D", (x,), (y,), options)
    shapes = builder.build([y])

    layer = _layer()
    conv = layer.operators[0]
    orders = {
        "never_written": dataclasses.replace(layer, operators=layer.operators[1:]),
        "written_twice": dataclasses.replace(
            layer, operators=(conv, dataclasses.replace(conv, index=1))
        ),
        "not_in_order": dataclasses.replace(layer, operators=layer.operators[::-1]),
        "unwritten_output": dataclasses.replace(layer, operators=(), outputs=conv.outputs),
        "input_is_constant": dataclasses.replace(layer, inputs=(*layer.inputs, conv.inputs[1])),
        "no_such_output": dataclasses.replace(layer, outputs=(99,)),
        "absent_input": dataclasses.replace(
            layer, operators=(dataclasses.replace(conv, inputs=(-1, *conv.inputs[1:])),)
        ),
        "absent_output": dataclasses.replace(
            layer, operators=(dataclasses.replace(conv, outputs=(-1,)),)
        ),
        "no_output": dataclasses.replace(layer, operators=(dataclasses.replace(conv, outputs=()),)),
    }
    graphs = {"floats": floats, "wrong_shapes": shapes} | orders
    return {name: golden.write(graph) for name, graph in graphs.items()}


def _types(sound):
    """One tensor of a sound file, an input, a constant or an output, of every type there is."""
    graph = _layer()
    conv = graph.operators[0]
    places = {"input": graph.inputs[0], "weights": conv.inputs[1], "output": graph.outputs[0]}
    passed = dataclasses.replace(graph, operators=(), outputs=(*graph.inputs, conv.inputs[1]))
    found = {}
    for (role, index), (number, (name, _)) in itertools.product(
        places.items(), {**schema.TENSOR_TYPES, 99: ("NEW", None)}.items()
    ):
        found[f"{role}_of_{name.lower()}"] = _with_type(sound, index, number)
        if role == "input":
            found[f"{role}_of_{name.lower()}_is_output"] = _with_type(
                golden.write(passed), index, number
            )
    return found


def _with_type(data, index, number):
    """The file with another type of one tensor."""

    def change(model, schema):
        model.subgraphs[0].tensors[index].type = number

    return changed(data, change)


def _empty():
    """Tensors without elements, and constants without bytes."""
    found = {}
    for shape in ((0,), (0, 4), (1, 0), (), (1,) * 8):
        builder = golden.GraphBuilder("empty")
        x = builder.input(shape, scale=0.5)
        c = builder.tensor(data=np.zeros(shape), scale=0.5)
        y = builder.tensor(shape, scale=0.5)
        builder.operator("ADD", (x, c), (y,))
        words = "x".join(map(str, shape)) or "scalar"
        found[f"added_{words}"] = golden.write(builder.build([y]))
        found[f"passed_{words}"] = golden.write(builder.build([x, c]))
    return found


def wild():
    """Networks as public files are made: whole, and as their files are where these say less."""
    found = {}
    for name, dtype in CASES:
        stripped, whole = wild_network(name, dtype)
        found[f"{name}_{dtype}"] = whole
        if stripped != whole:
            found[f"{name}_{dtype}_as_it_is"] = stripped
    return found


def structures():
    """What files hold beside plain layers: signatures, calls, folded shapes, a compiler's code."""
    sound = golden.write(_layer())
    found = {f"calls_with_{op.lower()}": changed(sound, calling(op)) for op in CALLERS}
    found["sparse_weights"] = changed(sound, sparse_weights)
    found |= {
        f"compiled_{name}": golden.write(compiled(name)) for name in (*DEVICES, *PROBABLE_DEVICES)
    }
    for dtype in (np.int8, np.uint8):
        folded = reshaped_by_its_own_shape(dtype, (2, 3, 4))
        for what, graph in (("whole", folded), ("without_shapes", without_shapes(folded))):
            found[f"folded_{np.dtype(dtype)}_{what}"] = golden.write(graph)
    for seed in range(6):
        found[f"false_shapes_{seed}"] = golden.write(with_false_shapes(_layer(), seed))
    return found


def options(sound):
    """The last operators of sound files without their options, and with another operator's."""
    found = {}
    for number, (name, data) in enumerate(sorted(sound.items())):
        graph = golden.read(data)
        if graph.operators:
            given = LeakyReluOptions(alpha=0.5) if number % 2 else NoOptions()
            what = "wrong" if number % 2 else "no"
            found[f"{name}_of_{what}_options"] = golden.write(with_options(graph, given))
    return found


@functools.cache
def layers(count):
    """At least `count` sound layers, with one of each operator, and their names."""
    found, by_operator = corpus(), {}
    for name in sorted(found):  # such as add_int8_1
        by_operator.setdefault(name.rsplit("_", 2)[0], []).append(name)
    chosen = []
    # One type of one operator, another of the next.
    turned = [
        names[place % len(names) :] + names[: place % len(names)]
        for place, names in enumerate(by_operator.values())
    ]
    for names in itertools.zip_longest(*turned):
        if len(chosen) < count:
            chosen += [name for name in names if name is not None]
    return {name: found[name] for name in sorted(chosen)}


def damaged(sound, count):
    """`count` of `sound` files with damage at random, and as many with one field at its worst."""
    names = sorted(sound)
    found = {}
    for seed in range(count):
        name = names[seed % len(names)]
        found[f"mutant_{seed}_of_{name}"] = mutate(sound[name], np.random.default_rng(seed))
    fields = [
        (f"{name}: {what}", graph)
        for name in names
        for what, graph in worst(golden.read(sound[name]))
    ]
    for what, graph in fields[:: max(1, len(fields) // count)]:
        with contextlib.suppress(golden.GraphError):  # what can't be written can't be in a file
            found[what] = golden.write(graph)
    return found


def is_small(data):
    """Whether a file asks for little work, or is refused at once."""
    try:
        golden.read(data)
    except golden.GraphError:
        return True
    try:
        golden.read(data, max_bytes=SMALL_BYTES, max_macs=SMALL_MACS)
    except golden.GraphError:
        return False
    return True
