"""Decodes a whole clip through SVD's temporal decoder as if at once, in a fraction of the memory.

Decoding chunk by chunk changes the frames at the chunks' borders. Here every layer sees the whole clip, and only one
layer's activations are kept:

- What works on each frame by itself (3x3 convolutions, their norms, attention in the middle block, upsampling) runs
  over a few frames at a time. Steps between two temporal blocks run as one, so that the widest tensors, those just
  after upsampling, exist for these few frames only.
- What looks across time (3x1x1 convolutions) sees single pixels through all frames, so it runs over a few rows at a
  time and needs no overlap. Its norms are over all frames and pixels together: their mean and variance are collected
  first (Chan, Golub & LeVeque 1979, "Updating Formulae and a Pairwise Algorithm for Computing Sample Variances").
- The temporal residual and the blend are one addition in place: out = x + share f(x).
- The tensors of the whole clip may lie in host memory: slices go to the device and back, computed from the very same
  numbers in the same layout, so that the result is the same bit for bit.

Shapes: T frames, C channels, H x W pixels of a layer, G groups of a norm.
Source of the layers and their order: diffusers 0.42.1, `TemporalDecoder`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from diffusers.models.attention_processor import Attention
from diffusers.models.autoencoders.autoencoder_kl_temporal_decoder import TemporalDecoder
from diffusers.models.resnet import ResnetBlock2D, SpatioTemporalResBlock, TemporalResnetBlock
from diffusers.models.upsampling import Upsample2D
from torch import nn

from studio.engines.block_functions import (
    add_share,
    moments,
    normed_conv,
    picture,
    picture_projections,
    residual,
)
from studio.engines.exact_blocks import residual_weights
from studio.engines.kernels import EAGER, Kernels
from studio.models import decoding

SLICE_PIXELS = decoding.SLICE_PIXELS
"""Pixels, counted over frames, that run at a time: enough to keep a GPU busy, and 256 MiB a tensor at 128 channels."""


class OnSlice(Protocol):
    """Hears that `done` of `total` slices are finished; whatever it raises ends the decoding."""

    def __call__(self, done: int, total: int) -> None: ...


@torch.no_grad()
def decode_whole(
    decoder: TemporalDecoder,
    latent_TCHW: torch.Tensor,
    on_slice: OnSlice,
    *,
    recompute: bool = False,
    keep_on_host: bool = False,
    slice_pixels: int = SLICE_PIXELS,
    kernels: Kernels = EAGER,
) -> torch.Tensor:
    """Pixels in about [-1, 1], fp32 (T, 3, H, W): what the decoder gives for all frames at once, but for rounding.

    They lie where the clip's tensors do.

    Args:
        latent_TCHW: unscaled, of any float dtype, on any device; the work is done in the decoder's.
        recompute: runs the first convolution of each temporal block twice instead of keeping what it gave: a quarter
            less memory at 25 frames of 1024x576, for 9 % more work.
        keep_on_host: the clip's tensors lie in host memory, and no more than a few slices on the device.
        slice_pixels: most pixels at a time; one frame, or one row of all frames, is the least.
        kernels: how the work is done on the device.
    """
    stages = list(_stages(decoder, kernels))
    count, _, height, width = latent_TCHW.shape
    total = sum(len(s) for s in _all_slices(stages, count, height, width, slice_pixels))
    done = 0

    def tick() -> None:
        nonlocal done
        done += 1
        on_slice(done, total)

    weight = next(decoder.parameters())
    device = weight.device
    x_TCHW = latent_TCHW.to("cpu" if keep_on_host else device, weight.dtype, copy=True)
    for stage in stages:
        if isinstance(stage, _PerFrame):
            x_TCHW = stage.run(x_TCHW, device, slice_pixels, tick)
        else:
            stage.run(x_TCHW, device, slice_pixels, recompute, tick)
    out_TCHW = torch.empty_like(x_TCHW, dtype=torch.float32)
    for some in _rows(x_TCHW, slice_pixels):
        rows_1CTHW = x_TCHW[:, :, some].to(device).transpose(0, 1)[None]
        out_TCHW[:, :, some] = decoder.time_conv_out(rows_1CTHW.contiguous())[0].transpose(0, 1)
        tick()
    return out_TCHW


@dataclass(frozen=True)
class _PerFrame:
    """Layers in a row, each of which treats every frame by itself."""

    layers: tuple[Callable[[torch.Tensor], torch.Tensor], ...]

    @property
    def enlarges(self) -> int:
        """How many times higher and wider the result is."""
        return 2 ** sum(isinstance(layer, Upsample2D) for layer in self.layers)

    def run(
        self, x_TCHW: torch.Tensor, device: torch.device, slice_pixels: int, tick: Callable[[], None]
    ) -> torch.Tensor:
        """The result, where x is; in x's own memory where the shape is the same."""
        out_TCHW = None
        _, _, height, width = x_TCHW.shape
        for some in _slices(len(x_TCHW), height * width * self.enlarges**2, slice_pixels):
            h = x_TCHW[some].to(device)
            for layer in self.layers:
                h = layer(h)
            if out_TCHW is None:
                shape = (len(x_TCHW), *h.shape[1:])
                out_TCHW = x_TCHW if x_TCHW.shape == shape else _empty_as(h, shape, x_TCHW.device)
            out_TCHW[some] = h
            del h
            tick()
        return out_TCHW


