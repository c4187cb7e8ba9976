"""`Step`: what one file of this folder declares."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from studio.context import Context
from studio.media.clip import Clip


@dataclass(frozen=True)
class Shape:
    """A clip without its pixels: what is known of it before it is made. Sizes in px, `fps` of the finished file."""

    frames: int
    width: int
    height: int
    fps: float


def _unchanged(shape: Shape, value: str) -> Shape:
    return shape


@dataclass(frozen=True)
class Step:
    """A finishing step as data.

    Args:
        name: as it is written in a request.
        summary: one sentence for the user.
        takes: what stands after the colon, in words; empty where nothing may.
        run: clip, value (``""`` if none was given), context -> clip. Raises `BadInput` for a value that won't do, and
            `Cancelled` at the next frame once the user asked for it.
        expect: shape, value -> the shape of what `run` would make; raises as `run` does. Asked before a job.
        needs_value: whether the value may not be left out.
        variants: value -> those of which the first that is installed is leased; none by default.
    """

    name: str
    summary: str
    takes: str
    run: Callable[[Clip, str, Context], Clip]
    expect: Callable[[Shape, str], Shape] = _unchanged
    needs_value: bool = False
    variants: Callable[[str], tuple[str, ...]] = lambda value: ()
