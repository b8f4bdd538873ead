"""Trains the bundled network on scikit-learn's handwritten digits and writes it as int8.

A small CNN for 8x8 grey images, trained in NumPy alone, quantised after training (weights per
output channel, activations by calibration on training images) and written with `golden.save`:

- ``sched/data/digits.tflite``: the network;
- ``sched/data/digits_samples.npz``: held-out digits: ``pixels`` uint8 [n, 8, 8] from 0 to 16,
  ``inputs`` int8 [n, 8, 8, 1] as the network takes them, ``labels`` int64 [n];
- ``sched/data/digits.json``: what was measured, and how to measure it again.

Run from the repository's root, with the extra `test` installed::

    PYTHONSAFEPATH=1 python scripts/train_digits.py

It takes about a minute on one core. Another BLAS rounds differently, so weights may differ on
other machines.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mensa import golden

Array = npt.NDArray[np.float32]

COMMAND = "PYTHONSAFEPATH=1 python scripts/train_digits.py"
HELD_OUT = 360
SAMPLES = 16
CALIBRATION = 512
#: Pixels go from 0 to 16; the network sees them as 0 to 1.
PIXEL_MAX = 16.0
#: Chosen with EPOCHS on 300 digits of the training part, not on those held out.
LEARNING_RATE = 0.006
EPOCHS = 150


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int, int]:
    """Outputs, padding before and padding after, as TFLite's SAME."""
    outputs = -(-size // stride)
    total = max(0, (outputs - 1) * stride + kernel - size)
    return outputs, total // 2, total - total // 2


class Layer:
    """One layer: `forward` keeps what `backward` needs.

    `backward` takes the gradient of the output, sets `grads` and returns that of the input.
    """

    params: list[Array]
    grads: list[Array]

    def __init__(self) -> None:
        self.params, self.grads = [], []

    def forward(self, x: Array) -> Array:
        """Output for a batch."""
        raise NotImplementedError

    def backward(self, gradient: Array) -> Array:
        """Gradient of the input."""
        raise NotImplementedError


class _Window(Layer):
    """What convolutions share: SAME padding and one view of the input per tap."""

    def __init__(self, kernel: int, stride: int) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride

    def _taps(self, x: Array) -> list[Array]:
        _, h, _, _ = x.shape
        self._outputs, before, after = same_padding(h, self.kernel, self.stride)
        self._before, self._shape = before, x.shape
        self._padded = np.pad(x, ((0, 0), (before, after), (before, after), (0, 0)))
        return [self._padded[self._place(tap)] for tap in range(self.kernel**2)]

    def _place(self, tap: int) -> tuple[slice, ...]:
        y, x = divmod(tap, self.kernel)
        reach = (self._outputs - 1) * self.stride + 1
        rows = slice(y, y + reach, self.stride)
        return slice(None), rows, slice(x, x + reach, self.stride)

    def _fold(self, gradients: list[Array]) -> Array:
        padded = np.zeros_like(self._padded)
        for tap, gradient in enumerate(gradients):
            padded[self._place(tap)] += gradient
        _, h, w, _ = self._shape
        return padded[:, self._before : self._before + h, self._before : self._before + w]


class Conv(_Window):
    """Convolution; weights ``[kernel * kernel, inputs, outputs]``."""

    def __init__(self, rng: Any, kernel: int, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__(kernel, stride)
        spread = np.sqrt(2 / (kernel * kernel * inputs))
        weights = rng.normal(0, spread, (kernel * kernel, inputs, outputs)).astype(np.float32)
        self.params = [weights, np.zeros(outputs, np.float32)]

    def forward(self, x: Array) -> Array:
        """Output ``[batch, height, width, outputs]``."""
        self._seen = self._taps(x)
        weights, bias = self.params
        total: Array = self._seen[0] @ weights[0] + bias
        for tap in range(1, len(weights)):
            total += self._seen[tap] @ weights[tap]
        return total

    def backward(self, gradient: Array) -> Array:
        """As in `Layer`."""
        weights, _ = self.params
        flat = gradient.reshape(-1, gradient.shape[-1])
        slopes = [seen.reshape(-1, seen.shape[-1]).T @ flat for seen in self._seen]
        self.grads = [np.stack(slopes), flat.sum(axis=0)]
        return self._fold([gradient @ weights[tap].T for tap in range(len(weights))])


class Depthwise(_Window):
    """Depthwise convolution; weights ``[kernel * kernel, channels]``."""

    def __init__(self, rng: Any, kernel: int, channels: int, stride: int = 1) -> None:
        super().__init__(kernel, stride)
        weights = rng.normal(0, np.sqrt(2) / kernel, (kernel * kernel, channels))
        self.params = [weights.astype(np.float32), np.zeros(channels, np.float32)]

    def forward(self, x: Array) -> Array:
        """Output ``[batch, height, width, channels]``."""
        self._seen = self._taps(x)
        weights, bias = self.params
        total = np.zeros_like(self._seen[0]) + bias
        for seen, weight in zip(self._seen, weights, strict=True):
            total += seen * weight
        return total

    def backward(self, gradient: Array) -> Array:
        """As in `Layer`."""
        slopes = [np.einsum("nhwc,nhwc->c", seen, gradient) for seen in self._seen]
        self.grads = [np.stack(slopes), gradient.sum(axis=(0, 1, 2))]
        return self._fold([gradient * weight for weight in self.params[0]])


class Relu(Layer):
    """max(0, x)."""

    def forward(self, x: Array) -> Array:
        """Same shape."""
        self._on = x > 0
        return x * self._on

    def backward(self, gradient: Array) -> Array:
        """As in `Layer`."""
        return gradient * self._on


class MaxPool(Layer):
    """Maximum over windows of 2x2, stride 2."""

    def forward(self, x: Array) -> Array:
        """Half the height and width."""
        n, h, w, c = x.shape
        windows = x.reshape(n, h // 2, 2, w // 2, 2, c)
        best: Array = windows.max(axis=(2, 4), keepdims=True)
        self._chosen = (windows == best) / np.maximum(
            1, (windows == best).sum((2, 4), keepdims=True)
        )
        return best[:, :, 0, :, 0]

    def backward(self, gradient: Array) -> Array:
        """As in `Layer`."""
        spread: Array = self._chosen.astype(np.float32) * gradient[:, :, None, :, None]
        n, h, _, w, _, c = spread.shape
        return spread.reshape(n, 2 * h, 2 * w, c)


class Dense(Layer):
    """Fully connected; weights ``[inputs, outputs]``; flattens its input."""

    def __init__(self, rng: Any, inputs: int, outputs: int) -> None:
        super().__init__()
        weights = rng.normal(0, np.sqrt(1 / inputs), (inputs, outputs)).astype(np.float32)
        self.params = [weights, np.zeros(outputs, np.float32)]

    def forward(self, x: Array) -> Array:
        """Output ``[batch, outputs]``."""
        self._shape = x.shape
        self._flat = x.reshape(len(x), -1)
        return self._flat @ self.params[0] + self.params[1]

    def backward(self, gradient: Array) -> Array:
        """As in `Layer`."""
        self.grads = [self._flat.T @ gradient, gradient.sum(axis=0)]
        return (gradient @ self.params[0].T).reshape(self._shape)


class Network:
    """The bundled network: a stem, a residual block, a strided block, pool, classifier."""

    def __init__(self, rng: Any) -> None:
        self.stem, self.stem_relu = Conv(rng, 3, 1, 16), Relu()
        self.mix, self.mix_relu = Depthwise(rng, 3, 16), Relu()
        self.project = Conv(rng, 1, 16, 16)
        self.sum_relu = Relu()
        self.down, self.down_relu = Depthwise(rng, 3, 16, stride=2), Relu()
        self.widen, self.widen_relu = Conv(rng, 1, 16, 32), Relu()
        self.pool = MaxPool()
        self.classify = Dense(rng, 2 * 2 * 32, 10)
        self.trained: list[Layer] = [
            self.stem, self.mix, self.project, self.down, self.widen, self.classify,
        ]  # fmt: skip

    def forward(self, x: Array) -> dict[str, Array]:
        """Every activation by name; "logits" is the last."""
        a: dict[str, Array] = {"image": x}
        a["stem"] = self.stem_relu.forward(self.stem.forward(x))
        a["mix"] = self.mix_relu.forward(self.mix.forward(a["stem"]))
        a["project"] = self.project.forward(a["mix"])
        a["sum"] = self.sum_relu.forward(a["stem"] + a["project"])
        a["down"] = self.down_relu.forward(self.down.forward(a["sum"]))
        a["widen"] = self.widen_relu.forward(self.widen.forward(a["down"]))
        a["pool"] = self.pool.forward(a["widen"])
        a["logits"] = self.classify.forward(a["pool"])
        return a

    def backward(self, gradient: Array) -> None:
        """Sets the gradients of all layers from that of the logits."""
        g = self.pool.backward(self.classify.backward(gradient))
        g = self.widen.backward(self.widen_relu.backward(g))
        g = self.sum_relu.backward(self.down.backward(self.down_relu.backward(g)))
        inner = self.mix.backward(self.mix_relu.backward(self.project.backward(g)))
        self.stem.backward(self.stem_relu.backward(g + inner))


def shifted(images: Array, rng: Any) -> Array:
    """Each image moved by up to a pixel each way, so that the network learns no exact place."""
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
    out = np.empty_like(images)
    for image, result, (y, x) in zip(padded, out, rng.integers(0, 3, (len(out), 2)), strict=True):
        result[:] = image[y : y + 8, x : x + 8]
    return out


def train(network: Network, images: Array, labels: Any, epochs: int, rng: Any) -> None:
    """Adam on the cross entropy, batches of 32, the rate falling to zero along a cosine."""
    params = [p for layer in network.trained for p in layer.params]
    means = [np.zeros_like(p) for p in params]
    squares = [np.zeros_like(p) for p in params]
    batches = len(images) // 32
    for step in range(epochs * batches):
        if step % batches == 0:
            order = rng.permutation(len(images))
        chosen = order[32 * (step % batches) :][:32]
        logits = network.forward(shifted(images[chosen], rng))["logits"]
        power = np.exp(logits - logits.max(axis=1, keepdims=True))
        gradient = power / power.sum(axis=1, keepdims=True)
        gradient[np.arange(len(chosen)), labels[chosen]] -= 1
        network.backward((gradient / len(chosen)).astype(np.float32))
        grads = [g for layer in network.trained for g in layer.grads]
        rate = LEARNING_RATE * 0.5 * (1 + np.cos(np.pi * step / (epochs * batches)))
        for p, g, m, s in zip(params, grads, means, squares, strict=True):
            m += 0.1 * (g - m)
            s += 0.001 * (g * g - s)
            fix_m, fix_s = 1 - 0.9 ** (step + 1), 1 - 0.999 ** (step + 1)
            p -= (rate * (m / fix_m) / (np.sqrt(s / fix_s) + 1e-8)).astype(np.float32)


@dataclass(frozen=True)
class Range:
    """Scale and zero point of an activation, from its smallest and largest value."""

    scale: float
    zero_point: int

    @classmethod
    def of(cls, values: Array) -> Range:
        """The range that holds all `values` and zero."""
        low, high = min(0.0, float(values.min())), max(0.0, float(values.max()))
        scale = float(np.float32((high - low) / 255))
        return cls(scale, int(np.clip(round(-128 - low / scale), -128, 127)))


def quantised(weights: Array, bias: Array, source: Range, axis: int) -> dict[str, Any]:
    """int8 weights symmetric per channel along `axis`, their scales, and int32 bias."""
    others = tuple(dimension for dimension in range(weights.ndim) if dimension != axis)
    scale = np.maximum(np.abs(weights).max(axis=others), 1e-6).astype(np.float32) / 127
    shape = [-1 if dimension == axis else 1 for dimension in range(weights.ndim)]
    return {
        "weights": np.clip(np.rint(weights / scale.reshape(shape)), -127, 127).astype(np.int8),
        "bias": np.rint(bias / (source.scale * scale.astype(np.float64))).astype(np.int32),
        "weight_scale": scale,
    }


def convert(network: Network, images: Array) -> golden.Graph:
    """The network as int8, its ranges calibrated on `images`."""
    ranges = {name: Range.of(values) for name, values in network.forward(images).items()}
    ranges["image"] = Range(float(np.float32(1 / 255)), -128)
    b = golden.GraphBuilder("digits")

    def to(name: str) -> dict[str, Any]:
        return {"scale": ranges[name].scale, "zero_point": ranges[name].zero_point, "name": name}

    def conv(layer: Conv, source: str) -> dict[str, Any]:
        k = layer.kernel
        weights, bias = layer.params
        taps = weights.reshape(k, k, *weights.shape[1:]).transpose(3, 0, 1, 2)
        return quantised(taps, bias, ranges[source], 0)

    def depthwise(layer: Depthwise, source: str) -> dict[str, Any]:
        k = layer.kernel
        weights, bias = layer.params
        return quantised(weights.reshape(1, k, k, -1), bias, ranges[source], 3)

    x = b.input((1, 8, 8, 1), **to("image"))
    stem = b.conv2d(x, **conv(network.stem, "image"), activation="RELU", **to("stem"))
    mix = b.depthwise_conv2d(stem, **depthwise(network.mix, "stem"), activation="RELU", **to("mix"))
    project = b.conv2d(mix, **conv(network.project, "mix"), **to("project"))
    total = b.add(stem, project, activation="RELU", **to("sum"))
    down = b.depthwise_conv2d(
        total, **depthwise(network.down, "sum"), stride=(2, 2), activation="RELU", **to("down")
    )
    widen = b.conv2d(down, **conv(network.widen, "down"), activation="RELU", **to("widen"))
    pool = b.pool2d("max", widen, window=(2, 2), stride=(2, 2), name="pool")
    flat = b.reshape(pool, (1, 128), name="flat")
    weights, bias = network.classify.params
    dense = quantised(weights.T.copy(), bias, ranges["widen"], 0)
    logits = b.fully_connected(flat, **dense, **to("logits"))
    return b.build([b.softmax(logits, name="probabilities")])


def as_input(pixels: npt.NDArray[Any]) -> npt.NDArray[np.int8]:
    """Pixels from 0 to 16 as the network takes them: int8, scale 1/255, zero point -128."""
    return (np.rint(pixels * (255 / PIXEL_MAX)) - 128).astype(np.int8)[..., None]


def accuracy(graph: golden.Graph, inputs: npt.NDArray[np.int8], labels: Any) -> float:
    """Share of `inputs` whose largest output is at their label."""
    (output,) = graph.outputs
    right = [
        bool(golden.run(graph, [x[None]])[output].argmax() == label)
        for x, label in zip(inputs, labels, strict=True)
    ]
    return sum(right) / len(right)


def main() -> None:
    """Trains, measures, and writes the three files."""
    from sklearn.datasets import load_digits

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("-o", "--output", type=Path, default=Path("sched/data"))
    arguments = parser.parse_args()

    digits = load_digits()
    rng = np.random.default_rng(arguments.seed)
    order = rng.permutation(len(digits.images))
    pixels, labels = digits.images[order].astype(np.float32), digits.target[order]
    images = pixels[..., None] / np.float32(PIXEL_MAX)
    network = Network(rng)
    train(network, images[HELD_OUT:], labels[HELD_OUT:], arguments.epochs, rng)
    float_right = network.forward(images[:HELD_OUT])["logits"].argmax(axis=1) == labels[:HELD_OUT]
    graph = convert(network, images[HELD_OUT : HELD_OUT + CALIBRATION])
    inputs = as_input(pixels[:HELD_OUT])
    measured = {
        "accuracy_int8": accuracy(graph, inputs, labels[:HELD_OUT]),
        "accuracy_float": float(float_right.mean()),
        "held_out": HELD_OUT,
        "trained_on": len(images) - HELD_OUT,
        "split": "first 360 of the 1797 digits in the order that the seed gives are held out",
        "seed": arguments.seed,
        "epochs": arguments.epochs,
        "macs": golden.total_macs(graph),
        "command": COMMAND,
        "data": "sklearn.datasets.load_digits",
    }
    arguments.output.mkdir(parents=True, exist_ok=True)
    golden.save(graph, arguments.output / "digits.tflite")
    np.savez(
        arguments.output / "digits_samples.npz",
        pixels=pixels[:SAMPLES].astype(np.uint8),
        inputs=inputs[:SAMPLES],
        labels=labels[:SAMPLES].astype(np.int64),
    )
    text = json.dumps(measured, indent=2)
    (arguments.output / "digits.json").write_text(text + "\n")
    sys.stdout.write(text + "\n")


if __name__ == "__main__":
    main()
