"""`Clip`: what every mode makes and every front end shows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar

import numpy as np


@dataclass(frozen=True, eq=False)
class Clip:
    """Frames with their rate.

    Args:
        frames: uint8 (T, H, W, 3), sRGB, T >= 1.
        fps: frames per second at which it is meant to be seen, > 0.
        alpha: uint8 (T, H, W) straight alpha, or None where every pixel is opaque.
        closed: whether the first frame comes after the last, as in an orbit.

    Raises:
        ValueError: the arrays do not have these shapes or types.
    """

    frames: np.ndarray
    fps: float
    alpha: np.ndarray | None = None
    closed: bool = False

    sound: ClassVar[None] = None
    """Frames in memory are silent."""

    def __post_init__(self) -> None:
        f = self.frames
        if f.dtype != np.uint8 or f.ndim != 4 or f.shape[3] != 3 or f.shape[0] < 1:
            raise ValueError(f"frames: {f.dtype}{list(f.shape)} is not uint8 (T, H, W, 3) with T >= 1.")
        if not self.fps > 0:
            raise ValueError(f"fps: {self.fps} is not above 0.")
        a = self.alpha
        if a is not None and (a.dtype != np.uint8 or a.shape != f.shape[:3]):
            raise ValueError(f"alpha: {a.dtype}{list(a.shape)} is not uint8 {list(f.shape[:3])}.")

    def __len__(self) -> int:
        return self.frames.shape[0]

    def __repr__(self) -> str:
        more = (", alpha" if self.alpha is not None else "") + (", closed" if self.closed else "")
        return f"Clip({len(self)} frames, {self.width}x{self.height}, {float(self.fps):g} fps{more})"

    @property
    def width(self) -> int:
        """Pixels."""
        return self.frames.shape[2]

    @property
    def height(self) -> int:
        """Pixels."""
        return self.frames.shape[1]

    @property
    def first(self) -> np.ndarray:
        """The first frame, uint8 (H, W, 3)."""
        return self.frames[0]

    @property
    def duration_s(self) -> float:
        """Seconds for which the clip is seen once, the last frame included."""
        return float(len(self) / Fraction(self.fps).limit_denominator(1001))

    def pictures(self) -> Iterator[np.ndarray]:
        """Each frame, uint8 (H, W, 3), or (H, W, 4) where the clip has alpha."""
        for index, frame in enumerate(self.frames):
            yield frame if self.alpha is None else np.dstack([frame, self.alpha[index]])
