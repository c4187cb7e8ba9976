"""Estimates: the job's own pace now, the last such job's for what comes after."""

from studio.events import Loading, Step, Writing
from studio.jobs.estimate import Estimate, profile_key


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def step(done, total, stage="sample"):
    return Step(job_id="j", stage=stage, done=done, total=total)


def test_nothing_is_known_before_the_first_step_of_the_first_job():
    assert Estimate({}, Clock()).hear(step(0, 10)) is None


def test_the_pace_of_the_stage_gives_its_rest():
    clock = Clock()
    estimate = Estimate({}, clock)
    estimate.hear(step(0, 10))
    clock.now += 2
    assert estimate.hear(step(1, 10)) == 18
    clock.now += 2
    assert estimate.hear(step(2, 10)) == 16


def test_later_stages_count_as_they_took_last_time():
    clock = Clock()
    estimate = Estimate({"sample": 20, "decode": 5, "write": 1}, clock)
    assert estimate.hear(step(0, 10)) == 26
    clock.now += 1
    assert estimate.hear(step(1, 10)) == 9 + 6


def test_a_finished_job_teaches_the_next_one():
    clock = Clock()
    first = Estimate({}, clock)
    for event, seconds in (
        (Loading(job_id="j", component="unet", done_bytes=5, total_bytes=5), 3),
        (step(1, 2), 2),
        (step(2, 2), 2),
        (step(1, 1, "decode"), 4),
        (Writing(job_id="j", done=3, total=3), 1),
    ):
        clock.now += seconds
        first.hear(event)
    clock.now += 0.5
    assert first.finish() == {"load unet": 3, "sample": 4, "decode": 4, "write": 1.5}


def test_a_stage_that_stands_still_never_counts_below_what_follows():
    clock = Clock()
    estimate = Estimate({"sample": 2, "decode": 5}, clock)
    estimate.hear(step(0, 10))
    clock.now += 60
    assert estimate.hear(step(0, 10)) == 5


def test_requests_of_one_kind_share_a_key_whatever_their_seed():
    a = {"variant": "svd", "frames": 14, "width": 1024, "height": 576, "steps": 25, "seed": 1}
    assert profile_key("m", a) == profile_key("m", {**a, "seed": 2})
    assert profile_key("m", a) != profile_key("m", {**a, "frames": 25})


def test_a_short_prelude_of_a_first_job_promises_nothing():
    clock = Clock()
    estimate = Estimate({}, clock)
    estimate.hear(step(0, 2, "depth"))
    clock.now += 1
    assert estimate.hear(step(1, 2, "depth")) is None
    estimate.hear(step(0, 10, "render"))
    clock.now += 1
    assert estimate.hear(step(1, 10, "render")) == 9
