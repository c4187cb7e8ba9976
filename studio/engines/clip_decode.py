"""From latents to frames by the way that was chosen, and by a lesser one where memory runs out.

Shapes: T frames, C channels, H x W pixels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl_temporal_decoder import TemporalDecoder
from torch import nn

from studio.engines import svd_decode
from studio.engines.out_of_memory import is_out_of_memory
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


def decode_clip(vae: nn.Module, latent_TCHW: torch.Tensor, how: Decode, ctx: Context) -> np.ndarray:
    """uint8 (T, H, W, 3) of scaled latents; reports under ``decode``.

    Runs in the VAE's own precision; what overflows in half precision is done again in fp32. Where memory runs out
    the next smaller way is taken. Both are told in a notice, and so is a way that is not the exact one. To an image
    decoder frames are pictures of their own: the whole of them is decoded in chunks, which is exact there.

    Raises:
        StudioError: the numbers are not finite in fp32 either.
        torch.OutOfMemoryError: not even the last way fits.
    """
    decoder = svd_decode.decoder_of(vae)
    temporal = isinstance(decoder, TemporalDecoder)
    scaled_TCHW = latent_TCHW / vae.config.scaling_factor
    if how.says and (temporal or how.way == "tiled"):
        ctx.notice(how.says)
    while how.way == "tiled" or (temporal and how.way == "whole"):
        rgb_TCHW, fits = None, True
        try:
            rgb_TCHW = (
                _tiled(decoder, scaled_TCHW, how, ctx) if how.way == "tiled" else _whole(decoder, scaled_TCHW, how, ctx)
            )
        except (RuntimeError, MemoryError) as e:
            if how.smaller() is None or not is_out_of_memory(e):
                raise
            fits = False
        if not fits:
            # Only here, where the error and with it the tensors in its trace are gone.
            svd_decode.free_cache(latent_TCHW.device)
            how = how.smaller()
            ctx.notice(how.says or "Memory ran out while decoding; it goes on with less of it, more slowly.")
        elif bool(torch.isfinite(rgb_TCHW).all()):
            return svd_decode.to_uint8(rgb_TCHW)
        elif svd_decode.dtype_of(decoder) == torch.float32:
            raise StudioError("The decoder gave numbers that are not finite.", "Verify the variant's files.")
        else:
            ctx.notice("Decoding overflowed in half precision; it is done again in full precision.")
            decoder = svd_decode.in_fp32(decoder)
    return svd_decode.decode_frames(vae, latent_TCHW, how.chunk, ctx)


def _whole(decoder: nn.Module, latent_TCHW: torch.Tensor, how: Decode, ctx: Context) -> torch.Tensor:
    ctx.step(0, _PARTS, "decode")
    return decode_whole(decoder, latent_TCHW, _hundredths(ctx), recompute=how.recompute)


def _tiled(decoder: nn.Module, latent_TCHW: torch.Tensor, how: Decode, ctx: Context) -> torch.Tensor:
    def decode(tile_TCHW: torch.Tensor) -> torch.Tensor:
        if isinstance(decoder, TemporalDecoder):
            return decode_whole(decoder, tile_TCHW, lambda done, total: ctx.check(), recompute=how.recompute)
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
