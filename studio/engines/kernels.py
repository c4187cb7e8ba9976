"""How the arithmetic of SVD's blocks is done on a device: which attention, and whether it is compiled."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional

from studio.engines.attention import Attend, Attention
from studio.engines.compiled import Compiling, compiler_for
from studio.models.tuned import RECORDED, SMALL_STEPS

if TYPE_CHECKING:
    from studio.context import Context


class Recorder:
    """Records what a CUDA device is given to do."""

    def record(self, work: Callable[[], torch.Tensor]) -> tuple[Callable[[], None], torch.Tensor]:
        """(plays it, where its result lies each time); the recording alone computes nothing."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            out = work()
        return graph.replay, out


@dataclass(frozen=True)
class Kernels:
    """What the blocks call for all that is costly.

    Args:
        attend: computes attention.
        compiling: compiles the functions of `studio.engines.block_functions`; None runs them as they are.
        recorder: records the UNet's calls where they are small; None gives each of its kernels to the device anew.
    """

    attend: Attend = functional.scaled_dot_product_attention
    compiling: Compiling | None = None
    recorder: Recorder | None = None

    def run(self, function: Callable[..., Any], *given: Any, **fixed: Any) -> Any:
        """What that function gives for these tensors.

        Args:
            given: tensors, floats, and None where one is left out.
            fixed: what is compiled in.
        """
        compiling = self.compiling
        if compiling is not None and compiling.works:
            return compiling(function, given, fixed)
        return function(*given, **fixed)

    def over(self) -> None:
        """Everything has run once: what is still to be said about that is said."""
        if self.compiling is not None:
            self.compiling.over()


EAGER = Kernels()
"""Torch's own choice of attention, nothing compiled: right everywhere."""


def kernels_for(components: Any, ctx: Context, what: str) -> Kernels:
    """How a job that was leased these components computes: as was measured on its device, and as the settings say.

    Args:
        components: the lease's (see `studio.engines`).
        what: computes: "the decoder".
    """
    tuned, on_cuda = components.tuned, components.device.startswith("cuda")
    recorder = Recorder() if on_cuda and tuned.choice(SMALL_STEPS) == RECORDED else None
    compiling = None
    if tuned.compiles(components.compiling, components.device):
        compiling = Compiling(compiler_for(components.device, components.compiled_dir), ctx, tuned, what)
    return Kernels(Attention(tuned, measures=on_cuda), compiling, recorder)


def as_one(*weights: Any) -> tuple[Any, ...]:
    """The weights as a single one where they lie side by side in memory, else as they are.

    In a component's memory the queries', keys' and values' weights of a self-attention are neighbours wherever their
    sizes need no padding, as those of the published networks do. On the CPU, where one product is no quicker than
    three, they stay three: there a mapped file and a streamed one lie differently, and shall give the same.
    """
    first = weights[0]
    if not all(type(w) is nn.Parameter and w.shape == first.shape and w.is_contiguous() for w in weights):
        return weights
    if first.is_cpu:
        return weights
    at, storage = first.storage_offset(), first.untyped_storage()._cdata
    for i, weight in enumerate(weights):
        if weight.untyped_storage()._cdata != storage or weight.storage_offset() != at + i * first.numel():
            return weights
    return (torch.as_strided(first, (len(weights) * len(first), *first.shape[1:]), first.stride(), at),)
