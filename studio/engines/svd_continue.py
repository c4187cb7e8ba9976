"""Going on with a clip with SVD's own weights: its last frames are pinned while new ones are sampled after them.

Window after window of the length that SVD knows; each begins with the last frames of the one before it, as latents that
were never decoded in between. Shapes: B batch, T frames, C channels, H x W pixels, h x w latent cells.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch

from studio.diffusion import conditioning, sigmas
from studio.diffusion.continuation import Look, matched, pinned
from studio.diffusion.precondition import denoise_v
from studio.diffusion.samplers import SAMPLERS, seeded_noise
from studio.engines.kernels import kernels_for
from studio.engines.progress import reporting
from studio.engines.quantised import held_in
from studio.engines.shortcuts import tell
from studio.engines.svd_encode import Encoder, as_pixels
from studio.engines.svd_network import Conditioning, Network, Wish, schedule
from studio.engines.svd_road import Road
from studio.errors import BadInput
from studio.media.clip import Clip
from studio.media.seam import joined
from studio.models.decoding import Decode
from studio.models.sampling import Sample, unet_of

if TYPE_CHECKING:
    from studio.context import Context, Preview
    from studio.models.run import Run


class ContinueWish(Wish, Protocol):
    """The fields of a request for more of a clip; `frames` is the length of a window, its pinned frames included.

    Noise augmentation is not listened to: a window begins with a latent, which is clean, and SVD is told so.
    """

    @property
    def overlap(self) -> int: ...
    @property
    def windows(self) -> int: ...


@dataclass
class _Sampling:
    """A clip that is gone on with, and its window that is on its way from noise. fp32, on the host."""

    embedding_B1C: torch.Tensor
    """CLIP's of the clip's first frame: what all windows are to look like."""
    look: Look
    scaling: float
    """Of the latents."""
    made_TCHW: torch.Tensor
    """The scaled latents of the first window's pinned frames, and of all frames made since."""
    x_BTCHW: torch.Tensor
    denoised_BTCHW: torch.Tensor
    window: int = 0
    done: int = 0
    """Steps of this window."""

    def state(self) -> dict[str, np.ndarray]:
        """The same as arrays by name."""
        tensors = {
            "embedding": self.embedding_B1C,
            "look": torch.stack(self.look),
            "made": self.made_TCHW,
            "x": self.x_BTCHW,
            "denoised": self.denoised_BTCHW,
        }
        numbers = {"scaling": self.scaling, "window": self.window, "done": self.done}
        return {name: t.numpy() for name, t in tensors.items()} | {k: np.array(n) for k, n in numbers.items()}

    @classmethod
    def of(cls, state: Mapping[str, np.ndarray] | None) -> _Sampling | None:
        """What `state` was made of, None where that was something else."""
        if state is None or not {"embedding", "look", "made"} <= set(state):
            return None
        t = {name: torch.from_numpy(array) for name, array in state.items() if array.ndim}
        look, scaling = Look(*t["look"]), float(state["scaling"])
        numbers = int(state["window"]), int(state["done"])
        return cls(t["embedding"], look, scaling, t["made"], t["x"], t["denoised"], *numbers)


