"""Which operators the accelerators run, and in words why the others run on the host.

Every restriction is a function whose docstring is the sentence that users read. It returns
whether the operator keeps to it, and details of this operator.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mensa.golden import (
    ConvPlan,
    Graph,
    Operator,
    Plan,
    PoolPlan,
    RequantPlan,
    ReshapePlan,
    SoftmaxPlan,
    Tensor,
    plan,
)
from mensa.golden.arithmetic.gates import MAX_INTEGER_BITS
from mensa.golden.operators.computed_weights import ComputedWeightsPlan
from mensa.golden.operators.elementwise import MulPlan
from mensa.golden.operators.lstm import LstmPlan
from mensa.golden.operators.reduce import ReducePlan
from mensa.golden.operators.resize import BilinearPlan
from mensa.golden.operators.scaled import ScaledPlan
from mensa.golden.operators.svdf import SvdfPlan
from mensa.golden.operators.transpose_conv import TransposeConvPlan
from mensa.golden.plan import PairPlan
from mensa.golden.planning import resolve_rounding
from mensa.rtl.commands import MOST_SOFTMAX_ELEMENTS
from mensa.sched.lower.broadcast import spreads
from mensa.sched.lower.functions import functions
from mensa.sched.lower.lowerings import LOWERINGS, OPERATORS, PARAMETERISED
from mensa.sched.lower.lstm import integer_bits
from mensa.sched.lower.lstm_sums import peepholes
from mensa.sched.lower.move_blocks import commands_needed
from mensa.sched.lower.moves import fill_bytes, is_move, moves
from mensa.sched.lower.products import ProductsPlan
from mensa.sched.lower.reduction import MOST_TAPS, as_image
from mensa.sched.lower.requantisation import requantisation
from mensa.sched.lower.resize import MOST_PARTS, parts_of
from mensa.sched.lower.stages import stages_of

_CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
_POOL_TAPS = 1 << 21
# Of the requantiser.
_LARGEST_SHIFT = 30
_LARGEST_RIGHT_SHIFT = 31
_MOVE_COMMANDS = 256


@dataclass(frozen=True)
class Subject:
    """An operator that restrictions look at.

    Attributes
    ----------
    graph, operator : Graph, Operator
        Where it stands.
    rounding : str or None
        Whose arithmetic is wanted.
    """

    graph: Graph
    operator: Operator
    rounding: str | None

    @property
    def plan(self) -> Plan:
        """What it computes."""
        return plan(self.graph, self.operator, self.rounding)

    @property
    def operands(self) -> tuple[Tensor, ...]:
        """What its plan takes."""
        return tuple(self.graph.tensors[self.operator.inputs[each]] for each in self.plan.operands)

    @property
    def works(self) -> tuple[Plan, ...]:
        """The plans of its stages; of products the layers'."""
        works = [stage.work for stage in stages_of(self.plan, self.operands)]
        return tuple(
            each
            for work in works
            for each in (work.layers if isinstance(work, ProductsPlan) else (work,))
        )


Verdict = tuple[bool, str]
Restriction = Callable[[Subject], Verdict]


def restrict_kind(subject: Subject) -> Verdict:
    """The accelerators have no such operation."""
    return subject.operator.op in OPERATORS, ""


def restrict_division(subject: Subject) -> Verdict:
    """The roots and logarithms of L2 normalisation and LOG_SOFTMAX are beyond every lane."""
    return subject.operator.op not in ("LOG_SOFTMAX", "L2_NORMALIZATION"), ""


def restrict_types(subject: Subject) -> Verdict:
    """Activations must be int8 or uint8."""
    operator = subject.operator
    if is_move(subject.plan) or isinstance(subject.plan, ReshapePlan):
        return True, ""  # bytes of any type are moved as they are
    # Weights and states have types of their own.
    several = isinstance(subject.plan, PairPlan) and operator.op not in _CONVOLUTIONS
    positions = subject.plan.operands[: 2 if several else 1] if operator.inputs else ()
    operands = [operator.inputs[position] for position in positions]
    for index in (*operands, *operator.outputs):
        tensor = subject.graph.tensors[index]
        if tensor.dtype not in (np.dtype(np.int8), np.dtype(np.uint8)):
            return False, f"{tensor} is {tensor.dtype}"
    return True, ""


def restrict_computed_weights(subject: Subject) -> Verdict:
    """Computed weights must be those of a convolution without groups or a fully connected layer."""
    work = subject.plan
    plain = not isinstance(work, ComputedWeightsPlan) or work not in subject.works
    return plain, "" if plain else f"{subject.operands[-1]} is computed"


def restrict_products(subject: Subject) -> Verdict:
    """Matrices that are multiplied must have elements, and must not be more than 1024 pairs."""
    for stage in stages_of(subject.plan, subject.operands):
        if isinstance(stage.work, ProductsPlan):
            pairs = len(stage.work.pairs)
            empty = any(not each.size for each in subject.operands)
            return 0 < pairs <= MOST_PARTS and not empty, f"there are {pairs} pairs"
    return True, ""


