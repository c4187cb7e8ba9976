"""Filling what is not known of an image from what is, smoothly, at every scale at once."""

from __future__ import annotations

import cv2
import numpy as np


def pull_push(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """float32 (H, W, C): `values` where `known` is 1, else the average of what is known nearby, wider where it is far.

    Args:
        values: float32 (H, W, C).
        known: float32 (H, W) in [0, 1]; where it is 0 the values are not looked at.

    The pyramid of Gortler et al., The Lumigraph, 1996, section 3.4 (pull-push), on averaged 2 x 2 blocks.
    """
    height, width = known.shape
    weighted = values * known[..., None]
    if min(height, width) < 2 or float(known.min()) > 0:
        return weighted / np.maximum(known, 1e-6)[..., None]
    half = ((width + 1) // 2, (height + 1) // 2)
    mass = cv2.resize(known, half, interpolation=cv2.INTER_AREA)
    below = cv2.resize(weighted, half, interpolation=cv2.INTER_AREA)
    below = below.reshape(half[1], half[0], -1) / np.maximum(mass, 1e-6)[..., None]
    below = pull_push(below, np.minimum(1, mass * 4))
    smooth = cv2.resize(below, (width, height), interpolation=cv2.INTER_LINEAR).reshape(values.shape)
    return weighted + smooth * (1 - known)[..., None]
