"""What SVD is told about the clip: the picture as CLIP sees it, and the numbers that go with it.

Shapes: B batch, T frames, C channels, N numbers, H height, W width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch.nn import functional

CLIP_SIDE = 224
"""Height and width, in pixels, of what CLIP ViT-H/14 looks at."""

SCALAR_WIDTH = 256
"""Of the embedding of one plain number."""

ANGLE_WIDTH = 512
"""Of the embedding of one of SV3D_p's angles."""


def clip_resize(picture_BCHW: torch.Tensor, side: int = CLIP_SIDE) -> torch.Tensor:
    """The picture at side x side as SVD's training saw it: aspect not kept, blurred where it shrinks, then bicubic.

    A Gaussian of sigma = max((size / side - 1) / 2, 0.001) per axis with reflected edges runs first; its kernel is
    int(max(4 sigma, 3)) wide, the next odd number. Bicubic aligns corners. torch's own antialiasing is something
    else and is off by about 0.3 of a normalised pixel.

    Source: kornia 0.6.9 `geometry.resize(antialias=True)`, which generative-models' image embedder calls.
    """
    blurred = picture_BCHW
    for dim in (-1, -2):
        blurred = _blur(blurred, dim, max((blurred.shape[dim] / side - 1) / 2, 0.001))
    return functional.interpolate(blurred, size=(side, side), mode="bicubic", align_corners=True)


def fps_id(conditioning_fps: int) -> int:
    """The number that SVD knows a frame rate by: one less (generative-models: ``fps_id`` 6 means 7 fps)."""
    return conditioning_fps - 1


def added_ids(conditioning_fps: int, motion_bucket: int, noise_augmentation: float) -> torch.Tensor:
    """fp32 (1, 3): fps id, motion bucket, noise augmentation, raw and in the order of SVD's embedders."""
    return torch.tensor([[fps_id(conditioning_fps), motion_bucket, noise_augmentation]], dtype=torch.float32)


def sinusoid(values_N: torch.Tensor, width: int) -> torch.Tensor:
    """fp32 (N, width): the cosines of each number times width / 2 falling frequencies, then the sines.

    The frequencies are 10000^(-2 i / width). The number is taken as it is: an angle and the same angle one turn on are
    embedded apart.

    Source: Vaswani et al. 2017, "Attention Is All You Need", section 3.5, in the order of generative-models'
    `timestep_embedding`.
    """
    half = width // 2
    frequency = torch.exp(-math.log(10000) * torch.arange(half, dtype=torch.float32) / half)
    phase = values_N.float()[:, None] * frequency
    return torch.cat([torch.cos(phase), torch.sin(phase)], dim=-1)


def view_vectors(noise_augmentation: float, polar_rad: Sequence[float], azimuth_rad: Sequence[float]) -> torch.Tensor:
    """fp32 (1, T, 1280): what SV3D_p is told of each frame: noise augmentation, polar angle and azimuth, embedded.

    Args:
        polar_rad: down from the zenith, a frame each.
        azimuth_rad: from the input view, which is the last frame and has 0, not a whole turn.

    Source: generative-models, ``sv3d_p.yaml``: the order of its embedders.
    """
    polar_TC, azimuth_TC = (sinusoid(torch.tensor(a), ANGLE_WIDTH) for a in (polar_rad, azimuth_rad))
    noise_TC = sinusoid(torch.tensor([noise_augmentation]), SCALAR_WIDTH).expand(len(polar_TC), -1)
    return torch.cat([noise_TC, polar_TC, azimuth_TC], dim=-1)[None]


def _blur(x_BCHW: torch.Tensor, dim: int, sigma: float) -> torch.Tensor:
    width = int(max(4 * sigma, 3)) | 1
    at = torch.arange(width, dtype=x_BCHW.dtype, device=x_BCHW.device) - width // 2
    kernel = torch.exp(-(at**2) / (2 * sigma**2))
    kernel = kernel / kernel.sum()
    half = width // 2
    channels = x_BCHW.shape[1]
    pad, shape = ((half, half, 0, 0), (1, width)) if dim == -1 else ((0, 0, half, half), (width, 1))
    padded = functional.pad(x_BCHW, pad, mode="reflect")
    return functional.conv2d(padded, kernel.view(1, 1, *shape).repeat(channels, 1, 1, 1), groups=channels)
