"""Another rate by frames that are made: what retiming leaves out or shows again, this makes anew."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np

from studio.context import Context
from studio.engines.smooth import smooth
from studio.errors import BadInput, NotInstalled
from studio.finish.step import Shape, Step
from studio.media.clip import Clip
from studio.media.timing import exact_rate, frame_count, spans

_MIN_FPS, _MAX_FPS = 1.0, 240.0
_MAX_FRAMES = 3600
_MAKERS = ("rife", "flow")
"""The better one first."""


def run(clip: Clip, value: str, ctx: Context) -> Clip:
    """A clip of that rate and as long, whose frames are made by RIFE, or by optical flow where RIFE is not installed.

    A closed clip goes on from its last frame to its first; the last frame of another is held for as long as it was.
    """
    fps, makers = _parse(value)
    rate, own = exact_rate(fps), exact_rate(clip.fps)
    count = _count(len(clip), own, rate)
    if len(clip) == 1:
        return replace(clip, frames=clip.frames.repeat(count, 0), fps=fps, alpha=_repeated(clip.alpha, count))
    for maker in makers:
        try:
            with ctx.lease(maker) as engine:
                frames = _made(engine, clip.frames, clip.closed, own, rate, count, ctx)
                alpha = None
                if clip.alpha is not None:
                    grey = clip.alpha[..., None].repeat(3, 3)
                    alpha = np.ascontiguousarray(_made(engine, grey, clip.closed, own, rate, count, ctx)[..., 0])
            return Clip(frames, fps, alpha, clip.closed)
        except NotInstalled:
            if maker == makers[-1]:
                raise
    raise AssertionError("there is always a last one")


def _made(
    engine: Any, frames: np.ndarray, closed: bool, own: Fraction, rate: Fraction, count: int, ctx: Context
) -> np.ndarray:
    """uint8 (count, H, W, 3)."""
    times = [i / own for i in range(len(frames))]
    made = np.empty((count, *frames.shape[1:]), np.uint8)
    ctx.step(0, count, "smooth")
    for i, frame in enumerate(smooth(engine, frames, spans(times, len(frames) / own, rate, closed=closed), ctx)):
        made[i] = frame
        ctx.step(i + 1, count, "smooth")
    return made


def _repeated(alpha: np.ndarray | None, count: int) -> np.ndarray | None:
    return None if alpha is None else alpha.repeat(count, 0)


def _parse(value: str) -> tuple[float, Sequence[str]]:
    """The rate, and what may make the frames."""
    found = re.fullmatch(r"([0-9]{1,3}(?:\.[0-9]{1,6})?) ?(?:fps)?(?: (\S+))?", value)
    if found and _MIN_FPS <= float(found[1]) <= _MAX_FPS and found[2] in (None, *_MAKERS):
        return float(found[1]), _MAKERS if found[2] is None else (found[2],)
    raise BadInput(
        f"finish: smooth:{value[:20]} won't do; a rate from {_MIN_FPS:g} to {_MAX_FPS:g} will.",
        f"Write it as smooth:24, or smooth:24 {_MAKERS[-1]} to name what makes the frames.",
        field="finish",
    )


def _count(frames: int, own: Fraction, rate: Fraction) -> int:
    count = frame_count(frames / own, rate)
    if count > _MAX_FRAMES:
        raise BadInput(
            f"finish: smooth makes {count} frames; {_MAX_FRAMES} is the most.",
            "Interpolate the finished clip instead, which takes any length.",
            field="finish",
        )
    return count


def expect(shape: Shape, value: str) -> Shape:
    """Another rate, as long."""
    fps, _ = _parse(value)
    return replace(shape, frames=_count(shape.frames, exact_rate(shape.fps), exact_rate(fps)), fps=fps)


STEP = Step(
    name="smooth",
    summary="Makes frames in between up to a rate, at the same duration (24).",
    takes="frames a second, such as 24",
    run=run,
    expect=expect,
    needs_value=True,
    variants=lambda value: tuple(_parse(value)[1]),
)
