"""SVD-XT's UNet step and decoding on a CUDA device: ours compiled, beside diffusers eager, in fp16.

Also the step without guidance, which is what a draft's steps and fast's last ones are. The same sizes and weights as in
gpu_unet and gpu_decode. What compiling took is told apart; python -m benchmarks gives all its processes one empty
folder to keep compiled code in, so that here it is from nothing.
"""

from __future__ import annotations

import argparse
from typing import Any

from benchmarks import svd_bench
from benchmarks.gpu_unet import errors_of, truth_of
from benchmarks.svd_bench import Bench
from benchmarks.svd_steps import StepInputs, diffusers_decode, our_decode
from studio.models.tuned import Tuned


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this benchmark."""
    svd_bench.add_arguments(parser, budget_s=125)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Seconds of compiling, times beside eager diffusers, and the error of what was compiled."""
    return _Compiled(args).figures()


class _Compiled:
    """Both sides' networks, and one set of inputs."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.bench = bench = Bench(args)
        from studio.engines.compiled import Compiler

        self.pipeline, self.ours = bench.models.make_pipeline(bench.build()), bench.build()
        self.unet, wish = self.pipeline.unet, bench.wish
        width = self.unet.config.cross_attention_dim
        self.inputs = StepInputs(wish, bench.randn, bench.half, width)
        unguided = bench.models.request(**{**vars(wish), "guidance_max": 1.0})
        self.unguided = StepInputs(unguided, bench.randn, bench.half, width)
        self.latent_TCHW = bench.randn(wish.frames, 4, wish.height // 8, wish.width // 8)
        self.compiler = Compiler(backend=bench.backend)
        self.kernels = bench.kernels(Tuned(None), self.compiler)

    def figures(self) -> dict[str, Any]:
        parts = self.bench.parts
        parts.part("unet", lambda budget_s: self.our_unet(self.inputs, budget_s), share=0.6)
        parts.part("relative_error", lambda budget_s: self.errors(), least_s=10)
        once_s = self.compiler.seconds  # nothing can stop a compiler, but it takes as long for much the same again
        parts.part("decode", self.our_decode, share=0.5, least_s=0.5 * once_s)
        parts.part("unet_unguided", lambda budget_s: self.our_unet(self.unguided, budget_s), least_s=1.2 * once_s)
        parts.part("unet_channels_last", self.channels_last, least_s=1.2 * once_s)
        return parts.figures

    def our_unet(self, inputs: StepInputs, budget_s: float) -> dict[str, Any]:
        """Our step, compiled, beside diffusers' eager one."""
        theirs, ours = inputs.theirs(self.unet), inputs.ours(self.ours["unet"], kernels=self.kernels)
        return self.bench.compare_compiled(theirs, ours, budget_s, names=("diffusers", "ours")) | self._compiled()

    def channels_last(self, budget_s: float) -> dict[str, Any]:
        """Our compiled step with channels last in the convolutions' weights, compiled anew for that."""
        from studio.engines.weights.layout import channels_last

        channels_last(self.ours["unet"])
        return self.our_unet(self.inputs, budget_s)

    def errors(self) -> dict[str, float]:
        """Of our compiled step to diffusers' code in fp32, beside that of diffusers' eager one."""
        with self.bench.torch.no_grad():
            made = (
                self.inputs.theirs(self.unet)().cpu(),
                self.inputs.ours(self.ours["unet"], kernels=self.kernels)().cpu(),
            )
            return errors_of(*made, truth_of(self.bench, self.inputs, self.unet))

    def our_decode(self, budget_s: float) -> dict[str, Any]:
        """Our decoding, compiled, beside diffusers' of all frames at once."""
        theirs = diffusers_decode(self.pipeline, self.latent_TCHW, self.bench.wish.frames)
        ours = our_decode(self.ours["vae"], self.latent_TCHW, kernels=self.kernels)
        return self.bench.compare_compiled(theirs, ours, budget_s, names=("diffusers", "ours")) | self._compiled()

    def _compiled(self) -> dict[str, Any]:
        """How many pieces there are so far, and what compiling them took.

        Raises:
            RuntimeError: something could not be compiled, and ran eagerly.
        """
        if self.compiler.failed:
            raise RuntimeError(self.compiler.failed)
        return {"pieces": self.compiler.count, "compiling_s": self.compiler.seconds}
