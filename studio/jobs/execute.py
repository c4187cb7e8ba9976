"""`execute`: the only place where a mode is run, and the only place where an error becomes an event."""

from __future__ import annotations

import errno
import logging
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

from studio import events
from studio.context import Context, Preview
from studio.errors import Cancelled, DeviceLost, DoesNotFit, StudioError, WriteFailed
from studio.finish import finish
from studio.finish import variants as smoothing
from studio.jobs.deliver import deliver
from studio.jobs.inputs import find_input, find_lora
from studio.jobs.job import failed
from studio.jobs.outputs import layout_of_task
from studio.jobs.resume import Resume
from studio.jobs.task import Layout, Task
from studio.jobs.workshop import Workshop
from studio.media.preview import write_preview
from studio.media.recipe import make_recipe
from studio.media.sheet import write_poster
from studio.media.stream import Stream
from studio.models.installed import component_hashes
from studio.models.out_of_memory import is_device_lost
from studio.models.plan import Plan
from studio.models.sampling import unet_of
from studio.modes import Request, Result, all_modes

log = logging.getLogger(__name__)

_T = TypeVar("_T")

PREVIEW_EVERY_S = 0.7
_LIBRARIES = ("numpy", "opencv-python-headless", "pillow", "moviepy", "imageio-ffmpeg", "av")
_NETWORK_LIBRARIES = ("torch", "diffusers", "transformers")


Rest = Callable[[], None]
"""What is left of a task that needs the device no more; to be called once, on any thread."""


def execute(
    task: Task,
    workshop: Workshop,
    emit: Callable[[events.Event], None],
    cancelled: Callable[[], bool] = lambda: False,
    hand_over: Callable[[Rest], None] = lambda rest: rest(),
) -> None:
    """Runs the task to its end; whatever happens, exactly one last event is emitted and nothing partial is left.

    Args:
        hand_over: takes the writing of what was made, and the finishing steps before it that need no engine. It calls
            it in place, or on a thread of its own beside the next task: nothing in it touches the device, weights or
            torch. It is not asked where frames are made while they are written, and where the task has ended before.

    Raises:
        DeviceLost: the device is beyond the reach of this process. No last event is emitted, and what the job has
            kept stays: a new process goes on from there.
    """
    _Execution(task, workshop, emit, cancelled).run(hand_over)


class _Execution:
    """One run of one task; its scratch folder is gone before its last event, or with what it raises."""

    def __init__(
        self,
        task: Task,
        workshop: Workshop,
        emit: Callable[[events.Event], None],
        cancelled: Callable[[], bool],
    ) -> None:
        self._task = task
        self._workshop = workshop
        self._emit = emit
        self._cancelled = cancelled
        self._started = time.monotonic()
        self._resume = Resume(workshop.settings.home, task)
        self._scratch = workshop.settings.scratch / task.job_id

    def run(self, hand_over: Callable[[Rest], None]) -> None:
        made = self._settled(self._make)
        if callable(made):
            hand_over(lambda: self._finished(self._settled(made)))
        else:
            self._finished(made)

    def _settled(self, work: Callable[[], _T]) -> _T | None:
        """What `work` gives; None where the task has ended with it."""
        try:
            return work()
        except BaseException as e:
            self._clear()
            if not isinstance(e, Exception):
                raise
            self._end(_last_event(self._task.job_id, e))
            return None

    def _finished(self, files: list[Path] | None) -> None:
        if files is not None:
            self._clear()
            elapsed_s = round(time.monotonic() - self._started, 3)
            self._end(events.Finished(job_id=self._task.job_id, files=tuple(map(str, files)), elapsed_s=elapsed_s))

    def _clear(self) -> None:
        shutil.rmtree(self._scratch, ignore_errors=True)

    def _end(self, last: events.Event) -> None:
        self._resume.forget()
        self._emit(last)

    def _make(self) -> Callable[[], list[Path]] | list[Path]:
        """What writes the files, or the files: of a stream, whose frames an engine makes while they are written."""
        task, workshop = self._task, self._workshop
        mode = all_modes()[task.mode]
        request = mode.request.model_validate(task.request)
        ctx = self._context()
        ctx.check()
        variants = [spec.id for spec, _ in mode.uses(request, workshop.catalog)]
        smoothed = smoothing(request.finish, lambda v: workshop.installed(workshop.catalog.get(v)) is not None)
        variants = list(dict.fromkeys([*variants, *smoothed]))
        workshop.manager.plans_taken.clear()  # an earlier job's ways are not this one's
        layout = layout_of_task(mode, task)
        with workshop.hold_device(variants, ctx):
            result: Result = mode.run(request, ctx)
            result = replace(result, facts={**ctx.facts, **result.facts})
            if smoothed or isinstance(result.clip, Stream):
                result = replace(result, clip=finish(result.clip, request.finish, ctx))
            if isinstance(result.clip, Stream):  # its frames tell of themselves
                recipe = _recipe(request, variants, result, workshop, dict(workshop.manager.plans_taken))
                return self._deliver(result, layout, recipe, _checking(ctx))
            plans = dict(workshop.manager.plans_taken)  # by the time the clip is written they may be another job's

        def write() -> list[Path]:
            ctx.check()
            done = result if smoothed else replace(result, clip=finish(result.clip, request.finish, ctx))
            ctx.writing(0, len(done.clip))
            return self._deliver(done, layout, _recipe(request, variants, done, workshop, plans), ctx.writing)

        return write

    def _context(self) -> Context:
        task, workshop = self._task, self._workshop
        self._scratch.mkdir(parents=True, exist_ok=True)
        return Context(
            job_id=task.job_id,
            scratch=self._scratch,
            emit=self._emit,
            lease=lambda variant, ctx: workshop.manager.lease(variant, ctx.loading),
            find_input=lambda path: find_input(path, workshop.settings.inputs),
            find_lora=lambda name: find_lora(name, workshop.settings.loras),
            cancelled=self._cancelled,
            show=_Previews(task.job_id, self._scratch / "preview.webp"),
            keep=self._resume.keep,
            kept=self._resume.kept,
            once=self._resume.once,
        )

    def _deliver(
        self, result: Result, layout: Layout, recipe: Mapping[str, Any], on_frame: Callable[[int, int], None]
    ) -> list[Path]:
        files = deliver(result, self._task, layout, recipe, on_frame)
        write_poster(result.clip, self._task.poster)
        return files


