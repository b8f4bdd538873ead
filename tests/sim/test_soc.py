"""Systems: from TOML files, with settings, of one machine and of several."""

import pytest

from mensa.rtl.machine import MachineError, edge_tpu
from mensa.sim import soc
from mensa.sim.host import HostConfigError, cortex_a53
from mensa.sim.memory import MemoryConfigError, lpddr4


def test_a_toml_file_describes_a_system(tmp_path):
    path = tmp_path / "small.toml"
    path.write_text(
        '[machine]\nbase = "edge_tpu"\nrows = 8\ncols = 8\n[memory]\nlatency_ns = 62.5\n'
    )
    found = soc.find(str(path))
    assert found.name == "small"
    assert found.machine == edge_tpu.replace(rows=8, cols=8)
    assert found.memory_of("edge_tpu") == lpddr4.replace(latency_ns=62.5)


def test_a_whole_number_in_a_toml_file_may_be_a_float(tmp_path):
    path = tmp_path / "fast.toml"
    path.write_text("[machine]\nclock_hz = 5e8\n[memory]\nbandwidth_bytes_per_s = 1e15\n")
    found = soc.find(str(path))
    assert found.machine == edge_tpu.replace(clock_hz=500_000_000)
    assert found.memory_of("edge_tpu") == lpddr4.replace(bandwidth_bytes_per_s=10**15)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[machine]\nrows = 0\n", "rows"),
        ("[machine]\nrow = 8\n", "no setting 'row'"),
        ("[machine]\nrows = 8.5\n", "rows must be an integer, not 8.5"),
        (f"[machine]\nrows = 0x{'f' * 5000}\n", "rows"),
        (f"[machine]\nrows = {'9' * 5000}\n", "not TOML"),
        ("[memory]\nbandwidth_bytes_per_s = 1e308\n", "bandwidth_bytes_per_s"),
        (f"rows = {'[' * 5000}\n", "not TOML"),
        ('[machine]\nbase = "tpu9"\n', "no machine 'tpu9'"),
        ('[machine]\nname = "a b"\n', "name"),
        ("[machine]\nbase = 3\n", "base"),
        ("[memory]\nlatency_ns = -1\n", "latency_ns"),
        ("[memory]\nsize = 1\n", "no setting 'size'"),
        ("[cache]\nsize = 1\n", "no entry 'cache'"),
        ("machine = 3\n", "[machine]"),
        ("name = 3\n", "name"),
        ("name = ", "not TOML"),
        ("[machine]\n[machines.big]\n", "[machine] or [machines], not both"),
        ("machines = 3\n", "machines must be a table"),
        ("[machines]\nbig = 3\n", "machines.big must be a table, [machines.big]"),
        ("[machines]\n", "no machine"),
        ("[machines.big]\nrows = 0\n", "[machines.big]: rows must be between 1 and 128"),
        ('[machines.big]\nbase = "tpu9"\n', "no machine 'tpu9'"),
        ("[machines.memory]\n", "can't be called 'memory'"),
        ("[machines.host]\n", "can't be called 'host'"),
        ("host = 3\n", "host must be a table, [host]"),
        ('[host]\nbase = "cray1"\n', "no host 'cray1'; there are cortex_a53"),
        ("[host]\nclock = 1\n", "[host]: no setting 'clock'"),
        ("[host]\noverhead_ns = nan\n", "[host]: overhead_ns must be between"),
        ("[host]\nclock_hz = 1e308\n", "clock_hz"),
        ('[machines."a b"]\n', "letters, digits and _"),
        ('[machines.a]\nname = "b"\n[machines.b]\n', "two machines are called 'b'"),
        ('[machines.big]\nmemory = "fast"\n', "[machines.big] sits on memory 'fast'"),
        ("[machines.big]\nmemory = 3\n", "sits on memory 3"),
        ("[memories.fast]\n", "[memories] are for [machines]"),
        ("[machines.big]\n[memories.fast]\n", "no machine sits on [memories.fast]"),
        (
            '[machines.big]\nmemory = "fast"\n[memories.fast]\nlatency_ns = -1\n',
            "[memories.fast]: latency_ns",
        ),
    ],
)
def test_a_wrong_toml_file_is_refused_with_its_name_and_the_reason(tmp_path, text, words):
    path = tmp_path / "wrong.toml"
    path.write_text(text)
    with pytest.raises(soc.SocError) as caught:
        soc.load(path)
    assert words in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_settings_reach_machine_and_memory():
    changed = soc.edge_tpu.with_settings({"rows": 8, "cols": 16, "memory.outstanding": 2})
    assert (changed.machine.array.tile, changed.machine.array.group) == (8, 16)
    assert changed.memory_of("edge_tpu").outstanding == 2
    with pytest.raises(MachineError):
        soc.edge_tpu.with_settings({"rows": 0})
    with pytest.raises(MemoryConfigError):
        soc.edge_tpu.with_settings({"memory.outstanding": 0})


