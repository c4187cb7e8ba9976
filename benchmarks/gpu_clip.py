"""Whole SVD-XT clips on a CUDA device, from picture to frames: diffusers eager in fp16, and ours exact, fast and draft.

25 frames of 1024x576 in 25 steps; a draft takes 4 steps without guidance, with random weights in the place of the
distilled UNet's. Ours is compiled, as on a CUDA device by default; what that takes is in the warm-up. How far fast
drifts from exact is measured on the very same noise; it is the drift of random weights, and what trained ones do has
to be looked at. Bytes are all that torch allocated, weights included.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from benchmarks import svd_bench
from benchmarks.svd_bench import Bench
from studio.media.apart import apart


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this benchmark."""
    svd_bench.add_arguments(parser, budget_s=130)
    parser.add_argument("--compile", choices=("on", "off"), default="on", help="compile our networks first (on)")
    parser.add_argument("--channels-last", action="store_true", help="our convolutions' weights with channels last")
    parser.add_argument("--steps", type=int, default=25, help="sampling steps of exact and fast (25)")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Seconds of each, ratios with identity controls, drift, peak bytes."""
    return _Clips(args).figures()


class _Clips:
    """Both ways to a clip of each speed, and the frames that came last of each."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.bench = bench = Bench(args, steps=args.steps)
        models = bench.models
        self.pipeline = models.make_pipeline(bench.build())
        ours = bench.build()
        if args.channels_last:
            from studio.engines.weights.layout import channels_last

            ours = {name: channels_last(module) for name, module in ours.items()}
        self.weight_bytes = sum(p.numel() * p.element_size() for m in ours.values() for p in m.parameters())
        compiling = args.compile if bench.cuda else "off"
        self.engine = models.make_engine({**ours, "draft_unet": ours["unet"]}, bench.device, bench.dtype, compiling)
        bench.parts.fact(compiled=compiling == "on", channels_last=args.channels_last)
        self.picture = models.made_picture(bench.wish.width, bench.wish.height)
        self.frames: dict[str, np.ndarray] = {}

    def figures(self) -> dict[str, Any]:
        parts = self.bench.parts
        parts.part("warm_up_s", lambda budget_s: self.warm_up())
        parts.part("exact", self.exact, share=0.5)
        parts.part("peak_bytes", lambda budget_s: self.peaks())
        parts.part("fast", self.fast, share=0.8)
        parts.part("draft", self.draft)
        return parts.figures

    def theirs(self, **wish: Any) -> None:
        wish = self.wish(**wish)
        self.frames["diffusers"] = self.bench.models.call_pipeline(self.pipeline, self.picture, wish)

    def ours(self, name: str, **wish: Any) -> None:
        made = self.engine.animate(self.picture, self.wish(**wish), self.bench.models.quiet_context())
        self.frames[name] = made.frames

    def wish(self, **given: Any) -> Any:
        return self.bench.models.request(**{**vars(self.bench.wish), **given})

    def warm_up(self) -> float:
        """Seconds of the first, short clips, which load kernels and compile."""
        begun = self.bench.clock()
        self.theirs(steps=1)
        self.ours("warm-up", steps=2)
        return self.bench.clock() - begun

    def peaks(self) -> dict[str, int | None]:
        """Of two steps and the decoding; more steps live in the same memory."""
        beside = {
            "diffusers": self.bench.peak(lambda: self.theirs(steps=2)),
            "ours": self.bench.peak(lambda: self.ours("short", steps=2)),
        }
        return {name: found and found + self.weight_bytes for name, found in beside.items()}

    def fast(self, budget_s: float) -> dict[str, Any]:
        """Fast beside exact, and how far its frames are from exact's; its steps without guidance are compiled first."""
        begun = self.bench.clock()
        self.ours("warm-up", steps=2, speed="fast")
        budget_s -= self.bench.clock() - begun
        found = self.bench.compare(
            lambda: self.ours("exact"),
            lambda: self.ours("fast", speed="fast"),
            budget_s,
            names=("exact", "fast"),
            warm_up=0,
        )
        return {**found, "drift": apart(self.frames["fast"], self.frames["exact"]).public()}

    def exact(self, budget_s: float) -> dict[str, Any]:
        """Exact beside diffusers, and whether both gave the same frames."""
        found = self.bench.compare(
            self.theirs, lambda: self.ours("exact"), budget_s, names=("diffusers", "ours"), warm_up=0
        )
        theirs = np.rint(self.frames["diffusers"] * 255).astype(np.uint8)
        return {**found, "frames_differ": apart(self.frames["exact"], theirs).public()}

    def draft(self, budget_s: float) -> dict[str, Any]:
        """With the published few-step UNet's own settings."""
        few = self.bench.models.svd_xt().capabilities["image-to-video"].at_speed("draft", distilled=True)

        def draft() -> None:
            self.ours("draft", **few, speed="draft")

        found = self.bench.compare(draft, draft, budget_s, names=("draft", "again"))
        return {k: found[k] for k in ("draft_s", "identity_ratio", "identity_range", "rounds")}
