"""The modes as named endpoints: parameters are the request's fields, and the checks are the studio's alone.

`gradio_client` calls them as ``client.predict(image=handle_file("photo.jpg"), variant="parallax",
api_name="/image_to_video")``. A call waits until its job has ended; giving up the call leaves the job alone, and
``/cancel`` stops it.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import gradio as gr

from studio.errors import StudioError
from studio.jobs.job import Job
from studio.modes import Mode
from studio.service import Studio
from studio.ui.files import given_path

POLL_S = 0.25


def add_endpoints(studio: Studio, roots: Iterable[Path], stopping: threading.Event) -> None:
    """Adds an endpoint a mode, and ``/job`` and ``/cancel``, to the Blocks that are open.

    Args:
        roots: folders from which a caller may name files (uploads, and the studio's own).
        stopping: set once the studio is about to go.
    """
    roots = tuple(roots)
    for mode in studio.modes().values():
        gr.api(
            _endpoint(studio, mode, roots, stopping), api_name=mode.id.replace("-", "_"), api_description=mode.summary
        )
    gr.api(_job(studio), api_name="job", api_description="A job as it stands: its state, progress, request and files.")
    gr.api(_cancel(studio), api_name="cancel", api_description="Asks a job to stop.")


def _endpoint(studio: Studio, mode: Mode, roots: tuple[Path, ...], stopping: threading.Event) -> Callable[..., Any]:
    """A function whose parameters are the request's fields."""
    fields = {n: f for n, f in mode.request.model_fields.items() if n != "mode"}

    async def run(*args: Any, **kwargs: Any) -> Any:
        given = {**dict(zip(fields, args, strict=False)), **kwargs}
        try:
            for name in mode.inputs:
                given[name] = given_path(given.get(name), roots, name)
            wish = {"mode": mode.id, **{n: v for n, v in given.items() if v is not None}}
            job = await asyncio.to_thread(studio.submit, wish)
            return await _finished(studio, job, stopping)
        except StudioError as e:
            raise gr.Error(str(e), print_exception=False) from e

    parameters = [_parameter(name, field, name in mode.inputs) for name, field in fields.items()]
    parameters.sort(key=lambda p: p.default is not inspect.Parameter.empty)
    fields = {p.name: fields[p.name] for p in parameters}
    result = tuple[gr.FileData, dict[str, Any]]
    run.__signature__ = inspect.Signature(parameters, return_annotation=result)  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in parameters} | {"return": result}
    run.__name__ = mode.id.replace("-", "_")
    return run


def _parameter(name: str, field: Any, is_file: bool) -> inspect.Parameter:
    """Python's view of a field. Files are file data; anything else is passed on as it came, for the studio to judge."""
    default = inspect.Parameter.empty if field.is_required() else field.default
    if isinstance(default, tuple):
        default = list(default)
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    return inspect.Parameter(name, kind, default=default, annotation=gr.FileData if is_file else Any)


async def _finished(studio: Studio, job: Job, stopping: threading.Event) -> tuple[gr.FileData, dict[str, Any]]:
    """The file and the facts of a job, once it is done.

    Raises:
        StudioError: it failed or was cancelled; in the job's own words.
    """
    while job.open:
        await asyncio.sleep(POLL_S)
        if stopping.is_set():
            raise StudioError(f"The studio is stopping; job {job.id} can be run again from the history.")
        job = await asyncio.to_thread(studio.job, job.id)
    if job.state != "done":
        raise _why(job)
    recipe = await asyncio.to_thread(studio.recipe, Path(job.files[0]))
    facts = {**job.public(), "job_id": job.id, "seed": job.request.get("seed"), "recipe": dict(recipe)}
    path = Path(job.files[0])
    return gr.FileData(path=str(path), orig_name=path.name, size=path.stat().st_size), facts


def _why(job: Job) -> StudioError:
    if job.error is not None:
        return StudioError(job.error.message, job.error.remedy)
    return StudioError(f"Job {job.id} was {job.state}.")


def _job(studio: Studio) -> Callable[..., Any]:
    async def job(job_id: str) -> dict[str, Any]:
        return await _one(studio.job, job_id)

    return job


def _cancel(studio: Studio) -> Callable[..., Any]:
    async def cancel(job_id: str) -> dict[str, Any]:
        return await _one(studio.cancel, job_id)

    return cancel


async def _one(ask: Callable[[str], Job], job_id: Any) -> dict[str, Any]:
    try:
        return dict((await asyncio.to_thread(ask, str(job_id))).public())
    except StudioError as e:
        raise gr.Error(str(e), print_exception=False) from e
