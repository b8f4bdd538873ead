"""Bilinear resizes as depthwise convolutions of combs of outputs."""

import numpy as np
import pytest

from mensa import golden
from mensa.golden.options import ResizeBilinearOptions
from mensa.sched.lower import lower
from mensa.sched.lower.resize import bundles_of, combs_of
from mensa.sched.lower.supported import why_on_host
from mensa.sched.placement import all_on
from tests.sched.lower.drawn_layers import assert_drawn_layers_equal_golden
from tests.sched.runner import assert_equals_golden, machine_of

ROOMY = machine_of(8, 8, 1 << 16, 1 << 14)
SMALL = machine_of(4, 3, 2000, 700)
MACHINES = pytest.mark.parametrize("machine", [ROOMY, SMALL], ids=["roomy", "small"])


def resized(size, outputs, dtype, channels=5, **options):
    builder = golden.GraphBuilder("resize", dtype)
    x = builder.input((1, *size, channels), scale=0.1, zero_point=3)
    wanted = builder.tensor(data=np.array(outputs, np.int32), dtype=np.int32)
    y = builder.apply("RESIZE_BILINEAR", x, wanted, options=ResizeBilinearOptions(**options))
    return builder.build([y])


@MACHINES
@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
@pytest.mark.parametrize(
    ("size", "outputs", "options"),
    [
        ((6, 6), (12, 12), {"half_pixel_centers": True}),
        ((4, 5), (16, 5), {"half_pixel_centers": True}),
        ((5, 3), (17, 9), {"align_corners": True}),
        ((8, 8), (4, 2), {}),
        ((3, 7), (3, 7), {"align_corners": True}),
        ((1, 1), (4, 5), {"align_corners": True}),
    ],
)
def test_simple_ratios_equal_golden(machine, dtype, size, outputs, options):
    graph = resized(size, outputs, dtype, **options)
    (operator,) = graph.operators
    assert why_on_host(graph, operator) is None
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    rng = np.random.default_rng(7)
    for ends in (False, True):
        shape = graph.tensors[graph.inputs[0]].shape
        x = rng.choice([low, high], shape) if ends else rng.integers(low, high + 1, shape)
        assert_equals_golden(lower(graph, all_on(machine)), [x.astype(dtype)])


@MACHINES
def test_random_layers_equal_golden(machine):
    assert_drawn_layers_equal_golden("RESIZE_BILINEAR", machine, examples=20, least=8)


def test_combs_share_the_outputs_and_have_their_weights():
    plan = golden.plan(graph := resized((6, 4), (12, 16), np.int8, half_pixel_centers=True),
                       graph.operators[0])  # fmt: skip
    # The outputs at both ends, which have one tap, are a comb as well.
    for positions, combs in ((plan.rows, 3), (plan.columns, 6)):
        found = combs_of(positions)
        assert len(found) == combs
        seen = [comb.first + k * comb.spacing for comb in found for k in range(comb.outputs)]
        assert sorted(seen) == list(range(len(positions.lower)))
        for comb in found:
            for k in range(comb.outputs):
                output = comb.first + k * comb.spacing
                taps = {comb.start + k * comb.step + n: w for n, w in enumerate(comb.weights)}
                low, high = int(positions.lower[output]), int(positions.upper[output])
                weight = int(positions.weight[output])
                wanted = {low: 1024} if low == high else {low: 1024 - weight, high: weight}
                assert taps == wanted


@pytest.mark.parametrize(
    ("size", "outputs", "options"),
    [
        *((4, 16, {name: True}) for name in ("half_pixel_centers", "align_corners")),
        *((8, 4, {name: True}) for name in ("half_pixel_centers", "align_corners")),
        (6, 12, {"half_pixel_centers": True}),
        (5, 17, {"align_corners": True}),
        (33, 513, {"align_corners": True}),
        (1, 9, {}),
        (4, 8, {}),
    ],
)
def test_bundles_are_the_combs_again(size, outputs, options):
    graph = resized((size, 1), (outputs, 1), np.int8, **options)
    combs = combs_of(golden.plan(graph, graph.operators[0]).rows)

    def outputs_of(comb):
        return {
            (comb.first + k * comb.spacing, comb.start + k * comb.step, comb.weights)
            for k in range(comb.outputs)
        }

    bundles = bundles_of(combs)
    seen = [each for bundle in bundles for comb in bundle.combs for each in outputs_of(comb)]
    assert len(seen) == len(set(seen))
    assert set(seen) == {each for comb in combs for each in outputs_of(comb)}
    for bundle in bundles:
        assert [comb.first - bundle.head.first for comb in bundle.combs] == list(
            range(len(bundle.combs))
        )
        assert len({(c.spacing, c.step, c.outputs) for c in bundle.combs}) == 1


def test_a_ratio_with_many_weights_runs_on_the_host():
    graph = resized((7, 7), (19, 23), np.int8)
    (operator,) = graph.operators
    assert "a ratio of sizes that is simple ([7, 7] to [19, 23])" in why_on_host(graph, operator)
