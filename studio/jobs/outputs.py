"""A job as it is made, and its files: where they go, and what is removed with it."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, get_args

from studio.errors import BadInput
from studio.jobs import intake
from studio.jobs.inputs import find_input, is_reference
from studio.jobs.job import Job
from studio.modes import Request, all_modes
from studio.modes.request import Format
from studio.settings import Settings


def new_job(
    complete: Request, asked: dict[str, Any], notices: list[str], *, output: Path | None, outputs: Path
) -> tuple[Job, Path]:
    """The job for a complete request, and the file that it will write.

    Args:
        asked: what was given of the request.
        output: the file that was asked for; one in the folder `outputs`, by day, where None.
    """
    now = time.time()
    stamp = time.strftime("%Y%m%d-%H%M%S", time.localtime(now))
    job_id = f"{stamp}-{uuid.uuid4().hex[:6]}"
    folder = outputs / time.strftime("%Y-%m-%d", time.localtime(now))
    target = output.expanduser().absolute() if output else folder / f"{job_id}.{complete.format}"
    job = Job(
        id=job_id,
        mode=complete.mode,
        state="queued",
        request=complete.model_dump(mode="json"),
        asked=asked,
        request_hash=intake.request_hash(complete),
        output=str(target) if output else None,
        created_at=now,
        notices=tuple(notices),
    )
    return job, target


def format_of(output: Path, given: Any) -> str:
    """The format that a file's suffix names.

    Raises:
        BadInput: it names none, or another one than `given`.
    """
    wanted = output.suffix.lower().removeprefix(".")
    if wanted not in get_args(Format):
        able = ", ".join(f".{f}" for f in get_args(Format))
        raise BadInput(f"output: {output.name!r} doesn't end in one of {able}.", "Give it one of them.", field="output")
    if given is not None and given != wanted:
        raise BadInput(f"format: {given} and the output {output.name} disagree.", "Leave format out.", field="format")
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
        if name in given:
            request[name] = str(given[name])
            full = complete(request)
            kept = intake.keep_inputs(full, all_modes()[full.mode], settings)
            if is_reference(wanted[name]) and getattr(kept, name) != wanted[name]:
                raise BadInput(f"{name}: {given[name].name} is not the file that the recipe names.", field=name)
        find_input(request[name], settings.inputs, field=name)
    return request


def remove_files(job: Job, outputs: Path) -> None:
    """Removes what an ended job left in the studio's outputs; files elsewhere are kept."""
    root = outputs.resolve()
    for name in job.files:
        path = Path(name).resolve()
        if path.is_relative_to(root):
            path.unlink(missing_ok=True)
    if job.poster:
        Path(job.poster).unlink(missing_ok=True)
