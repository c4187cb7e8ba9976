"""What the devices say when memory runs out, told as one error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from studio.errors import DoesNotFit
from studio.models.out_of_memory import is_out_of_memory


@contextmanager
def must_fit(doing: str, remedy: str) -> Iterator[None]:
    """Inside the block, running out of device or host memory is raised as `DoesNotFit`.

    Args:
        doing: what was under way: "the unet in model.safetensors".
    """
    try:
        yield
    except (RuntimeError, MemoryError, OSError) as e:
        if not is_out_of_memory(e):
            raise
        raise DoesNotFit(f"There is not enough memory for {doing}.", remedy) from e
