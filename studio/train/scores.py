"""Figures that say how good a clip is: PSNR, measured flow, flicker, and whether two rows of numbers rise together."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import cv2
import numpy as np
import torch

_FLOW_PX = 128
"""Side that frames are brought to before their motion is measured, so that it is the same at every size."""

_LEAST_PX = 96
"""Side that smaller frames are enlarged to before their flicker is: the flow's patches are 8 pixels."""

_AGREE_PX = 1.0
"""Forward and backward flow may part by so much (at 256 pixels) where what is seen stays in view."""

_MOST_DB = 100.0
"""PSNR of equal pictures."""


def psnr(picture: torch.Tensor | np.ndarray, truth: torch.Tensor | np.ndarray) -> float:
    """Decibels between two uint8 arrays of one shape, over all of their numbers; 100 where they are the same.

    Raises:
        ValueError: their shapes or types differ.
    """
    a, b = _array(picture), _array(truth)
    if a.shape != b.shape or a.dtype != np.uint8 or b.dtype != np.uint8:
        raise ValueError(f"psnr: {a.dtype} {a.shape} against {b.dtype} {b.shape}; both must be uint8 of one shape.")
    error = float(np.mean((a.astype(np.float64) - b) ** 2))
    return _MOST_DB if error == 0 else min(_MOST_DB, 10 * float(np.log10(255**2 / error)))


def measured_flow(frames: np.ndarray) -> float:
    """Mean length of the optical flow from frame to frame of uint8 (T, S, S, 3), pixels a frame at 256 pixels.

    Dense inverse search (Kroeger et al., Fast optical flow using dense inverse search, 2016), OpenCV's.
    """
    greys = [_sized(grey, _FLOW_PX) for grey in _greys(frames)]
    return 256 / _FLOW_PX * float(np.mean([np.linalg.norm(_flow(a, b), axis=-1).mean() for a, b in pairwise(greys)]))


def flicker(frames: np.ndarray) -> float:
    """How much brightness jumps up and down where motion does not explain it, in levels of 255; 0 is a steady clip.

    Each frame of uint8 (T, S, S, 3) against the mean of its two neighbours, both warped onto it by their flow, over the
    pixels whose flow there and back agree; NaN where there is no such pixel.
    """
    greys = _greys(frames)
    greys = [_sized(grey, max(_LEAST_PX, grey.shape[0])) for grey in greys]
    agree = _AGREE_PX * greys[0].shape[0] / 256
    jumps, counted = 0.0, 0
    for before, now, after in zip(greys, greys[1:], greys[2:], strict=False):
        to_before, to_after = _flow(now, before), _flow(now, after)
        sure = _returns(to_before, _flow(before, now), agree) & _returns(to_after, _flow(after, now), agree)
        between = (_warped(before.astype(np.float32), to_before) + _warped(after.astype(np.float32), to_after)) / 2
        jumps += float(np.abs(now - between)[sure].sum())
        counted += int(sure.sum())
    return jumps / counted if counted else float("nan")


def spearman(xs: Sequence[float], ys: Sequence[float]) -> float:
    """Rank correlation in [-1, 1], ties with their mean rank; NaN where all of either are equal."""
    assert len(xs) == len(ys) > 1, (len(xs), len(ys))
    a, b = _ranks(xs), _ranks(ys)
    a, b = a - a.mean(), b - b.mean()
    spread = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / spread if spread else float("nan")


def _ranks(values: Sequence[float]) -> np.ndarray:
    _, inverse, counts = np.unique(np.asarray(values, np.float64), return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[inverse.ravel()]


def _array(picture: torch.Tensor | np.ndarray) -> np.ndarray:
    return picture.detach().cpu().numpy() if isinstance(picture, torch.Tensor) else picture


def _greys(frames: np.ndarray) -> list[np.ndarray]:
    if frames.ndim != 4 or frames.shape[3] != 3 or frames.dtype != np.uint8 or len(frames) < 2:
        raise ValueError(f"frames: {frames.dtype} {frames.shape} is not uint8 (T, S, S, 3) of two frames or more.")
    return [cv2.cvtColor(f, cv2.COLOR_RGB2GRAY) for f in frames]


def _sized(grey: np.ndarray, size: int) -> np.ndarray:
    if grey.shape[0] == size:
        return grey
    smaller = grey.shape[0] > size
    return cv2.resize(grey, (size, size), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)


def _flow(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """float32 (S, S, 2): where each pixel of `a` has gone in `b`, in pixels."""
    search = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    search.setFinestScale(1)
    return search.calc(a, b, None)


def _warped(picture: np.ndarray, flow: np.ndarray) -> np.ndarray:
    v, u = np.mgrid[0 : flow.shape[0], 0 : flow.shape[1]].astype(np.float32)
    return cv2.remap(picture, u + flow[..., 0], v + flow[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _returns(there: np.ndarray, back: np.ndarray, agree: float) -> np.ndarray:
    """bool (S, S): where going there and back ends within `agree` pixels of where it began, inside the picture."""
    size = there.shape[0]
    v, u = np.mgrid[0:size, 0:size] + np.moveaxis(there, -1, 0)[::-1]
    inside = (u >= 0) & (v >= 0) & (u <= size - 1) & (v <= size - 1)
    return inside & (np.linalg.norm(there + _warped(back, there), axis=-1) < agree)
