"""From a graph to programs for the machines of a placement."""

from mensa.sched.lower.emit import Traffic
from mensa.sched.lower.error import LoweringError
from mensa.sched.lower.memory_map import tensor_from_memory, tensor_to_memory
from mensa.sched.lower.network import (
    HostStep,
    Lowered,
    LoweredLayer,
    OnChip,
    ProgramStep,
    Step,
    lower,
)
from mensa.sched.lower.options import LoweringOptions

__all__ = [
    "HostStep",
    "Lowered",
    "LoweredLayer",
    "LoweringError",
    "LoweringOptions",
    "OnChip",
    "ProgramStep",
    "Step",
    "Traffic",
    "lower",
    "tensor_from_memory",
    "tensor_to_memory",
]
