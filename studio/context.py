"""`Context`: all that a mode and an engine see of the world while a job runs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from studio import events
from studio.errors import Cancelled
from studio.media.clip import Clip


class Preview(Protocol):
    """Makes the preview when it is wanted, and only then: a small `Clip` of all frames as they look now."""

    def __call__(self) -> Clip: ...


Make = Callable[[], Mapping[str, np.ndarray]]
"""Makes what is worth keeping, as arrays by name."""


class Context:
    """One job's hands.

    Every method that reports is also a cancellation point: it raises `Cancelled` once the user asked for it.

    Args:
        job_id: names the job in events and logs.
        scratch: an empty folder of the job's own, removed afterwards.
        emit: takes the events.
        lease: opens an engine for a variant's id (see `studio.models.manager`).
        find_input: turns the path in a request into a path on disk.
        cancelled: True once the user asked to stop.
        show: writes a preview clip to a file and returns the event for it, or None when it is too soon for another.
        find_lora: turns a LoRA's file name into a path.
        keep: puts a state where the next process finds it, when it is time to.
        kept: what was kept last for this very request.
        once: gives what is made under a name, without making it again where a process that died has made it.
    """

    def __init__(
        self,
        *,
        job_id: str,
        scratch: Path,
        emit: Callable[[events.Event], None],
        lease: Callable[[str, Context], AbstractContextManager[Any]],
        find_input: Callable[[str], Path],
        cancelled: Callable[[], bool] = lambda: False,
        show: Callable[[Preview], events.Preview | None] = lambda make: None,
        find_lora: Callable[[str], Path] = Path,
        keep: Callable[[Mapping[str, np.ndarray]], None] = lambda state: None,
        kept: Callable[[], Mapping[str, np.ndarray] | None] = lambda: None,
        once: Callable[[str, Make], Mapping[str, np.ndarray]] = lambda name, make: make(),
    ) -> None:
        self.job_id = job_id
        self.scratch = scratch
        self.log = logging.getLogger(f"studio.job.{job_id}")
        self._emit = emit
        self._lease = lease
        self._find_input = find_input
        self._cancelled = cancelled
        self._show = show
        self._find_lora = find_lora
        self._keep = keep
        self._kept = kept
        self._once = once
        self._loaded: tuple[str, int] | None = None
        self._noticed: set[str] = set()
        self._facts: dict[str, Any] = {}

    def check(self) -> None:
        """Raises `Cancelled` once the user asked for it; call it wherever nothing is reported for long."""
        if self._cancelled():
            raise Cancelled()

    def step(self, done: int, total: int, stage: str = "sample", preview: Preview | None = None) -> None:
        """Reports that `done` of `total` units of `stage` are finished.

        Args:
            stage: encode, sample, decode, render, ...: one word that a person understands.
            preview: called only if it is time for another preview.
        """
        self.check()
        self._emit(events.Step(job_id=self.job_id, stage=stage, done=done, total=total))
        if preview is not None:
            shown = self._show(preview)
            if shown is not None:
                self._emit(shown)

    def loading(self, component: str, done_bytes: int, total_bytes: int) -> None:
        """Reports how much of a component's weights is in place; call it for every tensor, each hundredth is told."""
        self.check()
        share = (component, done_bytes * 100 // max(1, total_bytes))
        if share == self._loaded:
            return
        self._loaded = share
        self._emit(
            events.Loading(job_id=self.job_id, component=component, done_bytes=done_bytes, total_bytes=total_bytes)
        )

    def writing(self, done: int, total: int) -> None:
        """Reports how many frames are in the file."""
        self.check()
        self._emit(events.Writing(job_id=self.job_id, done=done, total=total))

    def notice(self, sentence: str) -> None:
        """Tells the user something although the job goes on; the same sentence once."""
        if sentence not in self._noticed:
            self._noticed.add(sentence)
            self._emit(events.Notice(job_id=self.job_id, message=sentence))

    def fact(self, name: str, value: Any) -> None:
        """Puts something worth having into the recipe: JSON, the last of that name."""
        self._facts[name] = value

    @property
    def facts(self) -> Mapping[str, Any]:
        """What was told by `fact`, by name."""
        return dict(self._facts)

    def keep(self, state: Mapping[str, np.ndarray]) -> None:
        """Keeps all that is needed to go on from here, should this process die; call it whenever there is more.

        Not every call writes, and none fails: the job does not depend on it.
        """
        self._keep(state)

    def kept(self) -> Mapping[str, np.ndarray] | None:
        """What a process that died kept of this very job, None in its first."""
        return self._kept()

    def once(self, name: str, make: Make) -> Mapping[str, np.ndarray]:
        """What `make` gives, and what it gave already where a process that died had come so far in this very job.

        For the results of long phases; what happens inside one is for `keep`.
        """
        return self._once(name, make)

    def input(self, path: str) -> Path:
        """Where the file that a request names lies."""
        return self._find_input(path)

    def lora(self, name: str) -> Path:
        """Where the LoRA of that file name lies.

        Raises:
            BadInput: it is not there.
        """
        return self._find_lora(name)

    def lease(self, variant: str) -> AbstractContextManager[Any]:
        """``with ctx.lease("svd-xt") as engine``: the variant's engine, pinned until the block ends.

        Raises:
            NotInstalled: its weights are not here; says what to install.
            DoesNotFit: not even the smallest plan fits.
        """
        return self._lease(variant, self)
