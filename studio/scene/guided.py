"""The guided filter: smooths a map while its edges settle on those of a picture."""

from __future__ import annotations

import cv2
import numpy as np


def guided_filter(guide: np.ndarray, values: np.ndarray, radius: int, eps: float) -> np.ndarray:
    """float32 (H, W): `values` smoothed within `radius` pixels except across the guide's edges.

    Args:
        guide: float32 (h, w) at any resolution of the same picture, in [0, 1]; the larger it is, the finer the edges.
        values: float32 (H, W) at the guide's size or smaller. What comes back has the guide's size.
        radius: in pixels of `values`.
        eps: variance of the guide below which a place counts as flat.

    Source: He, Sun, Tang, Guided Image Filtering, equations 5, 6 and 8; with a smaller `values`, the subsampled form
    of He and Sun, Fast Guided Filter, 2015.
    """
    height, width = values.shape
    small = guide if guide.shape == values.shape else cv2.resize(guide, (width, height), interpolation=cv2.INTER_AREA)
    side = (2 * radius + 1, 2 * radius + 1)

    def mean(x: np.ndarray) -> np.ndarray:
        return cv2.boxFilter(x, cv2.CV_32F, side, borderType=cv2.BORDER_REFLECT)

    mean_guide, mean_values = mean(small), mean(values)
    slope = (mean(small * values) - mean_guide * mean_values) / (mean(small * small) - mean_guide**2 + eps)
    offset = mean_values - slope * mean_guide
    slope, offset = mean(slope), mean(offset)
    if guide.shape != values.shape:
        full = (guide.shape[1], guide.shape[0])
        slope = cv2.resize(slope, full, interpolation=cv2.INTER_LINEAR)
        offset = cv2.resize(offset, full, interpolation=cv2.INTER_LINEAR)
    return slope * guide + offset
