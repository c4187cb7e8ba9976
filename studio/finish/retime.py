"""Another speed, or another rate."""

from __future__ import annotations

import re
from dataclasses import replace

from studio.context import Context
from studio.errors import BadInput
from studio.finish.moviepy_edit import edited
from studio.finish.step import Shape, Step
from studio.media.clip import Clip

_MIN_SPEED, _MAX_SPEED = 0.1, 10.0
_MIN_FPS, _MAX_FPS = 1.0, 60.0
_MAX_FRAMES = 3600


def run(clip: Clip, value: str, ctx: Context) -> Clip:
    """``2x``: twice as fast at the same rate, T / 2 frames. ``24fps``: that rate at the same duration.

    Frames are left out or shown again; none is made up (that is what interpolation is for).
    """
    number, unit = _parse(value)
    if unit == "x":
        from moviepy import vfx

        count = _count(len(clip) / number, value)
        return edited(clip, vfx.MultiplySpeed(factor=number).apply, count, ctx)
    return edited(clip, lambda same: same, _count(len(clip) * number / clip.fps, value), ctx, fps=number)


def _parse(value: str) -> tuple[float, str]:
    found = re.fullmatch(r"([0-9]{1,4}(?:\.[0-9]{1,6})?) ?(x|fps)", value)
    if found:
        number, unit = float(found[1]), found[2]
        low, high = (_MIN_SPEED, _MAX_SPEED) if unit == "x" else (_MIN_FPS, _MAX_FPS)
        if low <= number <= high:
            return number, unit
    raise BadInput(
        f"finish: retime:{value[:20]} won't do; a speed from {_MIN_SPEED:g}x to {_MAX_SPEED:g}x or a rate from "
        f"{_MIN_FPS:g}fps to {_MAX_FPS:g}fps will.",
        "Write it as retime:2x or retime:24fps.",
        field="finish",
    )


def _count(frames: float, value: str) -> int:
    count = max(1, round(frames))
    if count > _MAX_FRAMES:
        raise BadInput(f"finish: retime:{value} makes {count} frames; {_MAX_FRAMES} is the most.", field="finish")
    return count


def expect(shape: Shape, value: str) -> Shape:
    """Another number of frames, or another rate as well."""
    number, unit = _parse(value)
    if unit == "x":
        return replace(shape, frames=_count(shape.frames / number, value))
    return replace(shape, frames=_count(shape.frames * number / shape.fps, value), fps=number)


STEP = Step(
    name="retime",
    summary="Changes the speed (2x, 0.5x), or the rate at the same duration (24fps).",
    takes="a speed such as 2x, or a rate such as 24fps",
    run=run,
    expect=expect,
    needs_value=True,
)
