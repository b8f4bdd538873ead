"""Runs lowered networks on the functional engine, with golden for what is on the host."""

from __future__ import annotations

import numpy as np

import mensa.golden as golden
from mensa.rtl.arrays.systolic.systolic import Systolic
from mensa.rtl.machine import Machine
from mensa.sched import digits
from mensa.sched.lower import HostStep, tensor_from_memory, tensor_to_memory
from mensa.sched.lower.room import states
from mensa.sched.on_chip import OnChipReader
from mensa.sim.engines.functional import FunctionalEngine
from tests.models import network_path

NETWORKS = (
    "kws_ref_model",
    "pretrainedResnet_quant",
    "ad01_int8",
    "vww_96_int8",
    "str_ww_ref_model",
    "mobilenet_v1_0.25_128_quant",
)


def load_network(name):
    """A real network; the test is skipped where it is missing."""
    return golden.load(network_path(name))


def any_network(name):
    """The bundled network, which is called digits, or a real one."""
    return digits.load_network() if name == "digits" else load_network(name)


def machine_of(rows, cols, bank_bytes, parameter_bytes, entries=16, banks=4, port=None, array=None):
    """A machine whose buffers are rounded up to the nearest that is allowed.

    Its array is a systolic one unless `array` says another. One with a memory of its own has no
    parameter buffer.
    """
    fields = {
        "name": f"{rows}x{cols}",
        "array": array or Systolic(rows=rows, cols=cols),
        "clock_hz": 1,
        "activation_banks": banks,
        "constant_entries": entries,
        "port_bytes": port,
    }
    room = 1 << 24
    parameters = None if array and array.store_bytes else room
    large = Machine(**fields, parameter_buffer_bytes=parameters, activation_buffer_bytes=room)
    unit = 2 * large.row_bytes
    if parameters is not None:
        parameters = 2 * unit * max(1, -(-parameter_bytes // (2 * unit)))
    return Machine(
        **fields,
        activation_buffer_bytes=banks * unit * max(1, -(-bank_bytes // unit)),
        parameter_buffer_bytes=parameters,
    )


def random_inputs(graph, seed):
    rng = np.random.default_rng(seed)
    arrays = []
    for index in graph.inputs:
        tensor = graph.tensors[index]
        if tensor.dtype.kind == "f":
            arrays.append(rng.normal(0, 2, tensor.shape).astype(tensor.dtype))
            continue
        limits = np.iinfo(tensor.dtype)
        values = rng.integers(limits.min, limits.max + 1, tensor.shape)
        arrays.append(values.astype(tensor.dtype))
    return arrays


def assert_equals_golden(lowered, inputs, engine=None):
    """Every layer that the machine computes must equal golden's, given the layers before.

    `engine` is called with the hook that engines call after every command, and gives an engine.
    """
    graph = lowered.graph
    wanted = golden.run(graph, inputs, keep="all", rounding=lowered.rounding)
    memory = lowered.initial_memory()

    def put(index, value):
        if index in lowered.tensors:
            address = lowered.tensors[index]
            content = tensor_to_memory(graph.tensors[index], value)
            memory[address : address + content.size] = content

    for index, value in zip(graph.inputs, inputs, strict=True):
        put(index, value)
    reader = OnChipReader(graph)
    make = engine or functional
    engines = {each.name: make(each, reader) for each in lowered.placement.machines}
    for name, setup in lowered.setups.items():
        reader.begin(None)
        engines[name].run(setup, memory)
    for step in lowered.steps:
        if isinstance(step, HostStep):
            for output in graph.operators[step.operator].outputs:
                put(output, wanted[output])
            continue
        reader.begin(step)
        machine = step.program.machine
        engines[machine.name].run(step.program, memory)
        for operator in step.program.layers:
            if lowered.layers[operator].table_of is not None:
                continue  # what it gives is nowhere
            for output in graph.operators[operator].outputs:
                if output in lowered.tensors:
                    tensor, address = graph.tensors[output], lowered.tensors[output]
                    got = tensor_from_memory(tensor, memory, address)
                else:
                    got = reader.values.pop(output)
                equal_nan = got.dtype.kind == "f"
                assert np.array_equal(got, wanted[output], equal_nan=equal_nan), (
                    f"{graph.operators[operator]} on {machine} differs in "
                    f"{np.mean(got != wanted[output]):.1%} of its output"
                )

    for step in lowered.steps:
        if isinstance(step, HostStep):
            continue
        for layer in step.program.layers:
            for state in states(graph, graph.operators[layer], lowered.rounding):
                tensor, address = graph.tensors[state], lowered.tensors[state]
                got = tensor_from_memory(tensor, memory, address)
                assert np.array_equal(got, wanted.state[state]), f"{tensor} differs"


def functional(machine, hook):
    """The functional engine."""
    return FunctionalEngine(machine, on_command=hook)
