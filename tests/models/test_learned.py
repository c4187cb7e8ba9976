import json

import pytest

from studio.models.learned import (
    DeviceFacts,
    Learned,
    assumed_facts,
    default_facts,
    device_file,
    known_device,
)
from studio.models.memory import Device

WAY = ("svd", "sample", "both branches")
GB = 10**9


def hear(learned, peak_bytes=None, seconds=0.0, flop=1e12):
    learned.hear(*WAY, working_bytes=GB, peak_bytes=peak_bytes, flop=flop, seconds=seconds)


def test_a_formula_is_believed_until_something_was_measured():
    learned = Learned(None)
    assert learned.working_factor(*WAY) == 1.0
    assert learned.flop_per_s(*WAY) is None
    hear(learned)
    assert learned.working_factor(*WAY) == 1.0


def test_a_larger_peak_counts_at_once_and_a_smaller_one_bit_by_bit():
    learned = Learned(None)
    hear(learned, int(1.2 * GB))
    assert learned.working_factor(*WAY) == pytest.approx(1.2)
    hear(learned, int(0.9 * GB))
    assert 0.9 < learned.working_factor(*WAY) < 1.2
    for _ in range(30):
        hear(learned, int(0.9 * GB))
    assert learned.working_factor(*WAY) == pytest.approx(0.9, abs=0.01)
    hear(learned, int(1.3 * GB))
    assert learned.working_factor(*WAY) == pytest.approx(1.3)


def test_a_peak_far_below_the_formula_is_no_measure_of_it():
    learned = Learned(None)
    for _ in range(50):
        hear(learned, int(0.5 * GB))
    assert learned.working_factor(*WAY) == 1.0


@pytest.mark.parametrize(("had", "least"), [(None, 1.05), (int(1.3 * GB), 1.3), (int(0.2 * GB), 1.05)])
def test_running_out_raises_what_is_needed_beyond_what_there_was(had, least):
    learned = Learned(None)
    learned.ran_out(*WAY, working_bytes=GB, had_bytes=had)
    assert learned.working_factor(*WAY) > least
    before = learned.working_factor(*WAY)
    learned.ran_out(*WAY, working_bytes=GB, had_bytes=had)
    assert learned.working_factor(*WAY) > before


def test_running_out_beside_much_room_does_not_raise_it_without_bounds():
    learned = Learned(None)
    learned.ran_out(*WAY, working_bytes=GB, had_bytes=80 * GB)
    assert learned.working_factor(*WAY) <= 1.5


def test_where_nobody_counts_what_running_out_has_raised_goes_back_bit_by_bit():
    learned = Learned(None)
    learned.ran_out(*WAY, working_bytes=GB, had_bytes=None)
    raised = learned.working_factor(*WAY)
    hear(learned)
    assert 1 < learned.working_factor(*WAY) < raised
    for _ in range(50):
        hear(learned)
    assert learned.working_factor(*WAY) == pytest.approx(1.0, abs=0.001)


def test_the_pace_is_smoothed_and_seconds_that_are_of_other_work_too_are_left_out():
    learned = Learned(None)
    hear(learned, seconds=2.0)
    assert learned.flop_per_s(*WAY) == pytest.approx(0.5e12)
    hear(learned, seconds=1.0)
    assert 0.5e12 < learned.flop_per_s(*WAY) < 1e12
    now = learned.flop_per_s(*WAY)
    hear(learned, seconds=9.0, flop=0)
    assert learned.flop_per_s(*WAY) == now


def test_ways_and_phases_are_learned_apart():
    learned = Learned(None)
    hear(learned, 2 * GB)
    assert learned.working_factor("svd", "sample", "one branch at a time") == 1.0
    assert learned.working_factor("svd", "decode", "both branches") == 1.0


