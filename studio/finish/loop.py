"""A seamless loop."""

from __future__ import annotations

from dataclasses import replace

from studio.context import Context
from studio.errors import BadInput
from studio.finish.moviepy_edit import edited
from studio.finish.step import Shape, Step
from studio.media.clip import Clip


def run(clip: Clip, value: str, ctx: Context) -> Clip:
    """T - K frames: the clip from frame K on, whose last K frames dissolve into the first K.

    K is a quarter of the clip by default, at most half of it.
    """
    overlap = _overlap(value, len(clip))
    if overlap == 0:
        return clip
    from moviepy import vfx

    return edited(clip, vfx.MakeLoopable(overlap / clip.fps).apply, len(clip) - overlap, ctx, closed=True)


def _overlap(value: str, count: int) -> int:
    if not value:
        return count // 4
    if not value.isdecimal() or not 1 <= int(value[:9]) <= count // 2:
        raise BadInput(
            f"finish: loop:{value[:20]} won't do; a clip of {count} frames can dissolve over 1 to {count // 2}.",
            "Write it as loop:4, or loop alone.",
            field="finish",
        )
    return int(value)


def expect(shape: Shape, value: str) -> Shape:
    """T - K frames."""
    return replace(shape, frames=shape.frames - _overlap(value, shape.frames))


STEP = Step(
    name="loop",
    summary="Dissolves the end into the beginning, so that it repeats without a seam.",
    takes="the number of frames to dissolve over",
    run=run,
    expect=expect,
)
