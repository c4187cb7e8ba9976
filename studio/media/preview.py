"""The moving preview: all frames, small, written in a moment."""

from __future__ import annotations

import io
import os
import secrets
from pathlib import Path

import numpy as np
from PIL import Image

from studio.media.clip import Clip
from studio.media.webp import AnimationWriter, encode_still, frame_times


def write_preview(clip: Clip, path: Path, max_side: int = 320) -> tuple[int, int]:
    """Puts an animated WebP of all frames at `path` and returns its width and height.

    Whoever reads `path` meanwhile sees the old preview or the new one, never half of either.

    Args:
        max_side: px; larger frames are scaled down, smaller ones stay.

    Raises:
        OSError: the file can't be written.
    """
    scale = min(1.0, max_side / max(clip.width, clip.height))
    size = (max(1, round(clip.width * scale)), max(1, round(clip.height * scale)))
    part = path.with_name(f".{path.stem[:40]}.part-{secrets.token_hex(4)}{path.suffix}")
    try:
        with open(part, "wb") as file:
            made = AnimationWriter(file, size)
            for frame, duration_ms in zip(clip.frames, frame_times(clip.fps, len(clip), 0.001), strict=True):
                made.add(encode_still(_small(frame, size), quality=75, method=0), duration_ms)
            made.close()
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    return size


def still_of(moving: bytes) -> tuple[bytes, int, int]:
    """The first frame of a preview as a still WebP, and its width and height: for those who want less motion.

    Raises:
        OSError: it is not a WebP.
    """
    still = io.BytesIO()
    with Image.open(io.BytesIO(moving), formats=("WEBP",)) as picture:
        picture.convert("RGB").save(still, "WEBP", quality=80)
        return still.getvalue(), picture.width, picture.height


def _small(frame: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    if (frame.shape[1], frame.shape[0]) == size:
        return frame
    return np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BILINEAR, reducing_gap=1.5))
