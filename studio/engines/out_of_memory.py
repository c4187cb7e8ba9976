"""What the devices say when memory runs out, told as one error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from studio.errors import DoesNotFit


@contextmanager
def must_fit(doing: str, remedy: str) -> Iterator[None]:
    """Inside the block, running out of device or host memory is raised as `DoesNotFit`.

    Args:
        doing: what was under way: "sampling 25 frames of 1024x576".
    """
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as e:
        if not is_out_of_memory(e):
            raise
        raise DoesNotFit(f"There is not enough memory for {doing}.", remedy) from e


def is_out_of_memory(error: BaseException) -> bool:
    """True for CUDA's own error, and for the plain RuntimeError that torch 2.13 raises on Metal and on the CPU."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    says = str(error)
    return isinstance(error, RuntimeError) and ("MPS backend out of memory" in says or "can't allocate memory" in says)
