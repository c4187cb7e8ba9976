"""Plans for a request that asks for an approximation itself."""

import pytest

from studio.models.plan import leaner
from tests.models.test_plan import GB, plans, ways


def test_fast_is_approximate_where_it_was_asked_to_be_and_nowhere_else():
    chosen = plans(speed="fast").chosen
    assert ways(chosen) == {"encode": "whole", "sample": "both branches, fast", "decode": "whole"}
    assert not chosen.exact
    assert chosen.notices == ()
    assert chosen.seconds < 0.6 * plans().chosen.seconds


@pytest.mark.parametrize("policy", ["normal", "low", "none"])
def test_every_policy_keeps_to_that(policy):
    chosen = plans(policy, speed="fast").chosen
    assert [p.way.exact for p in chosen.phases] == [True, False, True]


@pytest.mark.parametrize("budget", [6 * GB, 10 * GB, 16 * GB])
def test_where_memory_is_scarce_frames_are_decoded_as_exactly_as_ever(budget):
    exactly, fast = (plans(budget=budget, speed=speed).chosen for speed in ("exact", "fast"))
    assert fast.phase("decode").way == exactly.phase("decode").way
    assert fast.peak_bytes <= budget


def test_a_leaner_way_of_fast_is_fast_too():
    found = plans(speed="fast")
    plan, seen = found.chosen, []
    while plan is not None:
        seen.append(plan.phase("sample").way)
        plan = leaner(plan, "sample", found)
    assert len(seen) >= 3
    assert all(way.choice.approximate is not None for way in seen)


def test_what_is_dearer_than_a_fast_plan_is_no_less_exact():
    found = plans(speed="fast", budget=8 * GB)
    assert found.dearer is not None
    assert [p.way.exact for p in found.dearer.phases] == [True, False, True]
