"""How this package's inner loops are compiled: numba, no GIL held, and kept on disk between starts.

Only entry points are kept (`kept`): numba notices a change of an entry's own file, but not of the functions that it
calls, so an entry holds the digest of all of the package's sources in its closure, which numba makes part of the key.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from numba import njit

inner = partial(
    njit,
    nogil=True,
    error_model="numpy",
    fastmath={"contract", "arcp", "nsz"},
    no_cpython_wrapper=True,
    no_cfunc_wrapper=True,
)
"""Compiles a function that other compiled functions call."""


_entry = partial(njit, nogil=True, error_model="numpy", fastmath={"contract", "arcp", "nsz"})


def kept(make: Callable[[int], Callable[..., Any]]) -> Callable[..., Any]:
    """The compiled entry that `make(digest)` defines, kept on disk where a folder for it can be written.

    The function that `make` returns has to read `digest`.
    """
    sources = sorted(Path(__file__).parent.glob("*.py"))
    digest = 0
    for source in sources:
        digest = zlib.crc32(source.read_bytes(), digest)
    try:
        return _entry(cache=True)(make(digest))
    except RuntimeError:  # numba found no folder that it can write: neither beside the source nor in the user's cache
        return _entry()(make(digest))
