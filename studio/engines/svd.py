"""Stable Video Diffusion: diffusers' modules under our own sampling loop.

Shapes: B batch (1, or 2 with guidance: unconditional first), T frames, C channels, H x W pixels, h x w latent cells
(an eighth of a pixel row or column). Precision: the modules run in the device's; the VAE encodes in fp32 always;
the sampler's state, the schedule and all noise are fp32. Noise comes from one seeded generator on the CPU, the
picture's first, then the latents', so that a seed means the same on every device.
"""

from __future__ import annotations

import hashlib
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
from studio.engines.convert.load import load_component
from studio.engines.diffusers_folder import load_module
from studio.engines.networks import build, set_trained_eps
from studio.engines.out_of_memory import must_fit
from studio.engines.place import Report
from studio.engines.svd_decode import dtype_of, in_fp32
from studio.errors import StudioError
from studio.media.clip import Clip
from studio.models.decoding import Wished, choose_decode
from studio.models.installed import Installed
from studio.models.spec import VariantSpec

if TYPE_CHECKING:
    from studio.context import Context

COMPONENTS = ("image_encoder", "unet", "vae")

_CELL = 8
"""Pixels on a side of one latent cell."""

_LATENT_CHANNELS = 4


def load(component: str, installed: Installed, device: str, dtype: str, report: Report) -> nn.Module:
    """One of `COMPONENTS` with its weights on the device, from a diffusers folder or a single-file checkpoint.

    The UNet's res-block norms get the eps they were trained with.

    Raises:
        BadInput: the files are missing, damaged or of another class.
        DoesNotFit: memory ran out.
    """
    if installed.layout == "sgm":
        module = load_component(component, installed.root, device, dtype, report)
    else:
        weights = installed.weights[component]
        module = load_module(lambda config: build(component, config), weights, device, dtype, report)
    if component == "unet":
        set_trained_eps(module)
    return module


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
    """What the UNet is told besides the noisy latents; fp32, B = 1, unscaled latent as in training."""

    embedding_B1C: torch.Tensor
    latent_BCHW: torch.Tensor
    added_ids_BN: torch.Tensor


