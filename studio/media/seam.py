"""Where a clip meets another, or itself: joining with a cross-fade, and how well a loop closes."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

_LEAST_SIDE = 32
"""Pixels; OpenCV 5.0's DIS crashes the process with fewer than 16 rows."""

_MOST_SIDE = 512
"""Pixels at which motion is looked for at most: enough to compare it."""

_STILL = 1e-6
"""A distance below which neighbours count as the same."""


@dataclass(frozen=True)
class Seam:
    """How the step from the last frame to the first compares with the other steps of a loop; 1 is like all others.

    A seam that nobody sees is at 0.8 to 1.25. Much below is a halt, above it a jump.

    Args:
        pixels: distance of last and first frame over the median distance of neighbours. None where nothing moves.
        motion: how much the optical flow changes across the seam over the median change elsewhere. None likewise.
    """

    pixels: float | None
    motion: float | None

    def public(self) -> dict[str, float | None]:
        """Plain data, rounded to a hundredth."""
        return {k: None if v is None else round(v, 2) for k, v in (("pixels", self.pixels), ("motion", self.motion))}


def seam(frames: np.ndarray) -> Seam:
    """The seam of a loop whose last frame is followed by its first; uint8 (T, H, W, 3), T >= 3.

    Distances are root mean squares: of the pixels' differences, and of the difference of two steps' flows.
    """
    count = len(frames)
    assert count >= 3, frames.shape
    distances = [_rms(frames[i].astype(np.float32) - frames[(i + 1) % count]) for i in range(count)]
    grey = [_looked_at(frame) for frame in frames]
    search = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    flows = [search.calc(grey[i], grey[(i + 1) % count], None) for i in range(count)]
    # From step i to the next: the two changes at the seam are those that the step across it takes part in.
    changes = [_rms(flows[(i + 1) % count] - flows[i]) for i in range(count)]
    return Seam(
        pixels=_against(distances[-1], distances[:-1]),
        motion=_against((changes[-2] + changes[-1]) / 2, changes[:-2]),
    )


def joined(first: np.ndarray, second: np.ndarray, overlap: int) -> np.ndarray:
    """One clip of two whose last and first `overlap` frames show the same moments, cross-faded over these.

    Args:
        first, second: uint8 (T, H, W, 3) of one size, each at least `overlap` long.
    """
    assert 0 <= overlap <= min(len(first), len(second)), (len(first), len(second), overlap)
    before, after = first[len(first) - overlap :], second[:overlap]
    share = ((np.arange(overlap, dtype=np.float32) + 1) / (overlap + 1))[:, None, None, None]
    faded = np.rint(before + share * (after.astype(np.float32) - before)).astype(np.uint8)
    return np.concatenate([first[: len(first) - overlap], faded, second[overlap:]])


def _looked_at(frame: np.ndarray) -> np.ndarray:
    height, width = frame.shape[:2]
    by = min(1.0, _MOST_SIDE / max(height, width))
    size = (max(_LEAST_SIDE, round(width * by)), max(_LEAST_SIDE, round(height * by)))
    return cv2.resize(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), size, interpolation=cv2.INTER_AREA)


def _rms(difference: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(difference, dtype=np.float64))))


def _against(distance: float, others: list[float]) -> float | None:
    usual = float(np.median(others))
    return distance / usual if usual > _STILL else None
