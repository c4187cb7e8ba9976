"""Copies from host memory to the device: at once, or on a stream of their own beside the device's work."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch

from studio.engines.weights.slab import Slab


class Carrier:
    """Plain copies, over when the call returns: the CPU, Metal.

    Args:
        separate: True where the device's memory is not the host's.
    """

    def __init__(self, device: str, *, separate: bool = True) -> None:
        self.device = device
        self.separate = separate

    def empty(self, nbytes: int) -> torch.Tensor:
        """Memory on the device (uint8), one allocation."""
        if self.device == "cpu":
            return Slab(nbytes).memory  # malloc would keep some of it for itself
        return torch.empty(nbytes, dtype=torch.uint8, device=self.device)

    def pin(self, slab: Slab) -> None:
        """Copies from the slab are as quick as they can be."""

    def after_what_runs(self) -> None:
        """Copies begun from now on wait for what the device was given to do so far."""

    def copy(self, to: torch.Tensor, of: torch.Tensor) -> Any:
        """Begins a copy; returns a mark for `before_what_comes` and `wait`."""
        to.copy_(of)

    def before_what_comes(self, mark: Any) -> None:
        """What the device is given to do from now on waits for that copy."""

    def wait(self, mark: Any = None) -> None:
        """Returns when that copy is over; without a mark, when all are."""


class CudaCarrier(Carrier):
    """Copies on a stream of its own, where the device's work goes on beside them."""

    def __init__(self, device: str) -> None:
        super().__init__(device)
        self._stream = torch.cuda.Stream(device)

    def empty(self, nbytes: int) -> torch.Tensor:
        # Allocated for the copying stream, so that filling it need not wait for what runs; known to the other, so that
        # freeing it does.
        with torch.cuda.stream(self._stream):
            memory = super().empty(nbytes)
        memory.record_stream(torch.cuda.current_stream(self.device))
        return memory

    def pin(self, slab: Slab) -> None:
        slab.register(self.device)

    def after_what_runs(self) -> None:
        self._stream.wait_stream(torch.cuda.current_stream(self.device))

    def copy(self, to: torch.Tensor, of: torch.Tensor) -> torch.cuda.Event:
        with torch.cuda.stream(self._stream):
            to.copy_(of, non_blocking=True)
            return self._stream.record_event()

    def before_what_comes(self, mark: torch.cuda.Event) -> None:
        torch.cuda.current_stream(self.device).wait_event(mark)

    def wait(self, mark: torch.cuda.Event | None = None) -> None:
        (mark or self._stream).synchronize()


@lru_cache(maxsize=8)
def carrier_for(device: str) -> Carrier:
    """The one carrier of that device: its allocations then share torch's cached blocks."""
    return CudaCarrier(device) if device.startswith("cuda") else Carrier(device, separate=device != "cpu")
