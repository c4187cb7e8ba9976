"""Writes one picture as PNG with its recipe."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from studio.media.recipe import png_text, recipe_text


def write_still(pixels: np.ndarray, path: Path, *, recipe: Mapping[str, Any]) -> Path:
    """`path`, whole or untouched: uint8 (H, W, 3) as PNG that carries the recipe."""
    part = path.with_name(f".{path.name}.part")
    try:
        Image.fromarray(pixels).save(part, "PNG", pnginfo=png_text(recipe_text(recipe)))
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    return path
