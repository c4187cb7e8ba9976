"""The dispatcher against a runner that does what the test says: order, retries, cancellation, interruption."""

import shutil
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from studio import events
from studio.errors import Cancelled
from studio.jobs.dispatcher import MAX_ATTEMPTS_GETTING_ON, Dispatcher
from studio.jobs.job import Job
from studio.jobs.ledgers import ask_unload, read_ledgers
from studio.jobs.owner import Owner
from studio.jobs.resume import Resume, resume_file
from studio.jobs.store import Journal
from studio.media.clip import Clip
from studio.media.recipe import make_recipe
from studio.media.write import write_clip
from studio.settings import Settings
from tests.until import until


class Script:
    """A runner at the `Runner` seam: it keeps what it is told, and the test plays the device process."""

    def __init__(self, on_event, on_lost):
        self.on_event, self.on_lost = on_event, on_lost
        self.started, self.cancelled, self.kills, self.expected = [], [], 0, []
        self.freed = {}
        self.closed = False
        self._changed = threading.Condition()

    def run(self, task, freed):
        with self._changed:
            self.freed[task.job_id] = freed
            self.started.append(task.job_id)
            self._changed.notify_all()

    def wait_for(self, count):
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.started) >= count, timeout=5), self.started

    def cancel(self, job_id):
        self.cancelled.append(job_id)

    def kill(self):
        self.kills += 1

    def expect(self, upcoming):
        with self._changed:
            self.expected.append([job["variant"] for job in upcoming])
            self._changed.notify_all()

    def unload(self, then=lambda freed_bytes: None):
        then(5)

    def ledger(self):
        return {"components": []}

    def close(self):
        self.closed = True

    def finish(self, job_id):
        self.on_event(events.Finished(job_id=job_id, files=(f"{job_id}.mp4",), elapsed_s=1))


@pytest.fixture
def journal(tmp_path):
    journal = Journal(tmp_path / "journal.sqlite")
    yield journal
    journal.close()


@pytest.fixture
def settings(tmp_path):
    return Settings(home=tmp_path, cancel_grace_s=0.2)


@pytest.fixture
def dispatcher(settings, journal):
    dispatcher = Dispatcher(settings, journal, "me", Script)
    yield dispatcher
    dispatcher.close()


def add(journal, dispatcher, *ids, target=None, variants=()):
    for i, job_id in enumerate(ids):
        request = {"variant": variants[i] if variants else "v"}
        job = Job(id=job_id, mode="m", state="queued", request=request, request_hash="h", created_at=time.time() + i)
        journal.add(job, target=target or Path(f"{job_id}.mp4"), owner="me", session="")
    dispatcher.wake()


def test_jobs_run_one_at_a_time_in_order(journal, dispatcher):
    add(journal, dispatcher, "a", "b")
    dispatcher.runner.wait_for(1)
    time.sleep(0.05)
    assert dispatcher.runner.started == ["a"]
    assert journal.get("b").position == 1
    dispatcher.runner.finish("a")
    dispatcher.runner.wait_for(2)
    assert journal.get("a").state == "done"
    assert journal.get("a").files == ("a.mp4",)
    assert journal.get("b").state == "running"


def keep_steps(settings, dispatcher, job, done):
    """Leaves what the job's process would have kept after so many steps."""
    Resume(settings.home, dispatcher.task(job), every_s=0).keep({"done": np.array(done), "x": np.zeros(3)})


def test_a_job_of_the_variant_in_place_goes_first_and_the_device_process_is_told_what_follows(journal, dispatcher):
    runner = dispatcher.runner
    add(journal, dispatcher, "a", "b", "c", "d", variants=("v", "w", "v", "w"))
    for done in ("a", "c", "b"):
        runner.wait_for(1)
        until(lambda done=done: runner.started[-1] == done)
        runner.finish(done)
    until(lambda: runner.started == ["a", "c", "b", "d"])
    until(lambda: runner.expected[-1] == [])
    assert ["v", "w", "w"] in runner.expected
    assert runner.expected.index(["v", "w", "w"]) < runner.expected.index(["w"])


