"""From latents to frames through SVD's decoders, chunk by chunk.

Shapes: T frames, C channels, H x W pixels.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl_temporal_decoder import TemporalDecoder
from torch import nn

from studio.errors import StudioError

if TYPE_CHECKING:
    from studio.context import Context


def decode_frames(
    vae: nn.Module, latent_TCHW: torch.Tensor, chunk: int, ctx: Context, *, fp32: bool = False
) -> np.ndarray:
    """uint8 (T, H, W, 3) of scaled latents; reports each chunk under ``decode``.

    Runs in the VAE's own precision, since fp32 would take a GPU several times as long; a chunk that overflows in
    half precision is decoded again in fp32, and so is all that follows; a notice tells it. With `fp32` it runs in that
    from the start.

    Raises:
        StudioError: the numbers are not finite in fp32 either.
        torch.OutOfMemoryError: a chunk does not fit.
    """
    decoder, scaled_TCHW = decoder_of(vae, fp32=fp32), latent_TCHW / vae.config.scaling_factor
    total, frames = len(latent_TCHW), []
    ctx.step(0, total, "decode")
    while len(frames) < total:
        rgb_TCHW = decode_chunk(decoder, scaled_TCHW[len(frames) : len(frames) + chunk])
        if not bool(torch.isfinite(rgb_TCHW).all()):
            if dtype_of(decoder) == torch.float32:
                raise StudioError("The decoder gave numbers that are not finite.", "Verify the variant's files.")
            ctx.notice("Decoding overflowed in half precision; it goes on in full precision.")
            decoder = in_fp32(decoder)
            continue
        frames.extend(to_uint8(rgb_TCHW))
        del rgb_TCHW
        ctx.step(len(frames), total, "decode")
    return np.stack(frames)


def decoder_of(vae: nn.Module, *, fp32: bool = False) -> nn.Module:
    """What makes pixels of latents: the temporal decoder, or the image decoder, with its 1x1 convolution before it
    where it has one (SV3D's has none).

    Args:
        fp32: whatever the VAE's own precision is.
    """
    before = getattr(vae, "post_quant_conv", None)
    decoder = vae.decoder if before is None else nn.Sequential(before, vae.decoder)
    return in_fp32(decoder) if fp32 else decoder


def decode_chunk(decoder: nn.Module, latent_TCHW: torch.Tensor) -> torch.Tensor:
    """Pixels in about [-1, 1], fp32 (T, 3, H, W), of frames decoded together.

    The temporal decoder takes them as one little video: frames at a chunk's border see nothing beyond it, so that
    chunking changes the result (also in Stability's code). To an image decoder each frame is a picture of its own.
    """
    count = len(latent_TCHW)
    latent_TCHW = latent_TCHW.to(dtype_of(decoder))
    if not isinstance(decoder, TemporalDecoder):
        return decoder(latent_TCHW).float()
    indicator = torch.zeros(1, count, dtype=latent_TCHW.dtype, device=latent_TCHW.device)
    return decoder(latent_TCHW, num_frames=count, image_only_indicator=indicator).float()


def to_uint8(rgb_TCHW: torch.Tensor) -> np.ndarray:
    """uint8 (T, H, W, 3) of pixels in [-1, 1], rounded; what lies outside is clamped."""
    return ((rgb_TCHW + 1) * 127.5).clamp(0, 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()


def in_fp32(module: nn.Module) -> nn.Module:
    """The module itself if it is in fp32, else a copy that is: held weights are shared and never changed."""
    return module if dtype_of(module) == torch.float32 else copy.deepcopy(module).float()


def dtype_of(module: nn.Module) -> torch.dtype:
    """The dtype of the module's weights."""
    return next(module.parameters()).dtype
