"""`Weights`: one component's weights on their way between file, host and device. What the manager moves.

A family's module makes them (``open(component, installed, device, dtype)``); the manager decides what lies where, and
never looks inside. Weights are read-only: leaving the device or the host is a pointer change and a free, never a copy.
"""

from __future__ import annotations

from typing import Any, Protocol


class Report(Protocol):
    """Hears (done_bytes, total_bytes) of a move; what it raises ends the move, which then leaves nothing behind."""

    def __call__(self, done_bytes: int, total_bytes: int) -> None: ...


class Weights(Protocol):
    """The weights of one component. Not thread-safe: the manager makes one move at a time.

    Tiers: the file (always), the host (`host_bytes` of it, in the device's dtype, ready for one bulk copy), the device.
    """

    @property
    def device_bytes(self) -> int:
        """What it takes on the device as a whole: exact, in the device's dtype."""

    @property
    def host_bytes(self) -> int:
        """What it takes in host memory of its own now; 0 while only its file has it."""

    @property
    def held_bytes(self) -> int:
        """What it takes on the device now: all of it, the resident part and the buffers of a stream, or 0."""

    @property
    def units(self) -> tuple[int, ...]:
        """Bytes of the parts that can be streamed one by one, in order of execution; empty where none can.

        What is in no unit stays on the device throughout.
        """

    def digest(self, report: Report) -> str:
        """What its tensors are on the device, as a hash in hex: equal for equal weights, whatever files they are in."""

    def streamed_bytes(self, resident_bytes: int) -> int:
        """What `stream` takes on the device with that much staying there; all of it where nothing is streamed."""

    def read(self, report: Report) -> None:
        """File to host."""

    def forget(self) -> None:
        """The host's memory is given back."""

    def place(self, report: Report) -> Any:
        """The component, whole on the device: from the host in one bulk copy, else straight from the file."""

    def stream(self, resident_bytes: int, report: Report) -> Any:
        """The component, with units worth at most `resident_bytes` staying on the device and the rest coming and
        going as they run, through two buffers of the largest one's size. Needs the host tier."""

    def displace(self) -> None:
        """The device's memory is given back; what `place` or `stream` gave can't be used any more."""
