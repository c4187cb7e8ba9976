"""Who runs which jobs: a studio process holds a lock file for as long as it lives, however it dies."""

from __future__ import annotations

import uuid
from pathlib import Path

from filelock import FileLock, Timeout


class Owner:
    """This studio process, as the journal names it."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self.id = uuid.uuid4().hex
        self._lock = FileLock(folder / f"{self.id}.lock")
        self._lock.acquire()

    def alive(self, owner: str) -> bool:
        """True while the process of that owner lives."""
        return owner == self.id or is_alive(self._folder, owner)

    def close(self) -> None:
        """Lets go; from now on this owner counts as gone."""
        self._lock.release()
        (self._folder / f"{self.id}.lock").unlink(missing_ok=True)


def is_alive(folder: Path, owner: str) -> bool:
    """True while the process of that owner lives; what a dead one left in the folder is removed."""
    path = folder / f"{owner}.lock"
    if not path.exists():
        return False
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    lock.release()
    path.unlink(missing_ok=True)
    return False
