"""The work of `InlineRunner`, as a module-level generator, so that ZeroGPU can carry it into its own process."""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Iterator, Sequence
from typing import Any

from studio.errors import DeviceLost
from studio.events import Event, is_last
from studio.jobs.execute import execute
from studio.jobs.health import Health, LeakGuard
from studio.jobs.job import failed
from studio.jobs.task import Task
from studio.jobs.workshop import Workshop
from studio.settings import Settings

_workshops: dict[str, tuple[Workshop, Health]] = {}
_upcoming: list[dict[str, Any]] = []


def workshop(settings: Settings) -> tuple[Workshop, Health]:
    """This process's workshop for these settings, and its health."""
    key = settings.model_dump_json()
    if key not in _workshops:
        _workshops.clear()
        shop = Workshop(settings)
        shop.expect(_upcoming)
        _workshops[key] = shop, Health(shop.manager, LeakGuard.usual())
    return _workshops[key]


def expect(upcoming: Sequence[dict[str, Any]]) -> None:
    """Says what comes after the running job, in order: each with ``variant`` and ``request``."""
    _upcoming[:] = upcoming
    for shop, _ in list(_workshops.values()):
        shop.expect(upcoming)


def unload() -> tuple[int, dict[str, Any]]:
    """Drops idle weights of this process; returns the bytes freed, and the ledger."""
    freed_bytes, ledger = 0, {}
    for shop, health in list(_workshops.values()):
        freed_bytes += shop.manager.unload()
        ledger = health.ledger()
    return freed_bytes, ledger


def work(settings_json: str, task_json: str) -> Iterator[str]:
    """Runs the task and yields JSON lines: its events, and what is held before the last of them.

    A cancellation is a file ``<job id>.cancel`` in the scratch folder: it is seen from another process too.
    """
    settings = Settings.model_validate_json(settings_json)
    task = Task.model_validate_json(task_json)
    shop, health = workshop(settings)
    flag = settings.scratch / f"{task.job_id}.cancel"
    lines: queue.SimpleQueue[tuple[bool, str] | None] = queue.SimpleQueue()

    def emit(event: Event) -> None:
        lines.put((is_last(event), json.dumps({"event": event.model_dump(mode="json")})))

    def run() -> None:
        try:
            execute(task, shop, emit, flag.exists)
        except DeviceLost as e:  # there is no process to give up but this one
            emit(failed(task.job_id, e))
        finally:
            lines.put(None)

    thread = threading.Thread(target=run, name=f"work {task.job_id}", daemon=True)
    thread.start()
    last = None
    for ends, line in iter(lines.get, None):
        if ends:
            last = line
        else:
            yield line
    thread.join()
    flag.unlink(missing_ok=True)
    # the ledger goes before the job's last event, so that whoever waits for that event finds it
    health.after_job()
    yield json.dumps({"ledger": health.ledger()})
    if last is not None:
        yield last
