"""Where the sums of an LSTM layer's products are: in the activation buffer, or some in memory.

The sums of the inputs' products may not have room for all steps. Then these come in portions, for
each of which the weights are loaded anew; or, if that is less to move, all of them go through
memory: `spills`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mensa.golden.operators.lstm import LstmPlan
from mensa.rtl.commands import Unit, Width, register
from mensa.rtl.machine import Machine
from mensa.sched.lower.buffer_plan import rings_bytes
from mensa.sched.lower.matrix_product import MatrixProduct
from mensa.sched.lower.recurrent import up_to_rows

__all__ = [
    "CELL_GATES",
    "Scratch",
    "most_steps",
    "own_bytes",
    "peepholes",
    "products",
    "sequences",
    "spilled_bytes",
    "spills",
    "sums_pitch",
]

CELL_GATES = ("forget", "input", "cell", "output")
"""Order of the gates' sums, as the cell takes them."""

_INPUT_SHARE = 4
"""Sums of the inputs' products take this share of the activation buffer at most, if that is room
for a step's."""

_MOST_ROW_BYTES = register(Unit.COMPUTE, "INPUT_ROW_BYTES").most
_MOST_PIXELS = register(Unit.COMPUTE, "OUT_WIDTH").most


def peepholes(plan: LstmPlan) -> dict[str, npt.NDArray[np.int16]]:
    """Weights of the peepholes by gate, in the order of `CELL_GATES`; none for most layers."""
    return {
        name: weights
        for name in CELL_GATES
        if name in plan.gates and (weights := plan.gates[name].peephole_weights) is not None
    }


def own_bytes(plan: LstmPlan, machine: Machine) -> int:
    """What the sums take in the activation buffer, wherever they begin."""
    scratch = Scratch.of(plan, machine, 0, spilled=spills(plan, machine))
    return scratch.end + machine.row_bytes - machine.beat_bytes


def spills(plan: LstmPlan, machine: Machine) -> bool:
    """Whether the sums of the inputs' products go through memory.

    That is if it moves fewer bytes than to load their weights for each portion of the steps, and
    all else has room beside the slots for them.
    """
    steps = Scratch.of(plan, machine, 0).steps
    if steps == plan.steps or peepholes(plan):
        return False
    rings = rings_bytes(machine)
    tensors = math.prod(plan.input_shape) + math.prod(plan.output_shape)
    states = plan.batch * (plan.output_shape[2] + plan.cells * Width.INT16.nbytes)
    own = Scratch.of(plan, machine, 0, spilled=True).end + 8 * machine.row_bytes  # gaps
    if tensors + states + own > machine.activation_buffer_bytes - rings:
        return False
    if sums_pitch(plan, machine) > rings // 4:  # a slot
        return False
    weights, *others = (each.nbytes for each in products(plan, machine))
    if weights + sum(others) <= machine.parameter_bytes:
        return False
    again = -(-plan.steps // steps) - 1
    return plan.batch * again * weights > 2 * spilled_bytes(plan, machine)


def sums_pitch(plan: LstmPlan, machine: Machine) -> int:
    """Bytes from the sums of a step's inputs to those of the next."""
    return up_to_rows(machine, len(plan.gates) * plan.cells * Width.INT16.nbytes)


def spilled_bytes(plan: LstmPlan, machine: Machine) -> int:
    """Of the sums of all steps' inputs in memory."""
    return plan.batch * plan.steps * sums_pitch(plan, machine)


@dataclass(frozen=True)
class Scratch:
    """Where the sums are.

    Attributes
    ----------
    inputs, pitch, steps : int
        Of the inputs' products, of so many steps at a time, and bytes from step to step.
    recurrent : int
        Of a step's recurrent products.
    values : int
        Of a step's hidden state before the projection.
    end : int
        One beyond the last byte.
    """

    inputs: int
    pitch: int
    steps: int
    recurrent: int
    values: int
    end: int

    @classmethod
    def of(cls, plan: LstmPlan, machine: Machine, start: int, *, spilled: bool = False) -> Scratch:
        """From an address on; sums begin at rows of the buffer, the inputs' only if not spilled."""

        def up(nbytes: int) -> int:
            return up_to_rows(machine, nbytes)

        sums = len(plan.gates) * plan.cells
        pitch = sums_pitch(plan, machine)
        fits = machine.activation_buffer_bytes // _INPUT_SHARE // pitch
        steps = min(most_steps(plan), max(1, fits))
        inputs = up(start)
        recurrent = inputs + (0 if spilled else steps * pitch)
        values = recurrent + up(sums * machine.recurrent_width.nbytes)
        end = values + (up(plan.cells) if plan.projection is not None else 0)
        return cls(inputs, pitch, steps, recurrent, values, end)


def sequences(plan: LstmPlan) -> tuple[int, int]:
    """Rows from a step to the next and from a sequence to the next, of inputs and of outputs."""
    return (plan.batch, 1) if plan.time_major else (1, plan.steps)


def most_steps(plan: LstmPlan) -> int:
    """Steps that a command takes at most, whose inputs are a row to it."""
    features = max(1, plan.input_shape[2] * sequences(plan)[0])
    return min(plan.steps, max(1, min(_MOST_PIXELS, _MOST_ROW_BYTES // features)))


def products(plan: LstmPlan, machine: Machine) -> list[MatrixProduct]:
    """Of the inputs, of the hidden state, and the projection if there is one."""
    gates = [plan.gates[name] for name in CELL_GATES if name in plan.gates]
    int16 = -(1 << 15), (1 << 15) - 1
    most = 1 << (machine.result_bits - 1)
    made = [
        MatrixProduct.of(
            machine,
            np.concatenate([gate.input_weights for gate in gates]),
            np.concatenate([gate.bias for gate in gates]),
            (
                np.repeat([gate.input_multiplier for gate in gates], plan.cells),
                np.repeat([gate.input_shift for gate in gates], plan.cells),
            ),
            zero_points=(plan.input_zero_point, 0),
            clamp=int16,
            width=Width.INT16,
        ),
        MatrixProduct.of(
            machine,
            np.concatenate([gate.recurrent_weights for gate in gates]),
            np.zeros(len(gates) * plan.cells, np.int64),
            (
                np.repeat([gate.recurrent_multiplier for gate in gates], plan.cells),
                np.repeat([gate.recurrent_shift for gate in gates], plan.cells),
            ),
            zero_points=(plan.hidden_zero_point, 0),
            clamp=(-most, most - 1),
            width=machine.recurrent_width,
        ),
    ]
    projection = plan.projection
    if projection is not None:
        outputs, clip = len(projection.weights), projection.clip
        made.append(
            MatrixProduct.of(
                machine,
                projection.weights,
                projection.bias,
                (np.full(outputs, projection.multiplier), np.full(outputs, projection.shift)),
                zero_points=(0, plan.hidden_zero_point),
                clamp=(-clip, clip) if clip > 0 else (-128, 127),
            )
        )
    return made
