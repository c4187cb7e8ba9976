"""How far each frame is pushed from the unconditional estimate towards the conditional one.

A schedule is a function that returns one weight a frame; `guided` applies any of them.
"""

from __future__ import annotations

import torch


def linear(first: float, last: float, frames: int) -> torch.Tensor:
    """fp32 (T,): rises evenly from `first` at frame 0 to `last` at the last frame.

    At a weight of 1 a frame is its conditional estimate alone. A clip of one frame gets `first`.

    Source: Blattmann et al. 2023, "Stable Video Diffusion", appendix D; generative-models, `LinearPredictionGuider`.
    """
    return torch.linspace(first, last, frames)


def guided(uncond_BTCHW: torch.Tensor, cond_BTCHW: torch.Tensor, weight_T: torch.Tensor) -> torch.Tensor:
    """uncond + weight (cond - uncond), with one weight a frame; (B, T, C, H, W).

    Source: Ho & Salimans 2022, "Classifier-Free Diffusion Guidance", eq. 6 with w = weight - 1.
    """
    weight_T111 = weight_T.to(cond_BTCHW).view(-1, 1, 1, 1)
    return torch.lerp(uncond_BTCHW, cond_BTCHW, weight_T111)
