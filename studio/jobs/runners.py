"""Who runs a task: this process, or a child that owns the device.

One task at a time; a child may write the last one's file beside it.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Protocol

import studio
from studio.events import Event, event_from_dict, is_last
from studio.jobs.task import Task
from studio.models.cores import limit_threads
from studio.settings import Settings

log = logging.getLogger(__name__)

RECYCLED = 75
"""The device process's exit code where it ends in order to be started anew: what it was given last was not begun."""
LOST = 70
"""Its exit code where the device is lost to it."""

_ROOT = Path(studio.__file__).resolve().parent.parent
_MOST_DECISIONS = 100


OnEvent = Callable[[Event], None]
OnLost = Callable[[str], None]
Freed = Callable[[], None]


class Runner(Protocol):
    """Runs one task at a time; says what happens through the callbacks that it was made with."""

    def run(self, task: Task, freed: Freed) -> None:
        """Starts the task and returns at once.

        Args:
            freed: called where the task is not over, but nothing of it is left that would be in the way of another one.
        """

    def cancel(self, job_id: str) -> None:
        """Asks that task to stop at its next step."""

    def kill(self) -> None:
        """Stops by force all that runs, where that is possible."""

    def expect(self, upcoming: Sequence[dict[str, Any]]) -> None:
        """Says what comes after the running task, in order: each with ``variant`` and ``request``."""

    def unload(self, then: Callable[[int], None] = lambda freed_bytes: None) -> None:
        """Drops idle weights, once the running task is over where it has to wait; `then` hears the bytes freed."""

    def ledger(self) -> dict[str, Any]:
        """What is held, as of a moment ago (`ModelManager.ledger`), and ``health``; empty while nothing is."""

    def close(self) -> None:
        """Stops everything; a running task is cancelled."""


class InlineRunner:
    """Runs tasks on a thread of this process, each to its very end: for tests, one-shot commands and ZeroGPU.

    Args:
        on_event: takes each event, on the runner's thread.
        wrap: decorates the function that does the work, as ``spaces.GPU`` does; it must keep a generator a generator.
    """

    def __init__(
        self, settings: Settings, on_event: OnEvent, *, wrap: Callable[[Callable], Callable] | None = None
    ) -> None:
        from studio.jobs import inline

        limit_threads(os.environ)
        self._inline = inline
        self._settings = settings
        self._on_event = on_event
        self._work = wrap(inline.work) if wrap else inline.work
        self._flags = settings.scratch
        self._ledger: dict[str, Any] = {}
        self._thread: threading.Thread | None = None
        self._idle: threading.Timer | None = None
        self._lock = threading.Lock()
        self._closed = False

    def run(self, task: Task, freed: Freed) -> None:
        self._rest()
        with self._lock:
            if self._closed:  # while the job was on its way here; whoever closes marks it interrupted
                return
            self._flag(task.job_id).unlink(missing_ok=True)
            self._thread = threading.Thread(target=self._run, args=(task,), name=f"job {task.job_id}", daemon=True)
            self._thread.start()

    def _run(self, task: Task) -> None:
        for line in self._work(self._settings.model_dump_json(), task.model_dump_json()):
            message = json.loads(line)
            if "ledger" in message:
                self._ledger = message["ledger"]
                continue
            event = event_from_dict(message["event"])
            if is_last(event):
                self._rest(self._settings.idle_unload_s)
            self._on_event(event)
        self._flag(task.job_id).unlink(missing_ok=True)

    def _rest(self, after_s: float = 0) -> None:
        """Unloads after so many seconds in which no task is started; 0: never."""
        if self._idle is not None:
            self._idle.cancel()
        if after_s:
            self._idle = threading.Timer(after_s, self.unload)
            self._idle.daemon = True
            self._idle.start()

    def _flag(self, job_id: str):
        return self._flags / f"{job_id}.cancel"

    def cancel(self, job_id: str) -> None:
        self._flags.mkdir(parents=True, exist_ok=True)
        self._flag(job_id).touch()

    def kill(self) -> None:
        log.warning("an inline job can't be stopped by force; it ends at its next step")

    def expect(self, upcoming: Sequence[dict[str, Any]]) -> None:
        self._inline.expect(upcoming)

    def unload(self, then: Callable[[int], None] = lambda freed_bytes: None) -> None:
        freed_bytes, self._ledger = self._inline.unload()
        then(freed_bytes)

    def ledger(self) -> dict[str, Any]:
        return self._ledger

    def close(self) -> None:
        self._rest()
        with self._lock:
            self._closed = True
        if self._thread is not None:
            self._thread.join(timeout=self._settings.cancel_grace_s)


@dataclass
class _Child:
    """A device process, and what it was given and has not answered."""

    process: subprocess.Popen[bytes]
    tasks: dict[str, tuple[Task, Freed]] = field(default_factory=dict)
    cancelled: set[str] = field(default_factory=set)
    unloading: deque[Callable[[int], None]] = field(default_factory=deque)

    def send(self, message: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(message).encode() + b"\n")
            self.process.stdin.flush()
        except (BrokenPipeError, ValueError):
            log.warning("the device process is gone")


