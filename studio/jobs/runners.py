"""Who runs a task: this process, or a child that owns the device. One task at a time, either way."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Protocol

import studio
from studio.events import Event, event_from_dict, is_last
from studio.jobs.task import Task
from studio.settings import Settings

log = logging.getLogger(__name__)

_ROOT = Path(studio.__file__).resolve().parent.parent


class Runner(Protocol):
    """Runs one task at a time; says what happens through the callbacks that it was made with."""

    def run(self, task: Task) -> None:
        """Starts the task and returns at once."""

    def cancel(self, job_id: str) -> None:
        """Asks the running task to stop at its next step."""

    def kill(self) -> None:
        """Stops the running task by force, where that is possible."""

    def unload(self) -> None:
        """Drops idle weights."""

    def ledger(self) -> list[dict[str, Any]]:
        """The components on the device, as of the last task."""

    def close(self) -> None:
        """Stops everything; a running task is cancelled."""


OnEvent = Callable[[Event], None]
OnLost = Callable[[str], None]


class InlineRunner:
    """Runs tasks on a thread of this process: for tests, one-shot commands and ZeroGPU.

    Args:
        on_event: takes each event, on the runner's thread.
        wrap: decorates the function that does the work, as ``spaces.GPU`` does; it must keep a generator a generator.
    """

    def __init__(
        self, settings: Settings, on_event: OnEvent, *, wrap: Callable[[Callable], Callable] | None = None
    ) -> None:
        from studio.jobs import inline

        self._settings = settings
        self._on_event = on_event
        self._work = wrap(inline.work) if wrap else inline.work
        self._flags = settings.scratch
        self._ledger: list[dict[str, Any]] = []
        self._thread: threading.Thread | None = None

    def run(self, task: Task) -> None:
        self._flag(task.job_id).unlink(missing_ok=True)
        self._thread = threading.Thread(target=self._run, args=(task,), name=f"job {task.job_id}", daemon=True)
        self._thread.start()

    def _run(self, task: Task) -> None:
        for line in self._work(self._settings.model_dump_json(), task.model_dump_json()):
            message = json.loads(line)
            if "ledger" in message:
                self._ledger = message["ledger"]
            else:
                self._on_event(event_from_dict(message["event"]))
        self._flag(task.job_id).unlink(missing_ok=True)

    def _flag(self, job_id: str):
        return self._flags / f"{job_id}.cancel"

    def cancel(self, job_id: str) -> None:
        self._flags.mkdir(parents=True, exist_ok=True)
        self._flag(job_id).touch()

    def kill(self) -> None:
        log.warning("an inline job can't be stopped by force; it ends at its next step")

    def unload(self) -> None:
        from studio.jobs import inline

        inline.unload()
        self._ledger = []

    def ledger(self) -> list[dict[str, Any]]:
        return self._ledger

    def close(self) -> None:
        if self._thread is not None:
            self._thread.join(timeout=self._settings.cancel_grace_s)


class ProcessRunner:
    """Runs tasks in one child process that owns the device and every torch module on it.

    The child is started on the first task and again after it died. Messages are JSON lines on its pipes; when this
    process dies, by whatever cause, the child reads the end of its input and ends too.

    Args:
        on_event: takes each event, on the reader's thread.
        on_lost: called with the job's id when the child died before the job's last event.
    """

    def __init__(self, settings: Settings, on_event: OnEvent, on_lost: OnLost) -> None:
        self._settings = settings
        self._on_event = on_event
        self._on_lost = on_lost
        self._lock = threading.RLock()
        self._child: subprocess.Popen[bytes] | None = None
        self._running: str | None = None
        self._ledger: list[dict[str, Any]] = []

    @property
    def pid(self) -> int | None:
        """The child's process id, None while there is none."""
        return self._child.pid if self._child is not None else None

    def _start(self) -> subprocess.Popen[bytes]:
        logs = self._settings.home / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        with open(logs / "worker.log", "ab") as log_file:
            child = subprocess.Popen(
                [sys.executable, "-m", "studio.jobs.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log_file,
                cwd=self._settings.home,
                env={**os.environ, "PYTHONPATH": os.pathsep.join([str(_ROOT), *filter(None, sys.path)])},
                start_new_session=True,
            )
        self._child = child
        self._send({"do": "start", "settings": self._settings.model_dump(mode="json")})
        threading.Thread(target=self._listen, args=(child,), name="device process", daemon=True).start()
        return child

    def _send(self, message: dict[str, Any]) -> None:
        child = self._child
        if child is None or child.stdin is None:
            return
        try:
            child.stdin.write(json.dumps(message).encode() + b"\n")
            child.stdin.flush()
        except (BrokenPipeError, ValueError):
            log.warning("the device process is gone")

    def _listen(self, child: subprocess.Popen[bytes]) -> None:
        assert child.stdout is not None
        for line in child.stdout:
            try:
                message = json.loads(line)
            except ValueError:
                break  # cut off in the middle of a line: it died
            if "ledger" in message:
                self._ledger = message["ledger"]
                continue
            event = event_from_dict(message["event"])
            with self._lock:
                if is_last(event):
                    self._running = None
            self._on_event(event)
        child.wait()
        child.stdout.close()
        with self._lock:
            _close_quietly(child.stdin)
            lost, self._running = self._running, None
            if self._child is child:
                self._child = None
                self._ledger = []
        if lost is not None:
            log.warning("the device process ended with %s while it ran %s", child.returncode, lost)
            self._on_lost(lost)

    def run(self, task: Task) -> None:
        with self._lock:
            if self._child is None or self._child.poll() is not None:
                self._start()
            self._running = task.job_id
            self._send({"do": "run", "task": task.model_dump(mode="json")})

    def cancel(self, job_id: str) -> None:
        self._send({"do": "cancel", "job_id": job_id})

    def kill(self) -> None:
        child = self._child
        if child is not None:
            child.kill()

    def unload(self) -> None:
        self._send({"do": "unload"})

    def ledger(self) -> list[dict[str, Any]]:
        return self._ledger

    def close(self) -> None:
        child = self._child
        if child is None:
            return
        self._send({"do": "stop"})
        try:
            child.wait(timeout=5)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        with self._lock:
            _close_quietly(child.stdin)


def _close_quietly(stream: IO[bytes] | None) -> None:
    """Closes our end of a pipe whose other end may be gone with something still unsent."""
    if stream is not None:
        with suppress(BrokenPipeError):
            stream.close()
