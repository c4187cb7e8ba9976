import pytest

from studio.models.simulated import OutOfMemoryError, SimulatedDevice, SimulatedWeights
from tests.models.job_streams import quiet


def test_more_than_there_is_can_not_be_taken_and_nothing_is_then():
    device = SimulatedDevice(10, 10)
    device.allocate(6)
    with pytest.raises(OutOfMemoryError, match="Tried to allocate 5, 4 free"):
        device.allocate(5)
    device.free(6)
    assert device.peak_bytes() == 6
    device.forget_peak()
    assert device.peak_bytes() == device.taken_bytes() == 0
    assert device.free_bytes() == device.total_bytes() == 10


def test_its_clock_runs_by_its_bandwidths():
    device = SimulatedDevice(100, 100, bus_bytes_per_s=10, read_bytes_per_s=2)
    weights = SimulatedWeights(device, 20)
    weights.read(quiet)
    assert device.now_s == pytest.approx(10)
    weights.place(quiet)
    assert device.now_s == pytest.approx(12)
    weights.displace()
    weights.forget()
    weights.place(quiet)
    assert device.now_s == pytest.approx(24)
    assert device.moved_bytes == 40
    assert device.read_bytes == 40
    device.copy_back(10)
    assert device.copied_back_bytes == 10


def test_a_stream_holds_what_stays_and_two_buffers_of_the_largest_that_comes_and_goes():
    weights = SimulatedWeights(SimulatedDevice(100, 100), 20, (4, 3, 6))
    assert [weights.streamed_bytes(resident) for resident in (0, 4, 7, 13)] == [7 + 12, 7 + 4 + 12, 7 + 7 + 6, 20]


def test_a_move_that_is_ended_midway_leaves_nothing():
    def end(done_bytes, total_bytes):
        if done_bytes:
            raise KeyboardInterrupt

    device = SimulatedDevice(100, 100)
    weights = SimulatedWeights(device, 20)
    for move in (weights.read, weights.place):
        with pytest.raises(KeyboardInterrupt):
            move(end)
    assert device.device.used == device.host.used == weights.held_bytes == weights.host_bytes == 0
