"""Results that may be wanted again, within a budget of bytes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any


class Kept:
    """The results used last, as many as fit; what is larger than the budget by itself is not kept.

    Args:
        limit_bytes: for all of them; 0 keeps nothing.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._values: OrderedDict[Hashable, Any] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    @property
    def held_bytes(self) -> int:
        """Bytes of all that is kept."""
        return self._bytes

    def recall(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """What was kept under the key, or what `make` gives: something with `nbytes` that nobody may change."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
                return self._values[key]
        value = make()
        with self._lock:
            if key not in self._values and value.nbytes <= self._limit_bytes:
                self._values[key] = value
                self._bytes += value.nbytes
            while self._bytes > self._limit_bytes:
                _, dropped = self._values.popitem(last=False)
                self._bytes -= dropped.nbytes
        return value
