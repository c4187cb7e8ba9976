"""Sampling between two known frames: forwards as the first one tells, then backwards as the last one tells.

An image-to-video network knows one picture only, that of its first frame. So each step is done twice: once in the
order of time, told the first frame; once with time turned round, told the last. All functions here are pure; fp32.

Shapes: B batch, T frames, C channels, H x W latent cells.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch

from studio.diffusion.samplers import Noise, OnStep


class Estimates(NamedTuple):
    """The clean sample as the network sees it, (B, T, C, H, W) each: not told of the picture, and told of it."""

    uncond: torch.Tensor
    cond: torch.Tensor


Estimate = Callable[[torch.Tensor, torch.Tensor], Estimates]
"""(x, sigma) -> estimates in x's order of frames, told of the picture that is its frame 0; sigma is a scalar tensor."""


class Ends(NamedTuple):
    """The latents that the first and the last frame have to be, (B, C, H, W) each."""

    first: torch.Tensor
    last: torch.Tensor


def vibid(
    forwards: Estimate,
    backwards: Estimate,
    ends: Ends,
    x: torch.Tensor,
    sigmas: torch.Tensor,
    on_step: OnStep,
    start: int = 0,
    *,
    noise: Noise,
    distilled: int = 0,
) -> torch.Tensor:
    """The sample at the last sigma, from the first latent to the last; both estimates are asked once a step.

    A step from sigma s to t: forwards with the last frame of the estimate set to its latent; noise of variance
    s^2 - t^2 brings that back to s; then backwards, told the last picture, with the first frame set. Both move by CFG++
    at scale 1: x' = x0 + (x - uncond) t / s, where x0 is the conditional estimate with its known frame.

    In the first `distilled` steps the network is never told the last picture: the second half of the step is forwards
    again, and the estimate is `distil`'s.

    Args:
        x, sigmas, on_step, start: as any `studio.diffusion.samplers.Sampler` has them.
        noise: for each step's way back up.

    Source: Yang et al. 2025, "ViBiDSampler", algorithm 1, whose DDS is here what it comes to where whole frames are
    known: they are set. CFG++ is Chung et al. 2024.
    """
    assert x.dtype == torch.float32, x.dtype
    for i in range(start, len(sigmas) - 1):
        now, following = sigmas[i], sigmas[i + 1]
        up = math.sqrt(float(now) ** 2 - float(following) ** 2)
        if i < distilled:
            for half in (0, 1):
                told = forwards(x, now)
                denoised = distil(told.cond, ends.last)
                x = _cfgpp(x, told.uncond, denoised, now, following)
                if half == 0:
                    x = x + noise(i) * up
        else:
            told = forwards(x, now)
            x = _cfgpp(x, told.uncond, _with_last(told.cond, ends.last), now, following)
            x = (x + noise(i) * up).flip(1)
            told = backwards(x, now)
            denoised = _with_last(told.cond, ends.first)
            x = _cfgpp(x, told.uncond, denoised, now, following).flip(1)
            denoised = denoised.flip(1)
        on_step(i + 1, x, denoised)
    return x


def distil(forward: torch.Tensor, last: torch.Tensor) -> torch.Tensor:
    """The forward estimate (B, T, C, H, W) blended with one that goes back from the `last` latent by the same motion.

    The backward estimate begins at the end: its noise in the last frame is what would leave `last`, and going back,
    each frame's differs from its neighbour's by as much as the forward estimate's does. Summed up, these differences
    are the forward estimate moved as a whole by what it misses `last` by. The share of the backward estimate rises
    evenly from 0 in the first frame to 1 in the last, so that both ends are met.

    Source: Jeon et al. 2026, "Motion Prior Distillation in Time Reversal Sampling for Generative Inbetweening", from
    its description; there all frames have one share, which is tuned.
    """
    share_T111 = torch.linspace(0, 1, forward.shape[1], dtype=forward.dtype, device=forward.device).view(-1, 1, 1, 1)
    missed = last - forward[:, -1]
    return forward + share_T111 * missed[:, None]


def _with_last(estimate: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    return torch.cat([estimate[:, :-1], known[:, None]], dim=1)


def _cfgpp(
    x: torch.Tensor, uncond: torch.Tensor, clean: torch.Tensor, now: torch.Tensor, following: torch.Tensor
) -> torch.Tensor:
    return clean + (x - uncond) * (following / now)