class ProcessRunner:
    """Runs tasks in one child process that owns the device and every torch module on it.

    The child is started on the first task and again after it ended. Messages are JSON lines on its pipes; when this
    process dies, by whatever cause, the child reads the end of its input and ends too. A child that ends with
    `RECYCLED` is no loss: it has written what it had to, and the next one is given what it has not begun.

    Args:
        on_event: takes each event, on the reader's thread.
        on_lost: called with a job's id when the child died before that job's last event; of all that it ran.
    """

    def __init__(self, settings: Settings, on_event: OnEvent, on_lost: OnLost) -> None:
        self._settings = settings
        self._on_event = on_event
        self._on_lost = on_lost
        self._lock = threading.RLock()
        self._child: _Child | None = None
        self._upcoming: Sequence[dict[str, Any]] = ()
        self._ledger: dict[str, Any] = {}
        self._decisions: deque[dict[str, Any]] = deque(maxlen=_MOST_DECISIONS)
        self._closed = False

    @property
    def pid(self) -> int | None:
        """The child's process id, None while there is none."""
        child = self._child
        return child.process.pid if child is not None else None

    def _start(self) -> _Child:
        logs = self._settings.home / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(_ROOT), *filter(None, sys.path)])}
        limit_threads(environ)
        with open(logs / "worker.log", "ab") as log_file:
            process = subprocess.Popen(
                self._command(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log_file,
                cwd=self._settings.home,
                env=environ,
                start_new_session=True,
            )
        child = _Child(process)
        child.send({"do": "start", "settings": self._settings.model_dump(mode="json")})
        child.send({"do": "expect", "upcoming": list(self._upcoming)})
        threading.Thread(target=self._listen, args=(child,), name="device process", daemon=True).start()
        return child

    def _command(self) -> list[str]:
        return [sys.executable, "-m", "studio.jobs.worker"]

    def _listen(self, child: _Child) -> None:
        assert child.process.stdout is not None
        for line in child.process.stdout:
            try:
                message = json.loads(line)
            except ValueError:
                break  # cut off in the middle of a line: it died
            self._hear(child, message)
        code = child.process.wait()
        child.process.stdout.close()
        with self._lock:
            _close_quietly(child.process.stdin)
            if self._child is child:
                self._child = None
                self._ledger = {}
            tasks, child.tasks = child.tasks, {}
            again = code == RECYCLED and not self._closed
            for job_id, (task, freed) in tasks.items() if again else ():
                self.run(task, freed)
                if job_id in child.cancelled:
                    self.cancel(job_id)
        for then in child.unloading:
            then(0)  # all that it held is free, and nobody counted it
        for job_id in () if again else tasks:
            log.warning("the device process ended with %s while it ran %s", code, job_id)
            self._on_lost(job_id)

    def _hear(self, child: _Child, message: dict[str, Any]) -> None:
        if "ledger" in message:
            self._ledger = message["ledger"]
        elif "decision" in message:
            self._decisions.append(message["decision"])
        elif "unloaded" in message:
            child.unloading.popleft()(message["unloaded"])
        elif "freed" in message:
            child.tasks[message["freed"]][1]()
        else:
            event = event_from_dict(message["event"])
            with self._lock:
                if is_last(event):
                    child.tasks.pop(event.job_id, None)
                    child.cancelled.discard(event.job_id)
            self._on_event(event)

    def run(self, task: Task, freed: Freed) -> None:
        with self._lock:
            if self._child is None or self._child.process.poll() is not None:
                self._child = self._start()
            self._child.tasks[task.job_id] = (task, freed)
            self._child.send({"do": "run", "task": task.model_dump(mode="json")})

    def cancel(self, job_id: str) -> None:
        with self._lock:
            if self._child is not None:
                if job_id in self._child.tasks:
                    self._child.cancelled.add(job_id)
                self._child.send({"do": "cancel", "job_id": job_id})

    def kill(self) -> None:
        child = self._child
        if child is not None:
            child.process.kill()

    def expect(self, upcoming: Sequence[dict[str, Any]]) -> None:
        with self._lock:
            self._upcoming = upcoming
            if self._child is not None:
                self._child.send({"do": "expect", "upcoming": list(upcoming)})

    def unload(self, then: Callable[[int], None] = lambda freed_bytes: None) -> None:
        with self._lock:
            child = self._child
            if child is not None:
                child.unloading.append(then)
                child.send({"do": "unload"})
        if child is None:
            then(0)

    def ledger(self) -> dict[str, Any]:
        ledger = self._ledger
        if not self._decisions:
            return ledger
        decisions = sorted([*self._decisions, *ledger.get("decisions", ())], key=lambda decision: decision["at"])
        return {**ledger, "decisions": decisions[-_MOST_DECISIONS:]}

    def close(self) -> None:
        with self._lock:
            self._closed = True
            child = self._child
        if child is None:
            return
        child.send({"do": "stop"})
        try:
            child.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            child.process.kill()
            child.process.wait()
        with self._lock:
            _close_quietly(child.process.stdin)


def decision(what: str, why: str) -> dict[str, Any]:
    """A decision as ledgers have it, made now."""
    return {"at": time.time(), "what": what, "why": why}


def _close_quietly(stream: IO[bytes] | None) -> None:
    """Closes our end of a pipe whose other end may be gone with something still unsent."""
    if stream is not None:
        with suppress(BrokenPipeError):
            stream.close()
