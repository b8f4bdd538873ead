"""Weights of int4 on the machine, which stores them as int8."""

import numpy as np
import pytest

from mensa import golden
from mensa.sched import inspection
from mensa.sched.cli.settings import choose_soc
from mensa.sched.inputs import make_inputs
from mensa.sched.run import run_network

# The machine "8x8" of tests/sim/pool.py, so that both need one build.
SETTINGS = [
    "rows=8", "cols=8", "parameter_buffer_bytes=524288", "activation_buffer_bytes=524288",
]  # fmt: skip
SHAPES = {"CONV_2D": (5, 3, 3, 3), "DEPTHWISE_CONV_2D": (1, 3, 3, 5), "FULLY_CONNECTED": (7, 5)}


def network():
    """One layer of each operator whose weights can be int4."""
    generator = np.random.default_rng(4)
    builder = golden.GraphBuilder("int4")
    x = builder.input((1, 6, 6, 3), scale=0.1, zero_point=5)

    def weights(op, dimension=0, channels=True):
        shape = SHAPES[op]
        scale = generator.uniform(0.02, 0.2, shape[dimension]) if channels else 0.1
        index = builder.tensor(
            data=generator.integers(-8, 8, shape),
            scale=scale,
            quantized_dimension=dimension,
            type_name="INT4",
        )
        return {"weights": index, "bias": None, "weight_scale": scale, "scale": 0.4}

    x = builder.conv2d(x, **weights("CONV_2D"))
    x = builder.depthwise_conv2d(x, **weights("DEPTHWISE_CONV_2D", dimension=3))
    x = builder.pool2d("average", x, window=(6, 6), stride=(1, 1))
    x = builder.fully_connected(x, **weights("FULLY_CONNECTED", channels=False))
    return golden.read(golden.write(builder.build([x])))


@pytest.mark.parametrize("engine", ["rtl", "functional"])
def test_layers_of_int4_weights_are_bit_exact(engine):
    graph = network()
    soc = choose_soc("edge_tpu", None, SETTINGS)
    inputs = [make_inputs(graph, "random", seed) for seed in range(2)]
    result = run_network(graph, soc, inputs, engine=engine, check=True)
    assert result.report.passed
    assert all(layer.machine != "host" for layer in result.report.layers)
    for arrays, outputs in zip(inputs, result.outputs, strict=True):
        wanted = golden.run(graph, arrays)
        for index in graph.outputs:
            np.testing.assert_array_equal(outputs[index], wanted[index])


def test_parameters_of_int4_count_as_the_machine_stores_them_and_that_is_said():
    layers = inspection.inspect(network())
    assert {layer.op: layer.parameter_bytes for layer in layers if layer.has_int4} == {
        op: np.prod(shape) for op, shape in SHAPES.items()
    }
    assert inspection.INT4_LEGEND in list(inspection.summary(layers))
