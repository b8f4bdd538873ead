"""A small network with states of every kind, between layers that the machine takes."""

import numpy as np

import mensa.golden as golden
from mensa.golden.options import SVDFOptions, UnidirectionalSequenceLSTMOptions

FEATURES, UNITS, MEMORY, CELLS = 6, 8, 3, 4
BETWEEN = {"scale": 1 / 32, "zero_point": -3}
HIDDEN = {"scale": 2.0**-7, "zero_point": 5}


class Recurrent:
    """Makes its layers, of random weights."""

    def __init__(self, seed):
        self.generator = np.random.default_rng(seed)
        self.builder = golden.GraphBuilder("recurrent")

    def values(self, *shape):
        return self.generator.integers(-127, 128, shape).astype(np.int8)

    def connected(self, x, features, units):
        return self.builder.fully_connected(
            x, self.values(units, features), np.zeros(units, np.int32), weight_scale=0.01, **BETWEEN
        )

    def svdf(self, x):
        b, scale = self.builder, 2.0**-10
        features = b.tensor(data=self.values(UNITS, UNITS), scale=2.0**-6)
        times = self.generator.integers(-(2**14), 2**14, (UNITS, MEMORY))
        times = b.tensor(data=times, dtype=np.int16, scale=2.0**-14)
        bias = b.tensor(data=np.zeros(UNITS), dtype=np.int32, scale=scale * 2.0**-14)
        memory = b.tensor(
            (1, MEMORY * UNITS), dtype=np.int16, scale=scale, is_variable=True, name="frames"
        )
        options = SVDFOptions(rank=1, activation="RELU")
        return b.apply("SVDF", x, features, times, bias, memory, options=options, **BETWEEN)

    def lstm(self, x):
        """The layer's output, and its hidden state."""
        b = self.builder
        inputs = [b.reshape(x, (1, 1, UNITS))] + [-1] * 23
        for gate in range(4):
            inputs[1 + gate] = b.tensor(data=self.values(CELLS, UNITS), scale=2.0**-7)
            inputs[5 + gate] = b.tensor(data=self.values(CELLS, CELLS), scale=2.0**-7)
            inputs[12 + gate] = b.tensor(data=np.arange(CELLS), dtype=np.int32, scale=2.0**-12)
        hidden = inputs[18] = b.tensor((1, CELLS), is_variable=True, name="hidden", **HIDDEN)
        inputs[19] = b.tensor(
            (1, CELLS), dtype=np.int16, scale=2.0**-12, is_variable=True, name="cells"
        )
        internal = [b.tensor((0,), dtype=np.float32) for _ in range(4)]
        internal.append(b.tensor((0,), **HIDDEN))
        y = b.tensor((1, 1, CELLS), **HIDDEN)
        b.operator(
            *("UNIDIRECTIONAL_SEQUENCE_LSTM", tuple(inputs), (y,)),
            UnidirectionalSequenceLSTMOptions(activation="TANH"),
            intermediates=tuple(internal),
        )
        return y, hidden

    def graph(self):
        b = self.builder
        x = b.input((1, FEATURES), scale=1 / 32, name="features")
        y, hidden = self.lstm(self.svdf(self.connected(x, FEATURES, UNITS)))
        # The machine reads the state that the host has left.
        both = b.add(b.reshape(y, (1, CELLS)), hidden, scale=2.0**-6)
        return b.build([self.connected(both, CELLS, 3), hidden])


def recurrent(seed=1):
    """An SVDF and an LSTM; one state is an output, too."""
    return Recurrent(seed).graph()
