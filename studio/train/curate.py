"""Which clips are kept, and what the kept ones are said to be: the SVD paper's curation in small.

The paper (Blattmann et al., Stable Video Diffusion, arXiv 2311.15127, section 3 and appendix C) cuts clips at scene
changes, scores them by optical flow, text and how well a caption fits, and drops the worst part by each score. Here the
same is measured on clips whose flow and labels are known, and of more clips than are needed the best are kept.

Shapes: B clips, T frames, S pixels on a side.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn.functional import avg_pool2d, conv2d

Tensor = torch.Tensor

SPARE = 0.2
"""So many more clips are made than are kept."""

STILL_PX = 0.05
"""A clip that moves less, pixels a frame at 256 pixels, is a picture: it is kept only where there is nothing else."""

NAMED_SHARE = 0.004
"""Of the picture, that a thing must cover to be seen."""

BUCKET_PX = 2.5
"""The motion, pixels a frame at 256 pixels, that is in the middle of the buckets."""

_CUT = 4.0
"""A step between frames that is so many times the clip's middle step, and `_CUT_LEVELS` at least, is a cut."""

_CUT_LEVELS = 12.0
"""Of 255, mean over the picture."""


@dataclass(frozen=True, eq=False)
class Measures:
    """What clips are judged by, one number a clip, more is better but for `cut`.

    Args:
        motion: float32 (B,): mean length of the optical flow that is seen, pixels a frame at 256 pixels.
        cut: bool (B,): there is a cut in it.
        sharpness: float32 (B,): see `sharpness`.
        named: float32 (B,): the least share of the picture that one of the things covers which the caption names.
    """

    motion: Tensor
    cut: Tensor
    sharpness: Tensor
    named: Tensor


def kept(measures: Measures, count: int) -> Tensor:
    """int64 (count,): the clips that are kept, in their order.

    A clip's grade is the lowest of its ranks, a share of the batch, by motion, sharpness and by how well what the
    caption names is seen; so keeping some drops those that are worst by any of them. Clips with cuts, still ones and
    ones that lack what they name go before all others.
    """
    ranks = [_ranks(x) for x in (measures.motion, measures.sharpness, measures.named.clamp_max(0.03))]
    grade = torch.stack(ranks).amin(0)
    grade = grade - (measures.named < NAMED_SHARE).float() - 2.0 * (measures.motion < STILL_PX) - 4.0 * measures.cut
    best = torch.sort(grade, descending=True, stable=True).indices[:count]
    return best.sort().values


def _ranks(values: Tensor) -> Tensor:
    """float32 (B,) in (0, 1]: the share of the batch that is not better."""
    return (values[None] <= values[:, None]).float().mean(1)


def cuts(frames: Tensor) -> Tensor:
    """bool (B,): whether uint8 (B, T, 3, S, S) jump somewhere; false where T < 3, since no step can be compared.

    A step is the mean difference between two frames made small, so that motion of some pixels counts for little.
    """
    if frames.shape[1] < 3:
        return torch.zeros(len(frames), dtype=torch.bool, device=frames.device)
    cells = max(1, frames.shape[-1] // 16)
    small = avg_pool2d(frames.flatten(0, 1).float(), cells).unflatten(0, frames.shape[:2])
    steps = (small[:, 1:] - small[:, :-1]).abs().mean(dim=(2, 3, 4))
    return ((steps > _CUT * steps.median(dim=1, keepdim=True).values) & (steps > _CUT_LEVELS)).any(1)


def sharpness(frames: Tensor) -> Tensor:
    """float32 (B,): variance of the Laplacian of luma, [0, 1] squared, of the clip's least sharp frame.

    (Pech-Pacheco et al., Diatom autofocusing in brightfield microscopy, 2000.)
    """
    weights = torch.tensor([0.299, 0.587, 0.114], device=frames.device)
    kernel = torch.tensor([[0.0, 1, 0], [1, -4, 1], [0, 1, 0]], device=frames.device)[None, None]
    found = []
    for t in range(frames.shape[1]):  # a frame at a time: a batch as float32 is four times as large
        luma = (frames[:, t].float() * weights[:, None, None]).sum(1, keepdim=True) / 255
        found.append(conv2d(luma, kernel).flatten(1).var(1))
    return torch.stack(found).amin(0)


def named(ids: Tensor, solids: tuple[int, ...]) -> Tensor:
    """float32 (B,): of int16 (B, S, S), the first frames' ids, the least share that one of so many solids covers."""
    shares = [torch.stack([(i == k).float().mean() for k in range(n)]).amin() for i, n in zip(ids, solids, strict=True)]
    return torch.stack(shares)


def motion_bucket(motion: Tensor) -> Tensor:
    """int64 (B,) in 1..255: the motion bucket of a mean flow in pixels a frame at 256 pixels; 128 is `BUCKET_PX`.

    1 + 254 m / (m + BUCKET_PX), rounded: it rises with the motion all the way, and half of the buckets lie below a
    motion that is ordinary. The flow is a frame's, so the same scene at fewer frames a second has a higher bucket.
    """
    return (1 + 254 * motion / (motion + BUCKET_PX)).round().long().clamp(1, 255)
