"""How far each pixel is from the outline of what a view shows: what the hull is carved by."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

import numpy as np

from studio.errors import BadInput
from studio.scene.camera import Camera
from studio.scene.kernel import in_threads, kernel


def check_views(masks: np.ndarray, cameras: Sequence[Camera]) -> None:
    """Passes where every view has a mask with something in it, and a camera.

    Raises:
        BadInput: a mask shows nothing; its frame is named.
        ValueError: masks and cameras are not as many, or the masks have another shape.
    """
    if masks.ndim != 3 or len(masks) != len(cameras) or len(masks) < 2:
        raise ValueError(f"masks {list(masks.shape)} and {len(cameras)} cameras are not those of two or more views.")
    for i, mask in enumerate(masks):
        if not solid(mask).any():
            raise BadInput(
                f"Frame {i + 1} of {len(masks)} shows no object.",
                "Leave it out, or mend its cut-out.",
            )


def solid(masks: np.ndarray) -> np.ndarray:
    """bool, same shape: where a bool mask is True, or a uint8 alpha at least half."""
    return masks if masks.dtype == bool else masks >= 128


def outline_distances(masks: np.ndarray) -> np.ndarray:
    """float32 (T, H, W): pixels to the outline, positive inside; beyond the frame there is nothing.

    The outline passes between the pixels of which one is in and one is out: half-way for a mask, where alpha is one
    half by linear interpolation for an alpha.

    Args:
        masks: bool or uint8 alpha (T, H, W).

    Each pixel learns the nearest point of the outline from its neighbours, in a sweep down and a sweep up (Danielsson,
    Euclidean distance mapping, 1980, with points between pixels).
    """
    cover = masks.astype(np.float32) if masks.dtype == bool else masks.astype(np.float32) / np.float32(255)
    cover = np.pad(cover, ((0, 0), (1, 1), (1, 1)))
    found = np.empty(masks.shape, np.float32)
    in_threads(lambda i: _sweep(cover[i], found[i]), range(len(masks)))
    return found


@kernel
def _sweep(cover, found):
    """Writes the signed distances of one view.

    Args:
        cover: float32 (H + 2, W + 2) in [0, 1], with a rim of 0.
        found: float32 (H, W).
    """
    height, width = cover.shape
    # From a pixel to the nearest point of the outline that it knows.
    right = np.full((height, width), 1e6, np.float32)
    down = np.full((height, width), 1e6, np.float32)
    for y in range(height):
        for x in range(width):
            here = cover[y, x]
            for k in range(2):
                v, u = (y, x + 1) if k == 0 else (y + 1, x)
                if v == height or u == width:
                    continue
                there = cover[v, u]
                if (here >= 0.5) == (there >= 0.5):
                    continue
                part = (here - 0.5) / (here - there)
                if part < abs(right[y, x]) + abs(down[y, x]):  # one of the two is 0
                    right[y, x] = part if k == 0 else 0.0
                    down[y, x] = 0.0 if k == 0 else part
                if 1 - part < abs(right[v, u]) + abs(down[v, u]):
                    right[v, u] = part - 1 if k == 0 else 0.0
                    down[v, u] = 0.0 if k == 0 else part - 1
    for way in (1, -1):
        for row in range(height):
            y = row if way == 1 else height - 1 - row
            for turn in (1, -1):
                for column in range(width):
                    x = column if turn == 1 else width - 1 - column
                    best = right[y, x] ** 2 + down[y, x] ** 2
                    for k in range(4):
                        v = y if k == 0 else y - way
                        u = x - turn if k == 0 else x + k - 2
                        if v < 0 or v >= height or u < 0 or u >= width:
                            continue
                        a, b = right[v, u] + (u - x), down[v, u] + (v - y)
                        if a * a + b * b < best:
                            best = a * a + b * b
                            right[y, x], down[y, x] = a, b
    for y in range(found.shape[0]):
        for x in range(found.shape[1]):
            far = sqrt(right[y + 1, x + 1] ** 2 + down[y + 1, x + 1] ** 2)
            found[y, x] = far if cover[y + 1, x + 1] >= 0.5 else -far
