"""Peak memory of SVD-XT clips on a CUDA device: each of the studio's VRAM policies beside each of diffusers' ways.

25 frames of 1024x576 in fp16, two steps and the decoding, since more steps live in the same memory. Bytes are the most
that torch had allocated, weights included. Seconds a step are those of the second step, those of the clip include
what has to be read and brought to the device. Both start with their weights on disk or in host memory, diffusers' as
its documentation advises: resident; `enable_model_cpu_offload` with 8 frames decoded at a time; sequential offloading,
and group offloading of leaves with streams, each with chunked feed-forwards and 2 frames at a time.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import svd_bench
from benchmarks.svd_bench import Bench

POLICIES = ("high", "normal", "low", "none")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this benchmark."""
    svd_bench.add_arguments(parser, budget_s=120)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="where 5 GB are free")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Plan, peak and seconds of each way."""
    with tempfile.TemporaryDirectory(dir=args.folder, prefix="svd-studio-memory-") as folder:
        return _Memory(args, Path(folder)).figures()


class _Memory:
    """One variant on disk, the same weights on the host, and a short clip of each way."""

    def __init__(self, args: argparse.Namespace, folder: Path) -> None:
        self.bench = Bench(args, steps=2)
        from benchmarks.written_variants import WrittenVariants

        self.variants = WrittenVariants(folder, ("first",), cuda=self.bench.cuda, tiny=True)
        self.picture = self.bench.models.made_picture(self.bench.wish.width, self.bench.wish.height)

    def figures(self) -> dict[str, Any]:
        parts = self.bench.parts
        for policy in POLICIES:
            parts.part(f"policy_{policy}", lambda budget_s, policy=policy: self.policy(policy))
        for name, prepare in _WAYS.items():
            if self.bench.cuda or name == "resident":
                parts.part(f"diffusers_{name}", lambda budget_s, prepare=prepare: self.theirs(prepare), least_s=10)
            else:
                parts.leave_out(f"diffusers_{name}", "diffusers asks for an accelerator to offload from")
        return parts.figures

    def policy(self, policy: str) -> dict[str, Any]:
        """What the studio does, and what its plan had said."""
        from studio.errors import DoesNotFit

        manager = self.variants.manager(home=policy, policy=policy)
        told = _Steps(self.bench.clock)
        ctx = self.bench.models.quiet_context(told.event)

        def clip() -> None:
            with manager.lease("first", ctx.loading) as engine:
                engine.animate(self.picture, self.bench.wish, ctx)

        try:
            measured = self._measured(clip, told, lambda: manager.device.most_bytes())
            plan = manager.plans_taken["first"]
            return {"plan": plan.residency, "ways": plan.ways, "planned_bytes": plan.peak_bytes, **measured}
        except DoesNotFit as e:
            return {"does_not_fit": e.message}
        finally:
            manager.unload()

    def theirs(self, prepare: Callable[[Any, str], int]) -> dict[str, Any]:
        """diffusers' pipeline, prepared in one way, its weights on the host before."""
        modules = {name: module.to("cpu") for name, module in self.bench.build().items()}
        pipeline, told = self.bench.models.make_pipeline(modules), _Steps(self.bench.clock)
        chunk = min(prepare(pipeline, self.bench.device), self.bench.wish.frames)
        wish = self.bench.models.request(**{**vars(self.bench.wish), "decode_chunk": chunk})

        def clip() -> None:
            if prepare is _resident:
                pipeline.to(self.bench.device)
            self.bench.models.call_pipeline(pipeline, self.picture, wish, callback_on_step_end=told.callback)

        return {"decode_chunk": chunk, **self._measured(clip, told)}

    def _measured(
        self, clip: Callable[[], None], told: _Steps, most_bytes: Callable[[], int] = lambda: 0
    ) -> dict[str, Any]:
        begun = self.bench.clock()
        peak = self.bench.peak(clip, most_bytes)
        seconds = self.bench.clock() - begun
        return {"peak_bytes": peak, "seconds_a_step": told.times[-1] - told.times[-2], "clip_s": seconds}


class _Steps:
    """When each sampling step was finished."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.times: list[float] = []

    def event(self, event: Any) -> None:
        """Hears of ours."""
        if getattr(event, "stage", "") == "sample":
            self.times.append(self._clock())

    def callback(self, pipeline: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        """Hears of diffusers'."""
        self.times.append(self._clock())
        return tensors


def _resident(pipeline: Any, device: str) -> int:
    """Everything on the device; all frames are decoded at once, as by default."""
    return 25


def _model_offload(pipeline: Any, device: str) -> int:
    pipeline.enable_model_cpu_offload(device=device)
    return 8


def _sequential_offload(pipeline: Any, device: str) -> int:
    pipeline.unet.enable_forward_chunking()
    pipeline.enable_sequential_cpu_offload(device=device)
    return 2


def _group_offload(pipeline: Any, device: str) -> int:
    import torch

    pipeline.unet.enable_forward_chunking()
    pipeline.enable_group_offload(torch.device(device), offload_type="leaf_level", use_stream=True)
    return 2


_WAYS = {
    "resident": _resident,
    "model_offload": _model_offload,
    "sequential_offload": _sequential_offload,
    "group_offload": _group_offload,
}
"""Name -> what prepares a pipeline and says how many frames are decoded at a time."""
