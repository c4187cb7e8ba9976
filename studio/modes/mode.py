"""`Mode`: what one file of this folder declares, and `Result`: what its function returns."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from studio.context import Context
from studio.media.clip import Clip
from studio.modes.request import Request


@dataclass(frozen=True)
class Result:
    """What a mode made: the clip, files that go with it (by name), and facts worth keeping in the recipe (JSON)."""

    clip: Clip
    artifacts: Mapping[str, Path] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Mode:
    """A mode as data: a tab, a command, an endpoint and a batch row are drawn from it.

    Args:
        id: also the capability that a variant must have to be offered here.
        action: the word on the button.
        order: position among the tabs.
        request: the pydantic model of its request.
        run: request, context -> `Result`; plain code, run by `studio.jobs.execute` alone.
        inputs: the request's fields that hold paths -> a check that reads the file whole, raises `BadInput` where it
            won't do, and returns the suffix by content (".png").
    """

    id: str
    title: str
    action: str
    summary: str
    order: int
    request: type[Request]
    run: Callable[[Any, Context], Result]
    inputs: Mapping[str, Callable[[Path], str]] = field(default_factory=dict)


@lru_cache(maxsize=1)
def all_modes() -> Mapping[str, Mode]:
    """Every mode by id, in tab order: each module of this package that has a ``MODE``."""
    import studio.modes

    found = []
    for info in pkgutil.iter_modules(studio.modes.__path__):
        mode = getattr(importlib.import_module(f"studio.modes.{info.name}"), "MODE", None)
        if mode is not None:
            found.append(mode)
    return {m.id: m for m in sorted(found, key=lambda m: m.order)}
