"""A real tiny SVD job on a device whose memory is counted, tensor by tensor, and ends where its budget does."""

from dataclasses import replace

import pytest
import torch
from torch.utils._pytree import tree_leaves

from benchmarks.svd_models import made_picture, quiet_context, request
from studio.engines import family_module
from studio.errors import DoesNotFit
from studio.models import plan as plans
from studio.models.catalog import Catalog
from studio.models.costs import phases_of
from studio.models.installed import find
from studio.models.limits import Limits
from studio.models.manager import ModelManager
from studio.models.memory import Device
from tests.counting import Count, _Operations
from tests.tiny import tiny_spec_yaml, write_tiny_svd

TOTALS = (200_000_000, 60_000_000, 40_000_000, 30_000_000, 24_000_000, 18_000_000, 12_000_000, 3_000_000)

SIZE = {"width": 128, "height": 64, "frames": 4, "steps": 2, "decode_chunk": 4}


class Metered(Device):
    """The CPU, of which only so much may be taken: by weights, as the manager has them, and by all other tensors."""

    def __init__(self, total: int) -> None:
        super().__init__("cpu", "counted", "fp32")
        object.__setattr__(self, "total", total)
        object.__setattr__(self, "count", _Real())
        object.__setattr__(self, "weights", lambda: 0)

    @property
    def accelerator(self) -> bool:
        return True

    def taken_bytes(self) -> int:
        return self.count.live_bytes + self.weights()

    def total_bytes(self) -> int:
        return self.total

    def free_bytes(self) -> int:
        return self.total - self.taken_bytes()

    def forget_peak(self) -> None:
        self.count.peak_bytes = self.count.live_bytes

    def peak_bytes(self) -> int:
        return self.count.peak_bytes + self.weights()


class _Real(Count):
    """Counts what takes memory: not the meta device's."""

    def made(self, tensors):
        super().made([t for t in tensors if not t.is_meta])


class Metering(_Operations):
    """Raises what CUDA raises as soon as an operation has taken more than there is."""

    def __init__(self, device: Metered) -> None:
        super().__init__(device.count)
        self._device = device

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = super().__torch_dispatch__(func, types, args, kwargs)
        if any(t.is_meta for t in tree_leaves(out) if isinstance(t, torch.Tensor)):
            return out  # shapes alone
        if self._device.taken_bytes() > self._device.total:
            del out
            raise torch.OutOfMemoryError("no more than that")
        return out


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("tight")
    write_tiny_svd(root / "models" / "tiny", frames=4)
    tiny_spec_yaml("tiny", root / "configs", frames=4)
    return root


def animate(folder, device, home):
    manager = ModelManager(
        Catalog(folder / "configs"),
        lambda: device,
        find=lambda spec: find(spec, models_dir=folder / "models", hub_cache=folder),
        family=family_module,
        limits=Limits(),
        home=home,
    )
    if isinstance(device, Metered):
        object.__setattr__(device, "weights", manager.residency.held_bytes)
    ctx, told = quiet_context(), []
    ctx.notice = told.append
    with manager.lease("tiny", ctx.loading) as engine:
        frames = engine.animate(made_picture(128, 64), request(**SIZE), ctx).frames
    return frames, manager, told


@pytest.fixture(autouse=True)
def scaled(monkeypatch):
    """The formulas are full-size networks'; here they say far too little, so that it has to be learned."""

    def smaller(spec, wish, **given):
        return tuple(
            replace(cost, ways=tuple(replace(w, working_bytes=w.working_bytes // 50) for w in cost.ways))
            for cost in phases_of(spec, wish, **given)
        )

    monkeypatch.setattr(plans, "phases_of", smaller)


def exact(told):
    return not any("flicker" in sentence or "approximation" in sentence for sentence in told)


@pytest.mark.slow
def test_with_less_and_less_memory_the_job_ends_with_the_same_frames_until_it_is_refused(folder, tmp_path):
    wanted = animate(folder, Device("cpu", "CPU", "fp32"), None)[0].astype(int)
    same, least = [], 0
    for step, total in enumerate(TOTALS):
        device = Metered(total)
        try:
            with Metering(device):
                frames, manager, told = animate(folder, device, tmp_path / str(step))
        except DoesNotFit:
            break
        least = total
        assert manager.ledger()["moved"]["device_to_host_bytes"] == 0
        if exact(told):
            same.append(total)
            assert abs(frames - wanted).max() <= 1, (total, told)
    assert len(same) >= 3
    assert TOTALS[-1] < least < TOTALS[0]


@pytest.mark.slow
def test_what_ran_out_once_is_planned_for_the_next_time(folder, tmp_path):
    told = []
    for _ in range(4):
        device = Metered(24_000_000)
        with Metering(device):
            told.append(animate(folder, device, tmp_path)[2])
    assert told[0]
    assert [sentence for sentence in told[-1] if sentence.startswith("Memory ran out")] == []
