"""The work of `InlineRunner`, as a module-level generator, so that ZeroGPU can carry it into its own process."""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Iterator

from studio.events import Event
from studio.jobs.execute import execute
from studio.jobs.task import Task
from studio.jobs.workshop import Workshop
from studio.settings import Settings

_workshops: dict[str, Workshop] = {}


def workshop(settings: Settings) -> Workshop:
    """This process's workshop for these settings."""
    key = settings.model_dump_json()
    if key not in _workshops:
        _workshops.clear()
        _workshops[key] = Workshop(settings)
    return _workshops[key]


def unload() -> None:
    """Drops idle weights of this process."""
    for shop in _workshops.values():
        shop.manager.unload()


def work(settings_json: str, task_json: str) -> Iterator[str]:
    """Runs the task and yields JSON lines: its events, then what is on the device.

    A cancellation is a file ``<job id>.cancel`` in the scratch folder: it is seen from another process too.
    """
    settings = Settings.model_validate_json(settings_json)
    task = Task.model_validate_json(task_json)
    shop = workshop(settings)
    flag = settings.scratch / f"{task.job_id}.cancel"
    lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()

    def emit(event: Event) -> None:
        lines.put(json.dumps({"event": event.model_dump(mode="json")}))

    def run() -> None:
        try:
            execute(task, shop, emit, flag.exists)
        finally:
            lines.put(None)

    thread = threading.Thread(target=run, name=f"work {task.job_id}", daemon=True)
    thread.start()
    last = None
    for line in iter(lines.get, None):
        if last is not None:
            yield last
        last = line
    thread.join()
    flag.unlink(missing_ok=True)
    # the ledger goes before the job's last event, so that whoever waits for that event finds it
    yield json.dumps({"ledger": shop.manager.ledger()})
    if last is not None:
        yield last
