"""How inner loops over pixels, points and triangles are compiled and spread over threads."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from numba import njit

from studio.models.cores import usable_cpus

_MOST_WORKERS = 8

Item = TypeVar("Item")
Made = TypeVar("Made")


def kernel(function: Callable[..., Any]) -> Any:
    """The function compiled, kept on disk where numba finds a folder that it can write; it lets go of the GIL.

    No loose arithmetic: the same numbers come out everywhere. It must call no function of another file, since a
    change there would go unnoticed.
    """
    try:
        return njit(function, nogil=True, error_model="numpy", cache=True)
    except RuntimeError:  # neither beside the source nor in the user's cache
        return njit(function, nogil=True, error_model="numpy")


def in_threads(function: Callable[[Item], Made], items: Iterable[Item]) -> list[Made]:
    """What the function makes of every item, in their order."""
    with ThreadPoolExecutor(min(_MOST_WORKERS, usable_cpus()), thread_name_prefix="scene") as pool:
        return list(pool.map(function, items))
