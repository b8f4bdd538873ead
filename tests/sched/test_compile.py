"""Compiled networks: a driver that has nothing but the files gets golden's outputs."""

import dataclasses
import json
import subprocess

import numpy as np
import pytest
from hypothesis import given, settings

from mensa import golden
from mensa.golden.interpreter import outputs_of
from mensa.rtl.commands import Unit
from mensa.rtl.machine import Machine, edge_tpu
from mensa.rtl.program import Program, ProgramError, decode
from mensa.sched import digits
from mensa.sched.cli.main import invoke
from mensa.sched.compile import compile_network, memory_map, relocated
from mensa.sched.lower import lower
from mensa.sched.placement import all_on
from mensa.sim.engines.functional import FunctionalEngine
from mensa.sim.engines.rtl import RtlEngine
from mensa.sim.engines.verilator import tools
from mensa.sim.memory import lpddr4
from tests.golden.graph_ends import ENDS
from tests.golden.makers import MAKERS
from tests.golden.recurrent import recurrent
from tests.golden.strategies import layers, random_inputs
from tests.golden.streaming import wake_word
from tests.golden.wild_networks import detection

MACHINE = edge_tpu.replace(
    rows=4, cols=4, parameter_buffer_bytes=4096, activation_buffer_bytes=8192
)
MODEL = digits.DATA / "digits.tflite"
SETTINGS = (
    "--set", "rows=4", "--set", "cols=4",
    "--set", "parameter_buffer_bytes=4096", "--set", "activation_buffer_bytes=8192",
)  # fmt: skip
BASE = 0x4000_0000


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("compile") / "network"
    assert invoke(["compile", str(MODEL), *SETTINGS, "-o", str(place)]) == 0
    return place


#: By name: with variables, with states, and two with neither, one of them of uint8.
NETWORKS = {
    "streaming": wake_word,
    "recurrent": recurrent,
    "digits": digits.load_network,
    "detection": lambda: detection("uint8"),
}


@pytest.fixture(scope="module", params=NETWORKS)
def network(request, tmp_path_factory):
    """Every network in turn, with the folder of its files."""
    place = tmp_path_factory.mktemp("compile")
    golden.save(NETWORKS[request.param](), place / "network.tflite")
    arguments = ["compile", str(place / "network.tflite"), *SETTINGS, "-o", str(place / "network")]
    assert invoke(arguments) == 0
    return golden.load(place / "network.tflite"), place / "network"


def functional(machine):
    return FunctionalEngine(machine)


def rtl(machine):
    return RtlEngine(machine, lpddr4)


class Driver:
    """Knows a folder of files and an engine, and no more."""

    def __init__(self, folder, make_engine=functional):
        self.map = json.loads((folder / "memory_map.json").read_text())
        self.machine = Machine.of(self.map["machine"])
        self.memory = np.zeros(self.map["memory"]["bytes"], np.uint8)
        self.parameters = (folder / self.map["parameters"]["file"]).read_bytes()
        self.programs = {each["name"]: each for each in self.map["programs"]}
        blocks = [(part["address"], self.part(part)) for part in self.map["parameters"]["segments"]]
        blocks += [
            (each["address"], (folder / each["files"][0]).read_bytes())
            for each in self.programs.values()
        ]
        for address, content in blocks:
            assert not self.memory[address : address + len(content)].any(), "blocks overlap"
            self.put(address, content)
        self.stored = {each["index"]: each for each in self.map["variables"] + self.map["tensors"]}
        for each in self.map["variables"]:
            assert self.stored[each["index"]]["address"] == each["address"]
        self.engine = make_engine(self.machine)
        if "setup" in self.programs:
            self.start("setup")

    def part(self, part):
        return self.parameters[part["offset"] :][: part["bytes"]]

    def put(self, address, content):
        self.memory[address : address + len(content)] = np.frombuffer(content, np.uint8)

    def start(self, name):
        address, size = self.programs[name]["address"], self.programs[name]["bytes"]
        words = self.memory[address : address + size].view("<u8").astype(np.uint64)
        program = Program(self.machine, words, address, self.memory.size, (), {}, ())
        self.engine.run(program, self.memory)

    def __getitem__(self, index):
        """The value of a tensor or a variable."""
        found = self.stored[index]
        raw = self.memory[found["address"] : found["address"] + found["bytes"]]
        return self.flipped(found, raw).view(found["type_in_model"]).reshape(found["shape"])

    def __setitem__(self, index, value):
        found = self.stored[index]
        raw = np.frombuffer(value.tobytes(), np.uint8)
        self.put(found["address"], self.flipped(found, raw).tobytes())

    @staticmethod
    def flipped(found, raw):
        """A copy of the bytes, of uint8 values 128 less or more."""
        return raw ^ np.uint8(0x80 if found["type_in_model"] == "uint8" else 0)

    def begin(self):
        """Begin another sequence."""
        for variable in self.map["variables"]:
            self.put(variable["address"], self.part(variable))

    def infer(self, graph, arrays):
        """The outputs; golden's kernels are the host, and `graph` is where it finds constants."""
        for index, array in zip(self.map["inputs"], arrays, strict=True):
            self[index] = array
        for step in self.map["steps"]:
            if "program" in step:
                self.start(step["program"])
                continue
            operator = graph.operators[step["host"]]
            assert operator.op == step["op"]
            values = {i: self[i] for i in step["inputs"] if i in self.stored}
            work = golden.plan(graph, operator, self.map["rounding"])
            found = outputs_of(graph, operator, work, values)
            assert found.keys() == {*step["outputs"], *step["assigns"]}
            for index, value in found.items():
                self[index] = value
        return {index: self[index] for index in self.map["outputs"]}


