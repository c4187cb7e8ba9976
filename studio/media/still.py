"""Writes one picture as PNG."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from studio.media.recipe import png_text, recipe_text


def write_still(pixels: np.ndarray, path: Path, *, recipe: Mapping[str, Any] | None = None) -> Path:
    """`path`, whole or untouched: uint8 (H, W, 3), or (H, W, 4) with straight alpha, as PNG that carries the recipe."""
    part = path.with_name(f".{path.name}.part")
    try:
        Image.fromarray(pixels).save(
            part, "PNG", pnginfo=None if recipe is None else png_text(recipe_text(recipe)), compress_level=4
        )
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    return path
