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


def every_so_many(steps: int, *, trained: int, sigma_min: float, sigma_max: float, rho: float = 7.0) -> torch.Tensor:
    """fp32 (steps + 1,) on the CPU: every so many of the `trained` levels of `karras`, from the highest; then 0.

    The levels that a consistency model was trained at, of which it is to see no others: with 4 steps of 40 the 1st,
    11th, 21st and 31st. Below the last of them nothing is sampled: the network goes to the clean sample from there.

    Source: Wang et al. 2024, "AnimateLCM" (its scheduler's `set_timesteps`).
    """
    if not 1 <= steps <= trained:
        raise ValueError(f"{steps} steps: it was trained at {trained} levels.")
    levels = karras(trained, sigma_min=sigma_min, sigma_max=sigma_max, rho=rho)
    chosen = levels[torch.arange(steps) * (trained // steps)]
    return torch.cat([chosen, levels.new_zeros(1)])


def initial_noise(noise: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """Where sampling starts: unit normal `noise` scaled by sqrt(1 + sigma^2), for the first sigma of the schedule.

    A variance-preserving start, as Stability's samplers make it (generative-models, `prepare_sampling_loop`), not
    the bare sigma of the EDM paper.
    """
    return noise * torch.sqrt(1 + sigma**2)


def trained_levels(trained: int, *, beta_start: float, beta_end: float) -> torch.Tensor:
    """fp32 (trained,) on the CPU, rising: the noise level of each timestep that a discrete model was trained on.

    With b_t the square of the even steps from sqrt(beta_start) to sqrt(beta_end) and a_t the product of 1 - b up to t:
    sigma_t = sqrt((1 - a_t) / a_t).

    Source: Ho et al. 2020, "Denoising Diffusion Probabilistic Models", with the betas of Rombach et al. 2022, "High-
    Resolution Image Synthesis with Latent Diffusion Models" (generative-models, ``linear`` in `make_beta_schedule`).
    """
    betas = torch.linspace(beta_start**0.5, beta_end**0.5, trained) ** 2
    kept = torch.cumprod(1 - betas, dim=0)
    return ((1 - kept) / kept) ** 0.5


def leading(levels: torch.Tensor, steps: int) -> torch.Tensor:
    """fp32 (steps + 1,): every so many of the trained levels, beginning with the second, the highest first; then 0.

    The same levels as Stable Diffusion XL's published scheduler takes ("leading", with an offset of 1). It starts a
    little below the highest: at timestep 961 of 1000 with 25 steps.

    Source: Song et al. 2021, "Denoising Diffusion Implicit Models", section 4.2 (diffusers, `timestep_spacing`).
    """
    if not 1 <= steps <= len(levels):
        raise ValueError(f"{steps} steps: there are {len(levels)} levels.")
    stride = len(levels) // steps
    chosen = (torch.arange(steps) * stride + 1).clamp(max=len(levels) - 1).flip(0)
    return torch.cat([levels[chosen], levels.new_zeros(1)])


def timestep_of(levels: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """fp32 scalar: the timestep whose level is nearest to `sigma`.

    Source: generative-models, `DiscreteDenoiser.sigma_to_idx`.
    """
    return (levels - sigma.to(levels)).abs().argmin().float()
