"""Frames between the frames of a clip that comes frame by frame, by any engine that fills gaps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from studio.engines.gaps import Gap
from studio.media.timing import Span

if TYPE_CHECKING:
    from studio.context import Context


def smooth(
    engine: Any, frames: Iterable[np.ndarray], plan: Iterable[Span], ctx: Context, *, scale: float | None = None
) -> Iterator[np.ndarray]:
    """The frames that the spans ask for, in order, uint8 (H, W, 3); a few of either are held at a time.

    Args:
        engine: has `fill`, as `studio.engines.flow` and `studio.engines.rife` have.
        frames: those that the spans are between; the first, with which the first span begins, is held throughout.
        plan: as `studio.media.timing.spans` gives it.
        scale: as `fill` takes it.

    Raises:
        Cancelled: within a moment and the frames that are being made.
    """
    for made in engine.fill(_gaps(frames, plan), ctx, scale=scale):
        yield from made


def _gaps(frames: Iterable[np.ndarray], plan: Iterable[Span]) -> Iterator[Gap]:
    coming = enumerate(frames)
    held: dict[int, np.ndarray] = {}
    for first, second, at in ((span.first, span.second, span.at) for span in plan):
        for i in [i for i in held if 0 < i < first]:
            del held[i]
        while max(first, second) not in held:
            i, frame = next(coming)
            if i in (first, second):
                held[i] = frame
        yield Gap(held[first], held[second], at)
