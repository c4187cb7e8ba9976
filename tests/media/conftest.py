"""A small clip that looks like something: smooth colours that move, a sharp edge, and a recipe for it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from studio.media.clip import Clip
from studio.media.recipe import make_recipe


def moving(width: int = 96, height: int = 64, count: int = 9, fps: float = 7.0, *, alpha: bool = False) -> Clip:
    """Smooth colours drift to the right; a white square goes with them."""
    across, down = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    frames = np.empty((count, height, width, 3), np.uint8)
    for i in range(count):
        shifted = across + i * 0.05
        frames[i] = 255 * np.stack([0.5 + 0.4 * np.sin(3 * shifted), down, 0.5 + 0.4 * np.cos(2 * shifted + down)], -1)
        frames[i, height // 4 : height // 2, 4 + 2 * i : 4 + 2 * i + height // 4] = 255
    matte = None
    if alpha:
        matte = np.where(across < 0.5, 0, 255).astype(np.uint8)[None].repeat(count, 0)
    return Clip(frames, fps, matte)


@pytest.fixture(scope="session")
def clip() -> Clip:
    return moving()


@pytest.fixture(scope="session")
def recipe() -> dict[str, Any]:
    return make_recipe({"mode": "image-to-video", "seed": 7}, "parallax", facts={"say": 'é"\n=;#\\ 漢字 🎬 </x>'})
