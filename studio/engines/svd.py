"""Stable Video Diffusion: diffusers' modules under our own sampling loop.

Shapes: B batch (1, or 2 with guidance: unconditional first), T frames, C channels, H x W pixels, h x w latent cells
(an eighth of a pixel row or column). Precision: the modules run in the device's; the VAE encodes in fp32 always;
the sampler's state, the schedule and all noise are fp32. Noise comes from one seeded generator on the CPU, the
picture's first, then the latents', so that a seed means the same on every device.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import nn
from transformers import CLIPImageProcessorPil

from studio.diffusion import conditioning, guidance, sigmas
from studio.diffusion.precondition import denoise_v
from studio.diffusion.preview import latent_to_rgb
from studio.diffusion.samplers import SAMPLERS, seeded_noise
from studio.engines import exact
from studio.engines.clip_decode import decode_clip
from studio.engines.svd_decode import dtype_of, in_fp32
from studio.engines.svd_weights import open_weights as open_weights
from studio.errors import StudioError
from studio.media.clip import Clip
from studio.models.decoding import Decode, Wished
from studio.models.sampling import Sample
from studio.models.spec import VariantSpec

if TYPE_CHECKING:
    from studio.context import Context
    from studio.models.run import Run

COMPONENTS = ("image_encoder", "unet", "vae")

_CELL = 8
"""Pixels on a side of one latent cell."""

_LATENT_CHANNELS = 4

_AT_ONCE = Sample()


class Wish(Protocol):
    """The fields of an image-to-video request that this family listens to (engines know no modes)."""

    @property
    def seed(self) -> int: ...
    @property
    def width(self) -> int: ...
    @property
    def height(self) -> int: ...
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
    def motion_bucket(self) -> int: ...
    @property
    def conditioning_fps(self) -> int: ...
    @property
    def decode(self) -> Wished: ...
    @property
    def decode_chunk(self) -> int: ...
    @property
    def export_fps(self) -> float: ...


@dataclass(frozen=True)
class Conditioning:
    """What the UNet is told besides the noisy latents; fp32, B = 1, unscaled latent as in training. On the host."""

    embedding_B1C: torch.Tensor
    latent_BCHW: torch.Tensor
    added_ids_BN: torch.Tensor


@dataclass
class Sampling:
    """A clip's latents on their way from noise: all that is needed to go on after any step. fp32, on the host.

    Every random number that is still to come is a function of the seed and the step.
    """

    conditions: Conditioning
    x_BTCHW: torch.Tensor
    denoised_BTCHW: torch.Tensor
    """The last step's estimate; before the first one, anything of its shape."""
    done: int = 0

    def state(self) -> dict[str, np.ndarray]:
        """The same as arrays by name."""
        told = self.conditions
        tensors = {
            "embedding": told.embedding_B1C,
            "latent": told.latent_BCHW,
            "added_ids": told.added_ids_BN,
            "x": self.x_BTCHW,
            "denoised": self.denoised_BTCHW,
        }
        return {name: t.numpy() for name, t in tensors.items()} | {"done": np.array(self.done)}

    @classmethod
    def of(cls, state: Mapping[str, np.ndarray] | None) -> Sampling | None:
        """What `state` was made of, None where that was something else: the painting of a keyframe, say."""
        if state is None or not {"embedding", "latent", "added_ids"} <= set(state):
            return None
        t = {name: torch.from_numpy(array) for name, array in state.items() if name != "done"}
        conditions = Conditioning(t["embedding"], t["latent"], t["added_ids"])
        return cls(conditions, t["x"], t["denoised"], int(state["done"]))


