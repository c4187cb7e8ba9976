"""A larger picture of the same frames."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
from PIL import Image

from studio.context import Context
from studio.errors import BadInput
from studio.finish.step import Shape, Step
from studio.media.clip import Clip

_MOST = 4
_MOST_PIXELS = 4096
"""On a side of a finished clip."""


def run(clip: Clip, value: str, ctx: Context) -> Clip:
    """So many times as wide and as high, by Lanczos' filter; nothing is made up."""
    size = _size(clip.width, clip.height, value)
    frames = []
    for frame in clip.frames:
        ctx.check()
        frames.append(_larger(frame, size))
    alpha = None if clip.alpha is None else np.stack([_larger(a, size) for a in clip.alpha])
    return replace(clip, frames=np.stack(frames), alpha=alpha)


def _larger(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.LANCZOS))


def _size(width: int, height: int, value: str) -> tuple[int, int]:
    """Width and height that are made."""
    found = re.fullmatch(r"([0-9](?:\.[0-9]{1,2})?)x?", value or "2")
    times = float(found[1]) if found else 0.0
    if not 1 < times <= _MOST:
        raise BadInput(
            f"finish: upscale:{value[:20]} won't do; up to {_MOST} times will.",
            "Write it as upscale:2.",
            field="finish",
        )
    # Even, as most films have to be.
    made = (round(width * times / 2) * 2, round(height * times / 2) * 2)
    if max(made) > _MOST_PIXELS:
        raise BadInput(
            f"finish: upscale:{value[:20]} makes {made[0]}x{made[1]}; {_MOST_PIXELS} on a side is the most.",
            "Take less of it.",
            field="finish",
        )
    return made


def expect(shape: Shape, value: str) -> Shape:
    """Wider and higher."""
    width, height = _size(shape.width, shape.height, value)
    return replace(shape, width=width, height=height)


STEP = Step(
    name="upscale",
    summary="Makes every frame larger (2 times, or as many as it says), by Lanczos' filter.",
    takes="how many times, such as 2",
    run=run,
    expect=expect,
)