def test_settings_reach_the_host(tmp_path):
    assert soc.edge_tpu.host == cortex_a53
    changed = soc.edge_tpu.with_settings({"host.clock_hz": 1e9, "rows": 8})
    assert changed.host == cortex_a53.replace(clock_hz=10**9)
    assert changed.machine == edge_tpu.replace(rows=8)
    path = tmp_path / "slow.toml"
    path.write_text('[host]\nbase = "cortex_a53"\noverhead_ns = 2.5\n')
    assert soc.load(path).host == cortex_a53.replace(overhead_ns=2.5)
    with pytest.raises(HostConfigError, match=r"^host: no setting 'rows'"):
        soc.edge_tpu.with_settings({"host.rows": 8})
    with pytest.raises(HostConfigError, match=r"^host: clock_hz must be between"):
        soc.edge_tpu.with_settings({"host.clock_hz": 0})


PAIR = """
[host]
name = "slow"
clock_hz = 1e8

[machines.big]
rows = 16

[machines.near]
rows = 8
cols = 8
clock_hz = 333e6
memory = "stacked"

[memory]
latency_ns = 90

[memories.stacked]
bandwidth_bytes_per_s = 256e9
"""


@pytest.fixture
def pair(tmp_path):
    path = tmp_path / "pair.toml"
    path.write_text(PAIR)
    return soc.find(str(path))


def test_several_machines_have_their_own_settings_and_memories(pair):
    assert pair.machines == (
        edge_tpu.replace(name="big", rows=16),
        edge_tpu.replace(name="near", rows=8, cols=8, clock_hz=333_000_000),
    )
    assert pair.memory_of("big") == lpddr4.replace(latency_ns=90)
    assert pair.memory_of("near") == lpddr4.replace(bandwidth_bytes_per_s=256_000_000_000)


def test_a_setting_says_of_which_of_several_machines(pair):
    changed = pair.with_settings({"near.rows": 4, "big.memory.latency_ns": 60})
    assert [machine.settings["rows"] for machine in changed.machines] == [16, 4]
    assert changed.memory_of("big").latency_ns == 60
    assert changed.memory_of("near") == pair.memory_of("near")
    for setting in ("rows", "memory.latency_ns", "far.rows"):
        with pytest.raises(soc.SocError, match=f"{setting}: say of which machine, as in big."):
            pair.with_settings({setting: 8})


def test_one_machine_of_several_is_chosen_by_its_name(pair):
    near = pair.with_machine("near")
    assert near.machine.name == "near"
    assert near.memory_of("near") == pair.memory_of("near")
    with pytest.raises(soc.SocError, match="no machine 'edge_tpu'; there are big, near"):
        pair.with_machine("edge_tpu")
    with pytest.raises(soc.SocError, match="several machines; choose one of big, near"):
        pair.machine  # noqa: B018


def test_a_host_stays_whichever_machine_is_chosen(pair):
    slow = cortex_a53.replace(name="slow", clock_hz=100_000_000)
    assert pair.host == pair.with_machine("near").host == slow
    assert pair.with_settings({"near.rows": 4}).host == slow
    faster = pair.with_settings({"host.clock_hz": 2e8})
    assert faster.host == slow.replace(clock_hz=200_000_000)
    assert faster.machines == pair.machines
    single = soc.edge_tpu.with_settings({"host.overhead_ns": 5, "name": "mine"})
    assert single.with_machine("edge_tpu").host == single.host


def test_a_named_machine_takes_the_place_of_the_only_one():
    small = soc.edge_tpu.with_settings({"name": "small", "rows": 8})
    assert small.with_machine("edge_tpu") == soc.edge_tpu
    assert small.with_machine("small") == small
    with pytest.raises(soc.SocError, match="no machine 'tpu9'"):
        small.with_machine("tpu9")