def test_the_device_process_hears_of_a_queue_that_changes_while_a_job_runs(journal, dispatcher):
    add(journal, dispatcher, "a")
    dispatcher.runner.wait_for(1)
    add(journal, dispatcher, "b", variants=("w",))
    until(lambda: dispatcher.runner.expected[-1] == ["w"])
    dispatcher.cancel(journal.get("b"))
    until(lambda: dispatcher.runner.expected[-1] == [])


def test_what_was_sampled_is_kept_over_a_retry_and_getting_on_earns_more_of_them(
    tmp_path, journal, dispatcher, settings
):
    add(journal, dispatcher, "a")
    runner = dispatcher.runner
    for attempt in range(1, MAX_ATTEMPTS_GETTING_ON + 1):
        runner.wait_for(attempt)
        keep_steps(settings, dispatcher, journal.get("a"), done=attempt * 3)
        runner.on_lost("a")
        until(lambda attempt=attempt: journal.get("a").attempt == min(attempt + 1, MAX_ATTEMPTS_GETTING_ON))
        assert resume_file(tmp_path, "a").exists() == (attempt < MAX_ATTEMPTS_GETTING_ON)
    lost = journal.get("a")
    assert (lost.state, lost.error.error) == ("failed", "device-lost")
    assert "stopped 5 times" in lost.error.message
    assert "The device process stopped unexpectedly; going on from step 4." in lost.notices


def test_a_job_that_does_not_get_further_is_retried_once(journal, dispatcher, settings):
    add(journal, dispatcher, "a")
    for attempt in (1, 2):
        dispatcher.runner.wait_for(attempt)
        keep_steps(settings, dispatcher, journal.get("a"), done=3)
        dispatcher.runner.on_lost("a")
    assert journal.get("a").state == "failed"


def test_others_read_the_ledger_and_have_what_is_idle_dropped(tmp_path, journal):
    owner = Owner(tmp_path / "owners")
    dispatcher = Dispatcher(Settings(home=tmp_path), journal, owner.id, Script)
    until(lambda: [x["components"] for x in read_ledgers(tmp_path)] == [[]])
    assert [x["freed_bytes"] for x in ask_unload(tmp_path)] == [5]
    dispatcher.close()
    assert read_ledgers(tmp_path) == []
    owner.close()


def test_a_dead_device_process_costs_one_retry_and_then_the_job(journal, dispatcher):
    add(journal, dispatcher, "a", "b")
    runner = dispatcher.runner
    runner.wait_for(1)
    runner.on_lost("a")
    runner.wait_for(2)
    assert runner.started == ["a", "a"]
    assert journal.get("a").attempt == 2
    runner.on_lost("a")
    runner.wait_for(3)
    lost = journal.get("a")
    assert (lost.state, lost.error.error) == ("failed", "device-lost")
    assert runner.started[-1] == "b"


@pytest.mark.parametrize("stem", ["clip", "clip[1] *", "a name far longer than what fits before the mark of a part"])
def test_what_a_dead_process_left_half_written_is_swept(tmp_path, journal, dispatcher, stem):
    target = tmp_path / "out" / f"{stem}.mp4"
    target.parent.mkdir()
    scratch = tmp_path / "scratch" / "a"
    add(journal, dispatcher, "a", target=target)
    dispatcher.runner.wait_for(1)
    scratch.mkdir(parents=True)
    (scratch / "preview.webp").touch()
    half_written = []

    def give_up(done, total):
        half_written.extend(target.parent.iterdir())
        for path in half_written:
            shutil.copy(path, path.with_name(path.name.replace(".part-", ".part-0")))
        raise Cancelled

    with pytest.raises(Cancelled):
        write_clip(Clip(np.zeros((2, 16, 16, 3), np.uint8), 7), target, recipe=make_recipe({}, "v"), on_frame=give_up)
    assert len(list(target.parent.iterdir())) == len(half_written) >= 1
    (target.parent / "keep.mp4").touch()
    dispatcher.runner.on_lost("a")
    assert not scratch.exists()
    assert [p.name for p in target.parent.iterdir()] == ["keep.mp4"]


