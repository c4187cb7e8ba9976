"""`ModelManager`: the one holder of weights, under every mode.

It holds components, not pipelines: variants whose tensors are equal share them (`studio.models.identity`). What lies
where is `Residency`'s to decide; which way a request is done is the plan's (`studio.models.plan`); what happens when
memory runs out is the run's (`studio.models.run`). Here they are put together for one device.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

from studio.errors import Cancelled, NotInstalled, StudioError
from studio.models.catalog import Catalog
from studio.models.components import Components, LoadReport
from studio.models.costs import phases_of
from studio.models.eviction import Coming
from studio.models.holding import Holding
from studio.models.identity import Identities
from studio.models.installed import Installed
from studio.models.kept import Kept
from studio.models.learned import Learned, device_file
from studio.models.limits import Limits, host_memory
from studio.models.memory import VALUE_BYTES, Device
from studio.models.plan import Plan, PlannedPhase, Plans, make_plans
from studio.models.residency import Residency
from studio.models.run import Foreseen, Run, Use
from studio.models.spec import VariantSpec
from studio.models.tuned import Tuned, machine, tuned_file
from studio.models.weights import Weights

log = logging.getLogger(__name__)

_KEPT_BYTES = 32 * 2**20
"""For encodings of pictures: some 200 of 1024x576."""

_HOST_SHARE = 0.5
"""Of the host's memory, for weights that wait there; the page cache and everything else need the rest."""


