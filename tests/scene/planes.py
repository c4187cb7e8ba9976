"""Pictures with known depth: what a pinhole makes of them can be computed by hand."""

from __future__ import annotations

import cv2
import numpy as np

from studio.scene.layers import FAR

BACK = (40, 90, 160)
FRONT = (220, 60, 40)


def texture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """uint8 (H, W, 3): smooth random colours, the same in no two places."""
    noise = np.random.default_rng(seed).uniform(0, 255, (height, width, 3)).astype(np.float32)
    soft = cv2.GaussianBlur(noise, (0, 0), 3)
    soft = (soft - soft.min()) / (soft.max() - soft.min())
    return np.rint(soft * 255).astype(np.uint8)


def two_planes(height: int = 120, width: int = 160) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(picture, disparity, front mask): a flat red square at disparity 1 before a flat blue wall at disparity 0."""
    front = np.zeros((height, width), bool)
    front[height // 3 : 2 * height // 3, width // 3 : 2 * width // 3] = True
    picture = np.where(front[..., None], FRONT, BACK).astype(np.uint8)
    return picture, front.astype(np.float32), front


def flat(value: float, height: int = 120, width: int = 160) -> np.ndarray:
    """float32 (H, W): one plane across the view."""
    return np.full((height, width), value, np.float32)


def depth_of(disparity: float) -> float:
    """World units."""
    return 1 / (1 / FAR + (1 - 1 / FAR) * disparity)


def redness(picture: np.ndarray) -> np.ndarray:
    """float (H, W): 1 where a pixel is the front square's colour, 0 where it is the wall's."""
    a, b = np.array(FRONT, float), np.array(BACK, float)
    return ((picture.astype(float) - b) @ (a - b)) / ((a - b) @ (a - b))


def box(mask: np.ndarray) -> tuple[int, int, int, int]:
    """Left, top, right, bottom (inclusive) of what is True."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]), int(rows[-1])
