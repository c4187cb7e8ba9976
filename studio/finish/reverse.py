"""Backwards."""

from __future__ import annotations

from studio.context import Context
from studio.finish.moviepy_edit import edited
from studio.finish.step import Step
from studio.media.clip import Clip


def run(clip: Clip, value: str, ctx: Context) -> Clip:
    """As many frames, last one first."""
    from moviepy import vfx

    return edited(clip, vfx.TimeMirror().apply, len(clip), ctx)


STEP = Step(name="reverse", summary="Plays the clip backwards.", takes="", run=run)
