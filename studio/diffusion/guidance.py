"""How far each frame is pushed from the unconditional estimate towards the conditional one.

A schedule is a function that returns one weight a frame; `guided` applies any of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch


def linear(first: float, last: float, frames: int) -> torch.Tensor:
    """fp32 (T,): rises evenly from `first` at frame 0 to `last` at the last frame.

    At a weight of 1 a frame is its conditional estimate alone. A clip of one frame gets `first`.

    Source: Blattmann et al. 2023, "Stable Video Diffusion", appendix D; generative-models, `LinearPredictionGuider`.
    """
    return torch.linspace(first, last, frames)


def triangle(least: float, most: float, frames: int) -> torch.Tensor:
    """fp32 (T,): rises evenly from `least` at the first frame to `most` in the middle and falls back to `least`.

    For a clip that ends where it began. With an even number of frames no frame is the middle one, and none quite
    reaches `most`.

    Source: generative-models, `TrianglePredictionGuider` with one period of 1: 2 |v - floor(v + 1/2)| for v in 0..1.
    """
    v_T = torch.linspace(0, 1, frames)
    return least + 2 * (v_T - torch.floor(v_T + 0.5)).abs() * (most - least)


def trapezoid(least: float, most: float, frames: int, edge: float = 0.1) -> torch.Tensor:
    """fp32 (T,): rises from `least` to `most` over the first tenth of the frames, stays, and falls over the last tenth.

    Where a tenth is less than a frame, the first and last frame alone have `least`.

    Source: generative-models, `TrapezoidPredictionGuider`, whose plateau is 1 whatever `most` is. That can't be
    meant: with 1 to 2.5 over 20 frames it gives 1, 2.5, then 1 sixteen times, 2.5, 1. Here the plateau is `most`.
    """
    ramp = torch.linspace(least, most, max(1, int(frames * edge)))[: (frames + 1) // 2]
    weight_T = torch.full((frames,), float(most))
    weight_T[: len(ramp)] = ramp
    weight_T[frames - len(ramp) :] = ramp.flip(0)
    return weight_T


def constant(least: float, most: float, frames: int) -> torch.Tensor:
    """fp32 (T,): `most` for every frame; `least` does not count.

    Source: Ho & Salimans 2022, "Classifier-Free Diffusion Guidance"; generative-models, `VanillaCFG`.
    """
    return torch.full((frames,), float(most))


GUIDERS: Mapping[str, Callable[[float, float, int], torch.Tensor]] = {
    "linear": linear,
    "triangle": triangle,
    "trapezoid": trapezoid,
    "constant": constant,
}
"""By the name that a request gives: (least, most, frames) -> one weight a frame."""


def guided(uncond_BTCHW: torch.Tensor, cond_BTCHW: torch.Tensor, weight_T: torch.Tensor) -> torch.Tensor:
    """uncond + weight (cond - uncond), with one weight a frame; (B, T, C, H, W).

    Source: Ho & Salimans 2022, "Classifier-Free Diffusion Guidance", eq. 6 with w = weight - 1.
    """
    weight_T111 = weight_T.to(cond_BTCHW).view(-1, 1, 1, 1)
    return torch.lerp(uncond_BTCHW, cond_BTCHW, weight_T111)
