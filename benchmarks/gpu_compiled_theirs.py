"""SVD-XT's UNet step on a CUDA device: diffusers compiled beside diffusers eager, in fp16, as a yardstick for ours.

Compiled region by region, as diffusers advises; the repeated blocks are named here, since diffusers 0.42.1 leaves the
list of this UNet's empty.
"""

from __future__ import annotations

import argparse
import copy
from typing import Any

from benchmarks import svd_bench
from benchmarks.svd_bench import Bench
from benchmarks.svd_steps import StepInputs

_REPEATED = ["BasicTransformerBlock", "TemporalBasicTransformerBlock", "SpatioTemporalResBlock"]

_SHAPES = 64
"""More than the eight that torch compiles a function for by default: a res block alone has some twenty."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this benchmark."""
    svd_bench.add_arguments(parser, budget_s=220)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Seconds of compiling, and times of both."""
    bench = Bench(args)
    unet = bench.build_one("unet")
    inputs = StepInputs(bench.wish, bench.randn, bench.half, unet.config.cross_attention_dim)

    def compiled(budget_s: float) -> dict[str, Any]:
        module = copy.deepcopy(unet)
        module._repeated_blocks = _REPEATED
        with bench.torch._dynamo.config.patch(recompile_limit=_SHAPES):
            module.compile_repeated_blocks(fullgraph=True, dynamic=False, backend=bench.backend)
            steps = inputs.theirs(unet), inputs.theirs(module)
            return bench.compare_compiled(*steps, budget_s, names=("eager", "compiled"))

    bench.parts.part("unet", compiled)
    return bench.parts.figures
