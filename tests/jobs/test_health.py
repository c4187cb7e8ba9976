"""The leak guard: a process that loses memory is told from one that holds weights."""

from hypothesis import given
from hypothesis import strategies as st

from studio.jobs.health import SETTLING_JOBS, Health, LeakGuard, Measured, measure

MB = 10**6


def a_guard(*first: Measured) -> LeakGuard:
    guard = LeakGuard(host_allowed_bytes=500 * MB, device_allowed_bytes=100 * MB)
    for now in first or (Measured(1000 * MB),) * SETTLING_JOBS:
        assert guard.hear(now) == ""
    return guard


def test_growth_in_two_jobs_running_is_drift_and_one_is_not():
    guard = a_guard()
    grown = Measured(1501 * MB)
    assert guard.hear(grown) == ""
    assert guard.hear(Measured(1100 * MB)) == ""
    assert guard.hear(grown) == ""
    assert "501 MB of host memory" in guard.hear(grown)
    assert guard.host_drift_bytes == 501 * MB


def test_a_slow_leak_is_drift_in_the_end():
    guard = a_guard()
    heard = [guard.hear(Measured((1000 + 20 * job) * MB)) for job in range(30)]
    assert [bool(why) for why in heard] == [False] * 27 + [True] * 3


def test_device_memory_that_no_weights_account_for_is_drift():
    guard = a_guard(*[Measured(1000 * MB, 0, 4000 * MB, 3900 * MB)] * SETTLING_JOBS)
    assert guard.hear(Measured(1000 * MB, 0, 9000 * MB, 8900 * MB)) == ""
    leaked = Measured(1000 * MB, 0, 9000 * MB, 8700 * MB)
    assert guard.hear(leaked) == ""
    assert "200 MB of device memory" in guard.hear(leaked)


@given(st.lists(st.integers(0, 9000), min_size=SETTLING_JOBS, max_size=12))
def test_weights_that_come_and_go_are_no_drift(weights):
    guard = LeakGuard(500 * MB, 100 * MB)
    for held in weights:
        assert guard.hear(Measured((400 + held) * MB, held * MB, held * MB, held * MB)) == ""


def test_weights_in_pages_of_their_file_are_accounted_for_without_being_counted_and_no_drift_when_they_leave():
    guard = a_guard(*[Measured(600 * MB, 9000 * MB)] * SETTLING_JOBS)
    for _ in range(4):
        assert guard.hear(Measured(600 * MB)) == ""


def test_with_a_library_imported_the_baseline_is_taken_anew():
    guard = a_guard()
    torch = frozenset({"torch"})
    for _ in range(6):
        assert guard.hear(Measured(2000 * MB), torch) == ""
    guard.hear(Measured(2600 * MB), torch)
    assert guard.hear(Measured(2600 * MB), torch)


def test_this_very_process_is_measured_and_shown_beside_its_baseline():
    class Holds:
        def ledger(self):
            return {"device": None, "components": [{"device_bytes": 3, "host_bytes": 2}], "kept_bytes": 1}

    health = Health(Holds(), LeakGuard.usual())
    assert health.ledger()["health"] is None
    assert health.after_job() == ""
    shown = health.ledger()["health"]
    assert shown["rss_bytes"] == shown["baseline"]["rss_bytes"] > 10 * MB
    assert (shown["host_held_bytes"], shown["host_drift_bytes"]) == (6, 0)
    kept = b"x" * (50 * MB)
    assert measure(Holds()).rss_bytes > shown["rss_bytes"] + 45 * MB
    del kept
