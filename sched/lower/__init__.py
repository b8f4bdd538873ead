"""From a graph to programs for one machine."""

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

__all__ = [
    "HostStep",
    "Lowered",
    "LoweredLayer",
    "LoweringError",
    "OnChip",
    "ProgramStep",
    "Step",
    "Traffic",
    "lower",
    "tensor_from_memory",
    "tensor_to_memory",
]
