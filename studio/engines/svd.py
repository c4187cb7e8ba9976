"""Stable Video Diffusion: diffusers' modules under our own sampling loop.

Shapes: B batch (1, or 2 with guidance: unconditional first), T frames, C channels, H x W pixels, h x w latent cells
(an eighth of a pixel row or column). Precision: the modules run in the device's; the VAE encodes in fp32 always;
the sampler's state, the schedule and all noise are fp32. Noise comes from one seeded generator on the CPU, the
picture's first, then the latents', so that a seed means the same on every device.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from diffusers import AutoencoderKLTemporalDecoder, UNetSpatioTemporalConditionModel
from torch import nn
from transformers import CLIPImageProcessorPil, CLIPVisionConfig, CLIPVisionModelWithProjection

from studio.diffusion import conditioning, guidance, sigmas
from studio.diffusion.precondition import denoise_v
from studio.diffusion.preview import latent_to_rgb
from studio.diffusion.samplers import euler
from studio.engines.diffusers_folder import Report, load_module
from studio.engines.out_of_memory import must_fit
from studio.engines.svd_decode import decode_frames, dtype_of, in_fp32
from studio.errors import BadInput, StudioError
from studio.media.clip import Clip
from studio.models.installed import Installed
from studio.models.spec import VariantSpec

if TYPE_CHECKING:
    from studio.context import Context

COMPONENTS = ("image_encoder", "unet", "vae")

_CELL = 8
"""Pixels on a side of one latent cell."""

_LATENT_CHANNELS = 4


def load(component: str, installed: Installed, device: str, dtype: str, report: Report) -> nn.Module:
    """One of `COMPONENTS` with its weights on the device.

    The UNet's res-block norms get the eps they were trained with.

    Raises:
        BadInput: the files are missing, damaged or of another class.
        DoesNotFit: memory ran out.
    """
    if installed.layout != "diffusers":
        raise BadInput(f"{installed.root.name} is a single-file checkpoint; {installed.variant} is read from a folder.")
    module = load_module(lambda config: build(component, config), installed.weights[component], device, dtype, report)
    if component == "unet":
        set_trained_eps(module)
    return module


def build(component: str, config: dict[str, Any]) -> nn.Module:
    """One of `COMPONENTS` as its ``config.json`` describes it, on whatever device is torch's default."""
    if component == "image_encoder":
        return CLIPVisionModelWithProjection(CLIPVisionConfig.from_dict(config))
    classes = {"unet": UNetSpatioTemporalConditionModel, "vae": AutoencoderKLTemporalDecoder}
    return classes[component].from_config(config)


def set_trained_eps(unet: nn.Module) -> None:
    """Sets the eps of all res-block norms to 1e-5, as SVD was trained.

    diffusers 0.42.1 makes it 1e-6 in blocks with attention and in all up blocks, which costs some 3e-4 in the
    final latents.
    """
    for name, module in unet.named_modules():
        if isinstance(module, nn.GroupNorm) and "res_block.norm" in name:
            module.eps = 1e-5


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
            with self._components.use("vae", phase="decode") as (vae,):
                frames = decode_frames(vae, latent_TCHW, request.decode_chunk, ctx)
        return Clip(frames, request.export_fps)

    def _encode(self, picture: np.ndarray, request: Wish, generator: torch.Generator, ctx: Context) -> Conditioning:
        """CLIP and the VAE see the same picture; only the VAE's has noise on it."""
        device = self._components.device
        pixels_BCHW = torch.tensor(picture).permute(2, 0, 1)[None].float() / 127.5 - 1
        noise_BCHW = torch.randn(pixels_BCHW.shape, generator=generator)
        noisy_BCHW = pixels_BCHW + request.noise_augmentation * noise_BCHW
        with self._components.use("image_encoder", "vae", phase="encode") as (image_encoder, vae):
            ctx.step(0, 2, "encode")
            seen_BCHW = clip_pixels(pixels_BCHW).to(device, dtype_of(image_encoder))
            embedding_BC = image_encoder(pixel_values=seen_BCHW).image_embeds.float()
            ctx.step(1, 2, "encode")
            latent_BCHW = encode_mean(vae, noisy_BCHW.to(device))
            ctx.step(2, 2, "encode")
        ids = conditioning.added_ids(request.conditioning_fps, request.motion_bucket, request.noise_augmentation)
        return Conditioning(embedding_BC[:, None], latent_BCHW, ids.to(device))

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
            network = Network(unet, conditions, request.frames, request.guidance_min, request.guidance_max)
            return euler(lambda x, sigma: denoise_v(network, x, sigma), start_BTCHW, schedule, on_step)[0]


class Network:
    """The UNet as a function (c_in x, c_noise) -> v, guided per frame; what a denoiser is made of.

    Guidance acts on v, which is the same as on the denoised sample: both branches share c_skip x. With a last weight
    of 1 or less there is no unconditional branch.
    """

    def __init__(
        self, unet: nn.Module, conditions: Conditioning, frames: int, guidance_min: float, guidance_max: float
    ) -> None:
        self._unet = unet
        self._dtype = dtype_of(unet)
        self._weights_T = guidance.linear(guidance_min, guidance_max, frames) if guidance_max > 1 else None
        context = conditions.embedding_B1C
        latent = conditions.latent_BCHW
        ids = conditions.added_ids_BN
        if self._weights_T is not None:
            # Only the picture is withheld from the unconditional branch; its numbers stay.
            context = torch.cat([torch.zeros_like(context), context])
            latent = torch.cat([torch.zeros_like(latent), latent])
            ids = torch.cat([ids, ids])
        self._context_B1C = context.to(self._dtype)
        self._latent_BTCHW = latent[:, None].repeat(1, frames, 1, 1, 1).to(self._dtype)
        self._added_ids_BN = ids

    def __call__(self, scaled_BTCHW: torch.Tensor, c_noise: torch.Tensor) -> torch.Tensor:
        """v, fp32 (1, T, C, h, w)."""
        x_BTCHW = scaled_BTCHW.to(self._dtype).expand(len(self._latent_BTCHW), -1, -1, -1, -1)
        v_BTCHW = self._unet(
            torch.cat([x_BTCHW, self._latent_BTCHW], dim=2),
            c_noise,
            encoder_hidden_states=self._context_B1C,
            added_time_ids=self._added_ids_BN,
            return_dict=False,
        )[0].float()
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
