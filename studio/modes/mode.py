"""`Mode`: what one file of this folder declares, and `Result`: what its function returns."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from studio.context import Context
from studio.errors import StudioError
from studio.media.clip import Clip
from studio.models.catalog import Catalog
from studio.models.spec import VariantSpec
from studio.modes.request import Request


@dataclass(frozen=True, eq=False)
class Still:
    """A picture that goes with a clip: uint8 (H, W, 3), and the request that makes it by itself, for its recipe."""

    pixels: np.ndarray
    request: Mapping[str, Any]


@dataclass(frozen=True)
class Result:
    """What a mode made.

    Args:
        clip: what becomes the job's first file.
        artifacts: files that go with it, by the name that is put behind the clip's: ``mesh.glb``; or, where the mode
            writes a folder, by their path in it: ``images/000.png``.
        stills: pictures that go with it, likewise: ``keyframe-1.png``.
        facts: worth keeping in the recipe (JSON).
    """

    clip: Clip
    artifacts: Mapping[str, Path] = field(default_factory=dict)
    stills: Mapping[str, Still] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)


def _asked_shape(request: Request) -> tuple[int, int, int] | None:
    width, height = getattr(request, "width", None), getattr(request, "height", None)
    return None if width is None or height is None else (getattr(request, "frames", None) or 1, width, height)


@dataclass(frozen=True)
class Mode:
    """A mode as data: a tab, a command, an endpoint and a batch row are drawn from it.

    Args:
        roles: the request's fields that name a variant -> the capabilities, any of which such a variant has, the
            first that it has being the one that counts. ``variant`` alone, with the mode's id, by default.
        needs: request, catalog -> the roles that it really uses, in the order of use; all of them by default. What has
            nothing to do need not be installed.
        wish: request, role -> the request as that role's engine sees it; the request itself by default.
        action: the word on the button.
        order: position among the tabs.
        request: the pydantic model of its request.
        run: request, context -> `Result`; plain code, run by `studio.jobs.execute` alone.
        inputs: the request's fields that hold paths, or None -> a check that reads the file whole, raises `BadInput`
            where it won't do, and returns the suffix by content (".png").
        prefers: role -> variants, of which the first that can run here stands where a request names none; where
            several roles are open, the first role's is chosen first (see `favourites`).
        shape: request -> frames, width and height of its clip before finishing; None where only the job will know.
        folder: the clip's name in a folder that holds all that the mode makes; "" where there is none.
        loras: request -> the names of the LoRA files that it asks for; none by default.
    """

    id: str
    title: str
    action: str
    summary: str
    order: int
    request: type[Request]
    run: Callable[[Any, Context], Result]
    inputs: Mapping[str, Callable[[Path], str]] = field(default_factory=dict)
    roles: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    needs: Callable[[Any, Catalog], tuple[str, ...]] | None = None
    wish: Callable[[Any, str], Any] = lambda request, role: request
    prefers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    shape: Callable[[Any], tuple[int, int, int] | None] = _asked_shape
    folder: str = ""
    loras: Callable[[Any], Iterable[str]] = lambda request: ()

    def __post_init__(self) -> None:
        if not self.roles:
            object.__setattr__(self, "roles", {"variant": (self.id,)})

    def used_roles(self, request: Request, catalog: Catalog) -> tuple[str, ...]:
        """The roles whose variants that request runs, in the order in which they run."""
        return tuple(self.roles) if self.needs is None else self.needs(request, catalog)

    def uses(self, request: Request, catalog: Catalog) -> list[tuple[VariantSpec, Any]]:
        """The variants that the request runs, in the order in which they run, each with what it is asked for."""
        used = self.used_roles(request, catalog)
        return [(catalog.get(getattr(request, role), field=role), self.wish(request, role)) for role in used]

    def favourites(self, given: Mapping[str, Any], usable: Callable[[str], bool], catalog: Catalog) -> dict[str, str]:
        """Role -> the variant that stands there where the request names none.

        Of what each role prefers and can run here, the first that go together and whose pictures are of about the
        same size: a small model's are no keyframes for a large one.

        Args:
            given: the request's fields as far as they are known, not checked yet.
            usable: whether that variant can run here.
        """
        open_roles = [role for role in self.prefers if given.get(role) is None]
        liked = [
            [v for v in self.prefers[role] if usable(v)] or [self.request.model_fields[role].default]
            for role in open_roles
        ]
        choices = [dict(zip(open_roles, each, strict=True)) for each in product(*liked)]
        going = [each for each in choices if self._goes({**given, **each}, catalog)]
        alike = (each for each in going if self._alike({**given, **each}, catalog))
        return next(alike, (going or choices)[0])

    def _goes(self, given: Mapping[str, Any], catalog: Catalog) -> bool:
        missing = {name: None for name, field in self.request.model_fields.items() if field.is_required()}
        try:
            self.used_roles(self.request.model_construct(**{**missing, **given}), catalog)
        except (StudioError, LookupError, TypeError, ValueError, AttributeError):
            return False  # what is wrong with what was given is told where that is checked
        return True

    def _alike(self, given: Mapping[str, Any], catalog: Catalog) -> bool:
        widths = []
        for role, capabilities in self.roles.items():
            spec = next((s for s in catalog.able(*capabilities) if s.id == given.get(role)), None)
            option = spec.options_for(*capabilities).get("width") if spec else None
            widths += [option.default] if option else []
        return not widths or max(widths) <= 2 * min(widths)


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
