"""`execute`: the only place where a mode is run, and the only place where an error becomes an event."""

from __future__ import annotations

import errno
import logging
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

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
from studio.jobs.task import Task
from studio.jobs.workshop import Workshop
from studio.media.preview import write_preview
from studio.media.recipe import make_recipe
from studio.media.sheet import write_poster
from studio.media.stream import Stream
from studio.models.installed import component_hashes
from studio.models.out_of_memory import is_device_lost
from studio.modes import Request, Result, all_modes

log = logging.getLogger(__name__)

PREVIEW_EVERY_S = 0.7
_LIBRARIES = ("numpy", "opencv-python-headless", "pillow", "moviepy", "imageio-ffmpeg", "av")
_NETWORK_LIBRARIES = ("torch", "diffusers", "transformers")


def execute(
    task: Task,
    workshop: Workshop,
    emit: Callable[[events.Event], None],
    cancelled: Callable[[], bool] = lambda: False,
) -> None:
    """Runs the task to its end; whatever happens, exactly one last event is emitted and nothing partial is left.

    Raises:
        DeviceLost: the device is beyond the reach of this process. No last event is emitted, and what the job has
            kept stays: a new process goes on from there.
    """
    started = time.monotonic()
    resume = Resume(workshop.settings.home, task)
    try:
        with ExitStack() as cleanup:
            cleanup.callback(shutil.rmtree, workshop.settings.scratch / task.job_id, ignore_errors=True)
            files = _run(task, workshop, emit, cancelled, resume)
        last: events.Event = events.Finished(
            job_id=task.job_id, files=tuple(map(str, files)), elapsed_s=round(time.monotonic() - started, 3)
        )
    except Cancelled:
        last = events.CancelledEvent(job_id=task.job_id)
    except StudioError as e:
        last = failed(task.job_id, e)
    except MemoryError:
        last = failed(task.job_id, DoesNotFit("The host's memory is not enough.", "Lower frames or the size."))
    except OSError as e:
        last = failed(task.job_id, _from_os(e))
    except Exception as e:
        if is_device_lost(e):
            raise DeviceLost("The device stopped working.", "Run it again.") from e
        log.exception("job %s failed", task.job_id)
        last = events.Failed(
            job_id=task.job_id,
            error="unexpected",
            message="Something went wrong inside the studio.",
            remedy=f"The log has it under {task.job_id}; running it again is safe.",
        )
    resume.forget()
    emit(last)


def _from_os(error: OSError) -> StudioError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return WriteFailed("The disk is full.", "Free some space and run it again.")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return WriteFailed(
            f"There is no permission to write {error.filename or 'the result'}.", "Choose another place."
        )
    log.error("system error", exc_info=error)
    return WriteFailed(f"The system refused: {error.strerror or error}.", "Run it again, or choose another place.")


def _run(
    task: Task,
    workshop: Workshop,
    emit: Callable[[events.Event], None],
    cancelled: Callable[[], bool],
    resume: Resume,
) -> list[Path]:
    mode = all_modes()[task.mode]
    request = mode.request.model_validate(task.request)
    scratch = workshop.settings.scratch / task.job_id
    scratch.mkdir(parents=True, exist_ok=True)
    ctx = Context(
        job_id=task.job_id,
        scratch=scratch,
        emit=emit,
        lease=lambda variant, ctx: workshop.manager.lease(variant, ctx.loading),
        find_input=lambda path: find_input(path, workshop.settings.inputs),
        find_lora=lambda name: find_lora(name, workshop.settings.loras),
        cancelled=cancelled,
        show=_Previews(task.job_id, scratch / "preview.webp"),
        keep=resume.keep,
        kept=resume.kept,
        once=resume.once,
    )
    ctx.check()
    variants = [spec.id for spec, _ in mode.uses(request, workshop.catalog)]
    finishing = smoothing(request.finish, lambda v: workshop.installed(workshop.catalog.get(v)) is not None)
    variants = list(dict.fromkeys([*variants, *finishing]))
    workshop.manager.plans_taken.clear()  # an earlier job's ways are not this one's
    with ExitStack() as held:
        held.enter_context(workshop.hold_device(variants, ctx))
        result: Result = mode.run(request, ctx)
        result = replace(result, clip=finish(result.clip, request.finish, ctx))
        on_frame = ctx.writing
        if isinstance(result.clip, Stream):  # its frames are made while they are written, and tell of themselves
            on_frame = _checking(ctx)
        else:
            held.close()
            ctx.writing(0, len(result.clip))
        recipe = _recipe(request, variants, result, workshop)
        files = deliver(result, task, layout_of_task(mode, task), recipe, on_frame)
    write_poster(result.clip, task.poster)
    return files


def _checking(ctx: Context) -> Callable[[int, int], None]:
    return lambda done, total: ctx.check()


def _recipe(request: Request, variants: Sequence[str], result: Result, workshop: Workshop) -> dict[str, Any]:
    components, facts = {}, dict(result.facts)
    for variant in variants:
        installed = workshop.installed(workshop.catalog.get(variant))
        if installed is not None and installed.weights:
            hashes = component_hashes(installed, workshop.settings.home / "hashes.json")
            components |= hashes if len(variants) == 1 else {f"{variant}/{c}": h for c, h in hashes.items()}
    if components:
        device = workshop.manager.device
        plans = workshop.manager.plans_taken
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
