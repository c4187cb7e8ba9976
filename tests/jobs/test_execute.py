"""`execute`: one last event whatever happens, and nothing partial left."""

import errno
import logging
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from studio.errors import Cancelled, DeviceLost, DoesNotFit
from studio.events import CancelledEvent, Failed, Finished, Loading, Step, Writing, is_last
from studio.jobs.execute import execute
from studio.jobs.resume import resume_file
from studio.jobs.task import Task
from studio.jobs.workshop import Workshop
from studio.models.manager import ModelManager


def task_for(request, settings, **change):
    request = {"mode": "image-to-video", "export_fps": 7.0, **request, **change}
    target = settings.outputs / "clip.mp4"
    return Task(job_id="job", mode="image-to-video", request=request, target=target, poster=settings.home / "p.webp")


@pytest.fixture
def svd_request(small, tiny_svd):
    knobs = {"steps": 3, "guidance_min": 1.0, "guidance_max": 2.5, "noise_augmentation": 0.02, "motion_bucket": 127}
    size = {"width": 64, "height": 64, "frames": 4}
    ways = {"sampler": "euler", "guidance": "linear", "decode": "chunked", "decode_chunk": 2}
    return {**small, **size, **knobs, **ways, "variant": tiny_svd, "conditioning_fps": 7}


@pytest.fixture
def parallax_request(small):
    return {**small, "camera_move": "push-in", "amount": 1.0, "easing": "linear"}


STAGES = {
    "loading": lambda e: isinstance(e, Loading) and e.done_bytes > 0,
    "encoding": lambda e: isinstance(e, Step) and e.stage == "encode",
    "sampling": lambda e: isinstance(e, Step) and e.stage == "sample" and e.done == 1,
    "decoding": lambda e: isinstance(e, Step) and e.stage == "decode" and e.done == 2,
    "writing": lambda e: isinstance(e, Writing) and e.done == 1,
}


@pytest.mark.parametrize("stage", STAGES)
def test_cancelling_acts_at_once_in_every_stage(settings, svd_request, stage):
    heard, asked = [], []

    def emit(event):
        heard.append(event)
        if STAGES[stage](event) and not asked:
            asked.append(len(heard))

    execute(task_for(svd_request, settings), Workshop(settings), emit, lambda: bool(asked))
    assert asked, "the stage was never reached"
    assert isinstance(heard[-1], CancelledEvent)
    assert len(heard) - asked[0] <= 2, heard[asked[0] :]
    assert not list(settings.outputs.rglob("*.*"))
    assert list(settings.scratch.iterdir()) == []


def test_a_cancelled_load_leaves_nothing_on_the_device_and_the_next_job_runs(settings, svd_request):
    workshop, asked = Workshop(settings), []
    task = task_for(svd_request, settings)
    execute(task, workshop, lambda e: asked.append(1) if isinstance(e, Loading) else None, lambda: bool(asked))
    assert workshop.manager.ledger()["components"] == []
    heard = []
    execute(task, workshop, heard.append)
    assert isinstance(heard[-1], Finished)
    assert [row["leases"] for row in workshop.manager.ledger()["components"]] == [0] * 3


def test_the_second_job_of_a_variant_loads_nothing(settings, svd_request):
    workshop, heard = Workshop(settings), []
    execute(task_for(svd_request, settings), workshop, lambda e: None)
    execute(task_for(svd_request, settings, seed=8), workshop, heard.append)
    assert not [e for e in heard if isinstance(e, Loading)]


def a_workshop_that(raises, settings, before=lambda ctx: None):
    """The real workshop with an engine that fails, at the seam by which the manager finds engines.

    `before` is given the job's context first.
    """

    class Engine:
        def __init__(self, spec, components):
            self.spec = spec

        def animate(self, picture, request, ctx):
            before(ctx)
            raise raises

    workshop = Workshop(settings)
    workshop.manager = ModelManager(
        workshop.catalog, lambda: None, find=workshop.installed, family=lambda name: SimpleNamespace(Engine=Engine)
    )
    return workshop


@pytest.mark.parametrize(
    ("raised", "kind", "says"),
    [
        (DoesNotFit("25 frames don't fit.", "Lower frames."), "does-not-fit", "don't fit"),
        (MemoryError(), "does-not-fit", "memory"),
        (OSError(errno.ENOSPC, "No space left on device"), "write-failed", "disk is full"),
        (PermissionError(errno.EACCES, "Permission denied", "clip.mp4"), "write-failed", "permission"),
        (OSError(errno.EIO, "Input/output error"), "write-failed", "Input/output error"),
        (ZeroDivisionError("division by zero in secret place"), "unexpected", "went wrong"),
    ],
    ids=lambda v: type(v).__name__ if isinstance(v, Exception) else None,
)
def test_an_error_becomes_one_sentence(settings, parallax_request, caplog, raised, kind, says):
    heard = []
    with caplog.at_level(logging.ERROR):
        execute(task_for(parallax_request, settings), a_workshop_that(raised, settings), heard.append)
    last = heard[-1]
    assert isinstance(last, Failed)
    assert [e for e in heard if is_last(e)] == [last]
    assert last.error == kind
    assert says in last.message
    assert "secret" not in last.message + last.remedy
    assert not list(settings.outputs.rglob("*.*"))
    if kind == "unexpected":
        assert "job" in last.remedy
        assert "ZeroDivisionError" in caplog.text


def test_the_machine_device_is_only_looked_for_when_weights_are(settings, parallax_request):
    workshop, heard = Workshop(settings.model_copy(update={"device": "cuda:7"})), []
    execute(task_for(parallax_request, settings), workshop, heard.append)
    assert isinstance(heard[-1], Finished)


