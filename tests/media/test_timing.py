"""Frame k is shown at k / rate, between the right two frames, and as many are made as the clip lasts."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from studio.media.timing import exact_rate, frame_count, spans


def even(count: int, rate: Fraction) -> tuple[list[Fraction], Fraction]:
    """The times of an even clip, and its end."""
    return [i / rate for i in range(count)], count / rate


def places(plan) -> list[tuple[int, int, float]]:
    return [(span.first, span.second, at) for span in plan for at in span.at]


@pytest.mark.parametrize(
    ("fps", "rate"),
    [
        (23.976, Fraction(24000, 1001)),
        (23.98, Fraction(1199, 50)),
        (23.976023976, Fraction(24000, 1001)),
        (29.97, Fraction(30000, 1001)),
        (59.94, Fraction(60000, 1001)),
        (119.88, Fraction(120000, 1001)),
        (24.0, Fraction(24)),
        (12.5, Fraction(25, 2)),
        (7.0, Fraction(7)),
        (1.0, Fraction(1)),
        (16.67, Fraction(1667, 100)),
    ],
)
def test_a_rounded_rate_is_the_one_that_is_meant(fps: float, rate: Fraction) -> None:
    assert exact_rate(fps) == rate


CONVERSIONS = [
    (Fraction(24000, 1001), Fraction(60)),
    (Fraction(25), Fraction(24)),
    (Fraction(6), Fraction(24)),
    (Fraction(7), Fraction(24)),
    (Fraction(30000, 1001), Fraction(60000, 1001)),
    (Fraction(60), Fraction(25)),
]


@pytest.mark.parametrize(("own", "rate"), CONVERSIONS, ids=lambda r: f"{float(r):g}")
@pytest.mark.parametrize("closed", [False, True])
def test_every_frame_of_a_converted_clip_has_its_exact_place(own: Fraction, rate: Fraction, closed: bool) -> None:
    times, end = even(50, own)
    found = places(spans(times, end, rate, closed=closed))
    assert abs(len(found) / rate - end) <= 1 / (2 * rate), "as long, to half a frame"
    for k, (first, second, at) in enumerate(found):
        where = k / rate * own  # in frames of the source
        if where >= 49 and not closed:
            assert (first, second, at) == (49, 49, 0)
        else:
            assert first + Fraction(at) == pytest.approx(float(where), abs=1e-9)
            assert second == (first + 1) % 50


def test_twice_as_smooth_shows_each_own_frame_as_it_is() -> None:
    found = places(spans(*even(4, Fraction(8)), Fraction(16)))
    assert found == [(0, 1, 0), (0, 1, 0.5), (1, 2, 0), (1, 2, 0.5), (2, 3, 0), (2, 3, 0.5), (3, 3, 0), (3, 3, 0)]


def test_uneven_times_are_kept() -> None:
    times = [Fraction(t, 100) for t in (0, 10, 12, 30)]
    found = places(spans(times, Fraction(40, 100), Fraction(50)))
    assert len(found) == 20
    assert [(a, b) for a, b, _ in found] == [(0, 1)] * 5 + [(1, 2)] + [(2, 3)] * 9 + [(3, 3)] * 5
    assert [round(at, 6) for a, _, at in found if a == 2] == [round(k / 9, 6) for k in range(9)]


def test_slow_motion_lasts_longer_at_the_same_rate() -> None:
    found = places(spans(*even(5, Fraction(10)), Fraction(10), slow_motion=Fraction(5, 2)))
    assert len(found) == frame_count(Fraction(5, 10) * Fraction(5, 2), Fraction(10)) == 13
    assert [first + at for first, _, at in found[:10]] == pytest.approx([k / 2.5 for k in range(10)])


def test_nothing_is_made_across_a_cut_but_the_nearer_frame_is_shown() -> None:
    found = places(spans(*even(4, Fraction(6)), Fraction(24), cuts=(2,)))
    assert [at for first, _, at in found if first == 1] == [0, 0, 1, 1]
    assert [at for first, _, at in found if first == 0] == [0, 0.25, 0.5, 0.75]


def test_a_repeated_frame_is_made_anew_from_those_around_it() -> None:
    found = places(spans(*even(5, Fraction(12)), Fraction(12), left_out=(1, 3)))
    assert found == [(0, 2, 0), (0, 2, 0.5), (2, 4, 0), (2, 4, 0.5), (4, 4, 0)]


def test_a_frame_that_was_held_for_long_stands_still_until_the_next_is_near() -> None:
    times = [Fraction(t, 10) for t in (0, 1, 2, 22, 23)]
    found = places(spans(times, Fraction(24, 10), Fraction(10)))
    assert [at for first, _, at in found if first == 2] == [0] * 20
    found = places(spans(times, Fraction(24, 10), Fraction(20)))
    assert [at for first, _, at in found if first == 2] == [0] * 39 + [0.5]


def test_a_closed_clip_goes_on_to_its_first_frame() -> None:
    found = places(spans(*even(3, Fraction(6)), Fraction(12), closed=True))
    assert found[-2:] == [(2, 0, 0), (2, 0, 0.5)]


@settings(max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 400), min_size=2, max_size=30),
    rate=st.fractions(Fraction(1), Fraction(240), max_denominator=1001),
    slow=st.fractions(Fraction(1), Fraction(16), max_denominator=10),
    closed=st.booleans(),
    data=st.data(),
)
def test_any_clip_is_planned_in_order_whole_and_within_bounds(lengths, rate, slow, closed, data) -> None:
    times = [Fraction(sum(lengths[:i]), 1000) for i in range(len(lengths))]
    end = Fraction(sum(lengths), 1000)
    marked = data.draw(st.frozensets(st.integers(1, len(lengths) - 1)))
    plan = list(spans(times, end, rate, slow_motion=slow, closed=closed, cuts=marked, left_out=marked, most=5))
    assert sum(len(span.at) for span in plan) == frame_count(end * slow, rate)
    assert all(1 <= len(span.at) <= 5 and 0 <= min(span.at) <= max(span.at) <= 1 for span in plan)
    assert all(a.first <= b.first for a, b in pairwise(plan))
    assert all(span.second > span.first or closed or span.first == span.second for span in plan)
