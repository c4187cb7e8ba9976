"""`Studio`: all that a front end ever sees."""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from studio.errors import BadInput
from studio.events import Event, Finished
from studio.jobs import intake, zero_gpu
from studio.jobs.dispatcher import Dispatcher, sweep
from studio.jobs.estimate import profile_key
from studio.jobs.forecast import Forecast, forecast
from studio.jobs.inputs import drop_unused
from studio.jobs.job import OPEN_STATES, Job, State
from studio.jobs.outputs import format_of, new_job, remove_files, target_of, with_inputs
from studio.jobs.owner import Owner
from studio.jobs.runners import InlineRunner, ProcessRunner, Runner
from studio.jobs.store import Journal
from studio.jobs.workshop import open_catalog
from studio.media import recipe as recipes
from studio.models.learned import KnownDevice
from studio.models.shelf import Shelf, VariantStatus
from studio.modes import Mode, Request, all_modes
from studio.settings import Settings

log = logging.getLogger(__name__)

NO_FILE = f"input:{'0' * 64}.png"
"""Stands for a file that is yet to come."""

DOUBLE_CLICK_S = 1.0
_KEEP_UNUSED_INPUTS_S = 24 * 3600
_POLL_S = 0.5


class Studio:
    """The studio on one home folder.

    Jobs are run by one device process, or by a thread of this one (`Settings.runner`), which starts with the first
    submission. Several processes may open the same home: each runs its own jobs, all see all of them.

    Args:
        serve: this process stays: it also takes over waiting jobs of a studio that died.
        gpu: ``spaces.GPU`` on ZeroGPU; jobs then run inline, and those that need the device under it.
    """

    def __init__(self, settings: Settings, *, serve: bool = False, gpu: Callable[..., Any] | None = None) -> None:
        self.settings = settings
        self.catalog = open_catalog(settings)
        precision = "fp16" if settings.precision == "auto" else settings.precision
        self._shelf = Shelf(self.catalog, settings.models, settings.comfyui_dir, precision)
        self._serve = serve
        self._wrap = zero_gpu.wrapper(self.catalog, gpu) if gpu is not None else None
        self._journal = Journal(settings.journal)
        self._owner = Owner(settings.home / "owners")
        self._lock = threading.RLock()
        self._dispatcher: Dispatcher | None = None
        self._recover()

    def close(self) -> None:
        """Stops the running job, which shows as interrupted, and lets go of everything; waiting jobs keep waiting."""
        with self._lock:
            if self._dispatcher is not None:
                self._dispatcher.close()
                self._dispatcher = None
            self._owner.close()
            self._journal.close()

    def __enter__(self) -> Studio:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _recover(self) -> None:
        for owner in self._journal.open_owners():
            if self._owner.alive(owner):
                continue
            for job_id, target in self._journal.interrupt(owner):
                sweep(self.settings, job_id, target)
            if self._serve:
                self._journal.adopt(owner, self._owner.id)
        if self._serve:
            older = time.time() - _KEEP_UNUSED_INPUTS_S
            drop_unused(self.settings.inputs, self._journal.inputs_in_use(), older_than=older)
            if self._journal.queue(self._owner.id):
                self._jobs().wake()

    def _jobs(self) -> Dispatcher:
        with self._lock:
            if self._dispatcher is None:
                self._dispatcher = Dispatcher(self.settings, self._journal, self._owner.id, self._make_runner)
            return self._dispatcher

    def _make_runner(self, on_event: Callable[[Event], None], on_lost: Callable[[str], None]) -> Runner:
        inline = self.settings.runner == "inline" or self._wrap is not None
        if inline or (self.settings.runner == "auto" and not self._serve):
            return InlineRunner(self.settings, on_event, wrap=self._wrap)
        return ProcessRunner(self.settings, on_event, on_lost)

    # --- what there is ----------------------------------------------------------------------------------------

    def modes(self) -> Mapping[str, Mode]:
        """Every mode by id, in tab order."""
        return all_modes()

    def presets(self, mode: str) -> Mapping[str, Mapping[str, Any]]:
        """Preset id -> its fields, and its ``title``."""
        return intake.read_presets(mode, self.settings.configs, self.settings.home / "configs")

    def examples(self, mode: str) -> Mapping[str, Mapping[str, Any]]:
        """Example id -> a complete request of the mode that ships with the studio, its files by absolute path."""
        return intake.read_examples(all_modes()[mode], self.settings.examples)

    def variants(self, *capabilities: str) -> list[VariantStatus]:
        """The variants to choose from for one of these, or all that can do anything; the usable ones first."""
        specs = self.catalog.able(*capabilities) if capabilities else [s for s in self.catalog if s.capabilities]
        found = [v for v in (self.variant(spec.id) for spec in specs) if v.offered or not capabilities]
        return sorted(found, key=lambda v: not v.usable)

    def variant(self, variant: str) -> VariantStatus:
        """One variant as the listing shows it.

        Raises:
            BadInput: there is none of this id.
        """
        ledger = self._dispatcher.runner.ledger() if self._dispatcher else {}
        rows = [row for row in ledger.get("components", ()) if variant in row["variants"] and row["device_bytes"]]
        resident = {row["component"]: row["device_bytes"] for row in rows}
        return self._shelf.status(variant, resident)

    # --- one request ------------------------------------------------------------------------------------------

    def check(self, request: Mapping[str, Any] | Request, *, files: bool = True) -> tuple[Request, list[str]]:
        """The request with nothing left open, and notices; nothing is kept or journaled.

        Args:
            files: False lets files be missing that have to be given; something that is none stands for them.

        Raises:
            BadInput: `field` says which control is at fault.
        """
        given = request.model_dump(exclude_unset=True) if isinstance(request, Request) else dict(request)
        if isinstance(request, Request):
            given["mode"] = request.mode
        mode = intake.mode_of(given)
        presets = self.presets(mode.id)
        named = {**presets.get(str(given.get("preset")), {}), **{k: v for k, v in given.items() if v is not None}}
        given |= mode.favourites(named, self._shelf.usable, self.catalog)
        while True:
            try:
                complete, notices = intake.complete(given, self.catalog, presets, distilled=self._shelf.distilled)
            except BadInput as e:
                if files or e.field not in mode.inputs or given.get(e.field) is not None:
                    raise
                given[e.field] = NO_FILE
                continue
            intake.check_size(complete, self.settings)
            return complete, notices

    def default_variant(self, mode: Mode, role: str) -> Any:
        """The variant that stands where a request of that mode names none for the role."""
        liked = mode.favourites({}, self._shelf.usable, self.catalog)
        return liked.get(role, mode.request.model_fields[role].default)

    def plan(self, request: Mapping[str, Any] | Request, *, device: KnownDevice | None = None) -> Forecast:
        """What the request will need, before it is asked for; one line for a person in `says`. Files may be missing.

        Where several models work on it one after the other, it is what the one needs that needs most.

        Args:
            device: the one to plan for; by default the one that jobs last ran on, as it was then.

        Raises:
            BadInput: the request won't do.
        """
        complete, _ = self.check(request, files=False)
        took = self._journal.profile(profile_key(complete.mode, complete.model_dump()))
        found = [
            forecast(
                spec,
                wish,
                self.settings,
                usable=self.variant(spec.id).usable,
                last_seconds=sum(took.values()) or None,
                device=device,
            )
            for spec, wish in reversed(all_modes()[complete.mode].uses(complete, self.catalog))
        ]
        if not found:  # all that a model would make was given
            variant = self.catalog.get(complete.variant)
            return Forecast(variant, usable=True, plans=None, known=False, last_seconds=sum(took.values()) or None)
        return max(found, key=lambda f: (not f.fits, f.least_bytes))

    def submit(self, request: Mapping[str, Any] | Request, *, output: Path | None = None, session: str = "") -> Job:
        """Journals the request as a job, and returns at once.

        Args:
            request: fields, with ``mode`` and, if wanted, ``preset``.
            output: the file to write, its suffix the format; in the studio's outputs by default.
            session: who asks. The same words from the same session within a second are one wish.

        Raises:
            BadInput: before anything is journaled; `field` says which control is at fault.
            NotInstalled: the variant's weights are not here.
        """
        given = dict(request) if isinstance(request, Mapping) else request.model_dump(exclude_unset=True)
        given.setdefault("mode", getattr(request, "mode", None))
        if output is not None:
            given |= format_of(intake.mode_of(given), output, given.get("format"))
        asked = {k: v for k, v in given.items() if v is not None}
        with self._lock:
            twin = self._journal.twin(session, asked, time.time() - DOUBLE_CLICK_S) if session else None
            if twin is not None:
                return self.job(twin.id)
            complete, notices = self.check(given)
            mode = all_modes()[complete.mode]
            for role in mode.used_roles(complete, self.catalog):
                self._shelf.check_usable(getattr(complete, role), field=role)
            if self._journal.waiting() >= self.settings.queue_limit:
                raise BadInput(
                    f"The queue is full ({self.settings.queue_limit} jobs wait).", "Try again when one has ended."
                )
            complete = intake.keep_inputs(complete, mode, self.settings)
            job, target = new_job(complete, asked, notices, output=output, outputs=self.settings.outputs)
            self._journal.add(job, target=target, owner=self._owner.id, session=session)
            self._jobs().wake()
        return self.job(job.id)

    # --- jobs -------------------------------------------------------------------------------------------------

    def job(self, job_id: str) -> Job:
        """The newest snapshot; cheap enough to ask four times a second.

        Raises:
            BadInput: there is no such job.
        """
        job = self._journal.get(job_id)
        return self._dispatcher.overlay(job) if self._dispatcher else job

    def events(self, job_id: str) -> Iterator[Event]:
        """Waits and yields until the job's last event; events that a newer one supersedes may be left out."""
        job = self.job(job_id)
        if job.open and self._journal.owner(job_id) == self._owner.id:
            yield from self._jobs().follow(job_id)
            return
        while job.open:  # another process runs it
            time.sleep(_POLL_S)
            job = self.job(job_id)
        if job.error is not None:
            yield job.error
        elif job.state == "done":
            yield Finished(job_id=job_id, files=job.files, elapsed_s=round(job.elapsed_s or 0, 3))

    def wait(self, job_id: str) -> Job:
        """The job, once it has ended."""
        for _ in self.events(job_id):
            continue
        return self.job(job_id)

    def cancel(self, job_id: str) -> Job:
        """Asks the job to stop, whichever studio process runs it; after `Settings.cancel_grace_s` it is made to."""
        job = self._journal.get(job_id)
        if job.open and self._journal.owner(job_id) == self._owner.id:
            self._jobs().cancel(job)
        elif job.open:
            self._journal.update(job_id, cancel_asked=1)
        return self.job(job_id)

    def history(
        self,
        *,
        limit: int = 50,
        before: float | None = None,
        states: tuple[State, ...] = (),
        mode: str | None = None,
    ) -> list[Job]:
        """Jobs, newest first.

        Args:
            before: only those created before this time, seconds since the epoch.
        """
        jobs = self._journal.history(limit=limit, before=before, states=states, mode=mode)
        return [self._dispatcher.overlay(j) for j in jobs] if self._dispatcher else jobs

    def done_with(self, request: Mapping[str, Any], output: Path) -> Job | None:
        """A finished job of an equal request that left this file, if there is one. The seed has to be given."""
        if request.get("seed") is None:
            return None
        mode = intake.mode_of(request)
        complete, _ = self.check({**request, **format_of(mode, output, request.get("format"))})
        complete = intake.keep_inputs(complete, mode, self.settings)
        wanted = str(target_of(mode, output, complete.format))
        for job in self._journal.with_hash(intake.request_hash(complete), ("done",)):
            if wanted in job.files and Path(wanted).is_file():
                return job
        return None

    def rerun(self, job_id: str) -> Job:
        """The same request, seed included, as a new job."""
        return self.submit(self._journal.get(job_id).request)

    def recipe(self, path: Path) -> Mapping[str, Any]:
        """How that file was made.

        Raises:
            BadInput: there is no such file, or it carries no recipe.
        """
        return recipes.read_recipe(path)

    def rerun_file(self, path: Path, *, output: Path | None = None, inputs: Mapping[str, Path] | None = None) -> Job:
        """What a file's recipe says, as a new job.

        Args:
            inputs: request field -> file, where the studio has not kept the one that the recipe names.

        Raises:
            BadInput: no recipe, or an input is missing or is another one.
        """
        wanted = self.recipe(path)["request"]
        request = with_inputs(wanted, inputs or {}, self.settings, lambda r: self.check(r)[0])
        if output is not None:
            request |= format_of(intake.mode_of(request), output, None)
        return self.submit(request, output=output)

    def delete(self, job_id: str) -> None:
        """Forgets an ended job and removes what it left in the studio's outputs; files elsewhere are kept.

        Raises:
            BadInput: it has not ended.
        """
        job = self._journal.get(job_id)
        if job.state in OPEN_STATES:
            raise BadInput(f"Job {job_id} is {job.state}.", "Cancel it first.")
        remove_files(job, self.settings.outputs)
        self._journal.delete(job_id)

    # --- weights ----------------------------------------------------------------------------------------------

    def pull(self, variant: str, report: Callable[[str, int, int], None] = lambda *_: None) -> VariantStatus:
        """Fetches the variant's weights into the models folder.

        Args:
            report: hears file, done bytes, total bytes.

        Raises:
            DownloadFailed: nothing half-done counts as installed.
        """
        self._shelf.pull(variant, report)
        return self.variant(variant)

    def pull_extra(
        self, variant: str, purpose: str, report: Callable[[str, int, int], None] = lambda *_: None
    ) -> VariantStatus:
        """Fetches what the variant may have besides for that purpose (``draft``), into the models folder.

        Raises:
            BadInput: it has nothing for that.
            DownloadFailed: as `pull`.
        """
        self._shelf.pull_extra(variant, purpose, report)
        return self.variant(variant)

    def add(self, checkpoint: Path, variant: str | None = None) -> VariantStatus:
        """The variant that a single-file checkpoint is read for from now on; the file stays where it is.

        Raises:
            BadInput: it is no checkpoint of a known variant, or nothing says of which one.
        """
        return self.variant(self._shelf.add(checkpoint, variant))

    def verify(self, variant: str) -> VariantStatus:
        """Reads the variant's weights whole and holds them to their checksums; a single file's names and shapes too.

        Raises:
            NotInstalled: there is nothing to verify.
            StudioError: a file is not what the publisher put there.
        """
        installed = self._shelf.verify(variant)
        if installed is not None and installed.layout == "sgm":
            from studio.engines.convert.load import check  # torch and diffusers: only here, only now

            check(installed.root)
        return self.variant(variant)

    def remove(self, variant: str) -> VariantStatus:
        """Removes the variant's weights from the studio's models folder; weights elsewhere are not ours to remove."""
        self._shelf.remove(variant)
        return self.variant(variant)

    def free_bytes(self) -> int:
        """Free space where the outputs go."""
        self.settings.home.mkdir(parents=True, exist_ok=True)
        return shutil.disk_usage(self.settings.home).free
