"""`Dispatcher`: takes waiting jobs from the journal, hands them to the runner, keeps journal and listeners told."""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from studio import events
from studio.errors import DeviceLost
from studio.events import Event, is_last
from studio.jobs.deliver import unfinished_folders
from studio.jobs.estimate import Estimate, profile_key
from studio.jobs.job import Job, failed
from studio.jobs.ledgers import LedgerFile
from studio.jobs.live import Live, without_superseded
from studio.jobs.order import start_order
from studio.jobs.resume import Resume, forget
from studio.jobs.runners import Runner
from studio.jobs.store import Journal
from studio.jobs.task import Task
from studio.media.write import leftovers
from studio.settings import Settings

log = logging.getLogger(__name__)

MAX_ATTEMPTS = 2
MAX_ATTEMPTS_GETTING_ON = 5
"""For a job that got further each time than the time before."""
MOST_EXPECTED = 16
"""So many waiting jobs the device process is told of."""
_KEPT_LIVES = 200
_KEEPING = 10
"""Times the grace that a cancelled job has which keeps what it has made."""


class Dispatcher:
    """Starts waiting jobs on a thread of its own: one at a time, and the next one while the last one's file is written.

    A job that is tried again runs alone, so that a process that dies once more says whose fault it is.

    Args:
        make_runner: builds the runner from its two callbacks (event, lost job's id).
    """

    def __init__(
        self,
        settings: Settings,
        journal: Journal,
        owner: str,
        make_runner: Callable[[Callable[[Event], None], Callable[[str], None]], Runner],
    ) -> None:
        self._settings = settings
        self._journal = journal
        self._owner = owner
        self._changed = threading.Condition()
        self._lives: dict[str, Live] = {}
        self._running: str | None = None
        self._writing: str | None = None
        self._in_place: str | None = None
        self._overtaken: dict[str, int] = {}
        self._queue_changed = False
        self._closing = False
        self._closed = threading.Event()
        self._ledger_file = LedgerFile(settings.home, owner)
        self.runner = make_runner(self._on_event, self._on_lost)
        self._threads = [
            threading.Thread(target=self._dispatch, name="dispatcher", daemon=True),
            threading.Thread(target=self._watch_wishes, name="wishes from elsewhere", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    # --- what the service calls -------------------------------------------------------------------------------

    def wake(self) -> None:
        """Says that the queue is another one."""
        with self._changed:
            self._queue_changed = True
            self._changed.notify_all()

    def overlay(self, job: Job) -> Job:
        """The journal's snapshot with what is only known here."""
        with self._changed:
            live = self._lives.get(job.id)
            if live is None:
                return job
            return job.model_copy(
                update={
                    "progress": live.progress if job.open else None,
                    "preview": live.preview if job.open else None,
                    "notices": tuple(dict.fromkeys((*job.notices, *live.notices))),
                    "version": job.version * 1_000_000 + live.version,
                }
            )

    def follow(self, job_id: str) -> Iterator[Event]:
        """The job's events from its start, superseded ones left out, until its last."""
        seen = 0
        while True:
            with self._changed:
                live = self._lives.setdefault(job_id, Live())
                self._changed.wait_for(lambda: len(live.events) > seen or self._closing, timeout=1.0)  # noqa: B023
                fresh, seen = live.events[seen:], len(live.events)
                closing = self._closing
            yield from without_superseded(fresh)
            if any(is_last(e) for e in fresh) or (closing and not fresh):
                return
            if not fresh and not self._journal.get(job_id).open:
                return

    def cancel(self, job: Job) -> None:
        """Takes a waiting job out of the queue, or asks the running one to stop, by force after the grace time."""
        if self._journal.update(job.id, if_state=("queued",), state="cancelled", ended_at=time.time()):
            forget(self._settings.home, job.id)
            self._tell(events.CancelledEvent(job_id=job.id))
            self.wake()
            return
        with self._changed:
            if job.id not in (self._running, self._writing):
                return
            live = self._lives[job.id]
            first, live.cancelled = not live.cancelled, True
        self.runner.cancel(job.id)
        if first:
            # A job that keeps what it has made still has to end its file and to read it back.
            grace_s = self._settings.cancel_grace_s * (_KEEPING if job.request.get("on_cancel") == "keep" else 1)
            timer = threading.Timer(grace_s, self._force, args=(job.id, grace_s))
            timer.daemon = True
            timer.start()

    def _force(self, job_id: str, grace_s: float) -> None:
        with self._changed:
            both = {self._running, self._writing} - {None}
            for other in both - {job_id} if job_id in both else ():
                self._lives[other].spared = True
        if job_id in both:
            log.warning("job %s did not stop in %g s; stopping its process", job_id, grace_s)
            self.runner.kill()

    def close(self) -> None:
        """Cancels what runs, marks it interrupted, and stops; waiting jobs keep waiting in the journal."""
        with self._changed:
            self._closing = True
            self._closed.set()
            both = {self._running, self._writing} - {None}
            self._changed.notify_all()
        for job_id in both:
            self.runner.cancel(job_id)
        self.runner.close()
        for thread in self._threads:
            thread.join(timeout=5)
        self._ledger_file.close()
        for job_id in both:
            self._journal.update(job_id, if_state=("running",), state="interrupted", ended_at=time.time())

    # --- starting ---------------------------------------------------------------------------------------------

    def _dispatch(self) -> None:
        while True:
            job = None
            with self._changed:
                while not self._closing:
                    job = self._next() if self._running is None else None
                    if job is not None or (self._running is not None and self._queue_changed):
                        break
                    self._changed.wait(timeout=1.0)
                if self._closing:
                    return
                self._queue_changed = False
                if job is not None:
                    self._running = job.id
            if job is not None:
                self._try_start(job)
            self._foretell()

    def _try_start(self, job: Job) -> None:
        try:
            self._start(job)
        except Exception:
            log.exception("job %s could not be started", job.id)
            self._end(
                events.Failed(
                    job_id=job.id, error="unexpected", message="The job could not be started.", remedy="See the log."
                )
            )

    def _foretell(self) -> None:
        """The device process knows what comes next, so that it can keep or fetch the weights for it."""
        order = self._order(self._journal.queue(self._owner))
        upcoming = [{"variant": job.variant, "request": job.request} for job in islice(order, MOST_EXPECTED)]
        try:
            self.runner.expect(upcoming)
        except Exception:
            log.exception("the device process could not be told of the queue")

    def _watch_wishes(self) -> None:
        """Hears what other processes want of this one, and shows them what it holds."""
        unloading = threading.Event()

        def unloaded(freed_bytes: int) -> None:
            self._ledger_file.unloaded(freed_bytes, self.runner.ledger())
            unloading.clear()

        while not self._closed.wait(timeout=0.5):
            for job in self._journal.cancel_asked(self._owner):
                self.cancel(job)
            if self._ledger_file.unload_wanted and not unloading.is_set():
                unloading.set()
                self.runner.unload(unloaded)
            self._ledger_file.keep(self.runner.ledger())

    def _order(self, waiting: list[Job]) -> Iterator[Job]:
        window = self._settings.queue_window
        return start_order(waiting, self._in_place, self._overtaken, window=window, now_s=time.time())

    def _next(self) -> Job | None:
        """The job to start now; whom it overtakes is remembered, so that nobody waits for ever."""
        waiting = self._journal.queue(self._owner)
        job = next(self._order(waiting), None)
        if job is not None and job.attempt and self._writing is not None:
            return None
        if job is not None:
            place = waiting.index(job)
            counts = {other.id: self._overtaken.get(other.id, 0) + (i < place) for i, other in enumerate(waiting)}
            self._overtaken = counts
        return job

    def _start(self, job: Job) -> None:
        attempt = job.attempt + 1
        if not self._journal.update(
            job.id, if_state=("queued",), state="running", attempt=attempt, started_at=time.time()
        ):
            with self._changed:  # cancelled in this moment
                self._running = None
            return

        def freed() -> None:
            with self._changed:
                if self._running == job.id and attempt == 1:
                    self._running, self._writing = None, job.id
                    self._changed.notify_all()

        with self._changed:
            live = self._lives.setdefault(job.id, Live())
            live.estimate = Estimate(self._journal.profile(profile_key(job.mode, job.request)))
            live.started = time.monotonic()
            live.progress = live.preview = None
            self._in_place = job.variant
        self._tell(events.Started(job_id=job.id, attempt=attempt))
        self.runner.run(self.task(job), freed)

    def task(self, job: Job) -> Task:
        """What the runner is given for this job."""
        return Task(
            job_id=job.id,
            mode=job.mode,
            request=job.request,
            target=self._journal.target(job.id),
            output=job.output or "",
            poster=self._settings.home / "posters" / f"{job.id}.webp",
        )

    # --- hearing ----------------------------------------------------------------------------------------------

    def _on_event(self, event: Event) -> None:
        if is_last(event):
            self._end(event)
            return
        with self._changed:
            live = self._lives[event.job_id]
            eta = live.estimate.hear(event) if live.estimate else None
        if eta is not None and isinstance(event, (events.Step, events.Writing)):
            event = event.model_copy(update={"eta_s": round(eta, 1)})
        self._tell(event)

    def _end(self, event: Event) -> None:
        job_id = event.job_id
        with self._changed:
            live = self._lives.setdefault(job_id, Live())
            cancelled, closing = live.cancelled, self._closing
        values: dict[str, Any] = {"ended_at": time.time(), "notices": self._all_notices(job_id, live)}
        if isinstance(event, events.Finished):
            poster = self._settings.home / "posters" / f"{job_id}.webp"
            values |= {"state": "done", "files": list(event.files), "poster": str(poster)}
            self._learn(job_id, live)
        elif isinstance(event, events.Failed):
            values |= {"state": "failed", "error": event.model_dump_json()}
        else:
            values |= {"state": "interrupted" if closing and not cancelled else "cancelled"}
        forget(self._settings.home, job_id)
        self._journal.update(job_id, **values)
        with self._changed:
            self._let_go(job_id)
        self._tell(event)

    def _let_go(self, job_id: str) -> None:
        self._running = None if self._running == job_id else self._running
        self._writing = None if self._writing == job_id else self._writing
        self._changed.notify_all()

    def _all_notices(self, job_id: str, live: Live) -> list[str]:
        return list(dict.fromkeys((*self._journal.get(job_id).notices, *live.notices)))

    def _learn(self, job_id: str, live: Live) -> None:
        if live.estimate is None:
            return
        job = self._journal.get(job_id)
        self._journal.keep_profile(profile_key(job.mode, job.request), live.estimate.finish())

    def _on_lost(self, job_id: str) -> None:
        """The device process died while it ran this job, or wrote its file."""
        job = self._journal.get(job_id)
        sweep_work(self._settings, job_id, self._journal.target(job_id))
        with self._changed:
            live = self._lives.setdefault(job_id, Live())
            cancelled, closing = live.cancelled, self._closing
        kept_steps = self._kept_steps(job)
        further = kept_steps > live.kept_steps
        if cancelled or closing:
            self._end(events.CancelledEvent(job_id=job_id))
        elif live.spared or job.attempt < MAX_ATTEMPTS or (further and job.attempt < MAX_ATTEMPTS_GETTING_ON):
            self._journal.update(job_id, state="queued", attempt=job.attempt - live.spared)
            why = "was stopped with another job" if live.spared else "stopped unexpectedly"
            then = f"going on from step {kept_steps + 1}" if kept_steps else "trying once more"
            self._tell(events.Notice(job_id=job_id, message=f"The device process {why}; {then}."))
            with self._changed:
                live.kept_steps, live.spared = kept_steps, False
                self._let_go(job_id)
        else:
            times = "twice" if job.attempt == 2 else f"{job.attempt} times"
            lost = DeviceLost(
                f"The device process stopped {times} while it ran this job.",
                "Lower frames or the size; the log of the device process says more.",
            )
            self._end(failed(job_id, lost))

    def _kept_steps(self, job: Job) -> int:
        """How many steps the job need not do again."""
        kept = Resume(self._settings.home, self.task(job)).kept() or {}
        return int(kept["done"].item()) if "done" in kept else 0

    def _tell(self, event: Event) -> None:
        with self._changed:
            live = self._lives.setdefault(event.job_id, Live())
            if isinstance(event, (events.Loading, events.Step, events.Writing)):
                live.progress = event
            elif isinstance(event, events.Preview):
                live.preview = event.path
            elif isinstance(event, events.Notice):
                live.notices.append(event.message)
            live.events.append(event)
            live.version += 1
            if is_last(event):
                for old in [k for k, v in self._lives.items() if v.events and is_last(v.events[-1])][:-_KEPT_LIVES]:
                    del self._lives[old]
            self._changed.notify_all()


def sweep(settings: Settings, job_id: str, target: Path) -> None:
    """Removes all that a dead process left of a job that is over."""
    sweep_work(settings, job_id, target)
    forget(settings.home, job_id)


def sweep_work(settings: Settings, job_id: str, target: Path) -> None:
    """Removes what a dead process left of a job that goes on: its scratch folder and half-written files."""
    shutil.rmtree(settings.scratch / job_id, ignore_errors=True)
    for part in leftovers(target):
        part.unlink(missing_ok=True)
    for part in unfinished_folders(target.parent):
        shutil.rmtree(part, ignore_errors=True)
