import pytest

from benchmarks.compare import compare


class Clock:
    """Time that passes only when a task takes some."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now

    def task(self, seconds, log=None, name=""):
        def run():
            self.now += seconds
            if log is not None:
                log.append(name)

        return run


def test_the_ratio_is_candidate_over_baseline_and_the_control_is_one():
    clock = Clock()
    found = compare(clock.task(2.0), clock.task(3.0), rounds=4, clock=clock)
    assert (found["baseline_s"], found["candidate_s"], found["ratio"]) == (2.0, 3.0, 1.5)
    assert found["identity_ratio"] == 1.0
    assert found["rounds"] == 4


def test_rounds_are_interleaved_in_an_order_that_rotates():
    clock, log = Clock(), []
    compare(clock.task(1, log, "a"), clock.task(1, log, "b"), rounds=3, warm_up=1, clock=clock)
    assert "".join(log) == "ab" + "aba" + "baa" + "aab"


@pytest.mark.parametrize(("budget", "rounds"), [(0.0, 1), (11.0, 3), (1000.0, 5)])
def test_no_round_begins_that_would_end_after_the_budget(budget, rounds):
    clock = Clock()
    found = compare(clock.task(1.0), clock.task(1.0), rounds=5, budget_s=budget, clock=clock)
    assert found["rounds"] == rounds


def test_a_drifting_machine_shows_in_the_control_not_in_the_ratio():
    clock = Clock()
    pace = iter([1.0] * 2 + [1.0, 2.0, 4.0])

    def slower():
        clock.now += next(pace)

    found = compare(slower, slower, rounds=1, clock=clock)
    assert found["identity_ratio"] == 4.0


def test_a_budget_of_time_holds_where_processor_seconds_are_compared():
    clock, wall = Clock(), Clock()

    def waits():
        clock.now += 1.0
        wall.now += 10.0

    found = compare(waits, waits, rounds=5, budget_s=85.0, clock=clock, budget_clock=wall)
    assert (found["rounds"], found["baseline_s"]) == (2, 1.0)
