"""`Views`: an object seen from all around, as an engine gives it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from studio.scene.surface import Surface

Posed = Literal["exact", "told", "unknown"]
"""How well the cameras are known: rendered from them; a network was told them; a network chose its own."""


@dataclass(frozen=True, eq=False)
class Views:
    """The views of one orbit, in its order; the last one shows the picture that they were made from.

    Args:
        frames: uint8 (T, S, S, 3), sRGB, the object on white.
        alpha: uint8 (T, S, S), or None where nobody knows it but for the white.
        surface: what was rendered, None where nothing was.
        posed: how well the cameras of the orbit that was asked for are those of the frames.

    Raises:
        ValueError: the arrays do not have these shapes or types.
    """

    frames: np.ndarray
    alpha: np.ndarray | None = None
    surface: Surface | None = None
    posed: Posed = "exact"

    def __post_init__(self) -> None:
        f, a = self.frames, self.alpha
        if f.dtype != np.uint8 or f.ndim != 4 or f.shape[3] != 3 or f.shape[1] != f.shape[2]:
            raise ValueError(f"frames: {f.dtype}{list(f.shape)} is not uint8 (T, S, S, 3).")
        if a is not None and (a.dtype != np.uint8 or a.shape != f.shape[:3]):
            raise ValueError(f"alpha: {a.dtype}{list(a.shape)} is not uint8 {list(f.shape[:3])}.")
