"""The bundled network: what sched/data says about it is so."""

import json

import numpy as np
import pytest

import mensa.golden as golden
from tests.golden.digest_cases import BUNDLED

SAMPLES = np.load(BUNDLED.parent / "digits_samples.npz")
RECORD = json.loads((BUNDLED.parent / "digits.json").read_text())


def classify(graph, inputs, rounding=None):
    (output,) = graph.outputs
    return [int(golden.run(graph, [x[None]], rounding=rounding)[output].argmax()) for x in inputs]


def test_the_samples_are_real_digits_in_the_networks_own_format():
    graph = golden.load(BUNDLED)
    (tensor,) = (graph.tensors[index] for index in graph.inputs)
    real = (SAMPLES["inputs"][..., 0] - tensor.zero_point[0]) * tensor.scale[0]
    assert np.abs(real * 16 - SAMPLES["pixels"]).max() < 16 * tensor.scale[0]
    assert SAMPLES["inputs"].shape[1:] == tensor.shape[1:]
    assert SAMPLES["inputs"].dtype == tensor.dtype


def test_most_samples_are_classified_rightly():
    found = classify(golden.load(BUNDLED), SAMPLES["inputs"])
    assert np.mean(np.array(found) == SAMPLES["labels"]) >= 0.9


def test_it_uses_every_accelerated_kind_of_layer():
    graph = golden.load(BUNDLED)
    assert {op.op for op in graph.operators} >= {
        "CONV_2D", "DEPTHWISE_CONV_2D", "ADD", "MAX_POOL_2D", "FULLY_CONNECTED", "SOFTMAX",
        "RESHAPE",
    }  # fmt: skip
    assert golden.total_macs(graph) == RECORD["macs"]


def test_both_oracles_agree_on_the_samples(oracle):
    graph = golden.load(BUNDLED)
    tensors = [i for op in graph.operators for i in op.outputs]
    inputs = [[x[None]] for x in SAMPLES["inputs"]]
    answers = oracle.run(BUNDLED.read_bytes(), inputs, tensors)
    for arrays, wanted in zip(inputs, answers, strict=True):
        found = golden.run(graph, arrays, keep="all", rounding=oracle.name)
        for index in tensors:
            np.testing.assert_array_equal(found[index], wanted[index])


@pytest.mark.parametrize("rounding", ["tflm", "litert"])
def test_the_recorded_accuracy_is_measured_again(rounding):
    datasets = pytest.importorskip("sklearn.datasets")
    digits = datasets.load_digits()
    order = np.random.default_rng(RECORD["seed"]).permutation(len(digits.images))
    held_out = order[: RECORD["held_out"]]
    inputs = (np.rint(digits.images[held_out] * (255 / 16)) - 128).astype(np.int8)[..., None]
    found = classify(golden.load(BUNDLED), inputs, rounding)
    measured = float(np.mean(np.array(found) == digits.target[held_out]))
    # The two roundings may put a digit on either side; the record is of the default one.
    spread = 0.0 if rounding == "tflm" else 2 / len(held_out)
    assert measured == pytest.approx(RECORD["accuracy_int8"], abs=spread + 1e-12)
