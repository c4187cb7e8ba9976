"""Pictures of a clip: a contact sheet of its frames, and its poster."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from studio.media.clip import Clip
from studio.media.stream import Stream

_GAP = 4
_PAPER = (24, 24, 24)
_INK = (255, 255, 255)


def contact_sheet(
    clip: Clip, columns: int = 5, *, cell_width: int = 256, captions: Sequence[str] | None = None, max_frames: int = 100
) -> np.ndarray:
    """All frames in rows, each with its caption: uint8 (H, W, 3).

    Args:
        cell_width: px; the height follows from the clip.
        captions: one a frame; numbers from 0 by default, none where empty.
        max_frames: of a longer clip, so many frames evenly spread, the first and last among them.
    """
    if columns < 1 or cell_width < 1 or max_frames < 1:
        raise ValueError(f"columns {columns}, cell_width {cell_width}, max_frames {max_frames}: each is at least 1.")
    chosen = np.linspace(0, len(clip) - 1, min(len(clip), max_frames)).round().astype(int)
    columns = min(columns, len(chosen))
    cell_height = max(1, round(clip.height * cell_width / clip.width))
    rows = math.ceil(len(chosen) / columns)
    sheet = Image.new("RGB", (columns * (cell_width + _GAP) + _GAP, rows * (cell_height + _GAP) + _GAP), _PAPER)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(max(9, cell_width // 14))
    for place, index in enumerate(chosen):
        x = _GAP + place % columns * (cell_width + _GAP)
        y = _GAP + place // columns * (cell_height + _GAP)
        sheet.paste(_scaled(clip.frames[index], (cell_width, cell_height)), (x, y))
        caption = str(index) if captions is None else captions[index] if captions else ""
        if caption:
            draw.text((x + 5, y + 3), caption, _INK, font, stroke_width=2, stroke_fill=(0, 0, 0))
    return np.asarray(sheet)


def poster(clip: Clip | Stream, max_side: int | None = None) -> np.ndarray:
    """The first frame, uint8 (H, W, 3), scaled down to `max_side` px where it is larger."""
    frame = clip.first
    scale = min(1.0, (max_side or math.inf) / max(clip.width, clip.height))
    if scale == 1.0:
        return frame
    return np.asarray(_scaled(frame, (max(1, round(clip.width * scale)), max(1, round(clip.height * scale)))))


def write_poster(clip: Clip | Stream, path: Path, max_side: int = 384) -> None:
    """Writes the poster as WebP; `path` holds it whole or is untouched."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    Image.fromarray(poster(clip, max_side)).save(part, "WEBP", quality=80, method=4)
    os.replace(part, path)


def _scaled(frame: np.ndarray, size: tuple[int, int]) -> Image.Image:
    return Image.fromarray(frame).resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)
