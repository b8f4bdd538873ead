"""The AXI checker passes all legal traffic, and names each rule that is broken."""

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.rtl import icarus

CHECKER = Path(__file__).with_name("axi_checker.v")
BYTES = 8
MOST = 4

REQUEST = {"addr": 32, "len": 8, "size": 3, "burst": 2, "prot": 3, "valid": 1, "ready": 1}
RESPONSE = {"resp": 2, "valid": 1, "ready": 1}
HANDSHAKE = {"valid": 1, "ready": 1}
DATA = {"data": 8 * BYTES, "strb": BYTES, "last": 1} | HANDSHAKE
CHANNELS = {
    "axi_read_checker": {"ar": REQUEST, "r": {"data": 8 * BYTES, "last": 1} | RESPONSE},
    "axi_write_checker": {"aw": REQUEST, "w": DATA, "b": RESPONSE},
    "axi_lite_checker": {
        "aw": {"addr": 12, "prot": 3} | HANDSHAKE,
        "w": {"data": 32, "strb": 4} | HANDSHAKE,
        "b": RESPONSE,
        "ar": {"addr": 12, "prot": 3} | HANDSHAKE,
        "r": {"data": 32} | RESPONSE,
    },
}
"""Signals and their bits, by module and channel."""

AR, R, AW, W, B = range(1, 6)
(
    UNKNOWN_HANDSHAKE, UNKNOWN_PAYLOAD, FALLEN, CHANGED, IN_RESET, NOT_INCR, TOO_WIDE, PAGE,
    NOT_OWED, LAST, NO_RESPONSE, STROBE, TOO_MANY,
) = range(1, 14)  # fmt: skip
X = "x"


def signals(module):
    """Names and bits of a module's inputs, after `clk`."""
    found = {"rst": 1}
    for channel, fields in CHANNELS[module].items():
        found |= {channel + name: bits for name, bits in fields.items()}
    return found


class Watch:
    """The three checkers, compiled, each reading its inputs from a file of a line a cycle."""

    def __init__(self, folder):
        self.folder = folder
        for module in CHANNELS:
            inputs = signals(module)
            parameters = f"#(.MOST({MOST}))"
            if module != "axi_lite_checker":
                parameters = f"#(.BYTES({BYTES}), .MOST({MOST}))"
            pins = "".join(f".{name}({name}), " for name in inputs)
            (folder / f"{module}.v").write_text(
                f"""module bench;
  reg [{sum(inputs.values()) - 1}:0] vectors [0:4095];
  reg [8*256-1:0] file;
  reg clk = 0;
  {"".join(f"reg [{bits - 1}:0] {name}; " for name, bits in inputs.items())}
  wire [31:0] violations;
  wire [7:0] first;
  wire [15:0] outstanding;
  {module} {parameters} checker (.clk(clk), {pins}
    .violations(violations), .first(first), .outstanding(outstanding));
  integer i, cycles;
  initial begin
    if ($value$plusargs("vectors=%s", file)) $readmemb(file, vectors);
    if ($value$plusargs("cycles=%d", cycles))
      for (i = 0; i < cycles; i = i + 1) begin
        {{{", ".join(inputs)}}} = vectors[i];
        #1 clk = 1;
        #1 clk = 0;
      end
    $display("%0d %0d %0d %0d", violations, first[7:4], first[3:0], outstanding);
  end
endmodule
"""
            )
            icarus.compile_verilog(
                [folder / f"{module}.v", CHECKER], folder / module, "-s", "bench"
            )

    def __call__(self, module, cycles):
        """Violations, channel and rule of the first, and bursts outstanding, after these cycles.

        Parameters: for each cycle the signals that are not 0, by name.
        """
        lines = []
        for cycle in cycles:
            words = []
            for name, bits in signals(module).items():
                value = cycle.get(name, 0)
                words.append("x" * bits if value == X else f"{value:0{bits}b}")
            assert cycle.keys() <= signals(module).keys()
            lines.append("".join(words))
        vectors = self.folder / "vectors"
        vectors.write_text("\n".join(lines) + "\n")
        said = icarus.run_model(
            self.folder / module, f"+vectors={vectors}", f"+cycles={len(lines)}"
        )
        violations, *rest = map(int, said.splitlines()[-1].split())
        return violations, tuple(rest[:2]), rest[2]


