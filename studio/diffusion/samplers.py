"""Samplers: pure functions from noise to sample. State stays fp32; at sigma 700 fp16 could not hold it."""

from __future__ import annotations

from typing import Protocol

import torch

from studio.diffusion.precondition import Denoise


class OnStep(Protocol):
    """Hears that `done` steps are finished: `x` is the state to resume from, `denoised` the estimate it came from.

    Whatever it raises ends the sampling. Neither tensor may be changed.
    """

    def __call__(self, done: int, x: torch.Tensor, denoised: torch.Tensor) -> None: ...


def euler(denoise: Denoise, x: torch.Tensor, sigmas: torch.Tensor, on_step: OnStep, start: int = 0) -> torch.Tensor:
    """The sample at the last sigma, by first-order steps along dx/dsigma = (x - D(x; sigma)) / sigma.

    Args:
        x: fp32, the state before step `start`: scaled noise for 0, else what `on_step` was given with `done=start`.
        sigmas: (steps + 1,), falling; on the CPU: a scalar there works with tensors of any device.
        start: steps already done; resuming gives the very tensor that an unbroken run gives.

    Source: Karras et al. 2022, algorithm 1 without the second-order correction, S_churn = 0.
    """
    assert x.dtype == torch.float32, x.dtype
    for i in range(start, len(sigmas) - 1):
        denoised = denoise(x, sigmas[i])
        x = x + (x - denoised) / sigmas[i] * (sigmas[i + 1] - sigmas[i])
        on_step(i + 1, x, denoised)
    return x
