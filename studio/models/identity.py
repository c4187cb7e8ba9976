"""Which components are the same: by the content of their tensors, not by where they lie.

SVD, SVD-XT and SVD-XT 1.1 come with files of their own; what is equal in them is held once. A component's identity is
the sha256 over its tensors as they would lie on the device (names, shapes, dtype, bytes). It is read once and then
known by path, size and time of change of the files.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path

from studio.models.installed import Installed
from studio.models.weights_file import replace_json

_SHORT = 16
"""Hexadecimal digits that tell components apart in a ledger: 64 bits."""


class Identities:
    """The identities found so far; kept in a file where one is given, which is started anew where it is damaged."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._known = _read(path)

    def known(self, installed: Installed, component: str, dtype: str) -> str | None:
        """The component's identity in that dtype, or None where its files were not read yet or have changed."""
        with self._lock:
            return self._known.get(_state(installed, component, dtype))

    def of(self, installed: Installed, component: str, dtype: str, digest: Callable[[], str]) -> str:
        """The component's identity in that dtype; `digest` reads it from the files where it is not known."""
        state = _state(installed, component, dtype)
        with self._lock:
            if state in self._known:
                return self._known[state]
        found = f"{digest()[:_SHORT]}-{dtype}"
        with self._lock:
            self._known[state] = found
            if self._path is not None:
                # Read again: another process may have added its own meanwhile.
                self._known = {**_read(self._path), **self._known}
                replace_json(self._path, self._known)
        return found


def _state(installed: Installed, component: str, dtype: str) -> str:
    """The component's files as they are now. Its name counts: all components of a single file lie in the same one."""
    files = [path.resolve() for path in installed.files(component)]
    return json.dumps([component, dtype, *([str(p), p.stat().st_size, p.stat().st_mtime_ns] for p in files)])


def _read(path: Path | None) -> dict[str, str]:
    if path is None:
        return {}
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {k: v for k, v in data.items() if isinstance(v, str)} if isinstance(data, dict) else {}
