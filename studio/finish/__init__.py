"""Finishing: clip in, clip out. One file a step; adding one means adding a file here."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping, Sequence
from functools import lru_cache

from studio.errors import BadInput
from studio.finish.step import Check, Shape, Step
from studio.media.clip import Clip

__all__ = ["Shape", "Step", "all_steps", "expect", "finish", "parse_steps"]

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


def finish(clip: Clip, steps: Sequence[str], check: Check = lambda: None) -> Clip:
    """The clip after all steps, in their order.

    Args:
        check: called before each step and for each frame; may raise `Cancelled`.

    Raises:
        BadInput: as `parse_steps`, or a value that its step refuses, or a clip that would be too large.
    """
    for step, value in parse_steps(steps):
        check()
        clip = step.run(clip, value, check)
        _check_size(step, clip.frames.nbytes)
    return clip


def _check_size(step: Step, clip_bytes: int) -> None:
    if clip_bytes > MAX_CLIP_BYTES:
        raise BadInput(
            f"finish: {step.name} makes the clip {clip_bytes >> 30} GB large.",
            "Use fewer steps, frames or pixels.",
            field="finish",
        )