def test_a_device_that_is_not_there_fails_the_job_with_what_to_do(settings, svd_request):
    heard = []
    execute(task_for(svd_request, settings), Workshop(settings.model_copy(update={"device": "mps"})), heard.append)
    assert isinstance(heard[-1], Failed)
    assert "mps is not there" in heard[-1].message
    assert "--device" in heard[-1].remedy


STATE = {"done": np.array(3)}


@pytest.mark.parametrize("raised", [Cancelled(), DoesNotFit("No.", ""), ZeroDivisionError()], ids=repr)
def test_what_a_job_keeps_is_gone_with_its_last_event(settings, parallax_request, raised):
    kept = resume_file(settings.home, "job")
    there = []

    def keep(ctx):
        ctx.keep(STATE)
        there.append(kept.exists())

    def emit(event):
        if is_last(event):
            there.append(kept.exists())

    execute(task_for(parallax_request, settings), a_workshop_that(raised, settings, keep), emit)
    assert there == [True, False]


def test_a_lost_device_ends_no_job_and_leaves_what_it_kept_for_the_next_process(settings, parallax_request):
    heard, seen = [], []
    task = task_for(parallax_request, settings)
    lost = torch.AcceleratorError("CUDA error: an illegal memory access was encountered")
    with pytest.raises(DeviceLost, match="stopped working"):
        execute(task, a_workshop_that(lost, settings, lambda ctx: ctx.keep(STATE)), heard.append)
    assert not [e for e in heard if is_last(e)]
    assert list(settings.scratch.iterdir()) == []

    execute(task, a_workshop_that(Cancelled(), settings, lambda ctx: seen.append(ctx.kept())), heard.append)
    assert seen == [STATE]
    assert isinstance(heard[-1], CancelledEvent)


def test_a_job_goes_on_where_the_last_process_died_and_makes_the_same_file(settings, svd_request, monkeypatch):
    """A process that dies runs nothing more: here its events end the thread where it stands."""
    monkeypatch.setattr("studio.jobs.resume.KEEP_EVERY_S", 0)
    undisturbed, task = [], task_for(svd_request, settings)
    execute(task, Workshop(settings), undisturbed.append)
    expected = task.target.read_bytes()
    task.target.unlink()

    class Died(BaseException):
        pass

    def die(event):
        if isinstance(event, Step) and (event.stage, event.done) == ("sample", 2):
            raise Died

    with pytest.raises(Died):
        execute(task, Workshop(settings), die)
    heard = []
    execute(task, Workshop(settings), heard.append)
    assert isinstance(heard[-1], Finished)
    assert [e.done for e in heard if isinstance(e, Step) and e.stage == "sample"] == [2, 3]
    assert task.target.read_bytes() == expected


class Later:
    """Keeps what is handed over until the test wants it."""

    def __init__(self):
        self.rests = []

    def __call__(self, rest):
        self.rests.append(rest)


def other_task(task, settings, name="other"):
    return task.model_copy(update={"job_id": name, "target": settings.outputs / f"{name}.mp4"})


def test_what_is_written_after_another_job_ran_is_the_same_file(settings, svd_request, parallax_request):
    """Nothing of its recipe is another job's either."""
    workshop, later, heard = Workshop(settings), Later(), []
    task = task_for({**svd_request, "finish": ["boomerang"]}, settings)
    execute(task, workshop, heard.append)
    expected = task.target.read_bytes()

    execute(task, workshop, heard.append, hand_over=later)
    assert [row["leases"] for row in workshop.manager.ledger()["components"]] == [0] * 3
    assert not any(is_last(e) or isinstance(e, Writing) for e in heard[heard.index(last_of(heard)) + 1 :])
    execute(other_task(task_for(parallax_request, settings), settings), workshop, lambda e: None)
    task.target.unlink()
    (rest,) = later.rests
    rest()
    assert isinstance(heard[-1], Finished)
    assert task.target.read_bytes() == expected
    assert list(settings.scratch.iterdir()) == []


def last_of(heard):
    return next(e for e in heard if is_last(e))


def test_cancelling_while_it_waits_to_be_written_leaves_nothing(settings, parallax_request):
    later, heard, asked = Later(), [], []
    execute(task_for(parallax_request, settings), Workshop(settings), heard.append, lambda: bool(asked), later)
    assert (settings.scratch / "job").is_dir()
    asked.append(True)
    later.rests[0]()
    assert [e for e in heard if is_last(e)] == [CancelledEvent(job_id="job")]
    assert not list(settings.outputs.rglob("*.*"))
    assert list(settings.scratch.iterdir()) == []


def test_frames_that_an_engine_makes_afterwards_are_made_before_the_device_is_handed_over(settings, parallax_request):
    later, heard = Later(), []
    task = task_for(parallax_request, settings, finish=["smooth:14 flow", "reverse"])
    execute(task, Workshop(settings), heard.append, hand_over=later)
    assert heard[-1] == Step(job_id="job", stage="smooth", done=8, total=8)
    later.rests[0]()
    assert isinstance(heard[-1], Finished)


def test_a_clip_that_is_made_while_it_is_written_hands_nothing_over(settings, parallax_request):
    later, heard = Later(), []
    task = task_for(parallax_request, settings)
    execute(task, Workshop(settings), heard.append)
    smoother = {"mode": "interpolate", "clip": str(task.target), "variant": "flow", "factor": 2, "format": "mp4"}
    again = other_task(task, settings).model_copy(update={"mode": "interpolate", "request": smoother})
    execute(again, Workshop(settings), heard.append, hand_over=later)
    assert later.rests == []
    assert isinstance(heard[-1], Finished), heard[-1]
