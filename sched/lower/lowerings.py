"""Which lowering makes the blocks of which plan.

A lowering is a function of one form for all: what is computed, for which machine, where operands
and results are. Layers with parameters come in two steps, since these are laid out only when it is
known which of them stay on chip.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from mensa.golden import AddPlan, ConvPlan, Plan, PoolPlan, RequantPlan, SoftmaxPlan
from mensa.golden.operators.elementwise import ExtremumPlan, MulPlan, SubPlan
from mensa.golden.operators.lookup import TablePlan
from mensa.golden.operators.lstm import LstmPlan
from mensa.golden.operators.reduce import ReducePlan
from mensa.golden.operators.resize import BilinearPlan, NearestPlan
from mensa.golden.operators.shape_ops import (
    ConcatPlan,
    PadPlan,
    RearrangePlan,
    SlicePlan,
    SplitPlan,
    TilePlan,
)
from mensa.golden.operators.space_batch import BatchToSpacePlan, SpaceToBatchPlan
from mensa.golden.operators.svdf import SvdfPlan
from mensa.golden.operators.transpose_conv import TransposeConvPlan
from mensa.sched.lower.concatenation import concatenation_parts
from mensa.sched.lower.convolution import convolution_parts
from mensa.sched.lower.elementwise import (
    lower_extremum,
    lower_product,
    lower_quantize,
    lower_scaled,
)
from mensa.sched.lower.lstm import lstm_parts
from mensa.sched.lower.lstm_stages import (
    LstmInputsPlan,
    LstmStepsPlan,
    inputs_parts,
    steps_parts,
)
from mensa.sched.lower.memory_map import MemoryMap
from mensa.sched.lower.move_blocks import lower_move
from mensa.sched.lower.pool import lower_pool
from mensa.sched.lower.products import ProductsPlan, WordsPlan, lower_words, products_parts
from mensa.sched.lower.reduction import lower_reduce
from mensa.sched.lower.residency import Demand, ParameterPlan
from mensa.sched.lower.resize import resize_parts
from mensa.sched.lower.softmax import softmax_parts
from mensa.sched.lower.svdf import svdf_parts
from mensa.sched.lower.tables import table_parts
from mensa.sched.lower.transposed import transposed_parts
from mensa.sched.lower.work import Block, Home, LayerSite

__all__ = ["LOWERINGS", "OPERATORS", "PARAMETERISED", "Lowering", "Parameterised"]

Lowering = Callable[[Any, LayerSite, Sequence[Home], Sequence[Home]], list[Block]]
"""Of a plan, the site of its layer, and where its operands and its results are.

Raises: LoweringError if the layer can't be cut into blocks that fit the machine's buffers.
"""

OPERATORS = frozenset({
    "ABS", "ADD", "AVERAGE_POOL_2D", "BATCH_MATMUL", "BATCH_TO_SPACE_ND", "CONCATENATION",
    "CONV_2D", "DEPTHWISE_CONV_2D", "DEPTH_TO_SPACE", "ELU", "EXP", "EXPAND_DIMS",
    "FULLY_CONNECTED", "GELU", "HARD_SWISH", "LEAKY_RELU", "LOGISTIC", "MAXIMUM", "MAX_POOL_2D",
    "MEAN", "MINIMUM", "MIRROR_PAD", "MUL", "PACK", "PAD", "PADV2", "PRELU", "QUANTIZE", "RELU",
    "RELU6", "RELU_0_TO_1", "RELU_N1_TO_1", "RESHAPE", "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR",
    "SLICE", "SOFTMAX", "SPACE_TO_BATCH_ND", "SPACE_TO_DEPTH", "SPLIT", "SPLIT_V", "SQUEEZE",
    "STRIDED_SLICE", "SUB", "SUM", "SVDF", "TANH", "TILE", "TRANSPOSE", "TRANSPOSE_CONV",
    "UNIDIRECTIONAL_SEQUENCE_LSTM", "UNPACK",
})  # fmt: skip
"""Operators of which the machine runs some form."""

LOWERINGS: Mapping[type[Plan], Lowering] = {
    AddPlan: lower_scaled,
    BatchToSpacePlan: lower_move,
    ExtremumPlan: lower_extremum,
    MulPlan: lower_product,
    NearestPlan: lower_move,
    PadPlan: lower_move,
    PoolPlan: lower_pool,
    RearrangePlan: lower_move,
    ReducePlan: lower_reduce,
    RequantPlan: lower_quantize,
    SlicePlan: lower_move,
    SpaceToBatchPlan: lower_move,
    SplitPlan: lower_move,
    SubPlan: lower_scaled,
    TilePlan: lower_move,
    WordsPlan: lower_words,
}
"""By the type of the plan."""


class Parameterised(Protocol):
    """A layer with parameters, or a range of its output channels, before these have a place."""

    def demand(self, operator: int, *, can_stay: bool) -> Demand:
        """What its parameters need; `can_stay` is whether it is a whole layer."""

    def blocks(
        self, memory: MemoryMap, layer: str, operator: int, room: ParameterPlan
    ) -> list[Block]:
        """Its blocks, whose parameters are placed in `memory`."""


PARAMETERISED: Mapping[
    type[Plan],
    Callable[[Any, LayerSite, Sequence[Home], Sequence[Home]], Sequence[Parameterised]],
] = {
    BilinearPlan: resize_parts,
    ConcatPlan: concatenation_parts,
    ConvPlan: convolution_parts,
    LstmInputsPlan: inputs_parts,
    LstmPlan: lstm_parts,
    LstmStepsPlan: steps_parts,
    SvdfPlan: svdf_parts,
    ProductsPlan: products_parts,
    SoftmaxPlan: softmax_parts,
    TablePlan: table_parts,
    TransposeConvPlan: transposed_parts,
}
"""The same for layers with parameters: their parts."""
