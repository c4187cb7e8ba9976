import numpy as np

from studio.models.kept import Kept


def maker(calls, name, size=10):
    def make():
        calls.append(name)
        return np.zeros(size, np.uint8)

    return make


def test_the_second_time_nothing_is_made():
    kept, calls = Kept(100), []
    first = kept.recall("a", maker(calls, "a"))
    assert kept.recall("a", maker(calls, "a")) is first
    assert calls == ["a"]
    assert kept.held_bytes == 10


def test_what_was_used_longest_ago_goes_first_when_the_budget_is_full():
    kept, calls = Kept(30), []
    for name in "abcadab":
        kept.recall(name, maker(calls, name))
    # d pushed out b, since a had been asked for again; b, made anew, pushes out c.
    assert "".join(calls) == "abcdb"
    assert kept.held_bytes == 30


def test_what_is_larger_than_the_budget_is_given_but_not_kept():
    kept, calls = Kept(30), []
    kept.recall("a", maker(calls, "a"))
    for _ in range(2):
        assert kept.recall("huge", maker(calls, "huge", 31)).nbytes == 31
    kept.recall("a", maker(calls, "a"))
    assert calls == ["a", "huge", "huge"]
    assert kept.held_bytes == 10


def test_a_failure_is_not_kept():
    kept, calls = Kept(30), []

    def fail():
        raise KeyError("no")

    for _ in range(2):
        try:
            kept.recall("a", fail)
        except KeyError:
            calls.append("failed")
    kept.recall("a", maker(calls, "a"))
    assert calls == ["failed", "failed", "a"]
