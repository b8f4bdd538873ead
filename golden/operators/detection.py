"""TFLite_Detection_PostProcess: from a detector's box encodings and scores to its detections."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mensa.golden.error import GraphError
from mensa.golden.flexbuffer import Number, read_map
from mensa.golden.graph import Tensor
from mensa.golden.node import Node
from mensa.golden.plan import Plan, Rounding, Shape
from mensa.golden.registry import Array, kernel, planner, shapes

Float32Array = npt.NDArray[np.float32]

OP = "CUSTOM:TFLite_Detection_PostProcess"
# What the kernel takes where the options do not say.
_DETECTIONS_PER_CLASS = 100
# Pairs of boxes that may be compared in the worst case.
_MAX_PAIRS = 1 << 28
# Largest number whose exponential is a double.
_EXP_LIMIT = math.log(float(np.finfo(np.float64).max))


@dataclass(frozen=True, kw_only=True, eq=False)
class DetectionPlan(Plan):
    """TFLite_Detection_PostProcess of one image.

    Parameters
    ----------
    boxes, classes, offset : int
        Numbers of boxes and classes, and 1 where a score for the background stands before.
    max_detections, max_classes, per_class : int
        Most detections; of the fast form also most classes of each, of the regular form most
        detections of one class.
    regular : bool
        Whether boxes suppress one another class by class; else each goes by its best class.
    score_threshold, overlap_threshold : float32
        A box with a lower score is no detection, nor is one that overlaps a better one by more
        than this share of what both cover.
    scales : tuple of float
        y, x, height and width: what the encodings are divided by.
    strict : bool
        Whether a box without area is refused (TFLM), or only one of negative height or width.
    quantization : three of (zero point, scale) or None
        Of uint8 encodings, scores and anchors; None where they are float32.
    """

    raw = True

    boxes: int
    classes: int
    offset: int
    max_detections: int
    max_classes: int
    per_class: int
    regular: bool
    score_threshold: np.float32
    overlap_threshold: np.float32
    scales: tuple[float, float, float, float]
    strict: bool
    quantization: tuple[tuple[int, np.float32] | None, ...]

    @property
    def operands(self) -> tuple[int, ...]:
        """Box encodings, class scores and anchors."""
        return (0, 1, 2)


def _quantization(node: Node, tensor: Tensor) -> tuple[int, np.float32] | None:
    if tensor.dtype == np.float32:
        return None
    node.require(tensor.dtype == np.uint8, f"can't be {tensor.type_name}", tensor)
    node.eight_bit(tensor)
    return int(tensor.zero_point[0]), tensor.scale[0]


def _integer(node: Node, options: dict[str, Number], name: str, default: int = 0) -> int:
    value = float(options.get(name, default))
    node.require(abs(value) < 2**31, f"option {name} = {value} does not fit 32 bits")
    return int(value)


def _real(options: dict[str, Number], name: str) -> np.float32:
    with np.errstate(over="ignore"):
        return np.float32(float(options.get(name, 0.0)))


def _options(node: Node) -> dict[str, Number]:
    try:
        return read_map(node.operator.custom_options)
    except GraphError as error:
        raise node.error(error.reason) from error


def _counts(node: Node, options: dict[str, Number]) -> tuple[int, int]:
    """Most detections, and most classes of each."""
    most = _integer(node, options, "max_detections")
    each = _integer(node, options, "max_classes_per_detection")
    node.require(most > 0 and each > 0, "can't give no detections at all")
    return most, each


@shapes(OP)
def _shapes(node: Node) -> tuple[Shape, ...]:
    rows = math.prod(_counts(node, _options(node)))
    return (1, rows, 4), (1, rows), (1, rows), (1,)


@planner(OP)
def _detection(node: Node, rounding: Rounding) -> Plan:
    encodings, scores, anchors = (node.input(position) for position in range(3))
    outputs = node.outputs(4)
    options = _options(node)
    for tensor, rank in ((encodings, 3), (scores, 3), (anchors, 2)):
        node.require(
            len(tensor.shape) == rank and tensor.size > 0, f"must have {rank} dimensions", tensor
        )
    one, boxes, codes = encodings.shape
    node.require(one == 1 and codes >= 4, f"can't be {list(encodings.shape)}", encodings)
    classes = _integer(node, options, "num_classes")
    node.require(
        scores.shape in ((1, boxes, classes), (1, boxes, classes + 1)) and classes > 0,
        f"has shape {list(scores.shape)} for {boxes} boxes and {classes} classes",
        scores,
    )
    node.shape(anchors, (boxes, 4))
    quantization = tuple(_quantization(node, tensor) for tensor in (encodings, scores, anchors))
    node.require(
        (quantization[0] is None) == (quantization[2] is None),
        f"is {anchors.type_name} but the encodings are {encodings.type_name}",
        anchors,
    )
    node.require(
        rounding == "litert" or not any(quantization), "TensorFlow Lite Micro takes float32 only"
    )
    most, each = _counts(node, options)
    per_class = _integer(node, options, "detections_per_class", _DETECTIONS_PER_CLASS)
    regular = bool(options.get("use_regular_nms", False))
    node.require(per_class > 0, "can't give no detections at all")
    node.require(
        regular or rounding == "litert" or min(each, classes) == 1,
        "TensorFlow Lite Micro writes several classes per detection past its outputs",
    )
    # It collects those of one class behind the best so far, in room for this many.
    node.require(
        not regular or rounding == "litert" or most + min(per_class, boxes) <= most * boxes,
        "TensorFlow Lite Micro overruns its buffers with so few boxes or detections",
    )
    for tensor, shape in zip(outputs, _shapes(node), strict=True):
        node.require(tensor.dtype == np.float32, "must be float32", tensor)
        node.shape(tensor, shape)
    overlap = _real(options, "nms_iou_threshold")
    node.require(0.0 < float(overlap) <= 1.0, f"overlap threshold {overlap} is not within 0 and 1")
    scales = tuple(float(_real(options, f"{name}_scale")) for name in "yxhw")
    node.require(all(scale != 0.0 for scale in scales), "a scale is 0")
    rounds = classes * min(per_class, most, boxes) if regular else min(most, boxes)
    node.require(rounds * boxes <= _MAX_PAIRS, f"{rounds} x {boxes} boxes are too many")
    return DetectionPlan(
        boxes=boxes,
        classes=classes,
        offset=scores.shape[2] - classes,
        max_detections=most,
        max_classes=each,
        per_class=min(per_class, most),
        regular=regular,
        score_threshold=_real(options, "nms_score_threshold"),
        overlap_threshold=overlap,
        scales=(scales[0], scales[1], scales[2], scales[3]),
        strict=rounding == "tflm",
        quantization=quantization,
    )


def _floats(x: Array, quantization: tuple[int, np.float32] | None) -> Float32Array:
    if quantization is None:
        return np.asarray(x, np.float32)
    zero_point, scale = quantization
    result: Float32Array = (x.astype(np.float32) - np.float32(zero_point)) * scale
    return result


def _exp(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The C library's exponential, whose last bit NumPy's own need not share."""
    known = np.where(x > _EXP_LIMIT, 0.0, x)
    values = np.array([math.exp(value) for value in known.ravel()]).reshape(x.shape)
    return np.where(x > _EXP_LIMIT, np.inf, values)