def test_a_waiting_job_is_cancelled_at_once_and_never_starts(journal, dispatcher):
    add(journal, dispatcher, "a", "b")
    dispatcher.runner.wait_for(1)
    dispatcher.cancel(journal.get("b"))
    assert journal.get("b").state == "cancelled"
    dispatcher.runner.finish("a")
    time.sleep(0.1)
    assert dispatcher.runner.started == ["a"]


def test_a_running_job_that_does_not_stop_is_stopped_by_force_and_is_cancelled_not_retried(journal, dispatcher):
    add(journal, dispatcher, "a")
    runner = dispatcher.runner
    runner.wait_for(1)
    dispatcher.cancel(journal.get("a"))
    assert runner.cancelled == ["a"]
    deadline = time.monotonic() + 5
    while runner.kills == 0 and time.monotonic() < deadline:
        time.sleep(0.02)
    assert runner.kills == 1
    runner.on_lost("a")
    assert journal.get("a").state == "cancelled"
    assert runner.started == ["a"]


def test_a_cancellation_asked_for_by_another_process_is_heard(journal, dispatcher):
    add(journal, dispatcher, "a")
    dispatcher.runner.wait_for(1)
    journal.update("a", cancel_asked=1)
    deadline = time.monotonic() + 5
    while not dispatcher.runner.cancelled and time.monotonic() < deadline:
        time.sleep(0.02)
    assert dispatcher.runner.cancelled == ["a"]
    dispatcher.runner.on_event(events.CancelledEvent(job_id="a"))
    assert journal.get("a").state == "cancelled"


def test_a_listener_that_comes_late_hears_the_whole_job_without_superseded_steps(journal, dispatcher):
    add(journal, dispatcher, "a")
    runner = dispatcher.runner
    runner.wait_for(1)
    for i in range(5):
        runner.on_event(events.Step(job_id="a", stage="sample", done=i, total=5))
    runner.on_event(events.Step(job_id="a", stage="decode", done=1, total=1))
    runner.on_event(events.Notice(job_id="a", message="cropped"))
    runner.finish("a")
    heard = list(dispatcher.follow("a"))
    assert [e.kind for e in heard] == ["started", "step", "step", "notice", "finished"]
    assert [(e.stage, e.done) for e in heard if isinstance(e, events.Step)] == [("sample", 4), ("decode", 1)]


def test_a_snapshot_of_a_running_job_carries_its_progress_and_a_new_version(journal, dispatcher):
    add(journal, dispatcher, "a")
    dispatcher.runner.wait_for(1)
    before = dispatcher.overlay(journal.get("a"))
    dispatcher.runner.on_event(events.Step(job_id="a", stage="render", done=2, total=5))
    dispatcher.runner.on_event(events.Preview(job_id="a", path="p.webp", width=8, height=8))
    after = dispatcher.overlay(journal.get("a"))
    assert (after.progress.done, after.preview) == (2, "p.webp")
    assert after.version > before.version
    dispatcher.runner.finish("a")
    assert dispatcher.overlay(journal.get("a")).progress is None


def test_notices_end_up_in_the_journal(journal, dispatcher):
    add(journal, dispatcher, "a")
    dispatcher.runner.wait_for(1)
    dispatcher.runner.on_event(events.Notice(job_id="a", message="first frame only"))
    dispatcher.runner.finish("a")
    assert journal.get("a").notices == ("first frame only",)


def test_closing_interrupts_what_runs_and_keeps_what_waits(tmp_path, journal):
    dispatcher = Dispatcher(Settings(home=tmp_path), journal, "me", Script)
    add(journal, dispatcher, "a", "b")
    dispatcher.runner.wait_for(1)
    dispatcher.close()
    assert dispatcher.runner.cancelled == ["a"]
    assert (journal.get("a").state, journal.get("b").state) == ("interrupted", "queued")