def restrict_form(subject: Subject) -> Verdict:
    """The accelerators have no such form of this operation."""
    known = all(type(work) in LOWERINGS or type(work) in PARAMETERISED for work in subject.works)
    name = type(subject.plan).__name__.removesuffix("Plan")
    return known or isinstance(subject.plan, ReshapePlan), name


def restrict_variable_input(subject: Subject) -> Verdict:
    """A reshaped tensor must be computed or an input."""
    if isinstance(subject.plan, ReshapePlan):
        tensor = subject.graph.tensors[subject.operator.inputs[0]]
        # The state that replaces another would replace the output, which has its bytes.
        kept = "a state" if tensor.is_variable else None
        kept = kept if tensor.data is None else "a constant"
        return kept is None, f"{tensor} is {kept}"
    return True, ""


def restrict_broadcast(subject: Subject) -> Verdict:
    """A computed operand must not take more than 256 commands to be broadcast: it would be slow."""
    for spread in spreads(subject.graph, subject.operator, subject.plan):
        needed = sum(
            commands_needed(step.work, (step.operand,), _MOVE_COMMANDS)
            for step in spread.steps
            if is_move(step.work)
        )
        if needed > _MOVE_COMMANDS:
            shape = list(spread.tensor.shape)
            return False, f"{spread.tensor} is {shape}, the output {list(spread.shape)}"
    return True, ""


def restrict_single_rounding(subject: Subject) -> Verdict:
    """A layer that is requantised in floating point must have an equal in fixed point."""
    computed = isinstance(subject.plan, ComputedWeightsPlan)
    equal = all(
        requantisation(work, any_weights=computed) is not None
        for work in subject.works
        if isinstance(work, ConvPlan)
    )
    return equal, "no multiplier gives the same outputs for all sums that can occur"


def restrict_shift(subject: Subject) -> Verdict:
    """A layer must not shift its sums by more than 30 bits to the left or 31 to the right."""
    for shift in (each for work in subject.works for each in _shifts(work)):
        if not -_LARGEST_RIGHT_SHIFT <= shift <= _LARGEST_SHIFT:
            return False, f"its scales ask for {shift}"
    return True, ""


def _shifts(work: Plan) -> tuple[int, ...]:
    """What an operation shifts its operands and its results by, positive to the left."""
    if isinstance(work, ConvPlan):
        return (int(work.shift.max()), int(work.shift.min())) if work.requant == "double" else ()
    if isinstance(work, TransposeConvPlan):
        return int(work.shift.max()), int(work.shift.min())
    if isinstance(work, ScaledPlan):
        return (*work.shifts, work.output_shift)
    if isinstance(work, SvdfPlan):
        return work.feature_shift, work.time_shift
    if isinstance(work, LstmPlan):
        shifts = [work.hidden_shift]
        shifts += [gate.input_shift for gate in work.gates.values()]
        shifts += [gate.recurrent_shift for gate in work.gates.values()]
        shifts += [gate.peephole_shift for gate in work.gates.values()]
        if work.projection is not None:
            shifts.append(work.projection.shift)
        return tuple(shifts)
    if isinstance(work, RequantPlan | ReducePlan | MulPlan):
        return (work.shift,)
    return ()


def restrict_softmax(subject: Subject) -> Verdict:
    """The rows of a softmax must not have more than 4095 elements."""
    work = subject.plan
    if isinstance(work, SoftmaxPlan):
        return work.shape[-1] <= MOST_SOFTMAX_ELEMENTS, f"they have {work.shape[-1]}"
    return True, ""


def restrict_reduction(subject: Subject) -> Verdict:
    """Dimensions that are added up must follow each other, with fewer than 2**16 elements."""
    work = subject.plan
    if isinstance(work, ReducePlan):
        fits = as_image(work) is not None and work.count <= MOST_TAPS
        return fits, f"they are {list(work.axes)} of {list(work.input_shape)}"
    return True, ""


def restrict_resize(subject: Subject) -> Verdict:
    """A bilinear resize must have few weights, of a byte each: a ratio of sizes that is simple."""
    work = subject.plan
    if isinstance(work, BilinearPlan):
        parts = parts_of(work)
        fits = parts is not None and len(parts) * work.input_shape[0] <= MOST_PARTS
        return fits, f"{list(work.input_shape[1:3])} to {list(work.output_shape[1:3])}"
    return True, ""


def restrict_combs(subject: Subject) -> Verdict:
    """A transposed convolution must not have more than 1024 combs of outputs, of all images."""
    work = subject.plan
    if isinstance(work, TransposeConvPlan):
        combs = work.input_shape[0] * work.stride_h * work.stride_w
        return combs <= MOST_PARTS, f"it has {combs}"
    return True, ""


