"""The decoding of a whole SVD-XT clip on a CUDA device: diffusers eager, 25, 14 or 8 frames at a time, and ours.

In fp16, from latents to pixels on the host. Fewer frames at a time take less memory and give other frames; ours takes
the clip as a whole. Bytes are those beside the weights. The errors are to the same weights and latents in fp32 by
diffusers' own decoder, of 14 frames at once: more would not fit on the device in fp32.
"""

from __future__ import annotations

import argparse
import copy
from typing import Any

from benchmarks import svd_bench
from benchmarks.gpu_unet import errors_of, trials
from benchmarks.svd_bench import Bench
from benchmarks.svd_steps import Step, diffusers_decode, our_decode
from studio.models.tuned import Tuned

CHUNKS = (25, 14, 8)
_FLOP = 173.57e12
"""Of 25 frames of 1024x576 at once, counted on the meta device."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this benchmark."""
    svd_bench.add_arguments(parser, budget_s=80)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Times of ours beside each of diffusers' chunk sizes, peak bytes, and error."""
    return _Decode(args).figures()


class _Decode:
    """The VAE twice, and the latents of one clip."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.bench = bench = Bench(args)
        wish = bench.wish
        self.pipeline = bench.models.make_pipeline(bench.build())
        self.tuned = Tuned(None)
        self.ours = bench.build_one("vae")
        self.latent_TCHW = bench.randn(wish.frames, 4, wish.height // 8, wish.width // 8)

    def figures(self) -> dict[str, Any]:
        parts = self.bench.parts
        for chunk in CHUNKS:
            parts.part(f"chunk_{chunk}", lambda budget_s, chunk=chunk: self.beside(chunk, budget_s), share=0.3)
        parts.part("attention", self.attention, share=0.3)
        parts.part("peak_bytes", lambda budget_s: self.peaks())
        parts.part("relative_error", lambda budget_s: self.errors(), least_s=8)
        return parts.figures

    def diffusers(self, chunk: int) -> Step:
        return diffusers_decode(self.pipeline, self.latent_TCHW, chunk)

    def whole(self, **given: Any) -> Step:
        return our_decode(self.ours, self.latent_TCHW, **given)

    def beside(self, chunk: int, budget_s: float) -> dict[str, Any]:
        """Ours beside diffusers with so many frames at a time."""
        found = self.bench.compare(self.diffusers(chunk), self.whole(), budget_s, names=("diffusers", "ours"))
        if self.bench.cuda and chunk >= self.bench.wish.frames:
            found["diffusers_tflop_a_second"] = _FLOP / found["diffusers_s"] / 1e12
            found["ours_tflop_a_second"] = _FLOP / found["ours_s"] / 1e12
        return found

    def attention(self, budget_s: float) -> dict[str, Any]:
        """With whichever attention a trial finds quickest for the one wide head, beside all frames at a time."""
        ours = self.whole(kernels=self.bench.kernels(self.tuned))
        found = self.bench.compare(self.diffusers(CHUNKS[0]), ours, budget_s, names=("diffusers", "ours"))
        return {**found, "trials": trials(self.tuned)}

    def peaks(self) -> dict[str, int | None]:
        with self.bench.torch.no_grad():
            theirs = {f"diffusers_chunk_{chunk}": self.bench.peak(self.diffusers(chunk)) for chunk in CHUNKS}
            return theirs | {"ours": self.bench.peak(self.whole())}

    def errors(self) -> dict[str, float]:
        """Of pixels in about [-1, 1], before they are rounded to levels."""
        from studio.engines.svd_decode import decode_chunk
        from studio.engines.whole_decode import decode_whole

        bench = self.bench
        latent_TCHW, theirs = self.latent_TCHW[:14], self.pipeline.vae.decoder
        with bench.torch.no_grad():
            made = decode_chunk(theirs, latent_TCHW).cpu()
            ours = decode_whole(self.ours.decoder, latent_TCHW, lambda done, total: None).cpu()
            with bench.exact_fp32():
                truth = decode_chunk(copy.deepcopy(theirs).to(bench.precise), latent_TCHW).cpu()
        return errors_of(made, ours, truth)