@pytest.mark.parametrize("make_engine", [functional, rtl])
def test_a_driver_gets_goldens_outputs_from_the_files_alone(network, make_engine):
    """In two sequences, the second of which begins as the first did."""
    graph, folder = network
    driver = Driver(folder, make_engine)
    differ = False
    for seed in range(2):
        state = None
        for arrays in random_inputs(graph, 5, seed):
            wanted = golden.run(graph, arrays, state=state)
            state = wanted.state
            found = driver.infer(graph, arrays)
            for index in graph.outputs:
                np.testing.assert_array_equal(found[index], wanted[index])
            fresh = golden.run(graph, arrays)
            differ |= any(not np.array_equal(found[index], fresh[index]) for index in graph.outputs)
        assert [each["index"] for each in driver.map["variables"]] == sorted(state)
        for index, value in state.items():
            np.testing.assert_array_equal(driver[index], value)
        driver.begin()
    # Without what it remembers, a network that does would give something else.
    assert differ is bool(driver.map["variables"])


def test_handles_stand_for_a_variable_and_are_in_no_inference():
    builder = golden.GraphBuilder("handles")
    x = builder.input((1, 4), scale=0.1, zero_point=7)
    first = golden.GraphBuilder("first")
    value = first.tensor(data=[[1, 2, 3, 4]], scale=0.1, zero_point=7)
    first.assign_variable(first.var_handle("memory", "box"), value)
    builder.call_once(first.build([]))
    one, other = (builder.var_handle("memory", "box") for _ in range(2))
    alone = builder.var_handle("memory")
    y = builder.read_variable(other, (1, 4), scale=0.1, zero_point=7)
    builder.assign_variable(one, x)
    z = builder.read_variable(alone, (1, 4), scale=0.1, zero_point=7)
    builder.assign_variable(alone, x)
    lowered = lower(builder.build([y, z]), all_on(MACHINE))
    about, memory = memory_map(lowered), lowered.initial_memory()
    given, zero_points = about["variables"]
    assert (given["name"], given["tensors"], given["shape"]) == ("box/memory", [one, other], [1, 4])
    assert (zero_points["name"], zero_points["tensors"]) == ("memory", [alone])
    for variable, content in ((given, [1, 2, 3, 4]), (zero_points, [7] * 4)):
        assert (variable["type"], variable["zero_point"]) == ("int8", [7])
        assert memory[variable["address"] :][: variable["bytes"]].tolist() == content
    assert [(step["op"], step["inputs"], step["assigns"]) for step in about["steps"]] == [
        ("READ_VARIABLE", [one], []),
        ("ASSIGN_VARIABLE", [one, x], [one]),
        ("READ_VARIABLE", [alone], []),
        ("ASSIGN_VARIABLE", [alone, x], [alone]),
    ]
    assert not {one, other, alone} & {each["index"] for each in about["tensors"]}


