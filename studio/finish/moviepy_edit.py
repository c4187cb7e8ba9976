"""One way through moviepy's editing for all steps: frames in, an edit in seconds, an exact number of frames out."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from studio.context import Context
from studio.media.clip import Clip

if TYPE_CHECKING:
    from moviepy import VideoClip

_HAIR = 1e-5
_EARLY = 1e-4
"""In frames: how late one is asked for, and how early it is found."""

Edit = Callable[["VideoClip"], "VideoClip"]


def edited(
    clip: Clip, edit: Edit, count: int, ctx: Context, *, fps: float | None = None, closed: bool | None = None
) -> Clip:
    """`count` frames of the clip after an edit, alpha edited alike.

    Frames are taken a hair after their beginnings: moviepy 2.2 mirrors time so that only beginnings meet frames, and
    where clips meet its sums of floats fall on either side. Its ImageSequenceClip won't do as a source, for it keeps
    the beginnings as float32 (NumPy 2).

    Args:
        fps: rate of the result; the clip's own by default.
        closed: whether its first frame follows its last; as in the clip by default.
    """
    fps = fps or clip.fps
    closed = clip.closed if closed is None else closed
    frames = _sampled(clip.frames, clip.fps, edit, count, fps, ctx)
    if clip.alpha is None:
        return Clip(frames, fps, closed=closed)
    grey = np.repeat(clip.alpha[..., None], 3, axis=3)
    return Clip(frames, fps, np.ascontiguousarray(_sampled(grey, clip.fps, edit, count, fps, ctx)[..., 0]), closed)


def _sampled(frames: np.ndarray, fps: float, edit: Edit, count: int, new_fps: float, ctx: Context) -> np.ndarray:
    from moviepy import VideoClip

    def at(t: float) -> np.ndarray:
        return frames[min(max(int(t * fps + _EARLY), 0), len(frames) - 1)]

    sequence = edit(VideoClip(at, duration=len(frames) / fps).with_fps(fps))
    taken = []
    for i in range(count):
        ctx.check()
        frame = np.asarray(sequence.get_frame((i + _HAIR) / new_fps))
        # An effect that mixes frames answers in floats; moviepy itself would cut them off instead of rounding.
        taken.append(frame if frame.dtype == np.uint8 else np.clip(frame.round(), 0, 255).astype(np.uint8))
    return np.stack(taken)
