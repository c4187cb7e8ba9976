"""SVD-XT's guided UNet step on a CUDA device: diffusers eager in fp16 beside ours, in turns, and what each costs.

25 frames of 1024x576, and of 512x320, both branches of guidance. Random weights that keep the variance stand in for the
trained ones, since speed and memory do not depend on them. Also counted: the bytes that live beside the weights, the
TFLOP/s that were reached, and each one's relative L2 error to the same weights and inputs in fp32 by diffusers' own
code.
"""

from __future__ import annotations

import argparse
import copy
from dataclasses import replace
from typing import Any

from benchmarks import svd_bench
from benchmarks.svd_bench import Bench, relative_error
from benchmarks.svd_steps import DIFFUSERS_FLOP, OURS_FLOP, Step, StepInputs
from studio.models.tuned import Tuned

_SMALL = {"width": 512, "height": 320}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this benchmark."""
    svd_bench.add_arguments(parser, budget_s=100)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Times of both, error, peak bytes, and each of our switches by itself."""
    return _UnetStep(args).figures()


class _UnetStep:
    """The UNet twice, and one evaluation of each."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.bench = bench = Bench(args)
        self.theirs, self.ours = (bench.build_one("unet") for _ in range(2))
        self.inputs = StepInputs(bench.wish, bench.randn, bench.half, self.theirs.config.cross_attention_dim)
        self.tuned = Tuned(None)
        self.kernels = bench.kernels(self.tuned)
        self.step = self.inputs.theirs(self.theirs)

    def figures(self) -> dict[str, Any]:
        parts = self.bench.parts
        parts.part("eager", self.eager, share=0.3)
        parts.part("attention", self.attention, share=0.3)
        parts.part("channels_last", self.channels_last, share=0.3)
        parts.part("small", lambda budget_s: self.small(None, budget_s), share=0.2)
        if self.bench.cuda:
            parts.part("small_graphs", self.small_graphs, share=0.2)
        else:
            parts.leave_out("small_graphs", "CUDA graphs are CUDA's")
        parts.part("peak_bytes", lambda budget_s: self.peaks())
        parts.part("relative_error", lambda budget_s: self.errors(), least_s=10)
        for kind in ("int8", "fp8"):
            parts.part(kind, lambda budget_s, kind=kind: self.quantised(kind, budget_s), share=0.5, least_s=10)
        return parts.figures

    def eager(self, budget_s: float) -> dict[str, Any]:
        """Neither is compiled."""
        found = self.beside(self.inputs.ours(self.ours), budget_s)
        return found | self.rates(found)

    def beside(self, ours: Step, budget_s: float) -> dict[str, Any]:
        """One of our ways beside diffusers."""
        return self.bench.compare(self.step, ours, budget_s, names=("diffusers", "ours"))

    def attention(self, budget_s: float) -> dict[str, Any]:
        """With whichever attention a trial finds quickest for each shape, and what the trials took."""
        found = self.beside(self.inputs.ours(self.ours, kernels=self.kernels), budget_s)
        return {**found, "trials": trials(self.tuned)}

    def channels_last(self, budget_s: float) -> dict[str, Any]:
        """The same with channels last in the convolutions' weights, and so in what passes between them."""
        from studio.engines.weights.layout import channels_last

        unet = channels_last(copy.deepcopy(self.ours))
        return self.beside(self.inputs.ours(unet, kernels=self.kernels), budget_s)

    def small_graphs(self, budget_s: float) -> dict[str, Any]:
        """The small step, recorded as a CUDA graph."""
        from studio.engines.kernels import Recorder

        return self.small(Recorder(), budget_s)

    def small(self, recorder: Any, budget_s: float) -> dict[str, Any]:
        """A step of 512x320, where launches begin to count: as ever, or played back as it was recorded."""
        wish = self.bench.models.request(**{**vars(self.bench.wish), **(_SMALL if self.bench.cuda else {})})
        inputs = StepInputs(wish, self.bench.randn, self.bench.half, self.theirs.config.cross_attention_dim)
        ours = inputs.ours(self.ours, kernels=replace(self.kernels, recorder=recorder))
        with self.bench.torch.no_grad():
            ours()  # the call that is recorded is the second one, which the warm-up makes
        return self.bench.compare(inputs.theirs(self.theirs), ours, budget_s, names=("diffusers", "ours"))

    def quantised(self, kind: str, budget_s: float) -> dict[str, Any]:
        """With the large matrices in int8 or fp8, as fast may have them."""
        from studio.engines import exact
        from studio.engines.quantised import quantised, why_not

        rewritten = exact.rewrite(self.ours)
        if reason := why_not(kind, rewritten):
            return {"left_out": reason}
        unet = quantised(rewritten, kind)
        ours = self.inputs.ours(unet, kernels=self.kernels)
        found = self.beside(ours, budget_s)
        with self.bench.torch.no_grad():
            return {**found, "relative_change": relative_error(ours(), self.inputs.ours(self.ours)())}

    def rates(self, found: dict[str, Any]) -> dict[str, float]:
        """What each does in a second, where the work is that which was counted."""
        if not self.bench.cuda:
            return {}
        return {
            "diffusers_tflop_a_second": DIFFUSERS_FLOP / found["diffusers_s"] / 1e12,
            "ours_tflop_a_second": OURS_FLOP / found["ours_s"] / 1e12,
        }

    def peaks(self) -> dict[str, int | None]:
        """Beside the weights."""
        from studio.models.sampling import Sample

        one = self.inputs.ours(self.ours, how=Sample(branches_at_once=False))
        with self.bench.torch.no_grad():
            return {
                "diffusers": self.bench.peak(self.step),
                "ours": self.bench.peak(self.inputs.ours(self.ours)),
                "ours_one_branch": self.bench.peak(one),
            }

    def errors(self) -> dict[str, float]:
        """Of each to diffusers' code in fp32; at tiny size those in fp32 to it in fp64."""
        bench = self.bench
        with bench.torch.no_grad():
            made = self.step().cpu(), self.inputs.ours(self.ours, kernels=self.kernels)().cpu()
            return errors_of(*made, truth_of(bench, self.inputs, self.theirs))


def trials(tuned: Tuned) -> dict[str, dict[str, Any]]:
    """Shape -> the attention that was chosen for it, and the seconds of each candidate."""
    questions = [question for question in tuned.questions() if question.startswith("attention, ")]
    return {q.partition(", ")[2]: {"choice": tuned.choice(q), **tuned.seconds(q)} for q in questions}


def truth_of(bench: Bench, inputs: StepInputs, unet: Any) -> Any:
    """What the UNet gives in diffusers' code in fp32, on the host."""
    precise = copy.deepcopy(unet).to(bench.precise)
    with bench.exact_fp32():
        return inputs.theirs(precise, dtype=bench.precise)().cpu()


def errors_of(theirs: Any, ours: Any, truth: Any) -> dict[str, float]:
    """Relative L2 of both and their ratio: how much less exact ours is."""
    found = {"diffusers": relative_error(theirs, truth), "ours": relative_error(ours, truth)}
    if found["diffusers"]:
        found["ours_to_diffusers"] = found["ours"] / found["diffusers"]
    return found
