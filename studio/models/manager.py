"""`ModelManager`: the one holder of weights, under every mode.

It holds components, not pipelines: variants that use the same file share what was loaded from it. A component that
is in use is pinned; what is idle stays until its room is wanted.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from types import ModuleType
from typing import Any, Protocol

from studio.errors import NotInstalled
from studio.models.catalog import Catalog
from studio.models.installed import Installed
from studio.models.kept import Kept
from studio.models.memory import Device
from studio.models.spec import VariantSpec

log = logging.getLogger(__name__)

_KEPT_BYTES = 32 * 2**20
"""For encodings of pictures: some 200 of 1024x576."""


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
        """What to compute in there: ``fp16`` or ``fp32``."""
        return self._manager.device.dtype

    @property
    def exact_savings(self) -> bool:
        """Whether to compute what is constant once (`studio.engines.exact`)."""
        return self._manager.exact_savings

    def free_bytes(self) -> int | None:
        """Bytes that could be taken on the device now; None where nobody can say."""
        return self._manager.device.free_bytes()

    def recall(self, component: str, about: Hashable, make: Callable[[], Any]) -> Any:
        """What that component gave before for the same thing, or what `make` gives now.

        Args:
            about: says what it was given, by content.
            make: returns something on the host with `nbytes`, which nobody may change afterwards.
        """
        if not self._manager.exact_savings:
            return make()
        key = (_identity(self._installed, component), self.device, self.dtype, about)
        return self._manager.encodings.recall(key, make)

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
        exact_savings: False runs the networks as they are published and encodes every picture anew.
    """

    def __init__(
        self,
        catalog: Catalog,
        look_for_device: Callable[[], Device],
        *,
        find: Callable[[VariantSpec], Installed | None],
        family: Callable[[str], ModuleType],
        exact_savings: bool = True,
    ) -> None:
        self.catalog = catalog
        self._look_for_device = look_for_device
        self._find = find
        self._family = family
        self.exact_savings = exact_savings
        self.encodings = Kept(_KEPT_BYTES)
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


def _identity(installed: Installed, component: str) -> tuple[Any, ...]:
    """What makes two components the same: their name, and the files that they are read from, as these are now.

    The name counts because all components of a single-file checkpoint are read from the same file.
    """
    files = [path.resolve() for path in installed.files(component)]
    return (component, *((str(p), p.stat().st_size, p.stat().st_mtime_ns) for p in files))
