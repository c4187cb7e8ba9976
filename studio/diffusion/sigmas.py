"""Noise levels: from pure noise down to the clean sample."""

from __future__ import annotations

import torch


def karras(steps: int, *, sigma_min: float, sigma_max: float, rho: float = 7.0) -> torch.Tensor:
    """fp32 (steps + 1,) on the CPU: falls from `sigma_max` to `sigma_min`, then 0.

    With u_i = i / (steps - 1): sigma_i = (max^(1/rho) + u_i (min^(1/rho) - max^(1/rho)))^rho. One step alone starts
    at `sigma_max`. Computed in fp32 and in this order, as Stability's sampler does (generative-models,
    `EDMDiscretization`): bit for bit its levels, the 7th power's rounding included.

    Source: Karras et al. 2022, "Elucidating the Design Space of Diffusion-Based Generative Models", eq. 5.
    """
    if steps < 1 or not 0 < sigma_min <= sigma_max:
        raise ValueError(f"{steps} steps from {sigma_max} to {sigma_min}: needs a step and 0 < sigma_min <= sigma_max.")
    u = torch.linspace(0, 1, steps)
    high, low = sigma_max ** (1 / rho), sigma_min ** (1 / rho)
    levels = (high + u * (low - high)) ** rho
    return torch.cat([levels, levels.new_zeros(1)])


def initial_noise(noise: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """Where sampling starts: unit normal `noise` scaled by sqrt(1 + sigma^2), for the first sigma of the schedule.

    A variance-preserving start, as Stability's samplers make it (generative-models, `prepare_sampling_loop`), not
    the bare sigma of the EDM paper.
    """
    return noise * torch.sqrt(1 + sigma**2)
