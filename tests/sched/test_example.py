"""The example system of `mensa rtl` runs what `mensa compile` writes, driven as its header says."""

import json
import subprocess
from pathlib import Path

import numpy as np

from mensa import golden
from mensa.sched import digits
from mensa.sched.cli import invoke
from mensa.sim import verilator

MODEL = digits.DATA / "digits.tflite"
SETTINGS = [
    f"--set={setting}"
    for setting in (
        "rows=4", "cols=3", "parameter_buffer_bytes=4096", "activation_buffer_bytes=8192",
    )
]  # fmt: skip
MEMORY_BYTES = 1 << 14
BASE = 3 * MEMORY_BYTES
MAIN = Path(__file__).with_name("example_main.cpp")

# The system, and the way to see what its memory has in the end.
BENCH = """
module bench(
  input clk, input rst, output irq,
  input [11:0] s_axi_control_awaddr, input [2:0] s_axi_control_awprot,
  input s_axi_control_awvalid, output s_axi_control_awready,
  input [31:0] s_axi_control_wdata, input [3:0] s_axi_control_wstrb,
  input s_axi_control_wvalid, output s_axi_control_wready,
  output [1:0] s_axi_control_bresp, output s_axi_control_bvalid, input s_axi_control_bready,
  input [11:0] s_axi_control_araddr, input [2:0] s_axi_control_arprot,
  input s_axi_control_arvalid, output s_axi_control_arready,
  output [31:0] s_axi_control_rdata, output [1:0] s_axi_control_rresp,
  output s_axi_control_rvalid, input s_axi_control_rready
);
  mensa_edge_tpu_example #(.MEMORY_BYTES(%d), .MEMORY_FILE("memory.hex")) system (.*);
  final $writememh("after.hex", system.memory.words);
endmodule
"""


def test_the_example_system_gets_goldens_outputs(tmp_path):
    hardware, network = tmp_path / "hardware", tmp_path / "network"
    assert invoke(["rtl", "edge_tpu", *SETTINGS, "-o", str(hardware)]) == 0
    compiled = ["compile", str(MODEL), *SETTINGS, "--base", hex(BASE), "-o", str(network)]
    assert invoke(compiled) == 0
    build = verilator.build(
        verilator.Build(
            name="the example system",
            verilog=BENCH % MEMORY_BYTES
            + "".join(path.read_text() for path in sorted(hardware.glob("*.v"))),
            top="bench",
            sources=(MAIN,),
            generated=tuple((path.name, path.read_text()) for path in network.glob("*.h")),
        )
    )

    about = json.loads((network / "memory_map.json").read_text())
    graph = digits.load_network()
    rng = np.random.default_rng(3)
    image = rng.integers(-128, 128, graph.tensors[graph.inputs[0]].shape, np.int8)
    tensors = {each["index"]: each for each in about["tensors"]}

    def place(index):
        start = tensors[index]["address"] - BASE
        return slice(start, start + tensors[index]["bytes"])

    text = (network / "memory.hex").read_text()
    word_bytes = len(max(text.splitlines(), key=len)) // 2
    where = place(graph.inputs[0])
    assert where.start % word_bytes == where.stop % word_bytes == 0
    words = image.reshape(-1, word_bytes)[:, ::-1]
    text += f"@{where.start // word_bytes:x}\n" + "\n".join(word.tobytes().hex() for word in words)
    (tmp_path / "memory.hex").write_text(text + "\n")
    subprocess.run([build], cwd=tmp_path, check=True, timeout=60)

    lines = (tmp_path / "after.hex").read_text().split()
    memory = b"".join(bytes.fromhex(line)[::-1] for line in lines if not line.startswith("@"))
    assert len(memory) == MEMORY_BYTES
    (host,) = (step for step in about["steps"] if "host" in step)
    wanted = golden.run(graph, [image], keep="all")
    for index in host["inputs"]:
        np.testing.assert_array_equal(
            np.frombuffer(memory[place(index)], np.int8), wanted[index].ravel()
        )
