"""Transparency: pixels over a colour, and what they were before."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np

WHITE = (255, 255, 255)


def over(pixels: np.ndarray, alpha: np.ndarray, behind: tuple[int, int, int]) -> np.ndarray:
    """Pixels with straight alpha before one colour.

    Args:
        pixels: uint8 (..., H, W, 3).
        alpha: uint8 (..., H, W).
    """
    found = np.empty(pixels.shape, np.uint8)
    for seen, cover, made in _pictures(pixels, alpha, found):
        a = cover[..., None].astype(np.uint16)
        made[:] = (seen * a + np.array(behind, np.uint16) * (255 - a) + 127) // np.uint16(255)
    return found


def straight(pixels: np.ndarray, alpha: np.ndarray, behind: tuple[int, int, int] = WHITE) -> np.ndarray:
    """The colours that give these pixels over `behind`; that colour itself where nothing covers it.

    Args:
        pixels, alpha: as in `over`.
    """
    found = np.empty(pixels.shape, np.uint8)
    for seen, cover, made in _pictures(pixels, alpha, found):
        row = cover.astype(np.uint16) << 8
        for c, bare in enumerate(behind):
            made[..., c] = _straight_of(bare)[row | seen[..., c]]
    return found


def _pictures(*stacks: np.ndarray) -> Iterator[tuple[np.ndarray, ...]]:
    """Each picture of some stacks of them with its fellows: one at a time stays in the cache."""
    if stacks[1].ndim == 2:
        yield stacks
    else:
        for each in zip(*stacks, strict=True):
            yield from _pictures(*each)


@lru_cache(maxsize=8)
def _straight_of(bare: int) -> np.ndarray:
    """uint8 (256 * 256,): by alpha, then by what is seen, the value that gives it over `bare`."""
    a = np.arange(256, dtype=np.float32)[:, None] / 255
    seen = np.arange(256, dtype=np.uint8)
    found = np.float32(bare) + (seen - np.float32(bare)) / np.maximum(a, 1 / 255)
    return np.where(a > 0, found.round().clip(0, 255), np.float32(bare)).astype(np.uint8).ravel()