@pytest.fixture(scope="module")
def watch(tmp_path_factory):
    return Watch(tmp_path_factory.mktemp("checker"))


class Traffic:
    """Draws what both sides of a port do, by the rules.

    A channel is a list of payloads and says from when on each may be offered: never before what it
    depends on has moved.
    """

    def __init__(self, rng):
        self.rng = rng
        self.queues = {}
        self.offered = {}
        self.moved = {}

    def channel(self, name):
        self.queues[name], self.offered[name], self.moved[name] = [], None, 0

    def cycle(self):
        """Signals of a cycle. Returns: them, and what moved, by channel."""
        now, moved = {}, {}
        for name, queue in self.queues.items():
            if self.offered[name] is None and queue and self.rng.random() < 0.6:
                self.offered[name] = queue.pop(0)
            payload, ready = self.offered[name], self.rng.random() < 0.6
            now[f"{name}ready"] = int(ready)
            if payload is not None:
                now |= {f"{name}{field}": value for field, value in payload.items()}
                now[f"{name}valid"] = 1
                if ready:
                    moved[name], self.offered[name] = payload, None
                    self.moved[name] += 1
            elif self.rng.random() < 0.5:
                fields = {field for each in CHANNELS.values() for field in each.get(name, {})}
                now |= {f"{name}{field}": X for field in fields & {"addr", "data", "strb"}}
        return now, moved

    @property
    def quiet(self):
        return not any(self.queues.values()) and not any(self.offered.values())


def draw_request(rng):
    size = rng.choice([3, 3, 3, 0, 1, 2])
    length = rng.choice([0, 1, 3, 15, 255, rng.randrange(256)])
    length = min(length, (4096 >> size) - 1)
    room = 4096 - ((length + 1) << size)
    page = rng.getrandbits(20) << 12
    address = page + (rng.choice([0, room, rng.randint(0, room)]) >> size << size)
    address += rng.randrange(1 << size)
    return {"addr": address, "len": length, "size": size, "burst": 1, "prot": rng.randrange(8)}


def lanes(request, beat):
    size = request["size"]
    start = ((request["addr"] >> size) + beat) << size
    first = request["addr"] if beat == 0 else start
    return [byte % BYTES for byte in range(first, start + (1 << size))]


RESET = [{"rst": X}, {"rst": 1}, {"rst": 1}]


def legal_reads(rng, bursts):
    traffic = Traffic(rng)
    traffic.channel("ar")
    traffic.channel("r")
    cycles, open_bursts, left = list(RESET), 0, bursts
    while left or open_bursts or not traffic.quiet:
        if (
            left
            and not traffic.queues["ar"]
            and traffic.offered["ar"] is None
            and open_bursts < MOST
        ):
            traffic.queues["ar"].append(draw_request(rng))
            left -= 1
        now, moved = traffic.cycle()
        cycles.append(now)
        if "ar" in moved:
            open_bursts += 1
            length = moved["ar"]["len"]
            for beat in range(length + 1):
                response = {"data": rng.getrandbits(64), "resp": rng.choice([0, 0, 2, 3])}
                traffic.queues["r"].append(response | {"last": int(beat == length)})
        open_bursts -= "r" in moved and moved["r"]["last"]
    return [*cycles, {}]