class Engine:
    """SVD, SVD-XT or SVD-XT 1.1: which one is data in `spec` and in the weights.

    Args:
        components: gives modules on the device by `use(*names, phase=...)`, a context manager of a tuple.
    """

    def __init__(self, spec: VariantSpec, components: Any) -> None:
        self._spec = spec
        self._components = components

    def animate(self, picture: np.ndarray, request: Wish, ctx: Context) -> Clip:
        """A clip that begins with the picture.

        Args:
            picture: uint8 (H, W, 3) of the request's size, which is a multiple of 64.
            request: with no None left in it.

        Raises:
            Cancelled: at most one sampling step or one decoded chunk after it was asked for.
            DoesNotFit: memory ran out.
            StudioError: the model gave numbers that are not finite, in fp32 too.
        """
        assert picture.shape == (request.height, request.width, 3), (picture.shape, request.height, request.width)
        generator = torch.Generator().manual_seed(request.seed)
        doing = f"{request.frames} frames of {request.width}x{request.height}"
        with torch.no_grad(), must_fit(doing, "Lower width and height, or frames."):
            conditions = self._encode(picture, request, generator, ctx)
            latent_TCHW = self._sample(conditions, request, generator, ctx)
            frames = self._decode(latent_TCHW, request, ctx)
        return Clip(frames, request.export_fps)

    def _encode(self, picture: np.ndarray, request: Wish, generator: torch.Generator, ctx: Context) -> Conditioning:
        """CLIP and the VAE see the same picture, the VAE with noise on it; what they gave for it before is recalled."""
        device, recall = self._components.device, self._components.recall
        pixels_BCHW = torch.tensor(picture).permute(2, 0, 1)[None].float() / 127.5 - 1
        noise_BCHW = torch.randn(pixels_BCHW.shape, generator=generator)
        noisy_BCHW = pixels_BCHW + request.noise_augmentation * noise_BCHW
        ctx.step(0, 2, "encode")
        embedding_BC = recall("image_encoder", _digest(pixels_BCHW), lambda: self._embed(pixels_BCHW))
        ctx.step(1, 2, "encode")
        latent_BCHW = recall("vae", _digest(noisy_BCHW), lambda: self._encode_picture(noisy_BCHW))
        ctx.step(2, 2, "encode")
        ids = conditioning.added_ids(request.conditioning_fps, request.motion_bucket, request.noise_augmentation)
        return Conditioning(embedding_BC[:, None].to(device), latent_BCHW.to(device), ids.to(device))

    def _embed(self, pixels_BCHW: torch.Tensor) -> torch.Tensor:
        with self._components.use("image_encoder", phase="encode") as (image_encoder,):
            seen_BCHW = clip_pixels(pixels_BCHW).to(self._components.device, dtype_of(image_encoder))
            return image_encoder(pixel_values=seen_BCHW).image_embeds.float().cpu()

    def _encode_picture(self, noisy_BCHW: torch.Tensor) -> torch.Tensor:
        with self._components.use("vae", phase="encode") as (vae,):
            return encode_mean(vae, noisy_BCHW.to(self._components.device)).cpu()

    def _sample(
        self, conditions: Conditioning, request: Wish, generator: torch.Generator, ctx: Context
    ) -> torch.Tensor:
        """Scaled latents, fp32 (T, C, h, w)."""
        facts = self._spec.facts
        schedule = sigmas.karras(
            request.steps, sigma_min=facts["sigma_min"], sigma_max=facts["sigma_max"], rho=facts["rho"]
        )
        cells = (request.height // _CELL, request.width // _CELL)
        noise_BTCHW = torch.randn(1, request.frames, _LATENT_CHANNELS, *cells, generator=generator)
        start_BTCHW = sigmas.initial_noise(noise_BTCHW, schedule[0]).to(self._components.device)

        noise = seeded_noise(request.seed, start_BTCHW)

        def on_step(done: int, x: torch.Tensor, denoised: torch.Tensor) -> None:
            # Reading one number also waits for the device, without which progress would run ahead of the work.
            if not bool(torch.isfinite(x).all()):
                raise StudioError(
                    f"{self._spec.id} gave numbers that are not finite at step {done}.",
                    "Lower guidance, or set precision to fp32.",
                )
            ctx.step(done, request.steps, preview=lambda: Clip(latent_to_rgb(denoised[0]), request.export_fps))

        with self._components.use("unet", phase="sample") as (unet,):
            ctx.step(0, request.steps)
            network = Network(
                unet,
                conditions,
                request.frames,
                request.guidance_min,
                request.guidance_max,
                guider=request.guidance,
                exact_savings=self._components.exact_savings,
            )
            sampler = SAMPLERS[request.sampler]
            return sampler(lambda x, sigma: denoise_v(network, x, sigma), start_BTCHW, schedule, on_step, noise=noise)[
                0
            ]

    def _decode(self, latent_TCHW: torch.Tensor, request: Wish, ctx: Context) -> np.ndarray:
        """uint8 (T, H, W, 3)."""
        with self._components.use("vae", phase="decode") as (vae,):
            how = choose_decode(
                request.decode,
                frames=request.frames,
                width=request.width,
                height=request.height,
                chunk=request.decode_chunk,
                value_bytes=dtype_of(vae).itemsize,
                free_bytes=self._components.free_bytes(),
            )
            return decode_clip(vae, latent_TCHW, how, ctx)


class Network:
    """The UNet as a function (c_in x, c_noise) -> v, guided per frame; what a denoiser is made of.

    Guidance acts on v, which is the same as on the denoised sample: both branches share c_skip x. With a largest weight
    of 1 or less there is no unconditional branch.

    Args:
        guider: one of `guidance.GUIDERS`.
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
        exact_savings: bool = True,
    ) -> None:
        self._unet = unet
        dtype = dtype_of(unet)
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
        self._latent_BTCHW = latent[:, None].repeat(1, frames, 1, 1, 1).to(dtype)
        self._told: dict[str, Any] = {"encoder_hidden_states": context.to(dtype), "added_time_ids": ids}
        if exact_savings:
            exact.rewrite(unet)
            self._told = {"encoder_hidden_states": exact.prepare(unet, context.to(dtype), ids, frames)}

    def __call__(self, scaled_BTCHW: torch.Tensor, c_noise: torch.Tensor) -> torch.Tensor:
        """v, fp32 (1, T, C, h, w)."""
        x_BTCHW = scaled_BTCHW.to(self._latent_BTCHW.dtype).expand(len(self._latent_BTCHW), -1, -1, -1, -1)
        x_BTCHW = torch.cat([x_BTCHW, self._latent_BTCHW], dim=2)
        v_BTCHW = self._unet(x_BTCHW, c_noise, **self._told, return_dict=False)[0].float()
        if self._weights_T is None:
            return v_BTCHW
        uncond_BTCHW, cond_BTCHW = v_BTCHW.chunk(2)
        return guidance.guided(uncond_BTCHW, cond_BTCHW, self._weights_T)


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
