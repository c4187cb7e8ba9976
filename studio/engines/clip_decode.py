"""From latents to frames by the way that was chosen.

Shapes: T frames, C channels, H x W pixels.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl_temporal_decoder import TemporalDecoder
from torch import nn

from studio.engines import svd_decode
from studio.engines.kernels import EAGER, Kernels
from studio.engines.tiles import in_tiles
from studio.engines.whole_decode import OnSlice, decode_whole
from studio.errors import StudioError
from studio.models.decoding import Decode

if TYPE_CHECKING:
    from studio.context import Context

OVERLAP = 16
"""Latent cells that neighbouring tiles share at least: 128 pixels."""

_PARTS = 100
"""Whole decoding reports its progress in hundredths: it has thousands of slices, each a point to cancel at."""


def decode_clip(
    vae: nn.Module,
    latent_TCHW: torch.Tensor,
    how: Decode,
    ctx: Context,
    *,
    fp32: bool = False,
    kernels: Kernels = EAGER,
) -> np.ndarray:
    """uint8 (T, H, W, 3) of scaled latents; reports under ``decode``.

    Runs in the VAE's own precision; what overflows in half precision is done again in fp32, which is told in a notice.
    With `fp32` it runs in that from the start.

    Args:
        kernels: how the whole of them, or of a tile, is decoded; chunks run diffusers' own code.
    To an image decoder frames are pictures of their own: the whole of them is decoded in chunks, which is exact there.

    Raises:
        StudioError: the numbers are not finite in fp32 either.
        torch.OutOfMemoryError: this way does not fit; another one may.
    """
    if how.way == "chunked" or (how.way == "whole" and not isinstance(vae.decoder, TemporalDecoder)):
        return svd_decode.decode_frames(vae, latent_TCHW, how.chunk, ctx, fp32=fp32)
    decoder = svd_decode.decoder_of(vae, fp32=fp32)
    scaled_TCHW = latent_TCHW / vae.config.scaling_factor
    decode = partial(_tiled if how.way == "tiled" else _whole, how=how, ctx=ctx, kernels=kernels)
    rgb_TCHW = decode(decoder, scaled_TCHW)
    if not bool(torch.isfinite(rgb_TCHW).all()) and svd_decode.dtype_of(decoder) != torch.float32:
        del rgb_TCHW
        ctx.notice("Decoding overflowed in half precision; it is done again in full precision.")
        rgb_TCHW = decode(svd_decode.in_fp32(decoder), scaled_TCHW)
    if not bool(torch.isfinite(rgb_TCHW).all()):
        raise StudioError("The decoder gave numbers that are not finite.", "Verify the variant's files.")
    return svd_decode.to_uint8(rgb_TCHW)


def _whole(decoder: nn.Module, latent_TCHW: torch.Tensor, how: Decode, ctx: Context, kernels: Kernels) -> torch.Tensor:
    ctx.step(0, _PARTS, "decode")
    return _exactly(decoder, latent_TCHW, how, _hundredths(ctx), kernels)


def _exactly(
    decoder: nn.Module, latent_TCHW: torch.Tensor, how: Decode, on_slice: OnSlice, kernels: Kernels
) -> torch.Tensor:
    rgb_TCHW = decode_whole(
        decoder,
        latent_TCHW,
        on_slice,
        recompute=how.recompute,
        keep_on_host=how.keep == "host",
        slice_pixels=how.slice_pixels,
        kernels=kernels,
    )
    kernels.over()
    return rgb_TCHW


def _tiled(decoder: nn.Module, latent_TCHW: torch.Tensor, how: Decode, ctx: Context, kernels: Kernels) -> torch.Tensor:
    def decode(tile_TCHW: torch.Tensor) -> torch.Tensor:
        if isinstance(decoder, TemporalDecoder):
            return _exactly(decoder, tile_TCHW, how, lambda done, total: ctx.check(), kernels)
        frames = []
        for picture_1CHW in tile_TCHW.split(1):
            ctx.check()
            frames.append(svd_decode.decode_chunk(decoder, picture_1CHW))
        return torch.cat(frames)

    overlap = min(OVERLAP, min(how.tile) // 2)
    return in_tiles(
        decode,
        latent_TCHW,
        tile=how.tile,
        overlap=overlap,
        on_tile=lambda done, total: ctx.step(done, total, "decode"),
    )


def _hundredths(ctx: Context) -> OnSlice:
    told = 0

    def on_slice(done: int, total: int) -> None:
        nonlocal told
        part = done * _PARTS // total
        if part == told:
            ctx.check()
            return
        told = part
        ctx.step(part, _PARTS, "decode")

    return on_slice
