"""A job's events as lines and a bar on a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from studio import events
from studio.jobs.job import Job
from studio.service import Studio


def show_progress(studio: Studio, job: Job, console: Console) -> Job:
    """Follows the job to its end; returns its last snapshot. Without a terminal only notices are printed."""
    for sentence in job.notices:
        console.print(sentence, soft_wrap=True, markup=False)
    columns = (TextColumn("{task.description:12}"), BarColumn(), TextColumn("{task.fields[says]}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task("waiting", total=None, says="")
        for event in studio.events(job.id):
            if isinstance(event, events.Notice):
                console.print(event.message, soft_wrap=True, markup=False)
            elif isinstance(event, (events.Step, events.Writing)):
                stage = "write" if isinstance(event, events.Writing) else event.stage
                eta = f", {event.eta_s:.0f} s left" if event.eta_s is not None else ""
                progress.update(
                    bar,
                    description=stage,
                    completed=event.done,
                    total=event.total,
                    says=f"{event.done}/{event.total}{eta}",
                )
            elif isinstance(event, events.Loading):
                gigabytes = f"{event.done_bytes / 1e9:.1f}/{event.total_bytes / 1e9:.1f} GB"
                progress.update(
                    bar, description=f"load {event.component}", completed=event.done_bytes, total=event.total_bytes,
                    says=gigabytes,
                )  # fmt: skip
    return studio.job(job.id)
