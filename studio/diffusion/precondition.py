"""From a network that predicts v, or the noise, to a denoiser: sample in, estimate of the clean sample out."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch

from studio.diffusion.sigmas import timestep_of

Denoise = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""(x, sigma) -> estimate of the clean sample, of x's shape and dtype; sigma is a scalar tensor."""

Network = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""(c_in x, c_noise) -> v, or the noise, of x's shape."""


class Scalings(NamedTuple):
    """D(x) = c_skip x + c_out net(c_in x, c_noise); each has sigma's shape."""

    c_skip: torch.Tensor
    c_out: torch.Tensor
    c_in: torch.Tensor
    c_noise: torch.Tensor


def v_scalings(sigma: torch.Tensor) -> Scalings:
    """The four factors for v-prediction with EDM's noise conditioning; data of unit variance.

    c_skip = 1 / (s^2 + 1), c_out = -s / sqrt(s^2 + 1), c_in = 1 / sqrt(s^2 + 1), c_noise = ln(s) / 4.

    Source: the form is Karras et al. 2022, eq. 7; v is Salimans & Ho 2022, "Progressive Distillation for Fast
    Sampling of Diffusion Models", appendix D; c_noise is Karras et al. 2022, table 1. The combination is the one
    SVD was trained with (generative-models, `VScalingWithEDMcNoise`).
    """
    total = sigma**2 + 1
    root = torch.sqrt(total)
    return Scalings(c_skip=1 / total, c_out=-sigma / root, c_in=1 / root, c_noise=torch.log(sigma) / 4)


def denoise_v(network: Network, x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """The clean sample that `network` sees in `x`; x's shape and dtype. `sigma` > 0, a scalar tensor."""
    c = v_scalings(sigma)
    return c.c_skip * x + c.c_out * network(c.c_in * x, c.c_noise)


def denoise_noise(network: Network, x: torch.Tensor, sigma: torch.Tensor, levels: torch.Tensor) -> torch.Tensor:
    """The clean sample where `network` predicts the noise in `x`; x's shape and dtype. `sigma` > 0, a scalar tensor.

    D(x) = x - s net(x / sqrt(s^2 + 1), t), with t the trained timestep nearest to s.

    Args:
        levels: the noise level of each timestep, on the CPU.

    Source: Ho et al. 2020, eq. 11, for noise that is added, not mixed in (generative-models, `EpsScaling` with
    `DiscreteDenoiser`).
    """
    return x - sigma * network(x / torch.sqrt(sigma**2 + 1), timestep_of(levels, sigma))