def legal_writes(rng, bursts):
    traffic = Traffic(rng)
    for name in ("aw", "w", "b"):
        traffic.channel(name)
    cycles, wanted, lasts = list(RESET), [], 0
    answered = 0
    for _ in range(bursts):
        wanted.append(draw_request(rng))
    begun = begun_data = 0
    while answered < bursts:
        limit = min(bursts, answered + MOST)
        if begun < limit and not traffic.queues["aw"] and traffic.offered["aw"] is None:
            traffic.queues["aw"].append(wanted[begun])
            begun += 1
        if begun_data < limit and not traffic.queues["w"] and rng.random() < 0.5:
            request = wanted[begun_data]
            begun_data += 1
            for beat in range(request["len"] + 1):
                strobes = sum(1 << lane for lane in lanes(request, beat) if rng.random() < 0.7)
                payload = {"data": rng.getrandbits(64), "strb": strobes}
                traffic.queues["w"].append(payload | {"last": int(beat == request["len"])})
        now, moved = traffic.cycle()
        cycles.append(now)
        before = min(traffic.moved["aw"] - ("aw" in moved), lasts)
        lasts += "w" in moved and moved["w"]["last"]
        after = min(traffic.moved["aw"], lasts)
        traffic.queues["b"] += [{"resp": rng.choice([0, 0, 2, 3])} for _ in range(after - before)]
        answered += "b" in moved
    return [*cycles, {}]


def legal_lite(rng, accesses):
    traffic = Traffic(rng)
    for name in CHANNELS["axi_lite_checker"]:
        traffic.channel(name)
    cycles, begun, done, reads, pairs = list(RESET), 0, 0, 0, 0
    while done < accesses:
        if begun < accesses and begun - done < MOST:
            begun += 1
            if rng.random() < 0.5:
                traffic.queues["ar"].append({"addr": rng.getrandbits(12), "prot": 0})
            else:
                traffic.queues["aw"].append({"addr": rng.getrandbits(12), "prot": 0})
                strobes = rng.getrandbits(4)
                traffic.queues["w"].append({"data": rng.getrandbits(32), "strb": strobes})
        now, moved = traffic.cycle()
        cycles.append(now)
        for _ in range(traffic.moved["ar"] - reads):
            traffic.queues["r"].append({"data": rng.getrandbits(32), "resp": rng.choice([0, 2, 3])})
        reads = traffic.moved["ar"]
        there = min(traffic.moved["aw"], traffic.moved["w"])
        traffic.queues["b"] += [{"resp": rng.choice([0, 2, 3])} for _ in range(there - pairs)]
        pairs = there
        done += ("r" in moved) + ("b" in moved)
    return [*cycles, {}]


LEGAL = {
    "axi_read_checker": legal_reads,
    "axi_write_checker": legal_writes,
    "axi_lite_checker": legal_lite,
}


@pytest.mark.parametrize("module", LEGAL)
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_legal_traffic_breaks_no_rule(watch, module, seed):
    cycles = LEGAL[module](random.Random(seed), 6)[:4096]
    violations, first, outstanding = watch(module, cycles)
    assert (violations, first) == (0, (0, 0))
    assert len(cycles) == 4096 or outstanding == 0


