"""`LeakGuard`: tells a process that loses memory from one that holds weights; `Health` measures the real one."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import psutil

from studio.models.limits import host_memory
from studio.models.manager import ModelManager

SETTLING_JOBS = 3
"""The baseline is the least that is seen after one of so many."""
_DRIFT_BYTES = 512 * 2**20
"""So much growth is let be; in host memory a tenth of it, where that is more."""
_LIBRARIES = ("cv2", "diffusers", "torch", "transformers")
"""They take memory of their own, once: with the first of them the baseline is taken anew."""


@dataclass(frozen=True)
class Measured:
    """What a process takes between two jobs, and what the ledger says it takes it for.

    Args:
        rss_bytes: of the process in host memory, the pages of its files among them: weights may lie there.
        host_held_bytes: of weights and kept encodings in host memory.
        device_bytes: allocated on the device, 0 where that is the host or nobody can say.
        device_held_bytes: of weights there.
    """

    rss_bytes: int
    host_held_bytes: int = 0
    device_bytes: int = 0
    device_held_bytes: int = 0

    @property
    def host_rest_bytes(self) -> int:
        """Host memory that the ledger does not account for."""
        return max(0, self.rss_bytes - self.host_held_bytes)

    @property
    def device_rest_bytes(self) -> int:
        """Device memory that the ledger does not account for."""
        return max(0, self.device_bytes - self.device_held_bytes)


class LeakGuard:
    """Compares what is measured after each job with the baseline.

    A process drifts in host memory where both have grown by more than is allowed: the whole of it, and what the ledger
    does not account for. One alone proves nothing: more weights are no leak, and weights in a file's own pages that
    nobody has touched yet are accounted for without being counted.

    Args:
        host_allowed_bytes, device_allowed_bytes: growth that is let be.
    """

    def __init__(self, host_allowed_bytes: int, device_allowed_bytes: int) -> None:
        self._host_allowed, self._device_allowed = host_allowed_bytes, device_allowed_bytes
        self._libraries: frozenset[str] = frozenset()
        self._begin()

    @classmethod
    def usual(cls) -> LeakGuard:
        """What a device process is held to on this host."""
        return cls(max(_DRIFT_BYTES, host_memory().total_bytes // 10), _DRIFT_BYTES)

    def _begin(self) -> None:
        self._first: list[Measured] = []
        self._beyond = 0
        self.host_drift_bytes = self.device_drift_bytes = 0

    def hear(self, now: Measured, libraries: frozenset[str] = frozenset()) -> str:
        """Why the process should be started anew: it drifted in two jobs running; "" where it should not.

        Args:
            now: after the job, and after what can be given back was given back.
            libraries: what was imported by now.
        """
        if libraries != self._libraries:
            self._libraries = libraries
            self._begin()
        if len(self._first) < SETTLING_JOBS:
            self._first.append(now)
            return ""
        rss = now.rss_bytes - self.baseline.rss_bytes
        rest = now.host_rest_bytes - min(m.host_rest_bytes for m in self._first)
        self.host_drift_bytes = min(rss, rest)
        self.device_drift_bytes = now.device_rest_bytes - min(m.device_rest_bytes for m in self._first)
        host = self.host_drift_bytes > self._host_allowed
        device = self.device_drift_bytes > self._device_allowed
        self._beyond = self._beyond + 1 if host or device else 0
        if self._beyond < 2:
            return ""
        grown, where = (self.host_drift_bytes, "host") if host else (self.device_drift_bytes, "device")
        return f"{grown / 1e6:.0f} MB of {where} memory more than after its first jobs are in use, and not for weights"

    @property
    def baseline(self) -> Measured:
        """The least of the first jobs, each figure by itself; there has to be one."""
        return Measured(*(min(getattr(m, name) for m in self._first) for name in Measured.__dataclass_fields__))


class Health:
    """This process's memory, measured between two jobs."""

    def __init__(self, manager: ModelManager, guard: LeakGuard) -> None:
        self._manager = manager
        self._guard = guard
        self._last: Measured | None = None

    def after_job(self) -> str:
        """Why the process should be started anew, "" where it should not; gives back what is free first."""
        trim()
        self._last = measure(self._manager)
        return self._guard.hear(self._last, frozenset(name for name in _LIBRARIES if name in sys.modules))

    def ledger(self) -> dict[str, Any]:
        """What the process holds and why (`ModelManager.ledger`), and under ``health`` its own memory after its last
        job, None before that."""
        health = None
        if self._last is not None:
            health = {
                **asdict(self._last),
                "baseline": asdict(self._guard.baseline),
                "host_drift_bytes": self._guard.host_drift_bytes,
                "device_drift_bytes": self._guard.device_drift_bytes,
            }
        return {**self._manager.ledger(), "health": health}


def measure(manager: ModelManager) -> Measured:
    """The process as it is now."""
    rss_bytes = psutil.Process().memory_info().rss
    ledger: Mapping[str, Any] = manager.ledger()
    on_device = sum(row["device_bytes"] for row in ledger["components"])
    on_host = sum(row["host_bytes"] for row in ledger["components"]) + ledger["kept_bytes"]
    if ledger["device"] is None or not manager.device.accelerator:
        return Measured(rss_bytes, on_host + on_device)
    return Measured(rss_bytes, on_host, manager.device.taken_bytes(), on_device)


def trim() -> None:
    """What the C library holds back of freed memory goes back to the system, where it can be told to (glibc)."""
    malloc_trim = _malloc_trim()
    if malloc_trim is not None:
        malloc_trim(0)


@lru_cache(maxsize=1)
def _malloc_trim() -> Any:
    try:
        return ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):  # not glibc; Windows has no library of the process itself
        return None
