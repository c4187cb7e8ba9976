"""Steps are brought to the host and reported in order, also where copies run beside the device's work."""

from types import SimpleNamespace

import pytest
import torch

from studio.engines.kernels import Kernels
from studio.engines.progress import Copies, reporting
from studio.errors import Cancelled, StudioError

SPEC, REQUEST = SimpleNamespace(id="tiny"), SimpleNamespace(steps=3, export_fps=7.0)


class Late(Copies):
    """Copies that arrive when they are waited for, and not before."""

    beside = True

    def __init__(self, log):
        self.log = log

    def begin(self, tensors):
        self.log.append(f"copy {int(tensors[1].flatten()[0])}")
        return tensors

    def finish(self, mark):
        self.log.append(f"wait {int(mark[1].flatten()[0])}")
        return [tensor.clone() for tensor in mark]


class Sampling(SimpleNamespace):
    def state(self):
        return {"x": self.x_BTCHW.numpy(), "done": self.done}


class Ctx:
    def __init__(self, log, stop_at=None):
        self.log, self.kept, self.stop_at, self.checks = log, [], stop_at, 0

    def check(self):
        if self.stop_at is not None and self.stop_at in self.log:
            raise Cancelled()

    def step(self, done, total, stage="sample", preview=None):
        self.log.append(f"told {done} of {total}")
        assert preview().frames.shape[0] == 2
        self.check()

    def keep(self, state):
        self.kept.append((state["done"], float(state["x"].flatten()[0])))


def latents(value):
    return torch.full((1, 2, 4, 2, 2), float(value))


def begin(log, stop_at=None):
    return Sampling(x_BTCHW=latents(0), denoised_BTCHW=latents(0), done=0), Ctx(log, stop_at)


def sample(sampling, ctx, log, copies, steps=3, before=0, fails_at=None, scale=1.0, **how):
    with reporting(sampling, SPEC, REQUEST, ctx, before, before + 3, copies=copies, **how) as on_step:
        for i in range(1, steps + 1):
            if i == fails_at:
                raise torch.OutOfMemoryError("CUDA out of memory.")
            log.append(f"work {i}")
            on_step(i, latents(i) * (scale if i == 2 else 1), latents(i))


def test_where_memory_is_the_hosts_each_step_is_told_when_it_is_made():
    log = []
    sampling, ctx = begin(log)
    sample(sampling, ctx, log, None, before=4)
    assert log == ["work 1", "told 5 of 7", "work 2", "told 6 of 7", "work 3", "told 7 of 7"]
    assert ctx.kept == [(1, 1.0), (2, 2.0), (3, 3.0)]


def test_where_copies_run_beside_the_work_a_step_is_told_once_the_next_is_under_way():
    log = []
    sampling, ctx = begin(log)
    sample(sampling, ctx, log, Late(log))
    assert log == [
        *("work 1", "copy 1", "work 2", "copy 2", "wait 1", "told 1 of 3"),
        *("work 3", "copy 3", "wait 2", "told 2 of 3", "wait 3", "told 3 of 3"),
    ]
    assert ctx.kept == [(1, 1.0), (2, 2.0), (3, 3.0)]
    assert (sampling.done, float(sampling.x_BTCHW.mean())) == (3, 3.0)


def test_where_memory_runs_out_the_state_is_that_of_a_copy_that_has_arrived():
    log = []
    sampling, ctx = begin(log)
    with pytest.raises(torch.OutOfMemoryError):
        sample(sampling, ctx, log, Late(log), fails_at=3)
    assert (sampling.done, float(sampling.x_BTCHW.mean()), float(sampling.denoised_BTCHW.mean())) == (1, 1.0, 1.0)
    assert "told 2 of 3" not in log


@pytest.mark.parametrize(("copies", "last"), [(None, "work 2"), (Late, "work 2")])
def test_cancelling_takes_no_more_than_one_step(copies, last):
    log = []
    sampling, ctx = begin(log, stop_at="work 2")
    with pytest.raises(Cancelled):
        sample(sampling, ctx, log, copies(log) if copies else None)
    assert [entry for entry in log if entry.startswith("work")][-1] == last


def test_numbers_that_are_not_finite_end_it_and_are_not_kept():
    for late in (False, True):
        log = []
        sampling, ctx = begin(log)
        with pytest.raises(StudioError, match="not finite at step 2"):
            sample(sampling, ctx, log, Late(log) if late else None, scale=float("nan"))
        assert sampling.done == 1


def test_a_step_that_nothing_can_go_on_with_is_told_and_not_kept():
    log = []
    sampling, ctx = begin(log)
    sample(sampling, ctx, log, None, resumable=lambda step: step != 2)
    assert [done for done, _ in ctx.kept] == [1, 3]
    assert "told 2 of 3" in log
    sampling, ctx = begin(log)
    sample(sampling, ctx, log, None, resumable=lambda step: False)
    assert [done for done, _ in ctx.kept] == [3], "the last one needs no step after it"


def test_what_is_to_be_said_about_compiling_is_said_when_a_step_has_run():
    log = []
    sampling, ctx = begin(log)
    kernels = Kernels(compiling=SimpleNamespace(over=lambda: log.append("over")))
    sample(sampling, ctx, log, Late(log), steps=1, kernels=kernels)
    assert log[:3] == ["work 1", "copy 1", "over"]