@dataclass(frozen=True)
class _ThroughTime:
    """A temporal res block and the share of it in the blend."""

    block: TemporalResnetBlock
    share: float
    kernels: Kernels

    def run(
        self,
        x_TCHW: torch.Tensor,
        device: torch.device,
        slice_pixels: int,
        recompute: bool,
        tick: Callable[[], None],
    ) -> None:
        """Adds the block's change to x, in place."""
        block, rows, kernels = self.block, _rows(x_TCHW, slice_pixels), self.kernels
        seen = _Moments(block.norm1, kernels)
        for some in rows:
            seen.add(x_TCHW[:, :, some].to(device))
            tick()
        hidden = _Moments(block.norm2, kernels)
        kept_TCHW = None
        for some in rows:
            h_TCHW = seen.normed(x_TCHW[:, :, some].to(device), block.conv1)
            hidden.add(h_TCHW)
            if not recompute:
                if kept_TCHW is None:
                    kept_TCHW = _empty_as(h_TCHW, x_TCHW.shape, x_TCHW.device)
                kept_TCHW[:, :, some] = h_TCHW
            del h_TCHW
            tick()
        for some in rows:
            rows_TCHW = x_TCHW[:, :, some].to(device)
            h_TCHW = seen.normed(rows_TCHW, block.conv1) if kept_TCHW is None else kept_TCHW[:, :, some].to(device)
            h_TCHW = hidden.normed(h_TCHW, block.conv2)
            rows_TCHW = kernels.run(add_share, rows_TCHW, h_TCHW, self.share)
            if rows_TCHW.device != x_TCHW.device:
                x_TCHW[:, :, some] = rows_TCHW
            del h_TCHW, rows_TCHW
            tick()


class _Moments:
    """Mean and variance of a group norm's groups, collected slice by slice, in fp32."""

    def __init__(self, norm: nn.GroupNorm, kernels: Kernels) -> None:
        self._norm = norm
        self._kernels = kernels
        self._count = 0
        self._mean_G = self._squares_G = torch.zeros(())

    def add(self, x_TCHW: torch.Tensor) -> None:
        """Takes these values in."""
        groups = self._norm.num_groups
        count = x_TCHW.numel() // groups
        variance_G, mean_G = self._kernels.run(moments, x_TCHW, groups=groups)
        if not self._count:
            self._count, self._mean_G, self._squares_G = count, mean_G, variance_G * count
            return
        total = self._count + count
        apart_G = mean_G - self._mean_G
        self._squares_G = self._squares_G + variance_G * count + apart_G**2 * (self._count * count / total)
        self._mean_G = self._mean_G + apart_G * (count / total)
        self._count = total

    def normed(self, x_TCHW: torch.Tensor, conv: nn.Conv3d) -> torch.Tensor:
        """The group norm of a part of what was taken in, then SiLU and that convolution: a new tensor of its dtype."""
        norm = self._norm
        size = norm.num_channels // norm.num_groups
        mean_C = self._mean_G.repeat_interleave(size)
        variance_C = (self._squares_G / self._count).repeat_interleave(size)
        return self._kernels.run(
            normed_conv, x_TCHW, mean_C, variance_C, norm.weight, norm.bias, conv.weight, conv.bias, eps=norm.eps
        )