REMEMBER = [
    (op, dtype, oracle)
    for op in ("READ_VARIABLE", "SVDF", "UNIDIRECTIONAL_SEQUENCE_LSTM")
    for oracle, dtypes in MAKERS[op].types.items()
    for dtype in dtypes
]


@pytest.mark.parametrize(("op", "dtype", "oracle"), REMEMBER)
def test_a_sequence_begins_with_what_is_at_the_variables_addresses(op, dtype, oracle):
    @settings(max_examples=10, deadline=None, database=None, derandomize=True)
    @given(layer=layers(operators=(op,), dtypes=(dtype,), oracle=oracle))
    def check(layer):
        graph, (arrays,) = layer.graph, random_inputs(layer.graph, 1, layer.seed)
        lowered = lower(graph, all_on(MACHINE), oracle)
        memory, state = lowered.initial_memory(), {}
        for variable in memory_map(lowered)["variables"]:
            raw = memory[variable["address"] :][: variable["bytes"]]
            raw = raw ^ 0x80 if variable["type_in_model"] == "uint8" else raw
            value = raw.view(variable["type_in_model"]).reshape(variable["shape"])
            state[variable["index"]] = value
        wanted = golden.run(graph, arrays, rounding=oracle)
        found = golden.run(graph, arrays, rounding=oracle, state=state)
        assert state.keys() == wanted.state.keys()
        for index in graph.outputs:
            np.testing.assert_array_equal(found[index], wanted[index])

    check()


def test_binary_and_hex_hold_the_same_words(folder):
    names = {path.stem for path in folder.glob("program_*.bin")}
    assert names == {path.stem for path in folder.glob("program_*.hex")}
    assert "program_0" in names
    for name in names:
        words = np.fromfile(folder / f"{name}.bin", "<u8").tolist()
        lines = (folder / f"{name}.hex").read_text().splitlines()
        assert [int(line, 16) for line in lines] == words
        assert {len(line) for line in lines} == {16}


