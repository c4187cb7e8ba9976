"""A job as it is made, and its files: where they go, and what is removed with it."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, get_args

from studio.errors import BadInput
from studio.jobs import intake
from studio.jobs.inputs import find_input, is_reference
from studio.jobs.job import Job
from studio.jobs.task import Layout, Task
from studio.modes import Mode, Request, all_modes
from studio.modes.request import Format
from studio.settings import Settings


def new_job(
    complete: Request, asked: dict[str, Any], notices: list[str], *, output: Path | None, outputs: Path
) -> tuple[Job, Path]:
    """The job for a complete request, and the file that it will write.

    Args:
        asked: what was given of the request.
        output: the file or folder that was asked for; one in the folder `outputs`, by day, where None.
    """
    now = time.time()
    stamp = time.strftime("%Y%m%d-%H%M%S", time.localtime(now))
    job_id = f"{stamp}-{uuid.uuid4().hex[:6]}"
    day, mode = outputs / time.strftime("%Y-%m-%d", time.localtime(now)), all_modes()[complete.mode]
    alone = output or (day / job_id if mode.folder else day / f"{job_id}.{complete.format}")
    target = target_of(mode, alone, complete.format)
    job = Job(
        id=job_id,
        mode=complete.mode,
        state="queued",
        request=complete.model_dump(mode="json"),
        asked=asked,
        request_hash=intake.request_hash(complete),
        output=str(output.expanduser().absolute()) if output else None,
        created_at=now,
        notices=tuple(notices),
    )
    return job, target


def layout_of(mode: Mode, output: Path | None) -> Layout:
    """How the files of a job of that mode lie: in a folder of their own, beside the clip, or the clip alone.

    Raises:
        BadInput: the output is neither a file of a known format nor a folder.
    """
    if not mode.folder:
        return "beside"
    if output is None or output.is_dir() or not output.suffix:
        return "folder"
    _format(output, f", nor a folder that is there. A new one, such as {output.stem}, would do")
    return "alone"


def layout_of_task(mode: Mode, task: Task) -> Layout:
    """The same for a task, whose clip has its file already."""
    if not mode.folder:
        return "beside"
    return "alone" if task.output == str(task.target) else "folder"


def target_of(mode: Mode, output: Path, format: str) -> Path:
    """The clip's file, absolute, where `output` was asked for."""
    where = output.expanduser().absolute()
    return where / f"{mode.folder}.{format}" if layout_of(mode, output) == "folder" else where


def format_of(mode: Mode, output: Path, given: Any) -> dict[str, str]:
    """The request's ``format`` as a file's suffix names it; nothing where the output is a folder.

    Raises:
        BadInput: it names none, or another one than `given`.
    """
    if layout_of(mode, output) == "folder":
        return {}
    wanted = _format(output)
    if given is not None and given != wanted:
        raise BadInput(f"format: {given} and the output {output.name} disagree.", "Leave format out.", field="format")
    return {"format": wanted}


def _format(output: Path, otherwise: str = "") -> str:
    wanted = output.suffix.lower().removeprefix(".")
    if wanted not in get_args(Format):
        able = ", ".join(f".{f}" for f in get_args(Format))
        raise BadInput(
            f"output: {output.name!r} doesn't end in one of {able}{otherwise}.", "Give it one of them.", field="output"
        )
    return wanted


def with_inputs(
    wanted: Mapping[str, Any], given: Mapping[str, Path], settings: Settings, complete: Callable[[Any], Request]
) -> dict[str, Any]:
    """A recipe's request with its inputs as they are found here.

    Args:
        given: request field -> file, where the studio has not kept the one that the recipe names.
        complete: fills what a request leaves open.

    Raises:
        BadInput: an input is missing or is another one.
    """
    request = dict(wanted)
    for name in intake.mode_of(request).inputs:
        if name not in given and request.get(name) is None:
            continue
        if name in given:
            request[name] = str(given[name])
            full = complete(request)
            kept = intake.keep_inputs(full, all_modes()[full.mode], settings)
            if is_reference(wanted[name]) and getattr(kept, name) != wanted[name]:
                raise BadInput(f"{name}: {given[name].name} is not the file that the recipe names.", field=name)
        find_input(request[name], settings.inputs, field=name)
    return request


def remove_files(job: Job, outputs: Path) -> None:
    """Removes what an ended job left in the studio's outputs, its own folder too; files elsewhere are kept."""
    root = outputs.resolve()
    for name in job.files:
        path = Path(name).resolve()
        if path.is_relative_to(root):
            path.unlink(missing_ok=True)
            with suppress(OSError):  # not empty: other files of the job, or somebody's own
                while job.id in path.parent.parts:
                    path = path.parent
                    path.rmdir()
    if job.poster:
        Path(job.poster).unlink(missing_ok=True)
