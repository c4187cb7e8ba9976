"""A context without a studio around it: engines that need no weights, and a list of what was said."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from studio import events
from studio.context import Context
from studio.engines import family_module
from studio.errors import Cancelled, NotInstalled
from studio.models.catalog import Catalog
from studio.settings import shipped

CATALOG = Catalog(shipped("configs") / "models")


class Bare(Context):
    """Args:
    cancel_after: checks that go well before the user cancels.
    engines: variant -> an engine that stands in for one with weights.
    """

    def __init__(self, cancel_after: int = 10**9, engines: dict[str, Any] | None = None) -> None:
        self.heard: list[events.Event] = []
        self._left = cancel_after
        self._engines = engines or {}
        super().__init__(
            job_id="bare",
            scratch=Path("nowhere"),
            emit=self.heard.append,
            lease=self._leased,
            find_input=Path,
            show=lambda make: make() and None,
        )

    @property
    def notices(self) -> list[str]:
        return [event.message for event in self.heard if event.kind == "notice"]

    def check(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise Cancelled()

    @contextmanager
    def _leased(self, variant: str, ctx: Context) -> Iterator[Any]:
        spec = CATALOG.get(variant)
        if variant not in self._engines and not spec.bundled:
            raise NotInstalled(f"{variant} is not installed.", field="variant")
        yield self._engines.get(variant) or family_module(spec.family).Engine(spec, None)
