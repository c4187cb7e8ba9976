"""SVD's UNet as a function, and what it is told: what the ways of making a clip with it have in common.

Shapes: B batch (1, or 2 with guidance: unconditional first), T frames, C channels, H x W pixels, h x w latent cells.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import nn

from studio.diffusion import guidance, sigmas
from studio.diffusion.preview import latent_to_rgb
from studio.diffusion.samplers import OnStep
from studio.engines import exact
from studio.engines.sv3d_unet import PerFrameUNet
from studio.errors import StudioError
from studio.media.clip import Clip
from studio.models.decoding import Wished
from studio.models.sampling import Sample
from studio.models.spec import VariantSpec

if TYPE_CHECKING:
    from studio.context import Context

_CELL = 8
"""Pixels on a side of one latent cell."""

_LATENT_CHANNELS = 4

_AT_ONCE = Sample()


class Sampled(Protocol):
    """The fields of a request that SVD and SV3D both listen to (engines know no modes)."""

    @property
    def seed(self) -> int: ...
    @property
    def frames(self) -> int: ...
    @property
    def steps(self) -> int: ...
    @property
    def sampler(self) -> str: ...
    @property
    def guidance(self) -> str: ...
    @property
    def guidance_min(self) -> float: ...
    @property
    def guidance_max(self) -> float: ...
    @property
    def noise_augmentation(self) -> float: ...
    @property
    def decode(self) -> Wished: ...
    @property
    def decode_chunk(self) -> int: ...
    @property
    def export_fps(self) -> float: ...


class Wish(Sampled, Protocol):
    """The fields of an image-to-video request that this family listens to."""

    @property
    def width(self) -> int: ...
    @property
    def height(self) -> int: ...
    @property
    def motion_bucket(self) -> int: ...
    @property
    def conditioning_fps(self) -> int: ...


@dataclass(frozen=True)
class Conditioning:
    """What the UNet is told besides the noisy latents; fp32, B = 1, unscaled latent as in training. On the host."""

    embedding_B1C: torch.Tensor
    latent_BCHW: torch.Tensor
    added_ids_BN: torch.Tensor
    """Raw numbers; for a UNet that is told something of every frame (SV3D_p) embedded ones, (B, T, N)."""


class Network:
    """The UNet as a function (c_in x, c_noise) -> v, guided per frame; what a denoiser is made of.

    Guidance acts on v, which is the same as on the denoised sample: both branches share c_skip x. With a largest weight
    of 1 or less there is no unconditional branch.

    Args:
        conditions: on any device.
        guider: one of `guidance.GUIDERS`.
        how: which of the ways that differ by rounding alone.
        exact_savings: computes what is constant over the run once (`studio.engines.exact`).
    """

    def __init__(
        self,
        unet: nn.Module,
        conditions: Conditioning,
        frames: int,
        guidance_min: float,
        guidance_max: float,
        *,
        guider: str = "linear",
        how: Sample = _AT_ONCE,
        exact_savings: bool = True,
    ) -> None:
        assert how.ff_rows is None or exact_savings, "only rewritten feed-forwards take rows at a time"
        self._unet = unet
        guided = guidance_max > 1
        self._weights_T = guidance.GUIDERS[guider](guidance_min, guidance_max, frames) if guided else None
        context = conditions.embedding_B1C
        latent = conditions.latent_BCHW
        ids = conditions.added_ids_BN
        if self._weights_T is not None:
            # Only the picture is withheld from the unconditional branch; its numbers stay.
            context = torch.cat([torch.zeros_like(context), context])
            latent = torch.cat([torch.zeros_like(latent), latent])
            ids = torch.cat([ids, ids])
        first = next(unet.parameters())
        context, latent = (t.to(first) for t in (context, latent))
        ids = ids.to(first.device)
        if exact_savings:
            exact.rewrite(unet)
            prepared = exact.prepare(unet, context, ids, frames, ff_rows=how.ff_rows)
        name = "vector" if isinstance(unet, PerFrameUNet) else "added_time_ids"
        self._calls: list[tuple[torch.Tensor, dict[str, Any]]] = []
        for some in [slice(None)] if how.branches_at_once else [slice(i, i + 1) for i in range(len(ids))]:
            told: dict[str, Any] = {"encoder_hidden_states": context[some], name: ids[some]}
            if exact_savings:
                told = {"encoder_hidden_states": prepared[some]}
            self._calls.append((latent[some, None].expand(-1, frames, -1, -1, -1), told))

    def __call__(self, scaled_BTCHW: torch.Tensor, c_noise: torch.Tensor) -> torch.Tensor:
        """v, fp32 (1, T, C, h, w)."""
        v_BTCHW = self.branches(scaled_BTCHW, c_noise)
        if self._weights_T is None:
            return v_BTCHW
        uncond_BTCHW, cond_BTCHW = v_BTCHW.chunk(2)
        return guidance.guided(uncond_BTCHW, cond_BTCHW, self._weights_T)

    def branches(self, scaled_BTCHW: torch.Tensor, c_noise: torch.Tensor) -> torch.Tensor:
        """v of each branch, not mixed: fp32 (B, T, C, h, w)."""
        return torch.cat([self._v(latent, told, scaled_BTCHW, c_noise) for latent, told in self._calls])

    def _v(
        self, latent_BTCHW: torch.Tensor, told: dict[str, Any], scaled_BTCHW: torch.Tensor, c_noise: torch.Tensor
    ) -> torch.Tensor:
        x_BTCHW = scaled_BTCHW.to(latent_BTCHW.dtype).expand(len(latent_BTCHW), -1, -1, -1, -1)
        x_BTCHW = torch.cat([x_BTCHW, latent_BTCHW], dim=2)
        return self._unet(x_BTCHW, c_noise, **told, return_dict=False)[0].float()


def schedule(spec: VariantSpec, steps: int) -> torch.Tensor:
    """fp32 (steps + 1,) on the CPU: the noise levels that the variant was trained for."""
    facts = spec.facts
    return sigmas.karras(steps, sigma_min=facts["sigma_min"], sigma_max=facts["sigma_max"], rho=facts["rho"])


def starting_noise(request: Wish, levels: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """fp32 (1, T, C, h, w) on the CPU: where sampling starts."""
    cells = (request.height // _CELL, request.width // _CELL)
    return sigmas.initial_noise(
        torch.randn(1, request.frames, _LATENT_CHANNELS, *cells, generator=generator), levels[0]
    )


class Steps(Protocol):
    """Latents on their way from noise, on the host, and how many steps they have behind them."""

    x_BTCHW: torch.Tensor
    denoised_BTCHW: torch.Tensor
    done: int

    def state(self) -> dict[str, np.ndarray]:
        """All that is needed to go on, as arrays by name."""
        ...


def reporting(sampling: Steps, spec: VariantSpec, request: Wish, ctx: Context, before: int, total: int) -> OnStep:
    """Brings `sampling` up to date after each step, keeps it and reports it.

    Args:
        before: steps of the job that were finished before this sampling began, of `total`.
    """

    def on_step(done: int, x: torch.Tensor, denoised: torch.Tensor) -> None:
        # Copying to the host also waits for the device, without which progress would run ahead of the work.
        x, denoised = x.cpu(), denoised.cpu()
        if not bool(torch.isfinite(x).all()):
            raise StudioError(
                f"{spec.id} gave numbers that are not finite at step {done}.",
                "Lower guidance, or set precision to fp32.",
            )
        sampling.x_BTCHW, sampling.denoised_BTCHW, sampling.done = x, denoised, done
        ctx.keep(sampling.state())
        ctx.step(before + done, total, preview=lambda: Clip(latent_to_rgb(denoised[0]), request.export_fps))

    return on_step
