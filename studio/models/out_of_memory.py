"""What the devices say when memory runs out, and when they are lost. No torch: errors are known by name and text."""

from __future__ import annotations

import errno

_FULL = ("out of memory", "can't allocate memory")
"""What a plain RuntimeError says that is one: torch 2.13's on Metal, on the CPU, and of CUDA's own libraries."""

_LOST = (
    "CUDA error:",
    "device-side assert",
    "an illegal memory access",
    "unspecified launch failure",
    "CUBLAS_STATUS_EXECUTION_FAILED",
    "CUDNN_STATUS_EXECUTION_FAILED",
    "CUBLAS_STATUS_INTERNAL_ERROR",
    "CUDNN_STATUS_INTERNAL_ERROR",
)
"""What an error says after which no call of this process reaches the device any more."""

_ALLOCATION_FAILED = (
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUBLAS_STATUS_NOT_INITIALIZED",
    "CUDNN_STATUS_NOT_INITIALIZED",
)
"""A library of CUDA's that could not have its workspace, or not begin for want of it."""


def is_out_of_memory(error: BaseException) -> bool:
    """True where device or host memory ran out.

    That is torch's own error, Python's, the system's, the simulated device's, and the plain RuntimeError that torch
    2.13 raises on Metal, on the CPU and where a library of CUDA's could not allocate.
    """
    if any(kind.__name__ in ("OutOfMemoryError", "MemoryError") for kind in type(error).__mro__):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, RuntimeError) and any(text in str(error) for text in (*_FULL, *_ALLOCATION_FAILED))


def is_device_lost(error: BaseException) -> bool:
    """True where the device's context is beyond repair, so that only a new process can work on.

    Running out of memory is not that, though CUDA may say it in the same words ("CUDA error: out of memory").
    """
    if is_out_of_memory(error):
        return False
    if any(kind.__name__ == "AcceleratorError" for kind in type(error).__mro__):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _LOST)