READ = [
    *RESET,
    {},
    {"arvalid": 1, "araddr": 0x1010, "arlen": 1, "arsize": 3, "arburst": 1},  # 4
    {"arvalid": 1, "araddr": 0x1010, "arlen": 1, "arsize": 3, "arburst": 1, "arready": 1},
    {"rvalid": 1, "rdata": 5},  # 6
    {"rvalid": 1, "rdata": 5, "rready": 1},
    {"rvalid": 1, "rdata": 6, "rlast": 1, "rready": 1},  # 8
    {},
]
ADDRESS = {"awvalid": 1, "awaddr": 0x2004, "awlen": 1, "awsize": 3, "awburst": 1}
WRITE = [
    *RESET,
    {},
    ADDRESS,  # 4
    ADDRESS | {"awready": 1},
    {"wvalid": 1, "wdata": 7, "wstrb": 0xF0},  # 6
    {"wvalid": 1, "wdata": 7, "wstrb": 0xF0, "wready": 1},
    {"wvalid": 1, "wdata": 8, "wstrb": 0x81, "wlast": 1, "wready": 1},  # 8
    {"bvalid": 1},
    {"bvalid": 1, "bready": 1},  # 10
    {},
]
LITE = [
    *RESET,
    {"awvalid": 1, "awaddr": 4, "awready": 1, "arvalid": 1, "araddr": 8, "arready": 1},  # 3
    {"wvalid": 1, "wdata": 9, "wstrb": 15, "wready": 1, "rvalid": 1},
    {"bvalid": 1, "bready": 1, "rvalid": 1, "rready": 1},  # 5
    {},
]
OFFENCES = [
    ("axi_read_checker", READ, cycle, change, outcome)
    for cycle, change, outcome in [
        (3, {"arvalid": X}, (AR, UNKNOWN_HANDSHAKE)),
        (3, {"arready": X}, (AR, UNKNOWN_HANDSHAKE)),
        (4, {"araddr": X}, (AR, UNKNOWN_PAYLOAD)),
        (5, {"arvalid": 0}, (AR, FALLEN)),
        (5, {"araddr": 0x1018}, (AR, CHANGED)),
        (5, {"arprot": 1}, (AR, CHANGED)),
        (2, {"arvalid": 1}, (AR, IN_RESET)),
        (4, {"arburst": 0}, (AR, NOT_INCR)),
        (4, {"arburst": 2}, (AR, NOT_INCR)),
        (4, {"arburst": 3}, (AR, NOT_INCR)),
        (4, {"arsize": 4}, (AR, TOO_WIDE)),
        (4, {"araddr": 0x1FF8}, (AR, PAGE)),
        (4, {"arlen": 255, "araddr": 0x1808}, (AR, PAGE)),
        (3, {"rvalid": 1, "rlast": 1}, (R, NOT_OWED)),
        (5, {"rvalid": 1, "rdata": 5}, (R, NOT_OWED)),
        (9, {"rvalid": 1, "rlast": 1}, (R, NOT_OWED)),
        (6, {"rvalid": X}, (R, UNKNOWN_HANDSHAKE)),
        (8, {"rdata": X}, (R, UNKNOWN_PAYLOAD)),
        (7, {"rvalid": 0}, (R, FALLEN)),
        (7, {"rdata": 6}, (R, CHANGED)),
        (2, {"rvalid": 1}, (R, IN_RESET)),
        (6, {"rlast": 1}, (R, LAST)),
        (8, {"rlast": 0}, (R, LAST)),
        (8, {"rresp": 1}, (R, NO_RESPONSE)),
    ]
] + [
    ("axi_write_checker", WRITE, cycle, change, outcome)
    for cycle, change, outcome in [
        (4, {"awlen": X}, (AW, UNKNOWN_PAYLOAD)),
        (5, {"awvalid": 0}, (AW, FALLEN)),
        (5, {"awlen": 2}, (AW, CHANGED)),
        (2, {"awvalid": 1}, (AW, IN_RESET)),
        (4, {"awburst": 2}, (AW, NOT_INCR)),
        (4, {"awsize": 4}, (AW, TOO_WIDE)),
        (4, {"awaddr": 0x2FFC}, (AW, PAGE)),
        (8, {"wready": X}, (W, UNKNOWN_HANDSHAKE)),
        (8, {"wdata": X}, (W, UNKNOWN_PAYLOAD)),
        (7, {"wvalid": 0}, (W, FALLEN)),
        (7, {"wstrb": 0x70}, (W, CHANGED)),
        (2, {"wvalid": 1}, (W, IN_RESET)),
        (7, {"wlast": 1}, (W, CHANGED)),
        (8, {"wlast": 0}, (W, LAST)),
        (8, {"bvalid": 1}, (B, NOT_OWED)),
        (11, {"bvalid": 1}, (B, NOT_OWED)),
        (3, {"bvalid": X}, (B, UNKNOWN_HANDSHAKE)),
        (9, {"bresp": 1}, (B, NO_RESPONSE)),
        (10, {"bvalid": 0}, (B, FALLEN)),
        (10, {"bresp": 2}, (B, CHANGED)),
        (2, {"bvalid": 1}, (B, IN_RESET)),
    ]
] + [
    ("axi_lite_checker", LITE, cycle, change, outcome)
    for cycle, change, outcome in [
        (3, {"araddr": X}, (AR, UNKNOWN_PAYLOAD)),
        (3, {"awaddr": X}, (AW, UNKNOWN_PAYLOAD)),
        (3, {"rvalid": 1}, (R, NOT_OWED)),
        (4, {"bvalid": 1}, (B, NOT_OWED)),
        (4, {"rresp": 1}, (R, NO_RESPONSE)),
        (5, {"rvalid": 0}, (R, FALLEN)),
        (5, {"rdata": 1}, (R, CHANGED)),
        (5, {"bresp": 1}, (B, NO_RESPONSE)),
        (4, {"wdata": X}, (W, UNKNOWN_PAYLOAD)),
        (6, {"rvalid": 1}, (R, NOT_OWED)),
        (6, {"bvalid": 1}, (B, NOT_OWED)),
        (2, {"awvalid": 1}, (AW, IN_RESET)),
    ]
]  # fmt: skip


