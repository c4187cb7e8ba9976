"""`Holding`: one component, wherever it lies, and what is written down about moves."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any

from studio.models.weights import Report, Weights


@dataclass(frozen=True)
class Decision:
    """What was done, and why, in words; `at` by the residency's clock."""

    at: float
    what: str
    why: str


@dataclass
class Moved:
    """Bytes moved since the start, but for what streams bring as they run; of a move that was ended, what it moved."""

    host_to_device_bytes: int = 0
    device_to_host_bytes: int = 0
    read_bytes: int = 0


@dataclass
class Move:
    """A component on its way: the room that is reserved for it, and what has become of it.

    Args:
        prefetch: nobody waits for it, so that it gives way to what is wanted now.
        reading: the host's tier is being filled.
        stopped: a prefetch has to end.
    """

    prefetch: bool
    device_bytes: int = 0
    host_bytes: int = 0
    reading: bool = False
    stopped: bool = False


@dataclass(eq=False)
class Holding:
    """One component.

    Args:
        thing: what it is on the device; None where it isn't there.
        resident_bytes: as asked of a stream; None: whole.
        pins: leases on it; above zero it stays on the device.
        used: when it was last used; larger is later.
        form_bytes: what it takes on the device in the form that was last wanted; 0 before the first time.
        move: under way; nobody else may touch the weights until it is over.
    """

    key: Hashable
    component: str
    variants: set[str] = field(default_factory=set)
    weights: Weights | None = None
    thing: Any = None
    resident_bytes: int | None = None
    pins: int = 0
    used: int = 0
    form_bytes: int = 0
    move: Move | None = None

    @property
    def device_bytes(self) -> int:
        """Taken on the device now, or reserved for its move there."""
        return max(self.weights.held_bytes if self.weights else 0, self.move.device_bytes if self.move else 0)

    @property
    def host_bytes(self) -> int:
        """Taken in host memory now, or reserved for its reading."""
        return max(self.weights.host_bytes if self.weights else 0, self.move.host_bytes if self.move else 0)

    @property
    def title(self) -> str:
        """For a person: ``unet of svd, svd-xt``."""
        return f"{self.component} of {', '.join(sorted(self.variants))}"

    @property
    def tier(self) -> str:
        """``device``, ``stream`` or ``host``, the nearest that it takes room in; ``file`` where it takes none."""
        if self.device_bytes:
            return "device" if self.resident_bytes is None else "stream"
        return "host" if self.host_bytes else "file"

    @property
    def idle(self) -> bool:
        """Nobody uses it and it isn't moving."""
        return not self.pins and self.move is None

    def serves(self, resident_bytes: int | None) -> bool:
        """Whether it is on the device in the form that is wanted, or in a better one."""
        if self.thing is None or self.resident_bytes is None:
            return self.thing is not None
        return resident_bytes is not None and resident_bytes <= self.resident_bytes


class Heard:
    """A report that remembers how far the move had come."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self.done_bytes = 0

    def __call__(self, done_bytes: int, total_bytes: int) -> None:
        self.done_bytes = done_bytes
        self._report(done_bytes, total_bytes)
