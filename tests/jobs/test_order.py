"""The order in which waiting jobs start: fewer swaps, and nobody waits for long because of it."""

from hypothesis import given, settings
from hypothesis import strategies as st

from studio.jobs.job import Job
from studio.jobs.order import MOST_OVERTAKEN, WAITS_S, start_order

NOW = 1_000_000.0


def a_job(number: int, variant: str, *, waits_s: float = 0, attempt: int = 0) -> Job:
    return Job(
        id=f"{number:03}-{variant}",
        mode="m",
        state="queued",
        request={"variant": variant},
        request_hash="h",
        created_at=NOW - waits_s,
        attempt=attempt,
    )


def order_of(variants: str, in_place: str | None, *, window: int = 8, overtaken=None, **more) -> str:
    jobs = [a_job(i, v, **more) for i, v in enumerate(variants)]
    return "".join(j.variant for j in start_order(jobs, in_place, overtaken or {}, window=window, now_s=NOW))


def changes(variants: list[str], in_place: str | None) -> int:
    return sum(a != b for a, b in zip([in_place, *variants], variants, strict=False))


def test_equal_variants_run_one_after_the_other():
    assert order_of("ababab", "a") == "aaabbb"
    assert order_of("ababab", "b") == "bbbaaa"
    assert order_of("ababab", None) == "aaabbb"


def test_a_window_of_none_is_the_order_of_submission():
    assert order_of("ababab", "b", window=0) == "ababab"
    assert order_of("ababab", "b", window=1) == "ababab"


def test_only_the_window_is_looked_into():
    assert order_of("acca", "b", window=3) == "aacc"
    assert order_of("acccb", "b", window=4)[0] == "a"
    assert order_of("acccb", "b", window=5)[0] == "b"


def test_a_job_is_overtaken_no_more_than_the_bound():
    assert order_of("abbbbbb", "b") == "b" * MOST_OVERTAKEN + "abbb"
    assert order_of("abbb", "b", overtaken={"000-a": MOST_OVERTAKEN}) == "abbb"


def test_who_has_waited_long_or_was_started_before_is_not_overtaken():
    assert order_of("ab", "b", waits_s=WAITS_S) == "ab"
    assert order_of("ab", "b", waits_s=WAITS_S - 1) == "ba"
    assert order_of("ab", "b", attempt=1) == "ab"


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_in_any_stream_nobody_is_overtaken_beyond_the_bound_and_variants_change_no_more_often(data):
    """Jobs come in while others run; each decision sees only what has come so far."""
    window = data.draw(st.integers(0, 10))
    came = [
        a_job(i, v, waits_s=data.draw(st.sampled_from([0, WAITS_S])), attempt=data.draw(st.sampled_from([0, 0, 0, 1])))
        for i, v in enumerate(data.draw(st.lists(st.sampled_from("abc"), max_size=30)))
    ]
    to_come, waiting, started, overtaken = list(came), [], [], {}
    in_place = first_in_place = data.draw(st.sampled_from(["a", "b", None]))
    while to_come or waiting:
        arrive = data.draw(st.integers(0 if waiting else 1, len(to_come))) if to_come else 0
        waiting += to_come[:arrive]
        del to_come[:arrive]
        foreseen = list(start_order(waiting, in_place, overtaken, window=window, now_s=NOW))
        assert sorted(j.id for j in foreseen) == [j.id for j in waiting]
        chosen = foreseen[0]
        for job in waiting[: waiting.index(chosen)]:
            overtaken[job.id] = overtaken.get(job.id, 0) + 1
            assert job.attempt == 0
            assert NOW - job.created_at < WAITS_S
        waiting.remove(chosen)
        started.append(chosen)
        in_place = chosen.variant
    assert max(overtaken.values(), default=0) <= MOST_OVERTAKEN
    before, after = [j.variant for j in came], [j.variant for j in started]
    assert changes(after, first_in_place) <= changes(before, first_in_place)
    if window <= 1:
        assert started == came