class Engine:
    """SVD, SVD-XT or SVD-XT 1.1: which one is data in `spec` and in the weights.

    Args:
        components: gives modules on the device by `use(*names, phase=...)`, a context manager of a tuple, and the plan
            of a request by `start(request, ctx)` (see `studio.models.components`).
    """

    def __init__(self, spec: VariantSpec, components: Any) -> None:
        self._spec = spec
        self._components = components

    def animate(self, picture: np.ndarray, request: Wish, ctx: Context) -> Clip:
        """A clip that begins with the picture.

        Where memory runs out the work goes on in a leaner way, after the last step that was finished; where the
        process died, a new one goes on from what this one kept.

        Args:
            picture: uint8 (H, W, 3) of the request's size, which is a multiple of 64.
            request: with no None left in it.

        Raises:
            Cancelled: at most one sampling step or one decoded chunk after it was asked for.
            DoesNotFit: memory ran out in the leanest way too.
            StudioError: the model gave numbers that are not finite, in fp32 too.
        """
        assert picture.shape == (request.height, request.width, 3), (picture.shape, request.height, request.width)
        run = self._components.start(request, ctx)
        with torch.no_grad():
            sampling = Sampling.of(ctx.kept()) or self._begin(picture, request, run, ctx)
            if sampling.done < request.steps:
                fresh = sampling.done == 0
                run.phase("sample", lambda way: self._sample(sampling, request, way.choice, ctx), whole=fresh)
            latent_TCHW = sampling.x_BTCHW[0]
            frames = run.phase("decode", lambda way: self._decode(latent_TCHW, way.choice, ctx))
        return Clip(frames, request.export_fps)

    def _begin(self, picture: np.ndarray, request: Wish, run: Run, ctx: Context) -> Sampling:
        """Before the first step. CLIP and the VAE see the same picture, the VAE with noise on it; what they gave for it
        before is recalled, and then nothing needs to be on the device."""
        generator = torch.Generator().manual_seed(request.seed)
        recall = self._components.recall
        pixels_BCHW = torch.tensor(picture).permute(2, 0, 1)[None].float() / 127.5 - 1
        noise_BCHW = torch.randn(pixels_BCHW.shape, generator=generator)
        noisy_BCHW = pixels_BCHW + request.noise_augmentation * noise_BCHW
        ctx.step(0, 2, "encode")
        embedding_BC = recall(
            "image_encoder",
            _digest(pixels_BCHW),
            lambda: run.phase("encode", lambda way: self._embed(pixels_BCHW), whole=False),
        )
        ctx.step(1, 2, "encode")
        latent_BCHW = recall(
            "vae",
            _digest(noisy_BCHW),
            lambda: run.phase("encode", lambda way: self._encode_picture(noisy_BCHW), whole=False),
        )
        ctx.step(2, 2, "encode")
        ids = conditioning.added_ids(request.conditioning_fps, request.motion_bucket, request.noise_augmentation)
        conditions = Conditioning(embedding_BC[:, None], latent_BCHW, ids)
        cells = (request.height // _CELL, request.width // _CELL)
        noise_BTCHW = torch.randn(1, request.frames, _LATENT_CHANNELS, *cells, generator=generator)
        x_BTCHW = sigmas.initial_noise(noise_BTCHW, self._schedule(request)[0])
        return Sampling(conditions, x_BTCHW, denoised_BTCHW=x_BTCHW)

    def _embed(self, pixels_BCHW: torch.Tensor) -> torch.Tensor:
        with self._components.use("image_encoder", phase="encode") as (image_encoder,):
            seen_BCHW = clip_pixels(pixels_BCHW).to(self._components.device, dtype_of(image_encoder))
            return image_encoder(pixel_values=seen_BCHW).image_embeds.float().cpu()

    def _encode_picture(self, noisy_BCHW: torch.Tensor) -> torch.Tensor:
        with self._components.use("vae", phase="encode") as (vae,):
            return encode_mean(vae, noisy_BCHW.to(self._components.device)).cpu()

    def _schedule(self, request: Wish) -> torch.Tensor:
        facts = self._spec.facts
        return sigmas.karras(
            request.steps, sigma_min=facts["sigma_min"], sigma_max=facts["sigma_max"], rho=facts["rho"]
        )

    def _sample(self, sampling: Sampling, request: Wish, how: Sample, ctx: Context) -> None:
        """`sampling` is at its last step: x has become the scaled latents. It is brought up to date after each step."""
        device = self._components.device

        def on_step(done: int, x: torch.Tensor, denoised: torch.Tensor) -> None:
            # Copying to the host also waits for the device, without which progress would run ahead of the work.
            x, denoised = x.cpu(), denoised.cpu()
            if not bool(torch.isfinite(x).all()):
                raise StudioError(
                    f"{self._spec.id} gave numbers that are not finite at step {done}.",
                    "Lower guidance, or set precision to fp32.",
                )
            sampling.x_BTCHW, sampling.denoised_BTCHW, sampling.done = x, denoised, done
            ctx.keep(sampling.state())
            ctx.step(done, request.steps, preview=lambda: Clip(latent_to_rgb(denoised[0]), request.export_fps))

        with self._components.use("unet", phase="sample") as (unet,):
            ctx.step(sampling.done, request.steps)
            network = Network(
                unet,
                sampling.conditions,
                request.frames,
                request.guidance_min,
                request.guidance_max,
                guider=request.guidance,
                how=how,
                exact_savings=self._components.exact_savings,
            )
            x_BTCHW = sampling.x_BTCHW.to(device)
            SAMPLERS[request.sampler](
                lambda x, sigma: denoise_v(network, x, sigma),
                x_BTCHW,
                self._schedule(request),
                on_step,
                sampling.done,
                previous=sampling.denoised_BTCHW.to(device),
                noise=seeded_noise(request.seed, x_BTCHW),
            )

    def _decode(self, latent_TCHW: torch.Tensor, how: Decode, ctx: Context) -> np.ndarray:
        """uint8 (T, H, W, 3)."""
        with self._components.use("vae", phase="decode") as (vae,):
            return decode_clip(vae, latent_TCHW.to(self._components.device), how, ctx)


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
        self._calls: list[tuple[torch.Tensor, dict[str, Any]]] = []
        for some in [slice(None)] if how.branches_at_once else [slice(i, i + 1) for i in range(len(ids))]:
            told: dict[str, Any] = {"encoder_hidden_states": context[some], "added_time_ids": ids[some]}
            if exact_savings:
                told = {"encoder_hidden_states": prepared[some]}
            self._calls.append((latent[some, None].expand(-1, frames, -1, -1, -1), told))

    def __call__(self, scaled_BTCHW: torch.Tensor, c_noise: torch.Tensor) -> torch.Tensor:
        """v, fp32 (1, T, C, h, w)."""
        v_BTCHW = torch.cat([self._v(latent, told, scaled_BTCHW, c_noise) for latent, told in self._calls])
        if self._weights_T is None:
            return v_BTCHW
        uncond_BTCHW, cond_BTCHW = v_BTCHW.chunk(2)
        return guidance.guided(uncond_BTCHW, cond_BTCHW, self._weights_T)

    def _v(
        self, latent_BTCHW: torch.Tensor, told: dict[str, Any], scaled_BTCHW: torch.Tensor, c_noise: torch.Tensor
    ) -> torch.Tensor:
        x_BTCHW = scaled_BTCHW.to(latent_BTCHW.dtype).expand(len(latent_BTCHW), -1, -1, -1, -1)
        x_BTCHW = torch.cat([x_BTCHW, latent_BTCHW], dim=2)
        return self._unet(x_BTCHW, c_noise, **told, return_dict=False)[0].float()


def clip_pixels(pixels_BCHW: torch.Tensor) -> torch.Tensor:
    """What CLIP is given for pixels in [-1, 1]: 224 x 224, with CLIP's mean taken off and divided by its deviation.

    The PIL-backed processor is named outright: the other needs torchvision (transformers 5.23), and all that is
    left for it here is that normalisation.
    """
    zero_to_one = (conditioning.clip_resize(pixels_BCHW) + 1) / 2
    processor = CLIPImageProcessorPil(
        do_resize=False, do_center_crop=False, do_rescale=False, do_convert_rgb=False, do_normalize=True
    )
    return processor(images=list(zero_to_one.numpy()), return_tensors="pt").pixel_values


def encode_mean(vae: nn.Module, pixels_BCHW: torch.Tensor) -> torch.Tensor:
    """The posterior's mean for pixels in [-1, 1]: fp32 (B, C, h, w), not scaled; computed in fp32."""
    encoder, quant_conv = in_fp32(vae.encoder), in_fp32(vae.quant_conv)
    mean_BCHW, _ = quant_conv(encoder(pixels_BCHW.float())).chunk(2, dim=1)
    return mean_BCHW


def _digest(pixels_BCHW: torch.Tensor) -> str:
    """Names a picture by its content: fp32 pixels and their shape."""
    return hashlib.sha256(repr(tuple(pixels_BCHW.shape)).encode() + pixels_BCHW.numpy().tobytes()).hexdigest()
