"""What exact savings, bf16 and fast's feature cache save in processor time, at tiny size on the CPU.

A UNet of SVD's architecture with 16 M weights, one thread, processor seconds of this process, each way in turns with
its baseline and an identity control: a guided step by diffusers' own code beside ours; ours in bf16; and a sampling
loop of 25 steps, of half as many frames, whole and with every third step whole (no guidance is left out). How far the
cached loop's latents end from the whole one's is that of random weights.
"""

from __future__ import annotations

import argparse
import copy
import time
from typing import Any

from benchmarks import svd_models as models
from benchmarks.compare import compare
from benchmarks.parts import Parts
from benchmarks.svd_bench import named, relative_error
from benchmarks.svd_steps import StepInputs

_UNET: dict[str, Any] = {
    **models.TINY["unet"],
    "block_out_channels": [64, 128, 128],
    "down_block_types": ["CrossAttnDownBlockSpatioTemporal"] * 2 + ["DownBlockSpatioTemporal"],
    "up_block_types": ["UpBlockSpatioTemporal"] + ["CrossAttnUpBlockSpatioTemporal"] * 2,
    "layers_per_block": 2,
    "cross_attention_dim": 128,
    "num_attention_heads": [2, 4, 4],
}

_SMALLER = models.TINY["unet"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this benchmark."""
    parser.add_argument("--budget-s", type=float, default=240, help="seconds for all of it (240)")
    parser.add_argument("--rounds", type=int, default=15, help="most rounds of each comparison (15)")
    parser.add_argument("--steps", type=int, default=25, help="of the loop (25)")
    parser.add_argument("--tiny", action="store_true", help="an even smaller UNet, as a check of the code")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Processor seconds, ratios with identity controls, and drift."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.no_grad():
            return _Small(args).figures()
    finally:
        torch.set_num_threads(before)


class _Small:
    """One UNet; its rewritten form runs diffusers' own code where it is called as diffusers calls it."""

    def __init__(self, args: argparse.Namespace) -> None:
        import torch

        self.torch, self.args = torch, args
        side, frames = (64, 4) if args.tiny else (128, 8)
        self.wish = models.request(width=side, height=side, frames=frames, steps=args.steps)
        configs = {"unet": _SMALLER if args.tiny else _UNET}
        self.unet, self.theirs = (models.build(configs, "cpu", "fp32", names=("unet",))["unet"] for _ in range(2))
        self.inputs = StepInputs(self.wish, self._randn, torch.float32, configs["unet"]["cross_attention_dim"])
        half = models.request(**{**vars(self.wish), "frames": frames // 2})
        self.loop_inputs = StepInputs(half, self._randn, torch.float32, configs["unet"]["cross_attention_dim"])
        self.parts = Parts(args.keep, args.budget_s)
        self.parts.fact(
            weights=sum(p.numel() for p in self.unet.parameters()),
            size=f"{self.wish.width}x{self.wish.height}, {self.wish.frames} frames, fp32, 1 thread",
        )

    def _randn(self, *shape: int, seed: int = 1) -> Any:
        return self.torch.randn(*shape, generator=self.torch.Generator().manual_seed(seed))

    def figures(self) -> dict[str, Any]:
        self.parts.part("exact_savings", self.savings, share=0.3)
        self.parts.part("bf16", self.bf16, share=0.4)
        self.parts.part("feature_cache", self.cache)
        return self.parts.figures

    def savings(self, budget_s: float) -> dict[str, Any]:
        """A guided step by diffusers' code and by ours, and how far they are apart."""
        theirs, ours = self.inputs.theirs(self.theirs), self.inputs.ours(self.unet)
        found = self._compare(theirs, ours, budget_s, ("diffusers", "ours"))
        return {**found, "relative_difference": relative_error(ours(), theirs())}

    def bf16(self, budget_s: float) -> dict[str, Any]:
        """Our step in fp32 and in bf16, and how far it is off by that."""
        low = copy.deepcopy(self.unet).to(self.torch.bfloat16)
        exact, rounded = self.inputs.ours(self.unet), self.inputs.ours(low)
        found = self._compare(exact, rounded, budget_s, ("fp32", "bf16"))
        return {**found, "relative_error": relative_error(rounded(), exact())}

    def cache(self, budget_s: float) -> dict[str, Any]:
        """The loop by our exact code, and with every third step whole."""
        whole, cached = self.loop(1), self.loop(3)
        found = self._compare(whole, cached, budget_s, ("whole", "cached"))
        return {**found, "steps": self.args.steps, "every": 3, "relative_drift": relative_error(cached(), whole())}

    def loop(self, cache_every: int) -> Any:
        """Makes the latents that sampling ends with."""
        from studio.diffusion.precondition import denoise_v
        from studio.diffusion.samplers import SAMPLERS
        from studio.engines.svd_network import schedule
        from studio.models.sampling import Approximate, Sample

        approximate = Approximate(cache_every=cache_every, guided_down_to=0.0) if cache_every > 1 else None
        levels = schedule(models.svd_xt(), self.wish)

        def run() -> Any:
            network = self.loop_inputs.network(self.unet, how=Sample(approximate=approximate), levels=levels)
            return SAMPLERS["euler"](
                lambda x, sigma: denoise_v(network, x, sigma),
                self.loop_inputs.latent_BTCHW * levels[0],
                levels,
                lambda done, x, denoised: None,
            )

        return run

    def _compare(self, baseline: Any, candidate: Any, budget_s: float, names: tuple[str, str]) -> dict[str, Any]:
        found = compare(
            baseline,
            candidate,
            rounds=self.args.rounds,
            budget_s=budget_s,
            clock=time.process_time,
            budget_clock=time.monotonic,
        )
        return named(found, *names)
