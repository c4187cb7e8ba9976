"""What a plan is: for every phase of a job, what lies on the device, in which way it is done, and what it takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from studio.models.costs import Way


@dataclass(frozen=True)
class PlannedPhase:
    """One phase of a plan.

    Args:
        components: what it needs on the device.
        resident: component that is streamed -> bytes of it that stay on the device; what is not in it is there whole.
        weights_bytes: of all weights on the device meanwhile, buffers of a stream included.
        working_bytes: beside them, margin included.
        moved_bytes: weights that go from host to device in this phase, once nothing has to be read any more.
        host_bytes: what it takes of host memory.
        seconds: predicted.
        weights_seconds: of them, for weights that are brought before it begins.
    """

    phase: str
    components: tuple[str, ...]
    way: Way
    resident: Mapping[str, int]
    weights_bytes: int
    working_bytes: int
    moved_bytes: float
    host_bytes: int
    seconds: float
    weights_seconds: float = 0.0

    @property
    def peak_bytes(self) -> int:
        """The most that is on the device at once."""
        return self.weights_bytes + self.working_bytes

    def public(self) -> dict[str, Any]:
        """What ``--json`` prints."""
        return {
            "phase": self.phase,
            "components": list(self.components),
            "way": self.way.name,
            "exact": self.way.exact,
            "resident_bytes": dict(self.resident),
            "weights_bytes": self.weights_bytes,
            "working_bytes": self.working_bytes,
            "peak_bytes": self.peak_bytes,
            "moved_bytes": round(self.moved_bytes),
            "host_bytes": self.host_bytes,
            "seconds": round(self.seconds, 2),
        }


@dataclass(frozen=True)
class Plan:
    """One way through a request.

    Args:
        residency: ``resident``: all components stay on the device; ``swap``: each phase has its own there;
            ``stream``: the big one comes and goes in parts.
        budget_bytes: the most that may be on the device at once; None where nothing bounds it.
        load_seconds: to read from files what is not in memory yet.
        weights_bytes: of all the variant's components, in the device's precision.
    """

    variant: str
    residency: str
    phases: tuple[PlannedPhase, ...]
    budget_bytes: int | None
    load_seconds: float
    weights_bytes: int

    @property
    def peak_bytes(self) -> int:
        """The most that is on the device at once; for an engine without phases nothing is known but its weights."""
        return max((p.peak_bytes for p in self.phases), default=self.weights_bytes)

    @property
    def seconds(self) -> float:
        """Predicted, from the start to the last frame; writing the file is not in it."""
        return self.load_seconds + sum(p.seconds for p in self.phases)

    @property
    def exact(self) -> bool:
        """True where the result is the exact one but for rounding."""
        return all(p.way.exact for p in self.phases)

    @property
    def fits(self) -> bool:
        """True where it stays within its budget."""
        return self.budget_bytes is None or self.peak_bytes <= self.budget_bytes

    @property
    def notices(self) -> tuple[str, ...]:
        """What the user should know before it starts."""
        return tuple(p.way.notice for p in self.phases if not p.way.exact and p.way.notice)

    @property
    def says(self) -> str:
        """In a few words for a person: the bytes, and the budget where there is one."""
        if self.budget_bytes is None:
            return f"needs {in_gb(self.peak_bytes)}"
        return f"fits: {in_gb(self.peak_bytes).removesuffix(' GB')} of {in_gb(self.budget_bytes)}"

    @property
    def ways(self) -> dict[str, str]:
        """Phase -> the way that it is done in: what else than the request decides about the last bit."""
        return {p.phase: p.way.name for p in self.phases}

    def phase(self, name: str) -> PlannedPhase:
        """The phase of that name."""
        return next(p for p in self.phases if p.phase == name)

    def public(self) -> dict[str, Any]:
        """What ``--json`` prints."""
        return {
            "residency": self.residency,
            "peak_bytes": self.peak_bytes,
            "seconds": round(self.seconds, 2),
            "load_seconds": round(self.load_seconds, 2),
            "exact": self.exact,
            "phases": [p.public() for p in self.phases],
        }


def in_gb(count: float) -> str:
    """Bytes for a person: ``7.3 GB``, ``8 GB``, ``11 MB``."""
    if 0 < count < 5e7:
        return f"{count / 1e6:.0f} MB"
    return f"{count / 1e9:.1f}".removesuffix(".0") + " GB"


def in_time(seconds: float) -> str:
    """A predicted length of time for a person: ``48 s``, ``2 min 40 s``, ``12 min``, ``7 h``."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    if seconds < 600:
        minutes, rest = divmod(round(seconds / 10) * 10, 60)
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{round(seconds / 3600)} h"
