"""A device that is only counted: a budget of bytes, bandwidths and a clock of its own. Policies are tested on it.

It has the methods of `studio.models.memory.Device`, and `SimulatedWeights` is a `studio.models.weights.Weights`, so
that the code under test is the code that drives CUDA.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate

from studio.models.weights import Report


class OutOfMemoryError(RuntimeError):
    """What torch would raise: more was taken than is there."""


class _Pool:
    """Bytes of one kind of memory, never more than `total`."""

    def __init__(self, name: str, total: int) -> None:
        self.name = name
        self.total = total
        self.used = self.peak = 0
        self._lock = threading.Lock()

    def take(self, nbytes: int) -> None:
        with self._lock:
            if self.used + nbytes > self.total:
                raise OutOfMemoryError(
                    f"{self.name} out of memory. Tried to allocate {nbytes}, {self.total - self.used} free."
                )
            self.used += nbytes
            self.peak = max(self.peak, self.used)

    def give(self, nbytes: int) -> None:
        with self._lock:
            assert nbytes <= self.used, "more was given back than was taken"
            self.used -= nbytes


class SimulatedDevice:
    """A device of `total_bytes` beside a host of `host_bytes`.

    Args:
        host_bytes: None where the device is the host, as the CPU is.
        bus_bytes_per_s: from host to device.
        read_bytes_per_s: from file to host.
    """

    name = "simulated"
    title = "Simulated device"
    accelerator = True

    def __init__(
        self,
        total_bytes: int,
        host_bytes: int | None,
        *,
        bus_bytes_per_s: float = 25e9,
        read_bytes_per_s: float = 3e9,
        dtype: str = "fp16",
    ) -> None:
        self.dtype = dtype
        self.device = _Pool("Simulated device", total_bytes)
        self.host = _Pool("Simulated host", host_bytes or 0)
        self.is_host = host_bytes is None
        self.bus_bytes_per_s = bus_bytes_per_s
        self.read_bytes_per_s = read_bytes_per_s
        self.now_s = 0.0
        self.moved_bytes = self.read_bytes = self.copied_back_bytes = 0
        self.times_cache_emptied = 0
        self._lock = threading.Lock()

    def total_bytes(self) -> int:
        """All that it has."""
        return self.device.total

    def free_bytes(self) -> int:
        """Bytes that could be taken now."""
        return self.device.total - self.device.used

    def taken_bytes(self) -> int:
        """Bytes that are taken now."""
        return self.device.used

    def empty_cache(self) -> None:
        """Counted only: it has no cache."""
        self.times_cache_emptied += 1

    def forget_peak(self) -> None:
        """`peak_bytes` counts from here."""
        self.device.peak = self.device.used

    def peak_bytes(self) -> int:
        """Most bytes taken at once since `forget_peak`."""
        return self.device.peak

    def allocate(self, nbytes: int) -> None:
        """So many bytes are taken.

        Raises:
            OutOfMemoryError: they aren't there; nothing was taken.
        """
        self.device.take(nbytes)

    def free(self, nbytes: int) -> None:
        """So many bytes are given back."""
        self.device.give(nbytes)

    def copy(self, nbytes: int) -> None:
        """Time passes as for a copy of so many bytes from host to device."""
        with self._lock:
            self.moved_bytes += nbytes
            self.now_s += nbytes / self.bus_bytes_per_s

    def copy_back(self, nbytes: int) -> None:
        """Time passes as for a copy of so many bytes from device to host."""
        with self._lock:
            self.copied_back_bytes += nbytes
            self.now_s += nbytes / self.bus_bytes_per_s

    def read(self, nbytes: int) -> None:
        """Time passes as for reading so many bytes of a file."""
        with self._lock:
            self.read_bytes += nbytes
            self.now_s += nbytes / self.read_bytes_per_s


@dataclass(eq=False)
class SimulatedThing:
    """What `SimulatedWeights.place` and `stream` give; `usable` until it is displaced."""

    nbytes: int
    resident_bytes: int | None
    usable: bool = True


class SimulatedWeights:
    """Weights that are only counted.

    Args:
        units: bytes of the parts that can be streamed, at most `nbytes` together.
        hook: called with ``before place``, ``after place`` and so on for every transition (read, forget, place,
            stream, displace); what it raises comes out of the transition. After ``after ...`` the move has been made,
            which is more than a real failure leaves behind.
        parts: how many times a move reports.
    """

    def __init__(
        self,
        device: SimulatedDevice,
        nbytes: int,
        units: tuple[int, ...] = (),
        *,
        hook: Callable[[str], None] = lambda transition: None,
        parts: int = 3,
    ) -> None:
        assert sum(units) <= nbytes
        self.device = device
        self.device_bytes = nbytes
        self.units = units
        self.host_bytes = 0
        self.held_bytes = 0
        self._hook = hook
        self._parts = parts
        self._thing: SimulatedThing | None = None

    def read(self, report: Report) -> None:
        """File to host."""
        self._hook("before read")
        assert not self.host_bytes, "read twice"
        self.device.host.take(self.device_bytes)
        self.host_bytes = self.device_bytes
        try:
            self._go(self.device_bytes, report, self.device.read)
        except BaseException:
            self._leave_host()
            raise
        self._hook("after read")

    def forget(self) -> None:
        """The host's memory is given back."""
        self._hook("before forget")
        assert self._thing is None or self._thing.resident_bytes is None, "a stream lost the host tier under it"
        self._leave_host()
        self._hook("after forget")

    def place(self, report: Report) -> SimulatedThing:
        """The thing, whole on the device."""
        self._hook("before place")
        moves = (self.device.copy,) if self.host_bytes else (self.device.read, self.device.copy)
        thing = self._arrive(self.device_bytes, None, report, *moves)
        self._hook("after place")
        return thing

    def stream(self, resident_bytes: int, report: Report) -> SimulatedThing:
        """The thing, with the first units that fit in `resident_bytes` staying on the device."""
        self._hook("before stream")
        assert self.host_bytes or self.device.is_host, "a stream needs the host tier"
        thing = self._arrive(self.streamed_bytes(resident_bytes), resident_bytes, report, self.device.copy)
        self._hook("after stream")
        return thing

    def streamed_bytes(self, resident_bytes: int) -> int:
        """What `stream` takes on the device."""
        staying = [total for total in accumulate(self.units) if total <= resident_bytes]
        streamed = self.units[len(staying) :]
        resident = staying[-1] if staying else 0
        return self.device_bytes - sum(self.units) + resident + min(2, len(streamed)) * max(streamed, default=0)

    def displace(self) -> None:
        """The device's memory is given back."""
        self._hook("before displace")
        self._leave_device()
        self._hook("after displace")

    def _arrive(
        self, nbytes: int, resident_bytes: int | None, report: Report, *moves: Callable[[int], None]
    ) -> SimulatedThing:
        assert not self.held_bytes, "placed twice"
        self.device.allocate(nbytes)
        self.held_bytes = nbytes
        self._thing = SimulatedThing(nbytes, resident_bytes)
        try:
            self._go(nbytes, report, *moves)
        except BaseException:
            self._leave_device()
            raise
        return self._thing

    def _go(self, nbytes: int, report: Report, *moves: Callable[[int], None]) -> None:
        done = 0
        for part in range(1, self._parts + 1):
            report(done, nbytes)
            step = nbytes * part // self._parts - done
            for move in moves:
                move(step)
            done += step
        report(done, nbytes)

    def _leave_device(self) -> None:
        if self._thing is not None:
            self._thing.usable = False
        self._thing = None
        self.device.free(self.held_bytes)
        self.held_bytes = 0

    def _leave_host(self) -> None:
        self.device.host.give(self.host_bytes)
        self.host_bytes = 0
