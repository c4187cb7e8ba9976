"""SVD's UNet as a function, and what it is told: what the ways of making a clip with it have in common.

Shapes: B batch (1, or 2 with guidance: unconditional first), T frames, C channels, H x W pixels, h x w latent cells.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import torch
from torch import nn

from studio.diffusion import guidance, sigmas
from studio.engines import exact
from studio.engines.graphs import Recorded
from studio.engines.kernels import EAGER, Kernels
from studio.engines.shortcuts import Shortcuts
from studio.engines.sv3d_unet import PerFrameUNet
from studio.errors import BadInput
from studio.models.decoding import Wished
from studio.models.sampling import DISTILLED, Sample, unet_of

if TYPE_CHECKING:
    from studio.models.spec import VariantSpec

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
        how: which of the ways, most of which differ by rounding alone.
        exact_savings: computes what is constant over the run once (`studio.engines.exact`).
        levels: the schedule, fp32 (steps + 1,) on the CPU; an approximate way asks for it.
        kernels: how the exact savings' blocks compute.
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
        levels: torch.Tensor | None = None,
        kernels: Kernels = EAGER,
    ) -> None:
        assert how.ff_rows is None or exact_savings, "only rewritten feed-forwards take rows at a time"
        self.shortcuts = None
        if how.approximate is not None:
            assert levels is not None, "an approximate way asks for the noise levels"
            self.shortcuts = Shortcuts(how.approximate, levels)
        self._unet = unet if kernels.recorder is None else Recorded(unet, kernels.recorder)
        self.guided = guidance_max > 1
        self._weights_T = guidance.GUIDERS[guider](guidance_min, guidance_max, frames) if self.guided else None
        context = conditions.embedding_B1C
        latent = conditions.latent_BCHW
        ids = conditions.added_ids_BN
        if self._weights_T is not None:
            # Only the picture is withheld from the unconditional branch; its numbers stay.
            context = torch.cat([torch.zeros_like(context), context])
            latent = torch.cat([torch.zeros_like(latent), latent])
            ids = torch.cat([ids, ids])
        first = next(unet.parameters())
        if self._weights_T is not None:
            self._weights_T = self._weights_T.to(first.device)  # in the loop it would make the device wait
        context, latent = (t.to(first) for t in (context, latent))
        ids = ids.to(first.device)
        if exact_savings:
            exact.rewrite(unet)
            prepared = exact.prepare(unet, context, ids, frames, ff_rows=how.ff_rows, kernels=kernels)
        name = "vector" if isinstance(unet, PerFrameUNet) else "added_time_ids"
        reuses = how.approximate is not None and how.approximate.cache_every > 1
        assert exact_savings or not reuses, "only a rewritten UNet keeps what it reuses"

        def call(some: slice, kept: exact.Kept | None) -> _Call:
            told: dict[str, Any] = {"encoder_hidden_states": context[some], name: ids[some]}
            if exact_savings:
                told = {"encoder_hidden_states": prepared[some]}
            return _Call(latent[some, None].expand(-1, frames, -1, -1, -1), told, kept)

        parts = [slice(None)] if how.branches_at_once else [slice(i, i + 1) for i in range(len(ids))]
        self._calls = [call(some, exact.Kept() if reuses else None) for some in parts]
        self._told_of_the_picture = self._calls[-1:]
        if self.shortcuts is not None and len(ids) == 2 and how.branches_at_once:
            self._told_of_the_picture = [call(slice(1, 2), self._calls[0].kept)]

    def __call__(self, scaled_BTCHW: torch.Tensor, c_noise: torch.Tensor) -> torch.Tensor:
        """v, fp32 (1, T, C, h, w)."""
        if self._weights_T is None or (self.shortcuts is not None and not self.shortcuts.guided(c_noise)):
            return self._v(self._told_of_the_picture, scaled_BTCHW, c_noise)
        uncond_BTCHW, cond_BTCHW = self.branches(scaled_BTCHW, c_noise).chunk(2)
        return guidance.guided(uncond_BTCHW, cond_BTCHW, self._weights_T)

    def branches(self, scaled_BTCHW: torch.Tensor, c_noise: torch.Tensor) -> torch.Tensor:
        """v of each branch, not mixed: fp32 (B, T, C, h, w)."""
        return self._v(self._calls, scaled_BTCHW, c_noise)

    def resumable(self, step: int) -> bool:
        """True where another run of the same schedule can go on with that step and do what this one would: where the
        step needs nothing of the one before it."""
        return self.shortcuts is None or self.shortcuts.whole_at(step)

    @property
    def moved(self) -> list[float]:
        """By how much what is reused had changed from one whole evaluation to the next, relative (L2)."""
        return [share for call in self._calls if call.kept is not None for share in call.kept.moved]

    def _v(self, calls: list[_Call], scaled_BTCHW: torch.Tensor, c_noise: torch.Tensor) -> torch.Tensor:
        whole = self.shortcuts is None or self.shortcuts.whole(c_noise)
        found = []
        for latent_BTCHW, told, kept in calls:
            x_BTCHW = scaled_BTCHW.to(latent_BTCHW.dtype).expand(len(latent_BTCHW), -1, -1, -1, -1)
            x_BTCHW = torch.cat([x_BTCHW, latent_BTCHW], dim=2)
            if kept is not None:
                told = {"encoder_hidden_states": exact.Reusing(told["encoder_hidden_states"], kept, whole)}
            found.append(self._unet(x_BTCHW, c_noise, **told, return_dict=False)[0].float())
        return torch.cat(found)


class _Call(NamedTuple):
    """One call of the UNet: for one branch, or for all."""

    latent_BTCHW: torch.Tensor
    told: dict[str, Any]
    kept: exact.Kept | None


def schedule(spec: VariantSpec, request: Sampled) -> torch.Tensor:
    """fp32 (steps + 1,) on the CPU: the noise levels that the UNet which samples was trained for.

    Raises:
        BadInput: the UNet for few steps was trained at fewer levels, or the variant has none.
    """
    facts, steps = spec.facts, request.steps
    span = {name: facts[name] for name in ("sigma_min", "sigma_max", "rho")}
    if unet_of(request) != DISTILLED:
        return sigmas.karras(steps, **span)
    trained = facts.get("distilled_levels")
    if trained is None:
        raise BadInput(
            f"sampler: {spec.id} has no UNet for {request.sampler}.", "Choose another sampler.", field="sampler"
        )
    if steps > trained:
        raise BadInput(
            f"steps: {steps} is more than {request.sampler} takes ({trained}).",
            "Lower steps (4 will do), or choose another sampler.",
            field="steps",
        )
    return sigmas.every_so_many(steps, trained=trained, **span)


def starting_noise(request: Wish, levels: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """fp32 (1, T, C, h, w) on the CPU: where sampling starts."""
    cells = (request.height // _CELL, request.width // _CELL)
    return sigmas.initial_noise(
        torch.randn(1, request.frames, _LATENT_CHANNELS, *cells, generator=generator), levels[0]
    )