def _stages(decoder: TemporalDecoder, kernels: Kernels) -> Iterator[_PerFrame | _ThroughTime]:
    layers: list[Callable[[torch.Tensor], torch.Tensor]] = []
    for part in _parts(decoder):
        if isinstance(part, SpatioTemporalResBlock):
            yield _PerFrame((*layers, _Residual(part.spatial_res_block, kernels)))
            yield _ThroughTime(part.temporal_res_block, _temporal_share(part), kernels)
            layers = []
        else:
            layers.append(_Attending(part, kernels) if isinstance(part, Attention) else part)
    yield _PerFrame(tuple(layers))


def _parts(decoder: TemporalDecoder) -> Iterator[nn.Module]:
    """The decoder's modules in the order in which they run, without the convolution over time at the very end."""
    yield decoder.conv_in
    middle = decoder.mid_block
    yield middle.resnets[0]
    # diffusers 0.42.1 pairs them like this: a middle block of one layer would not attend at all.
    for resnet, attention in zip(middle.resnets[1:], middle.attentions, strict=False):
        yield attention
        yield resnet
    for block in decoder.up_blocks:
        yield from block.resnets
        yield from block.upsamplers or ()
    yield decoder.conv_norm_out
    yield decoder.conv_act
    yield decoder.conv_out


@dataclass(frozen=True)
class _Residual:
    """A spatial res block without its division by 1."""

    block: ResnetBlock2D
    kernels: Kernels

    def __call__(self, x_TCHW: torch.Tensor) -> torch.Tensor:
        norm1, norm2 = self.block.norm1, self.block.norm2
        weights = residual_weights(self.block)
        return self.kernels.run(residual, x_TCHW, None, *weights, groups=norm1.num_groups, eps=(norm1.eps, norm2.eps))


@dataclass(frozen=True)
class _Attending:
    """The attention of the middle block: one head as wide as its channels, over each picture."""

    attention: Attention
    kernels: Kernels

    def __call__(self, x_TCHW: torch.Tensor) -> torch.Tensor:
        attention, norm = self.attention, self.attention.group_norm
        layers = (attention.to_q, attention.to_k, attention.to_v)
        q, k, v = self.kernels.run(
            picture_projections,
            x_TCHW,
            norm.weight,
            norm.bias,
            *(tensor for layer in layers for tensor in (layer.weight, layer.bias)),
            heads=attention.heads,
            groups=norm.num_groups,
            eps=norm.eps,
        )
        seen_TSC = self.kernels.attend(q, k, v).transpose(1, 2).flatten(2)
        del q, k, v
        out = attention.to_out[0]
        return self.kernels.run(picture, seen_TSC, x_TCHW, out.weight, out.bias)


def _temporal_share(block: SpatioTemporalResBlock) -> float:
    mixer = block.time_mixer
    assert mixer.merge_strategy == "learned"
    alpha = float(torch.sigmoid(mixer.mix_factor.float()))
    return alpha if mixer.switch_spatial_to_temporal_mix else 1 - alpha


def _empty_as(like: torch.Tensor, shape: tuple[int, ...], device: torch.device) -> torch.Tensor:
    """Memory of that shape there, in the memory format of `like`: its channels last where they are last in that."""
    last = like.is_contiguous(memory_format=torch.channels_last) and not like.is_contiguous()
    form = torch.channels_last if last else torch.contiguous_format
    return torch.empty(shape, dtype=like.dtype, device=device, memory_format=form)


def _slices(length: int, pixels_each: int, slice_pixels: int) -> list[slice]:
    size = max(1, slice_pixels // pixels_each)
    return [slice(i, min(i + size, length)) for i in range(0, length, size)]


def _rows(x_TCHW: torch.Tensor, slice_pixels: int) -> list[slice]:
    count, _, height, width = x_TCHW.shape
    return _slices(height, count * width, slice_pixels)


def _all_slices(
    stages: list[_PerFrame | _ThroughTime], count: int, height: int, width: int, slice_pixels: int
) -> Iterator[list[slice]]:
    """The slices of every pass that will be made."""
    for stage in stages:
        if isinstance(stage, _PerFrame):
            height, width = height * stage.enlarges, width * stage.enlarges
            yield _slices(count, height * width, slice_pixels)
        else:
            yield from [_slices(height, count * width, slice_pixels)] * 3
    yield _slices(height, count * width, slice_pixels)
