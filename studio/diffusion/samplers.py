"""Samplers: pure functions from noise to sample. State stays fp32; at sigma 700 fp16 could not hold it.

All have one face, `Sampler`, and stand in `SAMPLERS` by name. What `on_step` is given is a sampler's whole state, so
that any of them resumes from any step exactly; the noise of those that draw some is a function of the step.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from typing import Protocol

import torch

from studio.diffusion.precondition import Denoise


class OnStep(Protocol):
    """Hears that `done` steps are finished: `x` is the state to resume from, `denoised` the estimate it came from.

    Whatever it raises ends the sampling. Neither tensor may be changed.
    """

    def __call__(self, done: int, x: torch.Tensor, denoised: torch.Tensor) -> None: ...


Noise = Callable[[int], torch.Tensor]
"""Step -> unit normal noise of x's shape on x's device; the same each time it is asked for the same step."""


class Sampler(Protocol):
    """The sample at the last sigma.

    Args:
        x: fp32, the state before step `start`: scaled noise for 0, else what `on_step` was given with `done=start`.
        sigmas: (steps + 1,), falling; on the CPU: a scalar there works with tensors of any device.
        start: steps already done; resuming gives the very tensor that an unbroken run gives.
        previous: with `start` above 0, the `denoised` that `on_step` was given with it.
        noise: for the samplers in `STOCHASTIC`.
    """

    def __call__(
        self,
        denoise: Denoise,
        x: torch.Tensor,
        sigmas: torch.Tensor,
        on_step: OnStep,
        start: int = 0,
        *,
        previous: torch.Tensor | None = None,
        noise: Noise | None = None,
    ) -> torch.Tensor: ...


def euler(
    denoise: Denoise,
    x: torch.Tensor,
    sigmas: torch.Tensor,
    on_step: OnStep,
    start: int = 0,
    *,
    previous: torch.Tensor | None = None,
    noise: Noise | None = None,
) -> torch.Tensor:
    """First-order steps along dx/dsigma = (x - D(x; sigma)) / sigma. Needs neither `previous` nor `noise`.

    Source: Karras et al. 2022, algorithm 1 without the second-order correction, S_churn = 0.
    """
    assert x.dtype == torch.float32, x.dtype
    for i in range(start, len(sigmas) - 1):
        denoised = denoise(x, sigmas[i])
        x = x + (x - denoised) / sigmas[i] * (sigmas[i + 1] - sigmas[i])
        on_step(i + 1, x, denoised)
    return x


def heun(
    denoise: Denoise,
    x: torch.Tensor,
    sigmas: torch.Tensor,
    on_step: OnStep,
    start: int = 0,
    *,
    previous: torch.Tensor | None = None,
    noise: Noise | None = None,
) -> torch.Tensor:
    """Euler's step, then again with the mean of the slopes at both of its ends: second order, two evaluations a step.

    The step to sigma 0 is Euler's alone, since the slope is not defined there. Needs neither `previous` nor `noise`.

    Source: Karras et al. 2022, algorithm 1.
    """
    assert x.dtype == torch.float32, x.dtype
    for i in range(start, len(sigmas) - 1):
        step = sigmas[i + 1] - sigmas[i]
        denoised = denoise(x, sigmas[i])
        slope = (x - denoised) / sigmas[i]
        reached = x + slope * step
        if sigmas[i + 1] > 0:
            slope_there = (reached - denoise(reached, sigmas[i + 1])) / sigmas[i + 1]
            reached = x + (slope + slope_there) / 2 * step
        x = reached
        on_step(i + 1, x, denoised)
    return x


def euler_ancestral(
    denoise: Denoise,
    x: torch.Tensor,
    sigmas: torch.Tensor,
    on_step: OnStep,
    start: int = 0,
    *,
    previous: torch.Tensor | None = None,
    noise: Noise | None = None,
) -> torch.Tensor:
    """Euler's step to less than the next sigma, then fresh noise up to it. Needs `noise`; `previous` it does not.

    With s the sigma and t the next: up^2 = t^2 (s^2 - t^2) / s^2 and down^2 = t^2 - up^2, the variance of the exact
    posterior of one step.

    Source: Song et al. 2021, "Denoising Diffusion Implicit Models", eq. 16 with eta = 1, for noise that is added, not
    mixed in (k-diffusion, `sample_euler_ancestral`).
    """
    assert x.dtype == torch.float32, x.dtype
    assert noise is not None, "an ancestral sampler draws noise"
    for i in range(start, len(sigmas) - 1):
        now, following = float(sigmas[i]), float(sigmas[i + 1])
        up = math.sqrt(following**2 * (now**2 - following**2) / now**2)
        down = math.sqrt(following**2 - up**2)
        denoised = denoise(x, sigmas[i])
        x = x + (x - denoised) / now * (down - now)
        if following > 0:
            x = x + noise(i) * up
        on_step(i + 1, x, denoised)
    return x


def dpmpp_2m(
    denoise: Denoise,
    x: torch.Tensor,
    sigmas: torch.Tensor,
    on_step: OnStep,
    start: int = 0,
    *,
    previous: torch.Tensor | None = None,
    noise: Noise | None = None,
) -> torch.Tensor:
    """Second order from one evaluation a step: the last two estimates are extended to the middle of the step.

    With l = -ln sigma, h the step in l and r the step before it over h: x' = (sigma' / sigma) x + (1 - e^-h) D, where
    D = denoised + (denoised - previous) / (2 r). The first step, and the one to sigma 0, take denoised for D.
    `previous` is needed to resume; `noise` never is.

    Source: Lu et al. 2022, "DPM-Solver++: Fast Solver for Guided Sampling of Diffusion Probabilistic Models",
    algorithm 2, with alpha = 1.
    """
    assert x.dtype == torch.float32, x.dtype
    assert start == 0 or previous is not None, "resuming needs the estimate before"
    levels = [float(s) for s in sigmas]
    for i in range(start, len(levels) - 1):
        denoised = denoise(x, sigmas[i])
        now, following = levels[i], levels[i + 1]
        if following == 0:
            x = denoised
        else:
            h = math.log(now / following)
            extended = denoised
            if i > 0:
                r = math.log(levels[i - 1] / now) / h
                extended = denoised + (denoised - previous) / (2 * r)
            x = x * (following / now) - extended * math.expm1(-h)
        previous = denoised
        on_step(i + 1, x, denoised)
    return x


def lcm(
    denoise: Denoise,
    x: torch.Tensor,
    sigmas: torch.Tensor,
    on_step: OnStep,
    start: int = 0,
    *,
    previous: torch.Tensor | None = None,
    noise: Noise | None = None,
) -> torch.Tensor:
    """To the clean sample at once, then fresh noise up to the next sigma: for networks trained to see it from any one.

    x' = D(x; sigma) + sigma' z, with the D of `precondition.denoise_v`: the published scheduler's scalings are those of
    v-prediction for data of unit variance, without the shift by sigma_min that makes a consistency function the
    identity there, and its noise is sigma' itself. Needs `noise`; `previous` it does not.

    Source: Song et al. 2023, "Consistency Models", algorithm 1, in the form of Wang et al. 2024, "AnimateLCM" (their
    `AnimateLCMSVDStochasticIterativeScheduler` with sigma_data = 1 and s_noise = 1).
    """
    assert x.dtype == torch.float32, x.dtype
    assert noise is not None, "a consistency sampler draws noise"
    for i in range(start, len(sigmas) - 1):
        denoised = denoise(x, sigmas[i])
        x = denoised + noise(i) * sigmas[i + 1] if sigmas[i + 1] > 0 else denoised
        on_step(i + 1, x, denoised)
    return x


SAMPLERS: Mapping[str, Sampler] = {
    "euler": euler,
    "heun": heun,
    "euler-ancestral": euler_ancestral,
    "dpmpp-2m": dpmpp_2m,
    "lcm": lcm,
}
"""By the name that a request gives."""

STOCHASTIC = ("euler-ancestral", "lcm")
"""Those that draw noise at each step."""


def seeded_noise(seed: int, like: torch.Tensor) -> Noise:
    """Noise of that shape for each step, drawn on the CPU: the same on every device, and for a resumed run.

    Each step has a generator of its own, seeded by a hash of seed and step: torch 2.13's generator on the CPU looks at
    32 bits of a seed, so that neighbouring numbers could meet other requests' seeds.
    """

    def noise(step: int) -> torch.Tensor:
        digest = hashlib.sha256(f"step {step} of {seed}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:4], "big"))
        return torch.randn(like.shape, generator=generator).to(like.device, non_blocking=True)

    return noise
