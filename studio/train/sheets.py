"""Contact sheets of samples, and the PNG that is made of them."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch

MOST_PX = 1536
"""A sheet is no wider."""


def sheet(rows: Sequence[np.ndarray], *, columns: int = 7) -> np.ndarray:
    """uint8 (H, W, 3): one clip a row, evenly many of its frames beside each other.

    Args:
        rows: uint8 (T, S, S, 3) each, of one size.
    """
    lines = []
    for frames in rows:
        at = np.linspace(0, len(frames) - 1, min(columns, len(frames))).round().astype(int)
        line = np.concatenate([frames[i] for i in at], axis=1)
        missing = columns * frames.shape[2] - line.shape[1]
        lines.append(np.pad(line, ((0, 2), (0, missing), (0, 0)), constant_values=255))
    whole = np.concatenate(lines)
    if whole.shape[1] <= MOST_PX:
        return whole
    scale = MOST_PX / whole.shape[1]
    return cv2.resize(whole, (MOST_PX, round(whole.shape[0] * scale)), interpolation=cv2.INTER_AREA)


def as_png(picture: np.ndarray) -> bytes:
    """The picture, uint8 (H, W, 3) sRGB, as a PNG file."""
    return cv2.imencode(".png", np.ascontiguousarray(picture[..., ::-1]))[1].tobytes()


def as_frames(frames_TCHW: torch.Tensor) -> np.ndarray:
    """uint8 (T, H, W, 3) on the host of uint8 (T, 3, H, W)."""
    return frames_TCHW.permute(0, 2, 3, 1).cpu().numpy()