def test_the_memory_s_text_is_what_a_driver_would_put_there(folder):
    word_bytes = max(MACHINE.beat_bytes, 8)
    place, memory = 0, {}
    for line in (folder / "memory.hex").read_text().splitlines():
        if line.startswith("@"):
            place = int(line[1:], 16)
            continue
        assert len(line) == 2 * word_bytes
        memory[place] = int(line, 16).to_bytes(word_bytes, "little")
        place += 1
    wanted = Driver(folder).memory.tobytes()
    assert len(wanted) % word_bytes == 0
    for number in range(len(wanted) // word_bytes):
        word = wanted[number * word_bytes :][:word_bytes]
        assert memory.pop(number, bytes(word_bytes)) == word
    assert not memory


def test_the_same_network_gives_the_same_bytes(folder, tmp_path):
    again = tmp_path / "again"
    compile_network(lower(digits.load_network(), all_on(MACHINE)), again)
    names = {path.name for path in folder.iterdir()}
    assert {path.name for path in again.iterdir()} == names
    for name in names:
        assert (again / name).read_bytes() == (folder / name).read_bytes(), name


def test_another_base_moves_memory_addresses_and_nothing_else():
    lowered = lower(digits.load_network(), all_on(MACHINE))
    for program in lowered.programs:
        before = decode(program.words, MACHINE)
        after = decode(relocated(program.words, BASE), MACHINE)
        for old, new in zip(before, after, strict=True):
            moved = {} if old.unit == Unit.COMPUTE else {"MEMORY_ADDRESS": old["MEMORY_ADDRESS"]}
            registers = {**old.registers, **{name: at + BASE for name, at in moved.items()}}
            assert new == dataclasses.replace(old, registers=registers)
    here, there = memory_map(lowered), memory_map(lowered, BASE)
    for part in ("programs", "tensors", "variables"):
        for old, new in zip(here[part], there[part], strict=True):
            assert new == {**old, "address": old["address"] + BASE}


@pytest.mark.parametrize("base", [1, 2048, -4096, 1 << 32, (1 << 32) - 4096])
def test_a_base_where_the_memory_does_not_fit_is_refused(base):
    with pytest.raises(ProgramError, match="multiple of 4096"):
        memory_map(lower(digits.load_network(), all_on(MACHINE)), base)


def test_the_header_compiles_and_says_what_the_memory_map_says(network, tmp_path):
    _, folder = network
    about = json.loads((folder / "memory_map.json").read_text())
    source, binary = tmp_path / "use.c", tmp_path / "use"
    source.write_text(
        "#include <stdio.h>\n"
        '#include "network.h"\n'
        "int main(void) {\n"
        '  printf("%u %u %u", MENSA_MEMORY_BYTES, MENSA_PARAMETERS_COUNT, MENSA_STEPS_COUNT);\n'
        "  for (unsigned i = 0; i < MENSA_PARAMETERS_COUNT; i++)\n"
        '    printf(" %u", mensa_parameters[i].address);\n'
        "  for (unsigned i = 0; i < MENSA_STEPS_COUNT; i++)\n"
        '    printf(" %u", mensa_steps[i].value);\n'
        "  for (unsigned i = 0; i != MENSA_VARIABLES_COUNT; i++) {\n"
        "    struct mensa_segment part = mensa_variables[i];\n"
        '    printf(" %u %u %u", part.address, part.offset, part.bytes);\n'
        "  }\n"
        '  printf(" %u %d\\n", MENSA_OUTPUT_0_ADDRESS, MENSA_INPUT_0_ZERO_POINT);\n'
        "  return (int)mensa_setup[0].kind;\n"
        "}\n"
    )
    options = ["-x", "c", "-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", f"-I{folder}"]
    subprocess.run([tools().compiler, *options, source, "-o", binary], check=True)
    done = subprocess.run([binary], capture_output=True, text=True, check=True)
    programs = {each["name"]: each["address"] for each in about["programs"]}
    segments = about["parameters"]["segments"]
    stored = {each["index"]: each for each in about["tensors"]}
    wanted = [
        about["memory"]["bytes"],
        len(segments),
        len(about["steps"]),
        *(each["address"] for each in segments),
        *(programs[s["program"]] if "program" in s else s["host"] for s in about["steps"]),
        *(each[key] for each in about["variables"] for key in ("address", "offset", "bytes")),
        stored[about["outputs"][0]]["address"],
        *stored[about["inputs"][0]]["zero_point"],
    ]
    assert [int(number) for number in done.stdout.split()] == wanted


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("missing.tflite", "missing.tflite"),
        (f"{MODEL} --machine tpu9", "tpu9"),
        (f"{MODEL} --set rows=0", "rows"),
        (f"{MODEL} --base here", "here"),
        (f"{MODEL} --base 0x100", "0x100"),
    ],
)
def test_bad_input_is_one_line(arguments, said, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    assert invoke(["compile", *arguments.split(), "-o", "network"]) == 2
    out, error = capfd.readouterr()
    assert out == ""
    assert said in error
    assert error.startswith("mensa: error: ")
    assert error.count("\n") == 1
    assert not (tmp_path / "network").exists()


def test_the_header_numbers_inputs_and_outputs_in_the_network_s_order(tmp_path):
    builder = golden.GraphBuilder()
    late, early = (builder.input((1, 8), scale=0.5, zero_point=0) for _ in range(2))
    total = builder.add(late, early, scale=1.0, zero_point=0)
    twice = builder.add(total, total, scale=2.0, zero_point=0)
    graph = builder.build([twice, total])
    compile_network(lower(graph, all_on(MACHINE)), tmp_path / "network")
    about = json.loads((tmp_path / "network" / "memory_map.json").read_text())
    assert about["outputs"] == list(graph.outputs) == sorted(graph.outputs, reverse=True)
    header = (tmp_path / "network" / "network.h").read_text()
    address = {each["index"]: each["address"] for each in about["tensors"]}
    for role in ("input", "output"):
        assert f"#define MENSA_{role.upper()}S 2u" in header
        for number, index in enumerate(about[f"{role}s"]):
            line = f"#define MENSA_{role.upper()}_{number}_ADDRESS 0x{address[index]:08X}u"
            assert line in header


def test_a_directory_takes_another_network(tmp_path):
    """Of fewer programs: those of the first network are gone then."""
    out = tmp_path / "network"
    first = compile_network(lower(digits.load_network(), all_on(edge_tpu)), out)
    second = compile_network(lower(ENDS["no_operators"], all_on(edge_tpu)), out)
    assert {path.name for path in out.iterdir()} == {path.name for path in second}
    assert {path.name for path in first} > {path.name for path in second}