@pytest.mark.parametrize("module", LEGAL)
def test_the_traffic_that_offences_change_is_legal(watch, module):
    cycles = {"axi_read_checker": READ, "axi_write_checker": WRITE, "axi_lite_checker": LITE}
    assert watch(module, cycles[module]) == (0, (0, 0), 0)


@pytest.mark.parametrize(("module", "cycles", "cycle", "change", "outcome"), OFFENCES)
def test_an_offence_is_named(watch, module, cycles, cycle, change, outcome):
    changed = [dict(each) for each in cycles]
    changed[cycle] |= change
    violations, first, _ = watch(module, changed)
    assert violations >= 1
    assert first == outcome


@pytest.mark.parametrize(("beat", "strobes"), [(6, 0x08), (6, 0xFF), (6, 0x01)])
def test_a_strobe_before_the_first_byte_is_named(watch, beat, strobes):
    changed = [dict(each) for each in WRITE]
    for cycle in (beat, beat + 1):
        changed[cycle]["wstrb"] = strobes
    assert watch("axi_write_checker", changed)[1] == (W, STROBE)


def test_a_strobe_outside_of_a_narrow_beat_is_named(watch):
    narrow = [dict(each) for each in WRITE]
    for cycle in (4, 5):
        narrow[cycle] |= {"awsize": 2}
    narrow[8]["wstrb"] = 0x0F
    assert watch("axi_write_checker", narrow) == (0, (0, 0), 0)
    narrow[8]["wstrb"] = 0x1F
    assert watch("axi_write_checker", narrow)[1] == (W, STROBE)


def test_data_before_their_address_are_checked_when_it_is_there(watch):
    data = WRITE[6:9]
    swapped = [*WRITE[:4], *data, *WRITE[4:6], *WRITE[9:]]
    assert watch("axi_write_checker", swapped) == (0, (0, 0), 0)
    assert watch("axi_write_checker", swapped[:7])[2] == 1
    swapped[6] = swapped[6] | {"wlast": 0}
    assert watch("axi_write_checker", swapped)[1] == (W, LAST)


@pytest.mark.parametrize(
    ("module", "cycle"),
    [("axi_read_checker", READ[5]), ("axi_write_checker", ADDRESS | {"awready": 1})],
)
def test_bursts_are_counted(watch, module, cycle):
    for count in range(1, MOST + 1):
        assert watch(module, [*RESET, *[cycle] * count, {}]) == (0, (0, 0), count)
    _, first, _ = watch(module, [*RESET, *[cycle] * (MOST + 1)])
    assert first == (AR if module == "axi_read_checker" else AW, TOO_MANY)


def test_a_request_counts_from_its_offer_on(watch):
    assert watch("axi_read_checker", READ[:5])[2] == 1
    assert watch("axi_read_checker", READ[:8])[2] == 1
    assert watch("axi_write_checker", WRITE[:5])[2] == 1
    assert watch("axi_write_checker", WRITE[:11])[2] == 0
