"""How promising a picture is, by what can be measured without taste: sharp, contrasty, not empty."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

_BLOCK = 16
"""Pixels on a side of the blocks that are looked at for emptiness."""

_FLAT = 2.0
"""Standard deviation of luma, of 255, below which a block shows nothing."""

_SHARP = 400.0
"""Variance of the Laplacian of luma at which a picture counts as sharp; more of it is mostly noise."""

_CONTRAST = 64.0
"""Standard deviation of luma at which contrast is full: that of an even spread over most of the range."""


@dataclass(frozen=True)
class Score:
    """Three shares in 0..1, and their product `total`.

    Args:
        sharpness: variance of the Laplacian against `_SHARP`, at most 1 (Pech-Pacheco et al. 2000, "Diatom
            autofocusing in brightfield microscopy").
        contrast: standard deviation of luma against `_CONTRAST`, at most 1.
        filled: share of the blocks that show something.
    """

    sharpness: float
    contrast: float
    filled: float

    @property
    def total(self) -> float:
        """The product."""
        return self.sharpness * self.contrast * self.filled

    def public(self) -> dict[str, float]:
        """Plain data, rounded to a thousandth."""
        parts = {"sharpness": self.sharpness, "contrast": self.contrast, "filled": self.filled, "total": self.total}
        return {name: round(value, 3) for name, value in parts.items()}


def score(picture: np.ndarray) -> Score:
    """The score of uint8 (H, W, 3), of at least 16 x 16 pixels."""
    luma = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32)
    height, width = (n // _BLOCK * _BLOCK for n in luma.shape)
    assert min(height, width) > 0, picture.shape
    blocks = luma[:height, :width].reshape(height // _BLOCK, _BLOCK, width // _BLOCK, _BLOCK)
    return Score(
        sharpness=min(1.0, float(cv2.Laplacian(luma, cv2.CV_32F).var()) / _SHARP),
        contrast=min(1.0, float(luma.std()) / _CONTRAST),
        filled=float((blocks.std(axis=(1, 3)) >= _FLAT).mean()),
    )
