import errno

import pytest
import torch

from studio.errors import DoesNotFit
from studio.models.out_of_memory import is_device_lost, is_out_of_memory


class Simulated(RuntimeError):
    """As the simulated device's own error: known by its name alone."""


Simulated.__name__ = "OutOfMemoryError"

FULL = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.25 GiB."),
    MemoryError(),
    Simulated("3 bytes too many"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:121] data. DefaultCPUAllocator: can't allocate memory"),
    RuntimeError("MPS backend out of memory (MPS allocated: 8.00 GB)"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    torch.AcceleratorError("CUDA error: out of memory"),
    OSError(errno.ENOMEM, "Cannot allocate memory"),
]
LOST = [
    torch.AcceleratorError("CUDA error: an illegal memory access was encountered"),
    RuntimeError("CUDA error: device-side assert triggered"),
    RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
]
NEITHER = [RuntimeError("shapes do not agree"), DoesNotFit("no"), ValueError("out of memory"), OSError(errno.EIO, "x")]


@pytest.mark.parametrize(
    ("error", "full", "lost"),
    [*((e, True, False) for e in FULL), *((e, False, True) for e in LOST), *((e, False, False) for e in NEITHER)],
    ids=lambda v: str(v)[:40] if isinstance(v, Exception) else "",
)
def test_running_out_of_memory_and_losing_the_device_are_told_apart(error, full, lost):
    assert (is_out_of_memory(error), is_device_lost(error)) == (full, lost)