def _last_event(job_id: str, error: Exception) -> events.Event:
    """How a task ends that raised this.

    Raises:
        DeviceLost: it does not end here.
    """
    if isinstance(error, Cancelled):
        return events.CancelledEvent(job_id=job_id)
    if isinstance(error, StudioError):
        return failed(job_id, error)
    if isinstance(error, MemoryError):
        return failed(job_id, DoesNotFit("The host's memory is not enough.", "Lower frames or the size."))
    if isinstance(error, OSError):
        return failed(job_id, _from_os(error))
    if is_device_lost(error):
        raise DeviceLost("The device stopped working.", "Run it again.") from error
    log.error("job %s failed", job_id, exc_info=error)
    return events.Failed(
        job_id=job_id,
        error="unexpected",
        message="Something went wrong inside the studio.",
        remedy=f"The log has it under {job_id}; running it again is safe.",
    )


def _from_os(error: OSError) -> StudioError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return WriteFailed("The disk is full.", "Free some space and run it again.")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return WriteFailed(
            f"There is no permission to write {error.filename or 'the result'}.", "Choose another place."
        )
    log.error("system error", exc_info=error)
    return WriteFailed(f"The system refused: {error.strerror or error}.", "Run it again, or choose another place.")


def _checking(ctx: Context) -> Callable[[int, int], None]:
    return lambda done, total: ctx.check()


def _recipe(
    request: Request, variants: Sequence[str], result: Result, workshop: Workshop, plans: Mapping[str, Plan]
) -> dict[str, Any]:
    components, facts = {}, dict(result.facts)
    for variant in variants:
        installed = workshop.installed(workshop.catalog.get(variant))
        if installed is not None and installed.weights:
            used = installed.sampling_with(unet_of(request))
            hashes = component_hashes(used, workshop.settings.home / "hashes.json")
            components |= hashes if len(variants) == 1 else {f"{variant}/{c}": h for c, h in hashes.items()}
    if components:
        device = workshop.manager.device
        ways = {variant: plans[variant].ways for variant in variants if variant in plans}
        facts |= {"device": device.name.partition(":")[0], "dtype": device.dtype, "ways": ways}
    libraries = _LIBRARIES + (_NETWORK_LIBRARIES if components else ())
    return make_recipe(
        request.model_dump(mode="json"),
        request.variant,
        components=components,
        versions={name: metadata.version(name) for name in libraries},
        facts=facts,
    )


class _Previews:
    """Writes a preview when one is due; making one never takes more than a fifth of the time."""

    def __init__(self, job_id: str, path: Path) -> None:
        self._job_id = job_id
        self._path = path
        self._next = time.monotonic()

    def __call__(self, make: Preview) -> events.Preview | None:
        now = time.monotonic()
        if now < self._next:
            return None
        clip = make()
        write_preview(clip, self._path)
        self._next = now + max(PREVIEW_EVERY_S, 5 * (time.monotonic() - now))
        return events.Preview(job_id=self._job_id, path=str(self._path), width=clip.width, height=clip.height)