def both_on_their_way(journal, dispatcher):
    """`a` is being written, `b` runs."""
    add(journal, dispatcher, "a", "b", "c")
    dispatcher.runner.wait_for(1)
    dispatcher.runner.freed["a"]()
    dispatcher.runner.wait_for(2)
    return dispatcher.runner


def states(journal):
    return [journal.get(job_id).state for job_id in ("a", "b", "c")]


def test_a_job_starts_once_the_one_before_it_only_has_to_be_written_and_no_third_does(journal, dispatcher):
    runner = both_on_their_way(journal, dispatcher)
    assert states(journal) == ["running", "running", "queued"]
    runner.on_event(events.Writing(job_id="a", done=1, total=4))
    runner.on_event(events.Step(job_id="b", stage="sample", done=2, total=9))
    assert [dispatcher.overlay(journal.get(job_id)).progress.done for job_id in ("a", "b")] == [1, 2]
    runner.finish("a")
    runner.freed["a"]()  # says nothing of what runs by now
    time.sleep(0.05)
    assert states(journal) == ["done", "running", "queued"]
    assert runner.started == ["a", "b"]
    runner.freed["b"]()
    runner.wait_for(3)
    runner.finish("c")
    runner.finish("b")
    assert states(journal) == ["done", "done", "done"]


@pytest.mark.parametrize("which", ["a", "b"])
def test_cancelling_reaches_the_job_that_is_written_and_the_one_that_runs_each_alone(journal, dispatcher, which):
    runner = both_on_their_way(journal, dispatcher)
    dispatcher.cancel(journal.get(which))
    assert runner.cancelled == [which]
    runner.on_event(events.CancelledEvent(job_id=which))
    other = "b" if which == "a" else "a"
    assert (journal.get(which).state, journal.get(other).state) == ("cancelled", "running")


def test_a_process_that_dies_with_two_jobs_costs_each_an_attempt_and_each_is_tried_again_alone(journal, dispatcher):
    runner = both_on_their_way(journal, dispatcher)
    runner.on_lost("a")
    runner.on_lost("b")
    runner.wait_for(3)
    assert runner.started[2:] == ["a"]
    runner.freed["a"]()
    time.sleep(0.05)
    assert runner.started[2:] == ["a"]
    runner.finish("a")
    runner.wait_for(4)
    runner.freed["b"]()
    time.sleep(0.05)
    assert runner.started[3:] == ["b"]
    runner.on_lost("b")
    assert journal.get("b").state == "failed"
    runner.wait_for(5)
    assert [journal.get(job_id).attempt for job_id in ("a", "b", "c")] == [2, 2, 1]


def test_a_job_that_is_tried_again_waits_for_what_is_still_written(journal, dispatcher):
    runner = both_on_their_way(journal, dispatcher)
    runner.on_lost("b")
    time.sleep(0.05)
    assert runner.started == ["a", "b"]
    runner.finish("a")
    runner.wait_for(3)
    assert runner.started[2:] == ["b"]


def test_stopping_one_job_by_force_costs_the_other_no_attempt(journal, dispatcher):
    runner = both_on_their_way(journal, dispatcher)
    dispatcher.cancel(journal.get("a"))
    until(lambda: runner.kills)
    runner.on_lost("a")
    runner.on_lost("b")
    runner.wait_for(3)
    assert states(journal) == ["cancelled", "running", "queued"]
    assert journal.get("b").attempt == 1
    assert dispatcher.overlay(journal.get("b")).notices == (
        "The device process was stopped with another job; trying once more.",
    )


def test_closing_interrupts_the_job_that_is_written_too(tmp_path, journal):
    dispatcher = Dispatcher(Settings(home=tmp_path), journal, "me", Script)
    runner = both_on_their_way(journal, dispatcher)
    dispatcher.close()
    assert sorted(runner.cancelled) == ["a", "b"]
    assert states(journal) == ["interrupted", "interrupted", "queued"]
