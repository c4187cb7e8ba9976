"""Transparency: pixels over a colour, and what they were before."""

from __future__ import annotations

import numpy as np

WHITE = (255, 255, 255)


def over(pixels: np.ndarray, alpha: np.ndarray, behind: tuple[int, int, int]) -> np.ndarray:
    """Pixels with straight alpha before one colour.

    Args:
        pixels: uint8 (..., H, W, 3).
        alpha: uint8 (..., H, W).
    """
    a = alpha[..., None].astype(np.uint32)
    return ((pixels * a + np.array(behind, np.uint32) * (255 - a) + 127) // 255).astype(np.uint8)


def straight(pixels: np.ndarray, alpha: np.ndarray, behind: tuple[int, int, int] = WHITE) -> np.ndarray:
    """The colours that give these pixels over `behind`; that colour itself where nothing covers it.

    Args:
        pixels, alpha: as in `over`.
    """
    a = alpha[..., None].astype(np.float32) / 255
    bare = np.array(behind, np.float32)
    found = bare + (pixels - bare) / np.maximum(a, 1 / 255)
    return np.where(a > 0, found.round().clip(0, 255), bare).astype(np.uint8)
