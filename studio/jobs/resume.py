"""What a job keeps of its work, so that the next process goes on from there when this one dies."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from studio import __version__
from studio.context import Make
from studio.jobs.task import Task

log = logging.getLogger(__name__)

KEEP_EVERY_S = 1.0
"""At most this often is a state written; what is lost with a process is this much work, and the step under way."""


def resume_file(home: Path, job_id: str) -> Path:
    """Where the job's state lies while it is not at its end."""
    return home / "resume" / f"{job_id}.safetensors"


def forget(home: Path, job_id: str) -> None:
    """Nothing is kept of that job any more."""
    for path in resume_file(home, job_id).parent.glob(f"{job_id}.*"):
        with suppress(OSError):
            path.unlink(missing_ok=True)


class Resume:
    """One job's kept state: arrays by name, in one file that is replaced as a whole; and what it made once, likewise.

    A file belongs to this request and this version of the studio; what another one left is not taken.

    Args:
        home: the studio's folder.
        every_s: the least time between two writes; a slow disk makes it longer.
    """

    def __init__(self, home: Path, task: Task, every_s: float | None = None) -> None:
        self.path = resume_file(home, task.job_id)
        self._every_s = KEEP_EVERY_S if every_s is None else every_s
        self._about = _digest(task)
        self._next = -float("inf")
        self._refused = False

    def keep(self, state: Mapping[str, np.ndarray]) -> None:
        """Keeps the state if it is time to; a disk that takes none is logged once, and the job goes on without."""
        began = time.monotonic()
        if began < self._next:
            return
        self._write(self.path, state)
        ended = time.monotonic()
        self._next = ended + max(self._every_s, 5 * (ended - began) if self._every_s else 0)

    def kept(self) -> dict[str, np.ndarray] | None:
        """What was kept last for this very request, None where there is nothing of use."""
        return self._read(self.path)

    def once(self, name: str, make: Make) -> Mapping[str, np.ndarray]:
        """What was made under that name for this very request; made and kept now where it was not yet.

        A disk that takes nothing only means that it would be made again.
        """
        path = self.path.with_name(f"{self.path.stem}.{name}.safetensors")
        made = self._read(path)
        if made is None:
            made = make()
            self._write(path, made)
        return made

    def _write(self, path: Path, state: Mapping[str, np.ndarray]) -> None:
        part = path.with_suffix(".part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            arrays = {name: np.asarray(array, order="C") for name, array in state.items()}
            part.write_bytes(save(arrays, metadata={"about": self._about}))
            os.replace(part, path)
        except OSError as e:
            with suppress(OSError):
                part.unlink(missing_ok=True)
            if not self._refused:
                log.warning("the state of %s can't be kept: %s", self.path.stem, e)
            self._refused = True

    def _read(self, path: Path) -> dict[str, np.ndarray] | None:
        try:
            with safe_open(path, framework="numpy") as file:
                if (file.metadata() or {}).get("about") != self._about:
                    return None
                return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
        except FileNotFoundError:
            return None
        except (OSError, SafetensorError) as e:
            log.warning("the kept state of %s is not readable: %s", self.path.stem, e)
            return None

    def forget(self) -> None:
        """Nothing is kept any more."""
        forget(self.path.parent.parent, self.path.stem)


def _digest(task: Task) -> str:
    said = json.dumps([__version__, task.mode, task.request], sort_keys=True, default=str)
    return hashlib.sha256(said.encode()).hexdigest()