def restrict_lstm(subject: Subject) -> Verdict:
    """The LSTM cell takes 8-bit activations, and can't divide by a deviation as a norm does."""
    work = subject.plan
    if isinstance(work, LstmPlan):
        gates = work.gates.values()
        for wrong, what in (
            (work.int16, "its activations have 16 bits"),
            (
                # LiteRT then takes other elements together than one would think.
                work.output_shape[2] != work.cells and bool(peepholes(work)),
                "it has peepholes and a projection to fewer outputs",
            ),
            (any(gate.layer_norm is not None for gate in gates), "it has layer normalisation"),
        ):
            if wrong:
                return False, what
    return True, ""


def restrict_svdf(subject: Subject) -> Verdict:
    """SVDF must remember numbers of 16 bits."""
    work = subject.plan
    return not isinstance(work, SvdfPlan) or work.state_type == np.int16, ""


def restrict_cell_state(subject: Subject) -> Verdict:
    """An LSTM's cell state must have 0 to 6 bits before the point, its output's zero point 8."""
    work = subject.plan
    if isinstance(work, LstmPlan):
        if not 0 <= integer_bits(work) <= MAX_INTEGER_BITS:
            return False, f"its state has {integer_bits(work)}"
        if not -128 <= work.output_zero_point <= 127:
            return False, f"the zero point is {work.output_zero_point}"
    return True, ""


def restrict_bytes(subject: Subject) -> Verdict:
    """The sum must take bytes for signed numbers, as only one of the reference kernels does."""
    work = subject.plan
    return not (isinstance(work, ReducePlan) and work.as_unsigned), ""


def restrict_average(subject: Subject) -> Verdict:
    """The window of an average pool must have fewer than 2**21 taps."""
    work = subject.plan
    if isinstance(work, PoolPlan) and work.kind == "average":
        taps = work.filter_h * work.filter_w
        return taps < _POOL_TAPS, f"it has {taps}"
    return True, ""


def restrict_empty_moves(subject: Subject) -> Verdict:
    """What only moves elements must have elements to move."""
    if is_move(subject.plan):
        results = (subject.graph.tensors[each] for each in subject.operator.outputs)
        for tensor in (*subject.operands, *results):
            if not tensor.size:
                return False, f"{tensor} is empty"
        read = any(
            not each.is_fill
            for each in itertools.islice(moves(subject.plan, subject.operands), _MOVE_COMMANDS)
        )
        return read, "all that it gives is padding"
    return True, ""


def restrict_padding(subject: Subject) -> Verdict:
    """All bytes of the value that pads must be equal, as it is written byte by byte."""
    equal = not is_move(subject.plan) or len(fill_bytes(subject.plan, subject.operands[0])) <= 1
    return equal, ""


def restrict_move_commands(subject: Subject) -> Verdict:
    """What only moves elements must not take more than 256 commands: it would be slow."""
    if is_move(subject.plan):
        needed = commands_needed(subject.plan, subject.operands, _MOVE_COMMANDS)
        return needed <= _MOVE_COMMANDS, ""
    return True, ""


RESTRICTIONS: tuple[Restriction, ...] = (
    restrict_division,
    restrict_kind,
    restrict_types,
    restrict_computed_weights,
    restrict_products,
    restrict_form,
    restrict_variable_input,
    restrict_broadcast,
    restrict_average,
    restrict_reduction,
    restrict_softmax,
    restrict_bytes,
    restrict_lstm,
    restrict_svdf,
    restrict_cell_state,
    restrict_resize,
    restrict_combs,
    restrict_shift,
    restrict_single_rounding,
    restrict_padding,
    restrict_empty_moves,
    restrict_move_commands,
)
"""All restrictions, in the order in which they are looked at: each may rely on those before."""


def why_on_host(
    graph: Graph, operator: Operator, rounding: str | None = None, *, apart: bool = False
) -> str | None:
    """Why an operator runs on the host; None if the accelerators run it.

    Parameters
    ----------
    graph, operator : Graph, Operator
        Which operator.
    rounding : "tflm", "litert" or None
        Whose arithmetic is wanted; None is the graph's default.
    apart : bool
        Whether it is computed by itself, even if it is part of a function that is one table.

    Returns
    -------
    str or None
        The first restriction that it doesn't keep to, with details, as the end of a sentence.

    Raises
    ------
    mensa.golden.GraphError
        If golden can't compute the operator either.
    """
    if not apart:
        found = functions(graph, resolve_rounding(graph, rounding))
        if any(operator.index in each.operators for each in found):
            return None
    subject = Subject(graph, operator, rounding)
    for restriction in RESTRICTIONS:
        satisfied, details = restriction(subject)
        if not satisfied:
            rule = str(restriction.__doc__).rstrip(".")
            if not rule[1:2].isupper():  # as of SVDF
                rule = rule[:1].lower() + rule[1:]
            return f"{rule} ({details})" if details else rule
    return None
