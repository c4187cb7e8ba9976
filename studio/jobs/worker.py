"""The device process: ``python -m studio.jobs.worker``; the other end of `ProcessRunner`.

Reads JSON lines (start, expect, run, cancel, unload, stop), writes JSON lines (event, ledger, unloaded, decision). It
alone owns the device and every torch module. The end of its input means that the studio is gone: the running job is
cancelled and it ends.
"""

from __future__ import annotations

import gc
import json
import logging
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, BinaryIO

from studio.errors import DeviceLost
from studio.events import Event, is_last
from studio.jobs.execute import execute
from studio.jobs.health import Health, LeakGuard, trim
from studio.jobs.runners import LOST, RECYCLED, decision
from studio.jobs.task import Task
from studio.jobs.workshop import Workshop
from studio.settings import Settings

log = logging.getLogger("studio.worker")


_LEDGER_EVERY_S = 1.0
"""While a job runs, what has changed is told so often."""


class Worker:
    """Takes orders on one thread, works on another.

    Args:
        orders, messages: binary streams of JSON lines.
        guard: says when the process should be started anew.
    """

    def __init__(self, orders: BinaryIO, messages: BinaryIO, guard: LeakGuard) -> None:
        self._orders = orders
        self._messages = messages
        self._guard = guard
        self._writing = threading.Lock()
        self._todo: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._upcoming: queue.SimpleQueue[list[dict[str, Any]]] = queue.SimpleQueue()
        self._cancelled: set[str] = set()
        self._gone = threading.Event()
        self._told: dict[str, Any] | None = None
        self._told_at = 0.0

    def serve(self) -> int:
        """Works until it is told to stop, or its input ends; returns the exit code.

        That is `RECYCLED` where the process should be started anew because it loses memory, and `LOST` where the
        device can't be used from it any more; what has to be said is said then, and nothing is cleaned up.
        """
        first = json.loads(self._orders.readline())
        settings = Settings.model_validate(first["settings"])
        self._workshop = Workshop(settings)
        self._health = Health(self._workshop.manager, self._guard)
        for thread in (self._listen, self._foresee):
            threading.Thread(target=thread, name=thread.__name__, daemon=True).start()
        patience_s = None
        while True:
            try:
                order = self._todo.get(timeout=patience_s)
            except queue.Empty:
                if self._unload():
                    self._say({"decision": decision("unloaded what was idle", f"no job for {patience_s:g} s")})
                patience_s = None
                continue
            if order is None:
                return 0
            if order["do"] == "unload":
                self._say({"unloaded": self._unload()})
                continue
            try:
                self._run(Task.model_validate(order["task"]))
            except DeviceLost:
                log.exception("the device is lost")
                return LOST
            gc.collect()
            why = self._health.after_job()
            if why:
                log.warning("starting anew: %s", why)
                self._say({"decision": decision("started the device process anew", why)})
                return RECYCLED
            self._tell_ledger()
            patience_s = settings.idle_unload_s or None

    def _listen(self) -> None:
        for line in self._orders:
            order = json.loads(line)
            if order["do"] == "cancel":
                self._cancelled.add(order["job_id"])
            elif order["do"] == "expect":
                self._upcoming.put(order["upcoming"])
            elif order["do"] == "stop":
                break
            else:
                self._todo.put(order)
        self._gone.set()
        self._todo.put(None)

    def _foresee(self) -> None:
        """Hands on what is expected; on a thread of its own, since it may be what imports torch, and that takes long.

        What is overtaken by something newer is left out.
        """
        while True:
            upcoming = self._upcoming.get()
            if self._upcoming.empty():
                self._workshop.expect(upcoming)

    def _run(self, task: Task) -> None:
        def emit(event: Event) -> None:
            if is_last(event) or time.monotonic() - self._told_at >= _LEDGER_EVERY_S:
                self._tell_ledger()
            self._say({"event": event.model_dump(mode="json")})

        try:
            execute(task, self._workshop, emit, lambda: self._gone.is_set() or task.job_id in self._cancelled)
        finally:
            self._cancelled.discard(task.job_id)

    def _unload(self) -> int:
        freed_bytes = self._workshop.manager.unload()
        trim()
        self._tell_ledger()
        return freed_bytes

    def _tell_ledger(self) -> None:
        ledger = self._health.ledger()
        if ledger != self._told:
            self._told = ledger
            self._say({"ledger": ledger})
        self._told_at = time.monotonic()

    def _say(self, message: dict[str, Any]) -> None:
        with self._writing:
            try:
                self._messages.write(json.dumps(message).encode() + b"\n")
                self._messages.flush()
            except BrokenPipeError:
                self._gone.set()


def main(make: Callable[[BinaryIO, BinaryIO, LeakGuard], Worker] = Worker) -> None:
    """Serves on stdin and stdout; whatever else prints goes to the log."""
    messages = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the studio's to handle
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s %(message)s", force=True
    )
    code = make(sys.stdin.buffer, messages, LeakGuard.usual()).serve()
    logging.shutdown()
    if code:
        os._exit(code)  # a thread still reads stdin, and a lost device may hang in its own clean-up


if __name__ == "__main__":
    main()
