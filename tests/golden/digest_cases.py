"""Seeded cases whose oracle outputs are kept as digests, see scripts/oracle_digests.py."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import mensa.golden as golden
from tests.golden.strategies import random_inputs

BUNDLED = Path(__file__).parents[2] / "sched" / "data" / "digits.tflite"
INPUTS = 4


@dataclass(frozen=True)
class Case:
    """A file, inputs to run it on, and the tensors to compare."""

    name: str
    data: bytes
    inputs: list
    tensors: list

    @classmethod
    def of(cls, name, graph, seed):
        tensors = sorted({*graph.inputs, *(i for op in graph.operators for i in op.outputs)})
        return cls(name, golden.write(graph), random_inputs(graph, INPUTS, seed), tensors)


def digest(data):
    """Sixteen hexadecimal digits of the SHA-256 of some bytes."""
    return hashlib.sha256(data).hexdigest()[:16]


def digest_tensors(runs, tensors):
    """One digest of each tensor over all runs, its type and shape included."""
    found = {}
    for index in tensors:
        parts = [np.ascontiguousarray(run[index]) for run in runs]
        head = f"{parts[0].dtype.str}{parts[0].shape}".encode()
        found[str(index)] = digest(head + b"".join(part.tobytes() for part in parts))
    return found


class _Layers:
    """One-operator graphs with parameters from one seeded generator."""

    def __init__(self, dtype):
        self.dtype = np.dtype(dtype)
        self.unsigned = self.dtype == np.uint8
        self.generator = np.random.default_rng(2024)
        self.offset = 128 if self.unsigned else 0

    def values(self, *shape):
        return (self.generator.integers(-128, 128, shape) + self.offset).astype(self.dtype)

    def bias(self, channels):
        return self.generator.integers(-20000, 20000, channels).astype(np.int32)

    def weight_scales(self, channels):
        """One per channel for int8; for uint8 one, and a zero point that is not the middle."""
        if self.unsigned:
            return {"weight_scale": 0.01, "weight_zero_point": 119}
        return {"weight_scale": 0.01 * 2.0 ** self.generator.uniform(-2, 2, channels)}

    def out(self, scale=2.0, zero_point=7):
        return {"scale": scale, "zero_point": zero_point + self.offset}

    def graph(self, make, shape=(2, 9, 7, 6)):
        builder = golden.GraphBuilder("", self.dtype)
        x = builder.input(shape, **self.out(0.05, -11))
        return builder.build([make(builder, x)])

    def all(self):
        """Name and graph of each layer."""
        relu6 = {"activation": "RELU6"}
        yield (
            "conv",
            self.graph(
                lambda b, x: b.conv2d(
                    x, self.values(8, 3, 3, 6), self.bias(8), **self.weight_scales(8), **self.out()
                )
            ),
        )
        yield (
            "conv_strided_grouped",
            self.graph(
                lambda b, x: b.conv2d(
                    x,
                    self.values(6, 3, 2, 3),
                    self.bias(6),
                    stride=(2, 1),
                    dilation=(1, 2),
                    padding="VALID",
                    **self.weight_scales(6),
                    **self.out(0.05),
                    **relu6,
                )
            ),
        )
        yield (
            "depthwise",
            self.graph(
                lambda b, x: b.depthwise_conv2d(
                    x,
                    self.values(1, 3, 3, 12),
                    self.bias(12),
                    stride=(2, 2),
                    **self.weight_scales(12),
                    **self.out(0.5),
                )
            ),
        )
        yield (
            "fully_connected",
            self.graph(
                lambda b, x: b.fully_connected(
                    x,
                    self.values(50, 300),
                    self.bias(50),
                    **self.weight_scales(50),
                    **self.out(1.5),
                ),
                shape=(8, 300),
            ),
        )
        yield (
            "add",
            self.graph(
                lambda b, x: b.add(x, b.input((1, 1, 7, 6), **self.out(0.11, 3)), **self.out(0.12))
            ),
        )
        for kind in ("average", "max"):
            yield (
                f"{kind}_pool",
                self.graph(
                    lambda b, x, kind=kind: b.pool2d(
                        kind, x, window=(3, 2), stride=(2, 1), padding="SAME", **relu6
                    )
                ),
            )
        yield "softmax", self.graph(lambda b, x: b.softmax(x), shape=(6, 40))
        yield "reshape", self.graph(lambda b, x: b.reshape(x, (18, 42)))
        yield "quantize", self.graph(lambda b, x: b.quantize(x, **self.out(0.037)))


def cases(rounding):
    """All cases that the oracle of this rounding can run."""
    dtypes = (np.int8,) if rounding == "tflm" else (np.int8, np.uint8)
    for dtype in dtypes:
        for name, graph in _Layers(dtype).all():
            yield Case.of(f"{np.dtype(dtype).name}/{name}", graph, seed=5)
    yield Case.of("digits", golden.load(BUNDLED), seed=6)
