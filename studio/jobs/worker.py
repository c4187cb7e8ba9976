"""The device process: ``python -m studio.jobs.worker``; the other end of `ProcessRunner`.

Reads JSON lines (start, expect, run, cancel, unload, stop), writes JSON lines (event, freed, ledger, unloaded,
decision). It alone owns the device and every torch module. The end of its input means that the studio is gone: what
runs is cancelled and it ends.

While one job's file is written, the next one may have the device. Decoding is not done beside sampling: each
saturates the device by itself, so that both would only take longer and more memory.
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
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, BinaryIO

from studio.errors import DeviceLost
from studio.events import Event, is_last
from studio.jobs.execute import Rest, execute
from studio.jobs.health import Health, LeakGuard, trim
from studio.jobs.runners import LOST, RECYCLED, decision
from studio.jobs.task import Task
from studio.jobs.workshop import Workshop
from studio.settings import Settings

log = logging.getLogger("studio.worker")


_LEDGER_EVERY_S = 1.0
"""While a job runs, what has changed is told so often."""
_MEASURED_EVERY = 5
"""Memory is measured when nothing runs; where something always does, so many jobs are let pass before one waits."""
_POLL_S = 0.1


class Worker:
    """Takes orders on one thread, works on another, and has what was made written on a third, one job's at a time.

    Args:
        orders, messages: binary streams of JSON lines.
        guard: says when the process should be started anew.
        measured_every: at least one of so many jobs is followed by a look at the memory.
    """

    def __init__(
        self, orders: BinaryIO, messages: BinaryIO, guard: LeakGuard, *, measured_every: int = _MEASURED_EVERY
    ) -> None:
        self._orders = orders
        self._messages = messages
        self._guard = guard
        self._measured_every = measured_every
        self._unmeasured = 0
        self._saying, self._telling = threading.Lock(), threading.Lock()
        self._todo: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._upcoming: queue.SimpleQueue[list[dict[str, Any]]] = queue.SimpleQueue()
        self._cancelled: set[str] = set()
        self._gone = threading.Event()
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="writing")
        self._writing: Future[None] | None = None
        self._told: dict[str, Any] | None = None
        self._told_at = 0.0

    def serve(self) -> int:
        """Works until it is told to stop, or its input ends; returns the exit code. What is being written then is
        written to its end, or cancelled with all else.

        That is `RECYCLED` where the process should be started anew because it loses memory, and `LOST` where the
        device can't be used from it any more; what has to be said is said then, and nothing is cleaned up.
        """
        first = json.loads(self._orders.readline())
        settings = Settings.model_validate(first["settings"])
        self._workshop = Workshop(settings)
        self._health = Health(self._workshop.manager, self._guard)
        for thread in (self._listen, self._foresee):
            threading.Thread(target=thread, name=thread.__name__, daemon=True).start()
        try:
            return self._work(settings.idle_unload_s or None)
        except DeviceLost:
            log.exception("the device is lost")
            return LOST
        finally:
            self._writer.shutdown()

    def _work(self, idle_unload_s: float | None) -> int:
        patience_s = None
        while True:
            try:
                order = self._todo.get(timeout=patience_s)
            except queue.Empty:
                if self._writing is not None:
                    continue
                if self._unload():
                    self._say({"decision": decision("unloaded what was idle", f"no job for {patience_s:g} s")})
                patience_s = None
                continue
            if order is None:
                return 0
            if order["do"] == "unload":
                self._say({"unloaded": self._unload()})
                continue
            if order["do"] == "run":
                self._run(Task.model_validate(order["task"]))
                self._unmeasured += 1
                gc.collect()
            why = self._drift()
            if why:
                log.warning("starting anew: %s", why)
                self._say({"decision": decision("started the device process anew", why)})
                return RECYCLED
            self._tell_ledger()
            patience_s = idle_unload_s

    def _drift(self) -> str:
        """Why the process should be started anew; "" where it should not, or where it is not the time to ask.

        What a job takes that is still written is no drift.
        """
        if self._writing is not None and (self._writing.done() or self._unmeasured >= self._measured_every):
            self._writing.result()
            self._writing = None
        if self._writing is not None or not self._unmeasured:
            return ""
        self._unmeasured = 0
        return self._health.after_job()

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
        """Runs the task to its end, or until its writing is all that is left; that is under way then."""
        job_id, handed_over = task.job_id, False

        def emit(event: Event) -> None:
            if is_last(event) or time.monotonic() - self._told_at >= _LEDGER_EVERY_S:
                self._tell_ledger()
            self._say({"event": event.model_dump(mode="json")})

        def cancelled() -> bool:
            return self._gone.is_set() or job_id in self._cancelled

        def hand_over(rest: Rest) -> None:
            nonlocal handed_over
            # Two clips at most are in memory, and a cancelled job need not wait to hear of it.
            while self._writing is not None and not cancelled():
                wait([self._writing], timeout=_POLL_S)
                if self._writing.done():
                    self._writing.result()
                    self._writing = None
            if cancelled():
                rest()
                return
            handed_over = True
            self._say({"freed": job_id})
            # The writing moves, not the work on the device: CUDA graphs belong to the thread that recorded them.
            self._writing = self._writer.submit(rest)
            self._writing.add_done_callback(written)

        def written(writing: Future[None]) -> None:
            self._cancelled.discard(job_id)
            self._todo.put({"do": "look"})

        try:
            execute(task, self._workshop, emit, cancelled, hand_over)
        finally:
            if not handed_over:
                self._cancelled.discard(job_id)

    def _unload(self) -> int:
        freed_bytes = self._workshop.manager.unload()
        trim()
        self._tell_ledger()
        return freed_bytes

    def _tell_ledger(self) -> None:
        with self._telling:
            ledger = self._health.ledger()
            if ledger != self._told:
                self._told = ledger
                self._say({"ledger": ledger})
            self._told_at = time.monotonic()

    def _say(self, message: dict[str, Any]) -> None:
        with self._saying:
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