def test_what_was_learned_is_there_in_the_next_process(tmp_path):
    path = tmp_path / "devices" / "cuda0-fp16.json"
    hear(Learned(path), int(1.2 * GB), seconds=2.0)
    again = Learned(path)
    assert again.working_factor(*WAY) == pytest.approx(1.2)
    assert again.flop_per_s(*WAY) == pytest.approx(0.5e12)
    assert [p.name for p in path.parent.iterdir()] == ["cuda0-fp16.json"]


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "null", '{"ways": 3, "facts": []}', '{"ways": {"svd/sample/both branches": {"factor": "x"}}}',
     '{"ways": {"svd/sample/both branches": {"factor": -1}}}', '{"facts": {"name": "cpu"}}', "\x00\xff"],
)  # fmt: skip
def test_a_damaged_file_is_started_anew(tmp_path, content):
    path = tmp_path / "devices" / "cpu-fp32.json"
    path.parent.mkdir()
    path.write_text(content, encoding="latin-1")
    learned = Learned(path)
    assert learned.working_factor(*WAY) == 1.0
    assert known_device(tmp_path) is None
    hear(learned, 2 * GB)
    assert Learned(path).working_factor(*WAY) == pytest.approx(2.0)


def test_one_that_only_reads_leaves_the_file_alone(tmp_path):
    path = tmp_path / "a.json"
    reader = Learned(path, keeps=False)
    hear(reader, 2 * GB)
    assert reader.working_factor(*WAY) == pytest.approx(2.0)
    assert not path.exists()


def test_a_full_disk_costs_what_was_learned_and_nothing_else(tmp_path):
    (tmp_path / "file").write_text("")
    learned = Learned(tmp_path / "file" / "cpu.json")
    hear(learned, 2 * GB)
    assert learned.working_factor(*WAY) == pytest.approx(2.0)


class Fake(Device):
    """A device of 24 GB of which another process has 4 and this one 6."""

    def total_bytes(self):
        return 24 * GB

    def free_bytes(self):
        return 14 * GB

    def taken_bytes(self):
        return 6 * GB


def test_the_room_of_a_device_is_what_is_free_and_what_the_studio_has_itself(tmp_path):
    device = Fake("cuda:0", "NVIDIA GeForce RTX 4090", "fp16")
    learned = Learned(device_file(tmp_path, device))
    facts = learned.facts(device)
    assert (facts.total_bytes, facts.room_bytes) == (24 * GB, 20 * GB)
    assert learned.facts(device, held_bytes=7 * GB).room_bytes == 21 * GB
    assert learned.facts(device, held_bytes=70 * GB).room_bytes == 24 * GB
    assert not facts.measured
    hear(learned, seconds=2.0)
    assert learned.facts(device).measured


def test_whoever_cannot_ask_the_device_reads_what_was_kept_of_it(tmp_path):
    assert known_device(tmp_path) is None
    device = Fake("cuda:0", "NVIDIA GeForce RTX 4090", "fp16")
    learned = Learned(device_file(tmp_path, device))
    kept = learned.facts(device)
    hear(learned, int(1.2 * GB))
    facts, read = known_device(tmp_path)
    assert facts == kept
    assert read.working_factor(*WAY) == pytest.approx(1.2)
    assert known_device(tmp_path, "cpu") is None
    assert known_device(tmp_path, "cuda:0") is not None


def test_the_cpu_of_this_machine_has_facts():
    facts = Learned(None).facts(Device("cpu", "CPU", "fp32"))
    assert 0 < facts.room_bytes <= facts.total_bytes
    assert facts.shares_host_memory


def test_rates_are_those_of_the_kind_until_measured():
    def of(name, title, dtype="fp16"):
        return default_facts(name, title, dtype, total_bytes=None, room_bytes=None, host_bytes=GB)

    fast, other = of("cuda:0", "NVIDIA H100 80GB HBM3"), of("cuda:1", "NVIDIA Something New")
    assert fast.flop_per_s > other.flop_per_s > of("cpu", "CPU", "fp32").flop_per_s
    assert of("cuda:0", "NVIDIA H100 80GB HBM3", "fp32").flop_per_s == fast.flop_per_s / 4
    assert of("mps", "Apple GPU").shares_host_memory
    assert assumed_facts(8 * GB).room_bytes == 8 * GB


def test_facts_of_a_newer_studio_are_read_for_what_is_known_of_them(tmp_path):
    device = Fake("cuda:0", "GPU", "fp16")
    path = device_file(tmp_path, device)
    kept = Learned(path).facts(device)
    data = json.loads(path.read_text())
    data["facts"]["shoe_size"] = 44
    path.write_text(json.dumps(data))
    facts, _ = known_device(tmp_path)
    assert facts == kept
    assert isinstance(facts, DeviceFacts)
