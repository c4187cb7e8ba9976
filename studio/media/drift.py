"""How far a clip that goes on has left the look that it began with."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np


@dataclass(frozen=True)
class Drift:
    """The later frames against the given ones.

    Args:
        colour: by how much the channel that moved most has changed in the mean, in levels of 255.
        contrast: standard deviation of luma, as a ratio; 1 is unchanged.
        detail: variance of the Laplacian of luma, as a ratio; what is washed out falls towards 0.
    """

    colour: float
    contrast: float
    detail: float

    def public(self) -> dict[str, float]:
        """Plain data, rounded to a hundredth."""
        return {name: round(value, 2) for name, value in vars(self).items()}


def drift(given: np.ndarray, made: np.ndarray) -> Drift:
    """The drift from the given frames to those made after them; uint8 (T, H, W, 3) each."""
    means, contrasts, details = zip(*(_look(frames) for frames in (given, made)), strict=True)
    return Drift(
        colour=float(np.abs(means[1] - means[0]).max()),
        contrast=contrasts[1] / max(contrasts[0], 1e-6),
        detail=details[1] / max(details[0], 1e-6),
    )


def _look(frames: np.ndarray) -> tuple[np.ndarray, float, float]:
    luma = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
    contrast = float(np.mean([each.std() for each in luma]))
    detail = float(np.mean([cv2.Laplacian(each, cv2.CV_32F).var() for each in luma]))
    return frames.mean(axis=(0, 1, 2)), contrast, detail
