"""A film through an engine into a file: the stream of what is made between its frames, while it is written."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator, Sequence
from fractions import Fraction
from typing import Protocol

import cv2
import numpy as np

from studio.context import Context
from studio.engines.smooth import smooth
from studio.errors import BadInput
from studio.media.clip import Clip
from studio.media.film import Film, look
from studio.media.stream import Stream
from studio.media.timing import Span

_HELD_BYTES = 24 * 2**20
"""Of frames that are made of one pair at once: so much is held."""

_PREVIEW_PX, _PREVIEW_FRAMES = 320, 24


class Wish(Protocol):
    """What is asked for beside the frames."""

    @property
    def variant(self) -> str: ...
    @property
    def format(self) -> str: ...
    @property
    def scale(self) -> str: ...
    @property
    def sound(self) -> str: ...
    @property
    def on_cancel(self) -> str: ...


def look_at(clip: str, ctx: Context) -> Film:
    """The film that a request names as its ``clip``, looked at from end to end.

    Raises:
        BadInput: it won't do; names the field.
    """

    def told(done: int, total: int) -> None:
        if done % max(1, total // 100) == 0 or done == total:
            ctx.step(done, total, "look")
        else:
            ctx.check()

    try:
        film = look(ctx.input(clip), told)
    except BadInput as e:
        e.field = "clip"
        raise
    for sentence in film.notices:
        ctx.notice(sentence)
    return film


def at_once(film: Film) -> int:
    """How many frames of one pair may be made before they are written."""
    return max(1, min(16, _HELD_BYTES // (3 * film.width * film.height)))


def grouped(plan: Sequence[Span], size: int = 8) -> Iterator[Span]:
    """Spans of one pair in groups, each of which is made at once."""
    for i in range(0, len(plan), size):
        yield Span(plan[i].first, plan[i].second, tuple(t for span in plan[i : i + size] for t in span.at))


def stream_of(
    request: Wish,
    ctx: Context,
    film: Film,
    plan: Iterator[Span],
    count: int,
    rate: Fraction,
    slow: Fraction = Fraction(1),
) -> Stream:
    """The frames that the plan asks for, made by the request's model when they are asked for, and the film's sound.

    Args:
        count: how many there will be.
        slow: how many times as long it lasts.
    """
    sound = film.sound if request.sound == "keep" else None
    if sound is not None and request.format not in ("mp4", "webm"):
        ctx.notice(f"sound: a {request.format} has none; it is left out.")
        sound = None

    def kept(frames: int) -> None:
        ctx.notice(f"Stopped: the first {frames} of {count} frames are kept.")

    return Stream(
        frames=_made(request, ctx, film, plan, count, rate),
        count=count,
        width=film.width,
        height=film.height,
        fps=rate,
        first=film.first,
        sound=None if sound is None else sound.slowed(1 / slow),
        kept=kept if request.on_cancel == "keep" else None,
    )


def _made(
    request: Wish, ctx: Context, film: Film, plan: Iterator[Span], count: int, rate: Fraction
) -> Generator[np.ndarray, None, None]:
    """The frames as they are asked for, with the model on the device for as long as they are."""
    recent: deque[np.ndarray] = deque(maxlen=_PREVIEW_FRAMES)
    fps = float(rate)
    ctx.step(0, count, "interpolate")
    with ctx.lease(request.variant) as engine:
        made = smooth(engine, film.frames(), plan, ctx, scale=scale_of(request))
        for done, frame in enumerate(made, 1):
            recent.append(_small(frame))
            yield frame
            ctx.step(done, count, "interpolate", preview=lambda: Clip(np.stack(recent), fps))


def _small(frame: np.ndarray) -> np.ndarray:
    height, width = frame.shape[:2]
    by = min(1.0, _PREVIEW_PX / max(height, width))
    size = (max(1, round(width * by)), max(1, round(height * by)))
    return cv2.resize(frame, size, interpolation=cv2.INTER_AREA) if by < 1 else frame


def scale_of(request: Wish) -> float | None:
    """As `studio.engines.smooth.smooth` takes it."""
    return None if request.scale == "auto" else float(request.scale)
