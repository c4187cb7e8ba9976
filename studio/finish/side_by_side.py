"""The still beside what became of it."""

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
    """Twice as wide: the first frame, held, on the left; the clip on the right."""
    from moviepy import clips_array

    def both(moving: VideoClip) -> VideoClip:
        return clips_array([[moving.to_ImageClip(0).with_duration(moving.duration), moving]])

    return edited(clip, both, len(clip), ctx)


def expect(shape: Shape, value: str) -> Shape:
    """Twice as wide."""
    return replace(shape, width=2 * shape.width)


STEP = Step(
    name="side-by-side",
    summary="Shows the first frame, still, beside the clip.",
    takes="",
    run=run,
    expect=expect,
)
