"""What the device is and how much room it has. Torch is imported only to ask about an accelerator."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass

from studio.models.limits import host_memory

VALUE_BYTES = {"bf16": 2, "fp16": 2, "fp32": 4}
"""Of one number, by the precisions that the studio computes in."""


@dataclass(frozen=True)
class Device:
    """A place for weights.

    Args:
        name: as torch names it: ``cpu``, ``cuda:0``, ``mps``.
        title: for a person.
        dtype: what the studio computes in there, one of `VALUE_BYTES`.
    """

    name: str
    title: str
    dtype: str

    @property
    def accelerator(self) -> bool:
        """True where only one process at a time may work."""
        return self.name != "cpu"

    def total_bytes(self) -> int | None:
        """All that it has; of the CPU, what this process may use of the host's memory."""
        if self.name.startswith("cuda"):
            import torch

            return torch.cuda.mem_get_info(self.name)[1]
        if self.name == "mps":
            import torch

            return torch.mps.recommended_max_memory()
        return host_memory().total_bytes

    def free_bytes(self) -> int | None:
        """Bytes that could be taken now, torch's own cached blocks included; of the CPU, what the host has left."""
        if self.name.startswith("cuda"):
            import torch

            free, _ = torch.cuda.mem_get_info(self.name)
            return free + torch.cuda.memory_reserved(self.name) - torch.cuda.memory_allocated(self.name)
        available = host_memory().available_bytes
        if self.name == "mps":
            import torch

            taken = torch.mps.current_allocated_memory()
            cached = torch.mps.driver_allocated_memory() - taken
            # It is the host's memory too, so that the host can run out first.
            return max(min(torch.mps.recommended_max_memory() - taken, available + cached), 0)
        return available

    def taken_bytes(self) -> int:
        """What this process's tensors take on it now; 0 on the CPU, where nobody counts."""
        if self.name.startswith("cuda"):
            import torch

            return torch.cuda.memory_allocated(self.name)
        if self.name == "mps":
            import torch

            return torch.mps.current_allocated_memory()
        return 0

    def empty_cache(self) -> None:
        """Torch's cached blocks are the device's again."""
        if self.name.startswith("cuda"):
            import torch

            torch.cuda.empty_cache()
        elif self.name == "mps":
            import torch

            torch.mps.empty_cache()

    def forget_peak(self) -> None:
        """`peak_bytes` counts from here."""
        if self.name.startswith("cuda"):
            import torch

            torch.cuda.reset_peak_memory_stats(self.name)

    def peak_bytes(self) -> int | None:
        """Most bytes that this process's tensors took at once since `forget_peak`; None where torch doesn't count."""
        if not self.name.startswith("cuda"):
            return None
        import torch

        return torch.cuda.max_memory_allocated(self.name)


def choose_device(wanted: str, precision: str) -> Device:
    """The device for `Settings.device` and `Settings.precision`; ``auto`` takes CUDA, then MPS, then the CPU.

    On the CPU ``auto`` is fp32, also where the CPU multiplies bf16 by itself. Tried with AVX512-BF16 (torch 2.13): a
    clip of a mid-size SVD took half the CPU time (20.0 s instead of 39.5 s), but its frames were 42 dB from those in
    fp32, and at tiny size 44 dB, where fp16 is at 56 dB: two levels of 255 are more than rounding, and the same seed
    would make another clip on the next machine. Whoever wants the half of time and memory says bf16.

    Raises:
        ValueError: an accelerator is wanted by name and is not there.
    """
    if wanted == "cpu" or importlib.util.find_spec("torch") is None:
        return Device("cpu", "CPU", "fp32" if precision == "auto" else precision)
    import torch

    if wanted.startswith("cuda") or (wanted == "auto" and torch.cuda.is_available()):
        if not torch.cuda.is_available():
            raise ValueError(f"device: {wanted} is not there; this machine has no CUDA device that torch can use.")
        index = int(wanted.partition(":")[2] or 0)
        if index >= torch.cuda.device_count():
            raise ValueError(f"device: {wanted} is not there; this machine has {torch.cuda.device_count()}.")
        title = torch.cuda.get_device_name(index)
        return Device(f"cuda:{index}", title, "fp16" if precision == "auto" else precision)
    if wanted == "mps" or (wanted == "auto" and torch.backends.mps.is_available()):
        if not torch.backends.mps.is_available():
            raise ValueError("device: mps is not there; this machine has no Metal device that torch can use.")
        return Device("mps", "Apple GPU", "fp32" if precision == "auto" else precision)
    return Device("cpu", "CPU", "fp32" if precision == "auto" else precision)
