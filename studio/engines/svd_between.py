"""In-betweening with SVD's own weights: a clip from one picture to another, and one that ends where it began.

Shapes: B batch, T frames, C channels, H x W pixels, h x w latent cells. Precision as in `studio.engines.svd_road`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
import torch

from studio.diffusion import conditioning
from studio.diffusion.bidirectional import Ends, Estimate, Estimates, vibid
from studio.diffusion.precondition import denoise_v
from studio.diffusion.samplers import seeded_noise
from studio.engines.kernels import kernels_for
from studio.engines.progress import reporting
from studio.engines.quantised import held_in
from studio.engines.shortcuts import tell
from studio.engines.svd_encode import Encoder, as_pixels
from studio.engines.svd_network import Conditioning, Network, Wish, schedule, starting_noise
from studio.engines.svd_road import Road
from studio.errors import BadInput
from studio.media.clip import Clip
from studio.models.sampling import Sample
from studio.models.wish import Changed

if TYPE_CHECKING:
    from studio.context import Context
    from studio.models.run import Run

Prior = Literal["vibid", "mpd"]

_DISTILLED = 0.5
"""Share of the steps that lay out the motion, by the first picture alone where the prior is ``mpd``: with 25 of them,
noise levels down to 23. Not tuned on real weights."""


class BetweenWish(Wish, Protocol):
    """The fields of a request for frames between two pictures. Guidance and sampler are not listened to."""

    @property
    def between_prior(self) -> Prior: ...


@dataclass
class _Sampling:
    """A clip between two pictures on its way from noise. fp32, on the host."""

    first: Conditioning
    last: Conditioning
    ends_2CHW: torch.Tensor
    """The scaled latents of the first and the last frame."""
    x_BTCHW: torch.Tensor
    denoised_BTCHW: torch.Tensor
    done: int = 0

    def state(self) -> dict[str, np.ndarray]:
        """The same as arrays by name."""
        tensors = {
            "embeddings": torch.cat([self.first.embedding_B1C, self.last.embedding_B1C]),
            "latents": torch.cat([self.first.latent_BCHW, self.last.latent_BCHW]),
            "added_ids": self.first.added_ids_BN,
            "ends": self.ends_2CHW,
            "x": self.x_BTCHW,
            "denoised": self.denoised_BTCHW,
        }
        return {name: t.numpy() for name, t in tensors.items()} | {"done": np.array(self.done)}

    @classmethod
    def of(cls, state: Mapping[str, np.ndarray] | None) -> _Sampling | None:
        """What `state` was made of, None where that was something else."""
        if state is None or not {"embeddings", "latents", "ends"} <= set(state):
            return None
        t = {name: torch.from_numpy(array) for name, array in state.items() if name != "done"}
        first, last = (
            Conditioning(t["embeddings"][i : i + 1], t["latents"][i : i + 1], t["added_ids"]) for i in (0, 1)
        )
        return cls(first, last, t["ends"], t["x"], t["denoised"], int(state["done"]))


class InBetween(Road):
    """What SVD's engine does with two pictures."""

    def bridge(self, first: np.ndarray, last: np.ndarray, request: BetweenWish, ctx: Context) -> Clip:
        """A clip of `request.frames` frames that begins with one picture and ends with another.

        Where memory runs out or the process dies it goes on after the last whole step, as `animate` does.

        Args:
            first, last: uint8 (H, W, 3) of the request's size, which is a multiple of 64.
            request: with no None left in it.

        Raises:
            Cancelled: at most one sampling step or one decoded chunk after it was asked for.
            DoesNotFit: memory ran out in the leanest way too.
            StudioError: the model gave numbers that are not finite, in fp32 too.
        """
        for picture in (first, last):
            assert picture.shape == (request.height, request.width, 3), (picture.shape, request.height, request.width)
        run = self._components.start(Changed(request, both_ways=True, windows=1), ctx)
        with torch.no_grad():
            sampling = _Sampling.of(ctx.kept()) or self._ends(first, last, request, run, ctx)
            if sampling.done < request.steps:
                fresh = sampling.done == 0
                run.phase("sample", lambda way: self._meet(sampling, request, way.choice, ctx), whole=fresh)
            frames = run.phase("decode", lambda way: self._decode(sampling.x_BTCHW[0], way.choice, ctx))
        return Clip(frames, request.export_fps)

    def loop(self, picture: np.ndarray, request: BetweenWish, ctx: Context) -> Clip:
        """A closed clip that begins with the picture and comes back to it: one frame less than `request.frames`.

        It is the bridge from the picture to itself without the last frame, which is the first one again.

        Raises:
            BadInput: fewer than 3 frames, of which nothing could move.
        """
        if request.frames < 3:
            raise BadInput(f"frames: {request.frames} is too few for a loop.", "Take 3 or more.", field="frames")
        clip = self.bridge(picture, picture, request, ctx)
        return Clip(clip.frames[:-1], clip.fps, closed=True)

    def _ends(self, first: np.ndarray, last: np.ndarray, request: BetweenWish, run: Run, ctx: Context) -> _Sampling:
        """Before the first step. Both pictures get the same noise, so that the ends of a loop are told the same."""
        generator = torch.Generator().manual_seed(request.seed)
        pictures = [first] if np.array_equal(first, last) else [first, last]
        encoder = Encoder(self._components, run, ctx, total=3 * len(pictures))
        ids = conditioning.added_ids(request.conditioning_fps, request.motion_bucket, request.noise_augmentation)
        noise_BCHW = torch.randn(as_pixels(first).shape, generator=generator)
        told, ends = [], []
        for pixels_BCHW in map(as_pixels, pictures):
            noisy_BCHW = pixels_BCHW + request.noise_augmentation * noise_BCHW
            told.append(Conditioning(encoder.embedding(pixels_BCHW), encoder.latent(noisy_BCHW), ids))
            ends.append(encoder.latent(pixels_BCHW) * encoder.scaling())
        x_BTCHW = starting_noise(request, schedule(self._spec, request), generator)
        return _Sampling(told[0], told[-1], torch.cat([ends[0], ends[-1]]), x_BTCHW, denoised_BTCHW=x_BTCHW)

    def _meet(self, sampling: _Sampling, request: BetweenWish, how: Sample, ctx: Context) -> None:
        """`sampling` is at its last step. It is brought up to date after each step, which is two of the network's."""
        device, steps = self._components.device, request.steps
        with self._components.use("unet", phase="sample") as (unet,):
            unet = held_in(how.quantise, unet, ctx)
            ctx.step(sampling.done, steps)
            levels, kernels = schedule(self._spec, request), kernels_for(self._components, ctx, "the UNet")
            # Any guidance above 1 makes both branches; none is applied. Each end keeps what it reuses itself.
            first, last = (
                Network(
                    unet,
                    conditions,
                    request.frames,
                    1,
                    2,
                    how=how,
                    exact_savings=self._components.exact_savings,
                    levels=levels,
                    kernels=kernels,
                )
                for conditions in (sampling.first, sampling.last)
            )
            x_BTCHW = sampling.x_BTCHW.to(device)
            told = (0, steps, first.resumable)
            with reporting(sampling, self._spec, request, ctx, *told, kernels=kernels) as on_step:
                vibid(
                    _estimate(first),
                    _estimate(last),
                    Ends(*sampling.ends_2CHW.to(device).split(1)),
                    x_BTCHW,
                    levels,
                    on_step,
                    sampling.done,
                    noise=seeded_noise(request.seed, x_BTCHW),
                    distilled=round(_DISTILLED * steps) if request.between_prior == "mpd" else 0,
                )
            tell(first.shortcuts, [*first.moved, *last.moved], ctx, guided=False)


def _estimate(network: Network) -> Estimate:
    return lambda x, sigma: Estimates(*denoise_v(network.branches, x, sigma).chunk(2))
