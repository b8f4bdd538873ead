"""The files of `mensa rtl` and `mensa compile` for a small network, and what golden computes."""

import json

import numpy as np

from mensa import golden
from mensa.rtl.machine import Machine
from mensa.sched.cli.main import invoke
from tests.small_network import small_network

MEMORY_BYTES = 1 << 13
BASE = 3 * MEMORY_BYTES


class ExampleSystem:
    """An example system on files, its memory filled with the network and a random image.

    Attributes
    ----------
    folder : Path
        Where simulations run: `memory.hex` is there.
    verilog : list of Path
        Core, memory, and the module that joins them.
    network : Path
        The folder of `mensa compile`.
    beat_bytes : int
        Of the data port.
    programs : list of int
        Addresses of the programs, in order.
    """

    def __init__(self, folder, settings):
        self.folder = folder
        hardware, self.network = folder / "hardware", folder / "network"
        graph, model = small_network(), folder / "small.tflite"
        golden.save(graph, model)
        settings = [f"--set={name}={value}" for name, value in settings.items()]
        assert invoke(["rtl", "edge_tpu", *settings, "-o", str(hardware)]) == 0
        compiled = ["compile", str(model), *settings, "--base", hex(BASE), "-o", str(self.network)]
        assert invoke(compiled) == 0
        self.verilog = sorted(hardware.glob("*.v"))
        about = json.loads((self.network / "memory_map.json").read_text())
        self.beat_bytes = Machine.of(about["machine"]).beat_bytes
        self._tensors = {each["index"]: each for each in about["tensors"]}
        assert about["steps"] == [{"program": "0"}]
        address = {each["name"]: each["address"] for each in about["programs"]}
        self.programs = [address["setup"], address["0"]]

        (entry,) = graph.inputs
        rng = np.random.default_rng(3)
        image = rng.integers(-128, 128, graph.tensors[entry].shape, np.int8)
        self._outputs = graph.outputs
        self._wanted = golden.run(graph, [image], keep="all")
        text = (self.network / "memory.hex").read_text()
        word_bytes = len(max(text.splitlines(), key=len)) // 2
        where = self._place(entry)
        assert where.start % word_bytes == where.stop % word_bytes == 0
        words = image.reshape(-1, word_bytes)[:, ::-1]
        text += f"@{where.start // word_bytes:x}\n"
        text += "\n".join(word.tobytes().hex() for word in words)
        # What the network's memory leaves open is not unknown in a real one.
        zeros = f"{0:0{2 * word_bytes}x}\n" * (MEMORY_BYTES // word_bytes)
        (folder / "memory.hex").write_text(f"{zeros}@0\n{text}\n")

    def _place(self, index):
        start = self._tensors[index]["address"] - BASE
        return slice(start, start + self._tensors[index]["bytes"])

    def assert_equals_golden(self, words):
        """Check the outputs. Parameters: the memory's words, in hexadecimal."""
        memory = [word[at : at + 2] for word in words for at in range(len(word) - 2, -1, -2)]
        assert len(memory) == MEMORY_BYTES
        for index in self._outputs:
            found = bytes.fromhex("".join(memory[self._place(index)]))  # not of unknown values
            np.testing.assert_array_equal(
                np.frombuffer(found, np.int8), self._wanted[index].ravel()
            )

    def assert_file_equals_golden(self):
        """Check what a simulation wrote with $writememh to after.hex."""
        lines = (self.folder / "after.hex").read_text().splitlines()
        self.assert_equals_golden([line for line in lines if not line.startswith(("@", "//"))])