class Continuing(Road):
    """What SVD's engine does with the beginning of a clip."""

    def extend(self, frames: np.ndarray, request: ContinueWish, ctx: Context) -> Clip:
        """The given frames and, for each window, `request.frames - request.overlap` more.

        The last `request.overlap` of the given frames are pinned: in each step their clean latents stand in the place
        of the estimate, so that what moves goes on moving. There the given frames fade into what the VAE makes of them,
        and likewise where two windows meet. The latents of the new frames are given the mean and deviation that those
        of the given frames have in each channel. Where memory runs out or the process dies it goes on as `animate`
        does.

        Args:
            frames: uint8 (T, H, W, 3) of the request's size, which is a multiple of 64; fewer than the overlap will do.
            request: with no None left in it.

        Raises:
            BadInput: the overlap leaves no room for a new frame.
            Cancelled: at most one sampling step or one decoded chunk after it was asked for.
            DoesNotFit: memory ran out in the leanest way too.
            StudioError: the model gave numbers that are not finite, in fp32 too.
        """
        assert frames.shape[1:] == (request.height, request.width, 3), (frames.shape, request.height, request.width)
        if request.overlap >= request.frames:
            raise BadInput(
                f"overlap: {request.overlap} of a window's {request.frames} frames leave none to make.",
                f"Take {request.frames - 1} or less, or raise frames.",
                field="overlap",
            )
        known = min(request.overlap, len(frames))
        run = self._components.start(request, ctx)
        with torch.no_grad():
            sampling = _Sampling.of(ctx.kept()) or self._known(frames, known, request, run, ctx)
            if sampling.window < request.windows:
                fresh = sampling.window == sampling.done == 0
                run.phase("sample", lambda way: self._go_on(sampling, known, request, way.choice, ctx), whole=fresh)
            decoded: list[np.ndarray] = []
            run.phase("decode", lambda way: self._decode_windows(sampling, known, request, way.choice, decoded, ctx))
        return Clip(reduce(lambda clip, more: joined(clip, more, known), decoded, frames), request.export_fps)

    def _known(self, frames: np.ndarray, known: int, request: ContinueWish, run: Run, ctx: Context) -> _Sampling:
        """Before the first step: the last frames, a window at most, are encoded one by one."""
        last = frames[-request.frames :]
        encoder = Encoder(self._components, run, ctx, total=1 + len(last))
        embedding_B1C = encoder.embedding(as_pixels(frames[0]))
        scaling = encoder.scaling()
        latent_TCHW = torch.cat([encoder.latent(as_pixels(frame)) for frame in last]) * scaling
        x_BTCHW = self._noise(latent_TCHW, 0, request)
        made_TCHW = latent_TCHW[-known:]
        return _Sampling(embedding_B1C, Look.of(latent_TCHW), scaling, made_TCHW, x_BTCHW, denoised_BTCHW=x_BTCHW)

    def _noise(self, latent_TCHW: torch.Tensor, window: int, request: ContinueWish) -> torch.Tensor:
        """Where that window's sampling starts; steps count upwards from 0, windows downwards from -1."""
        like = torch.empty(1, request.frames, *latent_TCHW.shape[1:])
        return sigmas.initial_noise(seeded_noise(request.seed, like)(-1 - window), schedule(self._spec, request)[0])

    def _go_on(self, sampling: _Sampling, known: int, request: ContinueWish, how: Sample, ctx: Context) -> None:
        """`sampling` has all windows behind it. It is brought up to date after each step."""
        device, steps = self._components.device, request.steps
        ids = conditioning.added_ids(request.conditioning_fps, request.motion_bucket, 0.0)
        with self._components.use(unet_of(request), phase="sample") as (unet,):
            unet = held_in(how.quantise, unet, ctx)
            ctx.step(sampling.window * steps + sampling.done, request.windows * steps)
            levels, moved = schedule(self._spec, request), []
            kernels = kernels_for(self._components, ctx, "the UNet")
            while sampling.window < request.windows:
                before, known_TCHW = sampling.window * steps, sampling.made_TCHW[-known:]
                network = Network(
                    unet,
                    Conditioning(sampling.embedding_B1C, known_TCHW[:1] / sampling.scaling, ids),
                    request.frames,
                    request.guidance_min,
                    request.guidance_max,
                    guider=request.guidance,
                    how=how,
                    exact_savings=self._components.exact_savings,
                    levels=levels,
                    kernels=kernels,
                )
                x_BTCHW = sampling.x_BTCHW.to(device)
                noise = seeded_noise(request.seed, x_BTCHW)
                denoise = pinned(
                    lambda x, sigma, network=network: denoise_v(network, x, sigma), known_TCHW[None].to(device)
                )
                told = (before, request.windows * steps, network.resumable)
                with reporting(sampling, self._spec, request, ctx, *told, kernels=kernels) as on_step:
                    SAMPLERS[request.sampler](
                        denoise,
                        x_BTCHW,
                        levels,
                        on_step,
                        sampling.done,
                        previous=sampling.denoised_BTCHW.to(device),
                        noise=lambda step, noise=noise, before=before: noise(before + step),
                    )
                new_TCHW = matched(torch.cat([known_TCHW, sampling.x_BTCHW[0, known:]]), sampling.look, known)[known:]
                sampling.made_TCHW = torch.cat([sampling.made_TCHW, new_TCHW])
                sampling.window, sampling.done = sampling.window + 1, 0
                sampling.x_BTCHW = sampling.denoised_BTCHW = self._noise(new_TCHW, sampling.window, request)
                ctx.keep(sampling.state())
                moved += network.moved
            tell(network.shortcuts, moved, ctx, guided=network.guided)

    def _decode_windows(
        self,
        sampling: _Sampling,
        known: int,
        request: ContinueWish,
        how: Decode,
        decoded: list[np.ndarray],
        ctx: Context,
    ) -> None:
        """`decoded` has every window's frames, uint8 (T, H, W, 3): those that were pinned in it, then its own."""
        for window in range(len(decoded), request.windows):
            start = window * (request.frames - known)
            latent_TCHW = sampling.made_TCHW[start : start + request.frames]
            decoded.append(self._decode(latent_TCHW, how, _Part(ctx, window, request.windows)))


class _Part:
    """A context for one of several equal parts of a stage, which counts them as one."""

    def __init__(self, ctx: Context, part: int, parts: int) -> None:
        self._ctx, self._part, self._parts = ctx, part, parts
        self.check, self.notice = ctx.check, ctx.notice

    def step(self, done: int, total: int, stage: str = "sample", preview: Preview | None = None) -> None:
        self._ctx.step(self._part * total + done, self._parts * total, stage, preview)
