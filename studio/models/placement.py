"""Every way to place and do one phase on a device, with the bytes and seconds that it takes. No torch.

Seconds are those of a roofline: the arithmetic at the device's pace, plus what pointwise kernels move, plus the weights
that come over the bus and hide behind nothing. Where a phase of the kind was measured, its pace takes the roofline's
place, and what was measured of one way says how far off the roofline is for the phase's other ways.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from studio.models.costs import PhaseCost, Unit, Way
from studio.models.learned import DeviceFacts, Learned
from studio.models.limits import Limits
from studio.models.planned import PlannedPhase

MARGIN = 1.15
"""What is planned over the working memory itself: room that the allocator can't use, a kernel's workspace."""

_POINTWISE = 0.65
"""Of the bytes that a network moves on the device, by kernels that do little else: their time is their own, while the
bytes of matrix products and convolutions hide behind the arithmetic (447 of 697 GB of a step of SVD's UNet)."""

_UNPINNED = 0.5
"""Of the bus's pace for tensors that are not in pinned memory, which only weights are."""

_HOST_SHARE = 0.5
"""Of the host's memory: for weights that wait there, and as much again for a clip's tensors."""


@dataclass(frozen=True)
class Placer:
    """Makes the options of a variant's phases on one device.

    Args:
        component_bytes: in the device's precision; one that a spec does not name counts as nothing.
        budget_bytes: the most that may be on the device at once; None where nothing bounds it.
    """

    family: str
    facts: DeviceFacts
    limits: Limits
    learned: Learned
    component_bytes: Mapping[str, int]
    budget_bytes: int | None

    def options(self, cost: PhaseCost) -> tuple[PlannedPhase, ...]:
        """The phase in all its ways with its components alone on the device, whole or streamed."""
        slowness = self._slowness(cost)
        found = []
        for way in cost.ways:
            seconds = self._compute_seconds(cost.phase, way, slowness)
            working = self.working_bytes(cost.phase, way)
            found.append(self._whole(cost, way, working, seconds))
            found.extend(self._streamed(cost, way, working, seconds))
        able = [p for p in found if self._host_can(p)]
        return tuple(able or found)

    def working_bytes(self, phase: str, way: Way) -> int:
        """What the way takes beside the weights: its formula, corrected by what was measured, with the margin."""
        factor = self.learned.working_factor(self.family, phase, way.name)
        shared = way.host_bytes if self.facts.shares_host_memory else 0
        return int(way.working_bytes * factor * MARGIN) + shared

    def _whole(self, cost: PhaseCost, way: Way, working: int, seconds: float) -> PlannedPhase:
        weights = sum(self.component_bytes.get(c, 0) for c in cost.components)
        return PlannedPhase(
            phase=cost.phase,
            components=cost.components,
            way=way,
            resident={},
            weights_bytes=weights,
            working_bytes=working,
            moved_bytes=weights,
            host_bytes=way.host_bytes,
            seconds=seconds + weights / self._weights_per_s,
            weights_seconds=weights / self._weights_per_s,
        )

    def _streamed(self, cost: PhaseCost, way: Way, working: int, seconds: float) -> Iterator[PlannedPhase]:
        if not cost.streamed:
            return
        total = self.component_bytes.get(cost.streamed, 0)
        others = sum(self.component_bytes.get(c, 0) for c in cost.components if c != cost.streamed)
        levels = {0, total // 2}
        if self.budget_bytes is not None:
            # As much as there is room for: what is streamed less than that comes for nothing.
            levels.add(self.budget_bytes - working - others - 2 * int(max(u.share for u in cost.units) * total))
        for resident in sorted((k for k in levels if 0 <= k < total), reverse=True):
            stream = _Stream.of(cost.units, total, resident)
            if not stream.streamed:
                continue
            moved = others + stream.staying_bytes + way.passes * stream.coming_bytes
            placed = others + stream.staying_bytes
            yield PlannedPhase(
                phase=cost.phase,
                components=cost.components,
                way=way,
                resident={cost.streamed: resident},
                weights_bytes=placed + 2 * stream.largest_bytes,
                working_bytes=working,
                moved_bytes=moved,
                host_bytes=way.host_bytes + total,
                seconds=placed / self._weights_per_s
                + way.passes * stream.seconds(seconds / way.passes, self.facts.bus_bytes_per_s),
                weights_seconds=placed / self._weights_per_s,
            )

    @property
    def _weights_per_s(self) -> float:
        """Of weights on their way to the device: from host memory where all have room there, else from files."""
        if self.facts.shares_host_memory or sum(self.component_bytes.values()) <= self._host_bytes:
            return self.facts.bus_bytes_per_s
        return min(self.facts.bus_bytes_per_s, self.facts.read_bytes_per_s)

    @property
    def _host_bytes(self) -> int:
        allowed = self.limits.host_bytes
        return int(self.facts.host_bytes * _HOST_SHARE) if allowed is None else allowed

    def _host_can(self, planned: PlannedPhase) -> bool:
        waiting = planned.host_bytes - planned.way.host_bytes
        return (
            waiting <= self._host_bytes and planned.way.host_bytes <= self.facts.host_bytes * _HOST_SHARE
        ) or self.facts.shares_host_memory

    def _compute_seconds(self, phase: str, way: Way, slowness: float) -> float:
        pace = self.learned.flop_per_s(self.family, phase, way.name)
        return self._roofline(way) * slowness if pace is None else way.flop / pace

    def _slowness(self, cost: PhaseCost) -> float:
        """Measured seconds over the roofline's, over all ways of the phase that were measured; 1 where none was."""
        paces = [(way, self.learned.flop_per_s(self.family, cost.phase, way.name)) for way in cost.ways]
        ratios = [way.flop / pace / self._roofline(way) for way, pace in paces if pace is not None]
        return sum(ratios) / len(ratios) if ratios else 1.0

    def _roofline(self, way: Way) -> float:
        facts = self.facts
        return (
            way.flop / facts.flop_per_s
            + _POINTWISE * way.moved_bytes / facts.moved_bytes_per_s
            + way.bus_bytes / (facts.bus_bytes_per_s * _UNPINNED)
        )


@dataclass(frozen=True)
class _Stream:
    """A component of which some units stay on the device and the others come and go, in order of execution."""

    units: tuple[Unit, ...]
    streamed: frozenset[int]
    total: int

    @classmethod
    def of(cls, units: tuple[Unit, ...], total: int, resident: int) -> _Stream:
        """Those units stay whose copies would hide worst: the most bytes for the least work."""
        staying, room = set(), resident
        for i in sorted(range(len(units)), key=lambda i: units[i].flop_share / units[i].share):
            if units[i].share * total <= room:
                staying.add(i)
                room -= int(units[i].share * total)
        return cls(units, frozenset(range(len(units))) - staying, total)

    @property
    def coming_bytes(self) -> int:
        return int(sum(self.units[i].share for i in self.streamed) * self.total)

    @property
    def staying_bytes(self) -> int:
        return self.total - self.coming_bytes

    @property
    def largest_bytes(self) -> int:
        return int(max(self.units[i].share for i in self.streamed) * self.total)

    def seconds(self, compute: float, bus_bytes_per_s: float) -> float:
        """Of one pass with two buffers: each copy runs beside all that is computed since the copy before it."""
        order = sorted(self.streamed)
        work = sum(u.flop_share for u in self.units)
        seconds = 0.0
        for at, i in enumerate(order):
            before = order[at - 1]
            span = range(before, i) if before < i else (*range(before, len(self.units)), *range(i))
            window = compute * sum(self.units[j].flop_share for j in span) / work
            seconds += max(window, self.units[i].share * self.total / bus_bytes_per_s)
        return seconds
