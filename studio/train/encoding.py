"""The stages that were trained before, as those after them use them: frames to latents, pictures to embeddings.

Shapes: N pictures, C channels, S x S pixels, h x w latent cells.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from studio.diffusion import conditioning
from studio.engines.networks import build
from studio.train import export
from studio.train.stages import Setup

_CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
_CLIP_DEVIATION = (0.26862954, 0.26130258, 0.27577711)

_AT_ONCE = 64
"""Pictures that are encoded at a time."""


def frozen(setup: Setup, stage: str, component: str) -> nn.Module:
    """What was trained, in fp32 on the device; it learns no more.

    Raises:
        BadInput: the stage has not been trained.
    """
    folder = export.find(setup.weights, stage) / component
    module = build(component, export.read_config(folder))
    module.load_state_dict(export.read_state(folder))
    return module.to(setup.device).eval().requires_grad_(False)


def as_pixels(frames_NCHW: torch.Tensor) -> torch.Tensor:
    """fp32 in [-1, 1] of uint8."""
    return frames_NCHW.float() / 127.5 - 1


def clip_pixels(pixels_NCHW: torch.Tensor) -> torch.Tensor:
    """fp32 (N, 3, 224, 224): what `studio.engines.svd_encode.clip_pixels` gives, on the pixels' own device."""
    mean, deviation = (
        torch.tensor(values, device=pixels_NCHW.device)[:, None, None] for values in (_CLIP_MEAN, _CLIP_DEVIATION)
    )
    with torch.autocast(pixels_NCHW.device.type, enabled=False):
        return ((conditioning.clip_resize(pixels_NCHW) + 1) / 2 - mean) / deviation


def embed(image_encoder: nn.Module, frames_NCHW: torch.Tensor) -> torch.Tensor:
    """fp32 (N, 1, C): the image encoder's embeddings of uint8 pictures."""

    def some(frames_NCHW: torch.Tensor) -> torch.Tensor:
        return image_encoder(pixel_values=clip_pixels(as_pixels(frames_NCHW))).image_embeds[:, None]

    return _in_parts(some, frames_NCHW)


def encode(vae: nn.Module, pixels_NCHW: torch.Tensor) -> torch.Tensor:
    """fp32 (N, 4, h, w): the VAE's means for pixels in [-1, 1], not scaled."""
    return _in_parts(lambda some: vae.quant_conv(vae.encoder(some)).chunk(2, dim=1)[0], pixels_NCHW)


@torch.no_grad()
def _in_parts(encoder: Callable[[torch.Tensor], torch.Tensor], x_NCHW: torch.Tensor) -> torch.Tensor:
    device = x_NCHW.device.type
    with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
        return torch.cat([encoder(some).float() for some in x_NCHW.split(_AT_ONCE)])
