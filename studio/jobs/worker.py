"""The device process: ``python -m studio.jobs.worker``; the other end of `ProcessRunner`.

Reads JSON lines (start, run, cancel, unload, stop), writes JSON lines (event, ledger). It alone owns the device and
every torch module. The end of its input means that the studio is gone: the running job is cancelled and it ends.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import signal
import sys
import threading
from typing import Any, BinaryIO

from studio.events import Event, is_last
from studio.jobs.execute import execute
from studio.jobs.task import Task
from studio.jobs.workshop import Workshop
from studio.settings import Settings

log = logging.getLogger("studio.worker")


class Worker:
    """Takes orders on one thread, works on another.

    Args:
        orders, messages: binary streams of JSON lines.
    """

    def __init__(self, orders: BinaryIO, messages: BinaryIO) -> None:
        self._orders = orders
        self._messages = messages
        self._writing = threading.Lock()
        self._todo: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._cancelled: set[str] = set()
        self._gone = threading.Event()

    def serve(self) -> None:
        """Works until it is told to stop, or its input ends."""
        first = json.loads(self._orders.readline())
        workshop = Workshop(Settings.model_validate(first["settings"]))
        threading.Thread(target=self._listen, name="orders", daemon=True).start()
        for order in iter(self._todo.get, None):
            if order["do"] == "run":
                self._run(Task.model_validate(order["task"]), workshop)
            elif order["do"] == "unload":
                workshop.manager.unload()
                self._say({"ledger": workshop.manager.ledger()})

    def _listen(self) -> None:
        for line in self._orders:
            order = json.loads(line)
            if order["do"] == "cancel":
                self._cancelled.add(order["job_id"])
            elif order["do"] == "stop":
                break
            else:
                self._todo.put(order)
        self._gone.set()
        self._todo.put(None)

    def _run(self, task: Task, workshop: Workshop) -> None:
        def emit(event: Event) -> None:
            if is_last(event):
                self._say({"ledger": workshop.manager.ledger()})
            self._say({"event": event.model_dump(mode="json")})

        execute(task, workshop, emit, lambda: self._gone.is_set() or task.job_id in self._cancelled)
        self._cancelled.discard(task.job_id)

    def _say(self, message: dict[str, Any]) -> None:
        with self._writing:
            try:
                self._messages.write(json.dumps(message).encode() + b"\n")
                self._messages.flush()
            except BrokenPipeError:
                self._gone.set()


def main() -> None:
    """Serves on stdin and stdout; whatever else prints goes to the log."""
    messages = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the studio's to handle
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s %(message)s", force=True
    )
    Worker(sys.stdin.buffer, messages).serve()


if __name__ == "__main__":
    main()
