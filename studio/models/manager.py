"""`ModelManager`: the one holder of weights, under every mode.

It holds components, not pipelines: variants that use the same file share what was loaded from it. A component that
is in use is pinned; what is idle stays until its room is wanted.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from types import ModuleType
from typing import Any, Protocol

from studio.errors import NotInstalled
from studio.models.catalog import Catalog
from studio.models.installed import Installed
from studio.models.memory import Device
from studio.models.spec import VariantSpec

log = logging.getLogger(__name__)


class LoadReport(Protocol):
    """Hears how a load goes on; raises to stop it."""

    def __call__(self, component: str, done_bytes: int, total_bytes: int) -> None: ...


@dataclass
class Holding:
    """One component on the device."""

    component: str
    variants: set[str]
    held_bytes: int
    thing: Any
    pins: int = 0
    used: int = field(default=0, compare=False)


class Components:
    """What a lease gives an engine: its components, on the device, phase by phase."""

    def __init__(self, manager: ModelManager, spec: VariantSpec, installed: Installed, report: LoadReport) -> None:
        self._manager = manager
        self._spec = spec
        self._installed = installed
        self._report = report

    @property
    def device(self) -> str:
        """As torch names it."""
        return self._manager.device.name

    @property
    def dtype(self) -> str:
        """ "fp16" or "fp32": what to compute in there."""
        return self._manager.device.dtype

    @contextmanager
    def use(self, *names: str, phase: str) -> Iterator[tuple[Any, ...]]:
        """The named components, in that order, on the device and pinned until the block ends.

        Args:
            phase: what they are for (encode, sample, decode, ...).
        """
        log.debug("%s needs %s for %s", self._spec.id, ", ".join(names), phase)
        pinned: list[Holding] = []
        try:
            for name in names:
                pinned.append(self._manager.pin(self._spec, self._installed, name, self._report))
            yield tuple(h.thing for h in pinned)
        finally:
            for holding in pinned:
                self._manager.unpin(holding)


class ModelManager:
    """Loads, shares, pins and drops components on one device.

    Args:
        look_for_device: called once, when the device is first wanted; embedded engines never want it.
        find: where a variant's weights are, None where they are not.
        family: a family's module by name (`studio.engines.family_module`).
    """

    def __init__(
        self,
        catalog: Catalog,
        look_for_device: Callable[[], Device],
        *,
        find: Callable[[VariantSpec], Installed | None],
        family: Callable[[str], ModuleType],
    ) -> None:
        self.catalog = catalog
        self._look_for_device = look_for_device
        self._find = find
        self._family = family
        self._held: dict[tuple[Any, ...], Holding] = {}
        self._lock = threading.RLock()
        self._clock = 0

    @cached_property
    def device(self) -> Device:
        """The one device of this process."""
        return self._look_for_device()

    @contextmanager
    def lease(self, variant: str, report: LoadReport) -> Iterator[Any]:
        """The variant's engine for the length of the block.

        Raises:
            BadInput: no such variant.
            NotInstalled: its weights are not here.
        """
        spec = self.catalog.get(variant)
        installed = self._find(spec)
        if installed is None:
            raise NotInstalled(
                f"{spec.id} is not installed.", f"Run: python -m studio models pull {spec.id}", field="variant"
            )
        yield self._family(spec.family).Engine(spec, Components(self, spec, installed, report))

    def pin(self, spec: VariantSpec, installed: Installed, component: str, report: LoadReport) -> Holding:
        """The component on the device, loaded if it was not, safe from eviction until `unpin`."""
        key = (_identity(installed, component), self.device.dtype)
        held_bytes = self._bytes_on_device(installed.component_bytes(component), installed)
        with self._lock:
            self._clock += 1
            holding = self._held.get(key)
            if holding is None:
                self._make_room(held_bytes)
                thing = self._family(spec.family).load(
                    component,
                    installed,
                    self.device.name,
                    self.device.dtype,
                    lambda done, total: report(component, done, total),
                )
                holding = self._held[key] = Holding(component, set(), held_bytes, thing)
            holding.variants.add(spec.id)
            holding.pins += 1
            holding.used = self._clock
            return holding

    def unpin(self, holding: Holding) -> None:
        """Ends one use of the component; it stays until its room is wanted."""
        with self._lock:
            holding.pins -= 1

    def unload(self) -> int:
        """Drops everything idle; returns the bytes that were freed."""
        with self._lock:
            freed = sum(self._drop(key) for key, h in list(self._held.items()) if h.pins == 0)
        if freed:
            self.device.empty_cache()
        return freed

    def ledger(self) -> list[dict[str, Any]]:
        """Every component on the device, as plain data."""
        with self._lock:
            return [
                {
                    "component": h.component,
                    "variants": sorted(h.variants),
                    "bytes": h.held_bytes,
                    "device": self.device.name,
                    "in_use": h.pins > 0,
                }
                for h in self._held.values()
            ]

    def _bytes_on_device(self, file_bytes: int, installed: Installed) -> int:
        if installed.dtype == self.device.dtype:
            return file_bytes
        return file_bytes * 2 if self.device.dtype == "fp32" else file_bytes // 2

    def _make_room(self, wanted_bytes: int) -> None:
        for key, holding in sorted(self._held.items(), key=lambda item: item[1].used):
            free = self.device.free_bytes()
            if free is None or free >= wanted_bytes * 1.1:
                return
            if holding.pins == 0:
                self._drop(key)
                self.device.empty_cache()

    def _drop(self, key: tuple[Any, ...]) -> int:
        holding = self._held.pop(key)
        holding.thing = None
        log.info("dropped %s of %s", holding.component, ", ".join(sorted(holding.variants)))
        return holding.held_bytes


def _identity(installed: Installed, component: str) -> tuple[tuple[str, int, int], ...]:
    """What makes two components the same: the files that they are read from, as these are now."""
    files = [path.resolve() for path in installed.files(component)]
    return tuple((str(p), p.stat().st_size, p.stat().st_mtime_ns) for p in files)
