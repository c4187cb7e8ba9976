"""Forth and back."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from studio.context import Context
from studio.finish.moviepy_edit import edited
from studio.finish.step import Shape, Step
from studio.media.clip import Clip

if TYPE_CHECKING:
    from moviepy import VideoClip


def run(clip: Clip, value: str, ctx: Context) -> Clip:
    """2 T - 2 frames: neither turning point is shown twice, not even where the file loops."""
    if len(clip) < 3:
        return clip
    from moviepy import concatenate_videoclips, vfx

    def there_and_back(forth: VideoClip) -> VideoClip:
        back = vfx.TimeMirror().apply(forth)
        return concatenate_videoclips([forth, back.subclipped(1 / clip.fps, (len(clip) - 1) / clip.fps)])

    return edited(clip, there_and_back, 2 * len(clip) - 2, ctx, closed=True)


def expect(shape: Shape, value: str) -> Shape:
    """2 T - 2 frames, where there are 3 or more."""
    return shape if shape.frames < 3 else replace(shape, frames=2 * shape.frames - 2)


STEP = Step(
    name="boomerang",
    summary="Plays the clip forth and back, without a jolt at the ends.",
    takes="",
    run=run,
    expect=expect,
)
