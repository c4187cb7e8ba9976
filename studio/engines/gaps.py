"""Gaps between frames and who fills them: what the engines that insert frames have in common."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from itertools import chain
from threading import Event
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from studio.context import Context

_FULL_PIXELS, _HALF_PIXELS = 1920 * 1200, 3840 * 2400

_LOOK_S = 0.2
"""How often somebody who waits for a frame looks whether it is still wanted."""


class Gap(NamedTuple):
    """Two neighbouring frames, and when frames are wanted between them.

    Args:
        first: uint8 (H, W, 3) sRGB; so is `second`, of the same size.
        at: times, 0 the first frame's and 1 the second's.
    """

    first: np.ndarray
    second: np.ndarray
    at: Sequence[float]


Make = Callable[[np.ndarray, np.ndarray, Sequence[float]], Iterable[np.ndarray]]
"""(first, second, times strictly between 0 and 1) -> the frames, uint8 (H, W, 3), each made when it is asked for."""


def scale_for(pixels: int) -> float:
    """Where to look for motion in frames so large: in the frame itself (1), at half its width and height, a quarter."""
    return 1.0 if pixels <= _FULL_PIXELS else 0.5 if pixels <= _HALF_PIXELS else 0.25


def fill(gaps: Iterable[Gap], make: Make, workers: int, ctx: Context) -> Iterator[list[np.ndarray]]:
    """The frames of each gap, in order; `workers` gaps are filled at a time, and no more are read ahead.

    At 0 and 1 it is the frame itself; so it is everywhere between two frames that are the same.

    Raises:
        ValueError: two frames differ in size, or a time is not in 0..1.
        Cancelled: noticed within a moment; the frame that each worker is making is waited for.
    """
    stopped = Event()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="between")
    ahead: deque[Future[list[np.ndarray]]] = deque()
    try:
        for gap in gaps:
            ctx.check()
            ahead.append(pool.submit(_fill_one, gap, make, stopped))
            if len(ahead) > workers:
                yield _wait(ahead.popleft(), ctx)
        while ahead:
            yield _wait(ahead.popleft(), ctx)
    finally:
        stopped.set()
        pool.shutdown(wait=True, cancel_futures=True)


def fill_one(gap: Gap, make: Make, workers: int, ctx: Context) -> list[np.ndarray]:
    """The frames of one gap, several made at a time."""
    parts = [part.tolist() for part in np.array_split(np.array(gap.at, float), min(workers, len(gap.at) or 1))]
    shared = (gap._replace(at=part) for part in parts)
    return list(chain.from_iterable(fill(shared, make, workers, ctx)))


def _wait(made: Future[list[np.ndarray]], ctx: Context) -> list[np.ndarray]:
    while not made.done():
        ctx.check()
        wait([made], timeout=_LOOK_S)
    return made.result()


def _fill_one(gap: Gap, make: Make, stopped: Event) -> list[np.ndarray]:
    """The gap's frames; fewer where nobody wants them any more."""
    first, second, at = gap
    for frame in (first, second):
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3 or frame.shape != first.shape:
            raise ValueError(f"{frame.dtype}{list(frame.shape)} is not uint8 (H, W, 3) of {list(first.shape[:2])}.")
    if not all(0 <= t <= 1 for t in at):
        raise ValueError(f"at: {list(at)} is not all in 0..1.")
    if np.array_equal(first, second):
        return [first.copy() for _ in at]
    inside = [t for t in at if 0 < t < 1]
    made = iter(make(first, second, inside) if inside else ())
    found: list[np.ndarray] = []
    for t in at:
        if stopped.is_set():
            break
        found.append(next(made) if 0 < t < 1 else (second if t else first).copy())
    return found
