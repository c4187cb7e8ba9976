"""What the device is and how much room it has. Torch is imported only to ask about an accelerator."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass


@dataclass(frozen=True)
class Device:
    """A place for weights.

    Args:
        name: as torch names it: ``cpu``, ``cuda:0``, ``mps``.
        title: for a person.
        dtype: what the studio computes in there, "fp16" or "fp32".
    """

    name: str
    title: str
    dtype: str

    @property
    def accelerator(self) -> bool:
        """True where only one process at a time may work."""
        return self.name != "cpu"

    def free_bytes(self) -> int | None:
        """Bytes that could be taken now, torch's own cached blocks included; None where nobody can say."""
        if not self.name.startswith("cuda"):
            return None
        import torch

        free, _ = torch.cuda.mem_get_info(self.name)
        return free + torch.cuda.memory_reserved(self.name) - torch.cuda.memory_allocated(self.name)

    def empty_cache(self) -> None:
        """Gives torch's cached blocks back to the device."""
        if self.name.startswith("cuda"):
            import torch

            torch.cuda.empty_cache()


def choose_device(wanted: str, precision: str) -> Device:
    """The device for `Settings.device` and `Settings.precision`; ``auto`` takes CUDA, then MPS, then the CPU.

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
