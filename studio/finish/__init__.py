"""Finishing: clip in, clip out. One file a step; adding one means adding a file here."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

from studio.context import Context
from studio.errors import BadInput
from studio.finish.step import Shape, Step
from studio.media.clip import Clip
from studio.media.stream import Stream

__all__ = ["Shape", "Step", "all_steps", "expect", "finish", "parse_steps", "variants"]

MAX_CLIP_BYTES = 2**32
"""A step may make a clip longer; beyond so many bytes of pixels it is refused."""


@lru_cache(maxsize=1)
def all_steps() -> Mapping[str, Step]:
    """Every step by name, in alphabetical order: each module of this package that has a ``STEP``."""
    found = []
    for info in pkgutil.iter_modules(__path__):
        step = getattr(importlib.import_module(f"{__name__}.{info.name}"), "STEP", None)
        if step is not None:
            found.append(step)
    return {s.name: s for s in sorted(found, key=lambda s: s.name)}


def parse_steps(steps: Sequence[str]) -> list[tuple[Step, str]]:
    """Each ``name`` or ``name:value`` with its step; only the first colon parts them. Cheap: ask it before a job.

    Raises:
        BadInput: no such step, a value missing, or one too many.
    """
    parsed = []
    for written in steps:
        name, _, value = (part.strip() for part in written.partition(":"))
        step = all_steps().get(name)
        if step is None:
            able = ", ".join(all_steps())
            raise BadInput(f"finish: {name[:40]!r} is not a step; there are {able}.", field="finish")
        if value and not step.takes:
            raise BadInput(f"finish: {name} takes no value.", f"Write {name} alone.", field="finish")
        if step.needs_value and not value:
            raise BadInput(f"finish: {name} needs {step.takes}.", f"Write it as {name}:...", field="finish")
        parsed.append((step, value))
    return parsed


def expect(shape: Shape, steps: Sequence[str]) -> Shape:
    """The shape of what `finish` would make of such a clip; nothing is made. Ask it before a job.

    Raises:
        BadInput: where `finish` would.
    """
    for step, value in parse_steps(steps):
        shape = step.expect(shape, value)
        _check_size(step, 3 * shape.frames * shape.width * shape.height)
    return shape


def variants(steps: Sequence[str], installed: Callable[[str], bool]) -> list[str]:
    """The variants that the steps will lease, in order; of each step the first that is installed.

    Raises:
        BadInput: as `parse_steps`, or a value that its step refuses.
    """
    found = []
    for step, value in parse_steps(steps):
        able = step.variants(value)
        if able:
            found.append(next((variant for variant in able if installed(variant)), able[0]))
    return list(dict.fromkeys(found))


def finish(clip: Clip | Stream, steps: Sequence[str], ctx: Context) -> Clip | Stream:
    """The clip after all steps, in their order; a stream where there are none.

    Raises:
        BadInput: as `parse_steps`, or a value that its step refuses, or a clip that would be too large.
        Cancelled: the user asked for it; noticed at each frame.
    """
    parsed = parse_steps(steps)
    if parsed and isinstance(clip, Stream):
        _check_size(parsed[0][0], 3 * len(clip) * clip.width * clip.height)
        if clip.sound is not None:
            ctx.notice("sound: finishing steps work on the pictures alone; it is left out.")
        clip = clip.in_memory()
    for step, value in parsed:
        ctx.check()
        clip = step.run(clip, value, ctx)
        _check_size(step, clip.frames.nbytes)
    return clip


def _check_size(step: Step, clip_bytes: int) -> None:
    if clip_bytes > MAX_CLIP_BYTES:
        raise BadInput(
            f"finish: {step.name} makes the clip {clip_bytes >> 30} GB large.",
            "Use fewer steps, frames or pixels.",
            field="finish",
        )
