import pytest

from benchmarks.parts import Parts, failed_parts


class Clock:
    """Time that passes when a part says so."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now

    def takes(self, seconds, figures=None):
        def work(budget_s):
            self.now += seconds
            return figures

        return work


def keeping(budget_s=60.0):
    clock, kept = Clock(), []
    return Parts(lambda figures: kept.append(dict(figures)), budget_s, clock=clock), clock, kept


def test_a_part_that_fails_is_noted_in_one_line_and_the_next_one_runs():
    parts, clock, kept = keeping()
    tidied = []
    parts._tidy = lambda: tidied.append(clock.now)

    def broken(budget_s):
        clock.now += 1
        raise RuntimeError("no kernel\nfor that\nat all")

    assert not parts.part("first", broken)
    assert parts.part("second", clock.takes(2, {"s": 2}))
    assert kept[-1] == {"first": {"failed": "RuntimeError: no kernel"}, "second": {"s": 2}, "elapsed_s": 3}
    assert failed_parts(kept[-1]) == {"first": "RuntimeError: no kernel"}
    assert tidied == [101, 103]


def test_figures_are_kept_after_each_part_so_that_what_is_killed_leaves_them():
    parts, clock, kept = keeping()
    parts.fact(size="small")
    parts.part("first", clock.takes(1, 1))
    parts.part("second", clock.takes(1, 2))
    assert [sorted(figures) for figures in kept] == [
        ["elapsed_s", "first", "size"],
        ["elapsed_s", "first", "second", "size"],
    ]


def test_a_part_is_told_its_share_of_what_is_left():
    parts, clock, _ = keeping(60)
    told = []
    parts.part("first", clock.takes(20))
    parts.part("second", told.append, share=0.25)
    assert told == [10]


def test_no_part_begins_with_less_time_left_than_it_takes():
    parts, clock, kept = keeping(60)
    parts.part("first", clock.takes(55))
    assert not parts.part("second", clock.takes(1, 1), least_s=10)
    assert kept[-1]["second"] == {"left_out": "5 s were left, and it takes 10"}
    assert parts.part("third", clock.takes(6, 1), least_s=5)
    assert not parts.part("fourth", clock.takes(1, 1))
    assert failed_parts(kept[-1]) == {}


def test_whoever_stops_the_benchmark_stops_it():
    parts, _, _ = keeping()

    def stopped(budget_s):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        parts.part("first", stopped)
