"""Host memory of exact size for one component, registered with CUDA where that is the device.

torch's own pinned memory is not used: its allocator rounds up to powers of two and keeps what it had.
"""

from __future__ import annotations

import logging
import mmap

import torch

log = logging.getLogger(__name__)

_PORTABLE = 1
"""cudaHostRegisterPortable: pinned for every CUDA device."""


class Slab:
    """Memory of its own, whole pages, given back at once when nothing refers to it any more.

    Args:
        nbytes: of `memory`.

    Raises:
        MemoryError: there is not that much.
    """

    def __init__(self, nbytes: int) -> None:
        # Private: what is shared counts as a file in memory and gets no huge pages.
        private = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_PRIVATE") else {}
        try:
            pages = mmap.mmap(-1, max(nbytes, 1), **private)
        except OSError as e:
            raise MemoryError(f"{nbytes} bytes of host memory can't be had") from e
        if hasattr(mmap, "MADV_HUGEPAGE"):
            try:
                pages.madvise(mmap.MADV_HUGEPAGE)
            except OSError as e:
                log.debug("no huge pages: %s", e)
        self.memory = torch.frombuffer(pages, dtype=torch.uint8)[:nbytes]
        self._device = ""

    @property
    def nbytes(self) -> int:
        """What was asked for."""
        return self.memory.numel()

    def register(self, device: str) -> bool:
        """True when that CUDA device copies straight from here, without waiting; False where CUDA refused."""
        with torch.cuda.device(device):
            code = int(torch.cuda.cudart().cudaHostRegister(self.memory.data_ptr(), self.nbytes, _PORTABLE))
            if code == 0:
                self._device = device
                return True
            log.warning("CUDA did not pin %d bytes of host memory (error %d): copies will be slower", self.nbytes, code)
            try:
                # CUDA remembers the refusal, and torch would blame it on whatever is launched next.
                torch.zeros(1, device=device)
            except RuntimeError as e:
                log.debug("forgotten: %s", e)
            return False

    def close(self) -> None:
        """CUDA no longer knows it. The memory goes with the last tensor in it."""
        if self._device:
            with torch.cuda.device(self._device):
                code = int(torch.cuda.cudart().cudaHostUnregister(self.memory.data_ptr()))
            if code != 0:
                log.warning("CUDA did not let go of %d bytes of host memory (error %d)", self.nbytes, code)
            self._device = ""