class ModelManager:
    """Plans, loads, shares, pins, streams and drops components on one device.

    Args:
        look_for_device: called once, when the device is first wanted; embedded engines never want it.
        find: where a variant's weights are, None where they are not.
        family: a family's module by name (`studio.engines.family_module`).
        limits: what the user lets it take.
        home: where what is found out is kept: identities, measured peaks; None keeps nothing.
        exact_savings: False runs the networks as they are published and encodes every picture anew.
        compiling: whether networks are compiled: ``auto``, ``on`` or ``off``.
    """

    def __init__(
        self,
        catalog: Catalog,
        look_for_device: Callable[[], Device],
        *,
        find: Callable[[VariantSpec], Installed | None],
        family: Callable[[str], ModuleType],
        limits: Limits | None = None,
        home: Path | None = None,
        exact_savings: bool = True,
        compiling: str = "off",
    ) -> None:
        self.catalog = catalog
        self.limits = limits or Limits()
        self.exact_savings = exact_savings
        self.compiling = compiling
        self.compiled_dir = home / "compiled" if home else None
        self.encodings = Kept(_KEPT_BYTES)
        self.identities = Identities(home / "identities.json" if home else None)
        self.residency = Residency(
            device_budget=self.room_bytes, host_budget=self._host_budget, empty_cache=lambda: self.device.empty_cache()
        )
        self.loading_s = 0.0
        self._look_for_device = look_for_device
        self._find = find
        self._family = family
        self._home = home
        self._lock = threading.Lock()
        self._upcoming: tuple[Foreseen, ...] = ()
        self.plans_taken: dict[str, Plan] = {}
        self._prefetching: _Prefetching | None = None

    @cached_property
    def device(self) -> Device:
        """The one device of this process."""
        return self._look_for_device()

    @cached_property
    def learned(self) -> Learned:
        """What was measured on this device."""
        return Learned(device_file(self._home, self.device) if self._home else None)

    @cached_property
    def tuned(self) -> Tuned:
        """What is quickest on this device, as it was measured there."""
        return Tuned(tuned_file(self._home, self.device) if self._home else None, machine(self.device))

    @cached_property
    def _channels_last(self) -> bool:
        """Whether the weights of convolutions lie so: as long as this process holds any, all of them or none."""
        return self.tuned.channels_last(compiled=self.tuned.compiles(self.compiling, self.device.name))

    def room_bytes(self) -> int | None:
        """Most bytes that weights and working memory may take together on the device now; None: nobody can say."""
        known = [] if self.limits.device_bytes is None else [self.limits.device_bytes]
        free = self.device.free_bytes()
        if free is not None:
            # What is in use is counted again by whoever asks, so that only other programs' share is taken off here.
            taken = self.device.taken_bytes() if self.device.accelerator else self.residency.held_bytes()
            known.append(free + taken)
        return min(known, default=None)

    def _host_budget(self) -> int | None:
        """Most bytes for weights that wait in host memory; None where the device is the host."""
        if not self.device.accelerator:
            return None
        memory = host_memory()
        most = int(memory.total_bytes * _HOST_SHARE) if self.limits.host_bytes is None else self.limits.host_bytes
        return min(most, memory.available_bytes + self.residency.host_held_bytes())

    # --- leases -----------------------------------------------------------------------------------------------

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

    def key(self, spec: VariantSpec, installed: Installed, component: str, report: LoadReport) -> Hashable:
        """What the component is called among all that is held: its content."""
        return self._key(installed, component, self._opener(spec, installed, component), report)

    def pin(
        self,
        spec: VariantSpec,
        installed: Installed,
        component: str,
        report: LoadReport,
        *,
        resident_bytes: int | None = None,
    ) -> Holding:
        """The component on the device, loaded if it was not, safe from eviction until `unpin`.

        Args:
            resident_bytes: streams it with that much of it staying on the device; None: all of it.
        """
        began = time.monotonic()
        opener = self._opener(spec, installed, component)
        try:
            return self.residency.acquire(
                self._key(installed, component, opener, report),
                opener,
                component=component,
                variant=spec.id,
                report=lambda done, total: report(component, done, total),
                resident_bytes=resident_bytes,
            )
        finally:
            self.loading_s += time.monotonic() - began

    def unpin(self, holding: Holding) -> None:
        """Ends one use of the component; it stays until its room is wanted."""
        self.residency.release(holding)

    def _opener(self, spec: VariantSpec, installed: Installed, component: str) -> Callable[[], Weights]:
        """Gives the component's weights, opened when they are first asked for."""
        opened: list[Weights] = []

        def open_weights() -> Weights:
            if not opened:
                family = self._family(spec.family)
                how = {}
                if component in getattr(family, "CHANNELS_LAST", ()) and self._channels_last:
                    how["channels_last"] = True
                opened.append(family.open_weights(component, installed, self.device.name, self.device.dtype, **how))
            return opened[0]

        return open_weights

    def _key(self, installed: Installed, component: str, opener: Callable[[], Weights], report: LoadReport) -> Hashable:
        def digest() -> str:
            return opener().digest(lambda done, total: report(component, done, total))

        return (component, self.identities.of(installed, component, self.device.dtype, digest))

    # --- plans ------------------------------------------------------------------------------------------------

    def plans(self, spec: VariantSpec, installed: Installed, wish: Any) -> Plans:
        """The plans for that request on this device as it is now."""
        there = [c for c in spec.component_bytes if installed.has(c)]
        return make_plans(
            spec,
            wish,
            facts=self.learned.facts(self.device, held_bytes=self.residency.held_bytes()),
            limits=self.limits,
            learned=self.learned,
            component_bytes={c: self._device_bytes(installed, c) for c in there},
            exact_savings=self.exact_savings,
            held=self._held(installed, there),
        )

    def _held(self, installed: Installed, components: Iterable[str]) -> set[str]:
        """Those of the components that need not be read from a file."""
        there = {row["key"] for row in self.residency.rows()}
        return {c for c in components if (c, self.identities.known(installed, c, self.device.dtype)) in there}

    def _device_bytes(self, installed: Installed, component: str) -> int:
        file_bytes = installed.component_bytes(component)
        return file_bytes * VALUE_BYTES[self.device.dtype] // VALUE_BYTES[installed.stored_in(component)]

    def took(self, plan: Plan) -> None:
        """A run goes by this plan now; what a variant's last run ended with stays in `plans_taken`, by variant."""
        self.plans_taken[plan.variant] = plan
        self.residency.note(f"planned {plan.variant}: {plan.residency}", plan.says)

    def begin_phase(self, run: Run, planned: PlannedPhase) -> tuple[Hashable, ...]:
        """Makes the future known, and room where the policy wants it; gives the keys that the phase needs."""
        now, *later = run.phases_from(planned.phase)
        with self._lock:
            upcoming = self._upcoming
        coming = [*later, *upcoming]
        sizes = {
            key: self._device_bytes(installed, component)
            for phase in coming
            for key, (_, installed, component) in self._known(phase.uses).items()
        }
        self.residency.expect([Coming(tuple(self._known(p.uses)), p.working_bytes) for p in coming], sizes)
        keys = tuple(self._known(now.uses))
        if self.limits.policy in ("normal", "low", "none"):
            self.residency.leave_only(keys)
        if not later:
            self._prefetch()
        return keys

    def _known(self, uses: Sequence[Use]) -> dict[Hashable, Use]:
        """The uses by key, those whose content was never read left out."""
        named = {(u[2], self.identities.known(u[1], u[2], self.device.dtype)): u for u in uses}
        return {key: use for key, use in named.items() if key[1] is not None}

    # --- the queue --------------------------------------------------------------------------------------------

    def expect(self, upcoming: Sequence[tuple[str, Any]]) -> None:
        """Says which variants come after the job that runs, in order, each with what it will be asked for."""
        phases: list[Foreseen] = []
        for variant, wish in upcoming:
            try:
                phases.extend(self._foresee(variant, wish))
            except (StudioError, OSError, AttributeError, TypeError) as e:
                log.info("a waiting job can't be foreseen: %s", e)
        with self._lock:
            self._upcoming = tuple(phases)

    def _foresee(self, variant: str, wish: Any) -> list[Foreseen]:
        spec = self.catalog.get(variant)
        installed = None if spec.bundled else self._find(spec)
        if installed is None:
            return []
        value_bytes = VALUE_BYTES[self.device.dtype]
        costs = phases_of(spec, wish, value_bytes=value_bytes, exact_savings=self.exact_savings)
        return [
            Foreseen(tuple((spec, installed, c) for c in cost.components), cost.ways[0].working_bytes) for cost in costs
        ]

    def _prefetch(self) -> None:
        """Brings what the next job needs, beside the last phase of this one."""
        with self._lock:
            if not self._upcoming or (self._prefetching is not None and self._prefetching.is_alive()):
                return
            first = self._upcoming[0].uses[0][0].id
            next_job = [use for phase in self._upcoming for use in phase.uses if use[0].id == first]
            self._prefetching = _Prefetching(self, list({use[2]: use for use in next_job}.values()))
            self._prefetching.start()

    def prefetch(self, use: Use, report: LoadReport) -> bool:
        """Brings a component closer without disturbing anything; False where there is no room for it."""
        spec, installed, component = use
        opener = self._opener(spec, installed, component)
        return self.residency.prefetch(
            self._key(installed, component, opener, report),
            opener,
            component=component,
            variant=spec.id,
            report=lambda done, total: report(component, done, total),
        )

    def unload(self) -> int:
        """Drops everything idle, on the device and in host memory; returns the bytes freed on the device."""
        with self._lock:
            prefetching = self._prefetching
        if prefetching is not None:
            prefetching.stop()
        freed = self.residency.drop_idle()
        if freed:
            self.device.empty_cache()
        return freed

    def ledger(self) -> dict[str, Any]:
        """Every byte by component and tier, the last decisions with their reasons: plain data."""
        device = None
        if "device" in self.__dict__:  # an embedded engine never wanted one
            device = {
                "name": self.device.name,
                "title": self.device.title,
                "dtype": self.device.dtype,
                "total_bytes": self.device.total_bytes(),
                "free_bytes": self.device.free_bytes(),
                "budget_bytes": self.room_bytes(),
                "policy": self.limits.policy,
            }
        return {
            "device": device,
            "components": [_row(row) for row in self.residency.rows()],
            "kept_bytes": self.encodings.held_bytes,
            "decisions": [asdict(decision) for decision in self.residency.decisions],
            "moved": asdict(self.residency.moved),
        }


def _row(row: dict[str, Any]) -> dict[str, Any]:
    """A residency's row with the identity that its key holds."""
    _, identity = row.pop("key")
    return {**row, "identity": identity}


class _Prefetching(threading.Thread):
    """Brings the next job's components while this one decodes and writes; whatever goes wrong, the job loads anew."""

    def __init__(self, manager: ModelManager, uses: Sequence[Use]) -> None:
        super().__init__(name="prefetch", daemon=True)
        self._manager = manager
        self._uses = uses
        self._stopped = threading.Event()

    def stop(self) -> None:
        """Ends it at its next part, and waits for that."""
        self._stopped.set()
        self.join(timeout=30)

    def _report(self, component: str, done_bytes: int, total_bytes: int) -> None:
        if self._stopped.is_set():
            raise Cancelled()

    def run(self) -> None:
        for use in self._uses:
            try:
                if self._stopped.is_set() or not self._manager.prefetch(use, self._report):
                    return
            except (StudioError, OSError, RuntimeError, MemoryError) as e:
                log.info("prefetching %s of %s ended: %s", use[2], use[0].id, e)
                return
