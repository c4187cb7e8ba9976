"""How far two clips are from each other: what a quicker way costs, measured against the exact one."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Apart:
    """How far a clip is from the one that it should be.

    Args:
        psnr_db: over all frames together; infinite where they are the same.
        worst_psnr_db: of the frame that is furthest off.
        mean_levels: mean absolute difference in levels of 255.
        most_levels: the largest one.
    """

    psnr_db: float
    worst_psnr_db: float
    mean_levels: float
    most_levels: int

    def public(self) -> dict[str, Any]:
        """For a file: rounded, and None for what is infinite."""
        return {k: round(v, 3) if math.isfinite(v) else None for k, v in asdict(self).items()}


def apart(frames: np.ndarray, reference: np.ndarray) -> Apart:
    """How far `frames` are from `reference`; uint8 (T, H, W, 3) both, of the same request and seed."""
    assert frames.shape == reference.shape, (frames.shape, reference.shape)
    squared, absolute, most = [], [], 0
    for a, b in zip(frames, reference, strict=True):
        off = np.abs(a.astype(np.int16) - b.astype(np.int16))
        squared.append(float(np.mean(np.square(off, dtype=np.float64))))
        absolute.append(float(off.mean()))
        most = max(most, int(off.max()))
    return Apart(_psnr(float(np.mean(squared))), _psnr(max(squared)), float(np.mean(absolute)), most)


def _psnr(mean_square: float) -> float:
    return 10 * math.log10(255**2 / mean_square) if mean_square > 0 else math.inf
