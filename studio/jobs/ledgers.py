"""The ledgers of all studio processes of one home: each writes its own, everybody reads them.

home/ledgers/<owner>.json      what the owner's device process holds, as of its last change
home/ledgers/<owner>.unload    somebody wants what is idle dropped; removed once that is done
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from studio.jobs.owner import is_alive
from studio.models.weights_file import replace_json

log = logging.getLogger(__name__)

_POLL_S = 0.1


class LedgerFile:
    """This process's ledger, for the others. A disk that is full costs the file, not the studio."""

    def __init__(self, home: Path, owner: str) -> None:
        self._owner = owner
        self._path = home / "ledgers" / f"{owner}.json"
        self._wish = self._path.with_suffix(".unload")
        self._lock = threading.Lock()
        self._written: dict[str, Any] | None = None
        self._unloaded: dict[str, Any] | None = None
        self._closed = False

    def keep(self, ledger: Mapping[str, Any]) -> None:
        """The file says this from now on."""
        with self._lock:
            said = {**ledger, "unloaded": self._unloaded}
            if self._closed or said == self._written:
                return
            self._written = said
            try:
                replace_json(self._path, {**said, "owner": self._owner, "at": time.time()})
            except OSError as e:
                log.warning("the ledger can't be written: %s", e)

    @property
    def unload_wanted(self) -> bool:
        """True once somebody asked for what is idle to be dropped."""
        return self._wish.exists()

    def unloaded(self, freed_bytes: int, ledger: Mapping[str, Any]) -> None:
        """Answers that wish."""
        self._unloaded = {"at": time.time(), "freed_bytes": freed_bytes}
        self.keep(ledger)
        self._wish.unlink(missing_ok=True)  # last: whoever waits for it reads the file then

    def close(self) -> None:
        """Nothing is held any more."""
        with self._lock:
            self._closed = True
            self._path.unlink(missing_ok=True)
            self._wish.unlink(missing_ok=True)


def read_ledgers(home: Path) -> list[dict[str, Any]]:
    """The ledgers of the processes that live, each with its ``owner`` and when it was written, ``at``.

    What dead ones left is removed.
    """
    found = []
    for path in sorted((home / "ledgers").glob("*.json")):
        if not is_alive(home / "owners", path.stem):
            path.unlink(missing_ok=True)
            path.with_suffix(".unload").unlink(missing_ok=True)
            continue
        with suppress(OSError, ValueError):  # closed in this moment
            found.append(json.loads(path.read_text(encoding="utf-8")))
    return found


def ask_unload(home: Path, *, within_s: float = 10) -> list[dict[str, Any]]:
    """Has every studio process of the home drop what is idle; returns their ledgers as they are then.

    Each has ``freed_bytes``: on its device, or None where it has not answered in time: it drops what is idle as soon
    as the job that runs there has ended.
    """
    asked = read_ledgers(home)
    for ledger in asked:
        _wish(home, ledger["owner"]).touch()
    deadline = time.monotonic() + within_s
    while any(_wish(home, x["owner"]).exists() for x in asked) and time.monotonic() < deadline:
        time.sleep(_POLL_S)
    owners = {ledger["owner"] for ledger in asked}
    return [
        {**x, "freed_bytes": None if _wish(home, x["owner"]).exists() else (x["unloaded"] or {}).get("freed_bytes", 0)}
        for x in read_ledgers(home)
        if x["owner"] in owners
    ]


def _wish(home: Path, owner: str) -> Path:
    return home / "ledgers" / f"{owner}.unload"