def _corners(plan: DetectionPlan, encodings: Float32Array, anchors: Float32Array) -> Float32Array:
    """Top, left, bottom and right of each box."""
    code, anchor = encodings[:, :4].astype(np.float64), anchors.astype(np.float64)
    scales = np.array(plan.scales)
    with np.errstate(over="ignore", invalid="ignore"):
        ratio = code / scales
        center = (ratio[:, :2] * anchor[:, 2:] + anchor[:, :2]).astype(np.float32)
        half = (0.5 * _exp(ratio[:, 2:]) * anchor[:, 2:]).astype(np.float32)
        return np.concatenate([center - half, center + half], axis=1)


def _overlaps(box: Float32Array, others: Float32Array) -> Float32Array:
    """Share that a box and each of the others have in common of what both cover."""
    area = (box[2] - box[0]) * (box[3] - box[1])
    areas = (others[:, 2] - others[:, 0]) * (others[:, 3] - others[:, 1])
    low, high = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])
    size = np.maximum(high - low, np.float32(0))
    common = size[:, 0] * size[:, 1]
    share = common / (area + areas - common)
    result: Float32Array = np.where((area <= 0) | (areas <= 0), np.float32(0), share)
    return result


def _select(
    plan: DetectionPlan, corners: Float32Array, scores: Float32Array, most: int
) -> list[int]:
    """Places of boxes that no better one suppresses, best first."""
    kept = np.flatnonzero(scores >= plan.score_threshold)
    left = kept[np.argsort(-scores[kept], kind="stable")]
    selected: list[int] = []
    while left.size and len(selected) < most:
        best, left = int(left[0]), left[1:]
        selected.append(best)
        left = left[~(_overlaps(corners[best], corners[left]) > plan.overlap_threshold)]
    return selected


