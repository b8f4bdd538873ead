"""How random recurrent layers are drawn; importing this registers them."""

import numpy as np
from hypothesis import strategies as st

from mensa.golden.options import UnidirectionalSequenceLSTMOptions
from tests.golden.strategies import maker


def _matrix(d, shape, scale):
    return d.builder.tensor(data=d.values(shape, np.int8), dtype=np.int8, scale=scale)


def _vector(d, size, dtype, spread, scale=1.0):
    values = d.generator.normal(0, spread, size).astype(dtype)
    return d.builder.tensor(data=values, dtype=dtype, scale=scale)


@maker("UNIDIRECTIONAL_SEQUENCE_LSTM", tflm=("int8", "int16"), litert=("int8",))
def _lstm(d):
    """The plain layer; for LiteRT also with what TFLM does not know."""
    builder = d.builder
    variants = d.oracle != "tflm"
    coupled, peephole, norm, project = (variants and d.choice(False, False, True) for _ in range(4))
    batch, steps, features, cells = d.number(1, 3), d.number(1, 5), d.number(1, 12), d.number(1, 12)
    # With more outputs than cells LiteRT's peephole reads beyond the cell state.
    outputs = d.number(1, cells if peephole else 12) if project else cells
    time_major = d.choice(True, False)
    shape = (steps, batch) if time_major else (batch, steps)
    # Activations of 16 bits are as large as those of 8 and 256 times as fine.
    fine = 8 if d.int16 else 0
    x_scale, h_scale = d.scale(-8 - fine, -4 - fine), d.scale(-8 - fine, -5 - fine)
    x = builder.input((*shape, features), scale=x_scale, zero_point=d.zero_point())
    gates = ("input", "forget", "cell", "output")
    inputs = [x] + [-1] * 23
    spread = 2.0 ** d.draw(st.floats(-9, -3, width=32))
    intermediates = []
    for number, gate in enumerate(gates):
        scale = float(np.float32(2.0**-12 * 2.0 ** d.generator.uniform(-2, 3)))
        internal = {"scale": scale, "dtype": np.int16} if norm else {"dtype": np.float32}
        intermediates.append(builder.tensor((0,), **internal))
        if gate == "input" and coupled:
            continue
        for place, width in ((1, features), (5, outputs)):
            weight_scale = spread * 2.0 ** d.generator.uniform(-1, 1)
            inputs[place + number] = _matrix(d, (cells, width), float(np.float32(weight_scale)))
        if peephole and gate != "cell":
            place = {"input": 9, "forget": 10, "output": 11}[gate]
            inputs[place] = _vector(d, cells, np.int16, 9000, float(np.float32(spread / 64)))
        inputs[12 + number] = _vector(d, cells, np.int64 if d.int16 else np.int32, 3000 << fine)
        if norm:
            inputs[20 + number] = _vector(d, cells, np.int16, 6000, 2.0**-13)
    zero_point = d.zero_point()
    between = {"scale": h_scale, "zero_point": zero_point}
    out_scale = h_scale
    if project:
        inputs[16] = _matrix(d, (outputs, cells), spread)
        if d.choice(True, False):
            inputs[17] = _vector(d, outputs, np.int32, 2000)
        between = {"scale": d.scale(-8, -6), "zero_point": d.zero_point()}
        out_scale = d.scale(-8, -4)
    elif variants and d.choice(False, False, True):
        # The scale of the hidden state's product is the file's fifth intermediate tensor.
        between = {"scale": d.scale(-8, -6), "zero_point": d.zero_point()}
    intermediates.append(builder.tensor((0,), dtype=np.int8, **between))
    state = {"scale": out_scale, "zero_point": zero_point}
    inputs[18] = builder.tensor((batch, outputs), is_variable=True, **state)
    cell = {"scale": 2.0 ** d.number(-15, -9), "dtype": np.int16}
    inputs[19] = builder.tensor((batch, cells), is_variable=True, **cell)
    y = builder.tensor((*shape, outputs), **state)
    options = UnidirectionalSequenceLSTMOptions(
        activation="TANH",
        time_major=time_major,
        cell_clip=d.choice(0.0, 0.0, 0.75, 10.0),
        proj_clip=d.choice(0.0, 0.5) if project else 0.0,
    )
    op = "UNIDIRECTIONAL_SEQUENCE_LSTM"
    return builder.operator(op, tuple(inputs), (y,), options, intermediates=tuple(intermediates))