@kernel(DetectionPlan)
def detect(plan: DetectionPlan, encodings: Array, scores: Array, anchors: Array) -> Any:
    """Boxes, classes and scores of the detections, best first, and how many there are.

    What is behind the last detection is 0; the fast form of the kernels leaves it as it was.
    """
    box_codes, all_scores, all_anchors = (
        _floats(x, quantization)
        for x, quantization in zip((encodings, scores, anchors), plan.quantization, strict=True)
    )
    with np.errstate(over="ignore", invalid="ignore", divide="ignore", under="ignore"):
        corners = _corners(plan, box_codes.reshape(plan.boxes, -1), all_anchors)
        sizes = corners[:, 2:] - corners[:, :2]
        wrong = corners[:, :2] > corners[:, 2:]
        if np.any(wrong) or (plan.strict and np.any(sizes == 0)):
            raise ValueError("a box ends before it begins")
        table = all_scores.reshape(plan.boxes, -1)[:, plan.offset :]
        found = (_regular if plan.regular else _fast)(plan, corners, table)
    rows = plan.max_detections * plan.max_classes
    boxes, kinds, marks = np.zeros((rows, 4)), np.zeros(rows), np.zeros(rows)
    for row, box, kind in found[1]:
        boxes[row], kinds[row], marks[row] = corners[box], kind, table[box, kind]
    count = np.array([found[0]], np.float32)
    shaped = (boxes.reshape(1, rows, 4), kinds.reshape(1, rows), marks.reshape(1, rows))
    return (*(part.astype(np.float32) for part in shaped), count)


_Found = tuple[int, list[tuple[int, int, int]]]


def _fast(plan: DetectionPlan, corners: Float32Array, table: Float32Array) -> _Found:
    """Number of detections and (row of the outputs, box, class) of each; boxes by best class."""
    each = min(plan.max_classes, plan.classes)
    order = np.argsort(-table, axis=1, kind="stable")[:, :each]
    best = np.take_along_axis(table, order[:, :1], axis=1)[:, 0]
    selected = _select(plan, corners, best, plan.max_detections)
    return len(selected), [
        (plan.max_classes * number + rank, box, int(order[box, rank]))
        for number, box in enumerate(selected)
        for rank in range(each)
    ]


def _regular(plan: DetectionPlan, corners: Float32Array, table: Float32Array) -> _Found:
    """As `_fast`, but boxes suppress one another class by class."""
    found: list[tuple[int, int]] = []
    for kind in range(plan.classes):
        column = np.ascontiguousarray(table[:, kind])
        found += [(box, kind) for box in _select(plan, corners, column, plan.per_class)]
        # Stable: of equal scores that of the earlier class stands first.
        found.sort(key=lambda item: -float(table[item]))
        del found[plan.max_detections :]
    return len(found), [(row, box, kind) for row, (box, kind) in enumerate(found)]
