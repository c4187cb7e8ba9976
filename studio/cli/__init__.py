"""The command line: ``python -m studio``. Exit code 0 done, 2 the user's mistake, 1 a failure.

Every mode is a command whose options are its request's fields; ``--json`` prints plain data on stdout and nothing
else, progress goes to stderr.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from studio import __version__
from studio.cli.base import VRAM_HELP, Json, chosen_settings, err, escape, given, open_studio, out, print_json
from studio.cli.models import models_app
from studio.cli.options import give_signature, option, parameter, preset_parameter, read
from studio.cli.plan import plan_app
from studio.cli.progress import show_progress
from studio.cli.toybox import toybox
from studio.cli.train import AS_THEY_ARE, train
from studio.cli.tune import tune
from studio.errors import StudioError
from studio.jobs.job import Job
from studio.modes import Mode, all_modes
from studio.service import Studio

app = typer.Typer(
    name="studio",
    help="SVD Studio: short clips from a picture or a sentence.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(models_app, name="models")
app.add_typer(plan_app, name="plan")

_RUN_FIELDS = (
    "home",
    "models_dir",
    "comfyui_dir",
    "device",
    "precision",
    "vram",
    "vram_budget",
    "ram_budget",
    "compile",
    "runner",
)


@app.callback()
def _settings(
    home: Annotated[Path | None, typer.Option(help="Folder of models, outputs and journal. [STUDIO_HOME]")] = None,
    models_dir: Annotated[Path | None, typer.Option(help="Folder of weights. [STUDIO_MODELS_DIR]")] = None,
    comfyui_dir: Annotated[Path | None, typer.Option(help="An existing ComfyUI models folder to read from.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, mps, cuda:0.")] = None,
    precision: Annotated[str | None, typer.Option(help="auto, bf16, fp16, fp32.")] = None,
    vram: Annotated[str | None, typer.Option(help=VRAM_HELP)] = None,
    vram_budget: Annotated[str | None, typer.Option(help="Most device memory to take, such as 8GB or 7.5GiB.")] = None,
    ram_budget: Annotated[str | None, typer.Option(help="Most host memory for weights that wait there.")] = None,
    compile: Annotated[str | None, typer.Option(help="Networks, once for each size: auto, on, off.")] = None,
    runner: Annotated[str | None, typer.Option(help="auto, process, inline: where jobs run.")] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show the log.")] = False,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        out.print(__version__)
        raise typer.Exit
    logging.basicConfig(level=logging.INFO if verbose else logging.CRITICAL, stream=sys.stderr)
    values = (home, models_dir, comfyui_dir, device, precision, vram, vram_budget, ram_budget, compile, runner)
    given.clear()
    given.update(zip(_RUN_FIELDS, values, strict=True))


def main() -> None:
    """Runs the command line and exits."""
    try:
        app(standalone_mode=True)
    except StudioError as e:
        err.print(f"[red]{escape(e.message)}[/red] {escape(e.remedy)}".rstrip(), soft_wrap=True)
        sys.exit(e.exit_code)
    except BrokenPipeError:
        sys.exit(1)


# --- one command a mode ---------------------------------------------------------------------------------------


def _run_job(studio: Studio, job: Job, *, as_json: bool) -> Job:
    """Follows the job to its end; Ctrl-C cancels it. Raises typer.Exit unless it is done."""
    try:
        job = show_progress(studio, job, err)
    except KeyboardInterrupt:
        studio.cancel(job.id)
        job = studio.wait(job.id)
    if as_json:
        print_json(job.public())
    elif job.state == "done":
        for path in job.files:
            out.print(path, soft_wrap=True)
    elif job.error is not None:
        err.print(f"[red]{escape(job.error.message)}[/red] {escape(job.error.remedy)}".rstrip(), soft_wrap=True)
    else:
        err.print(f"Job {job.id} was {job.state}.")
    if job.state != "done":
        raise typer.Exit(2 if job.error is not None and job.error.error in ("bad-input", "not-installed") else 1)
    return job


def _mode_command(mode: Mode) -> Callable[..., None]:
    def command(output: Path, preset: str | None, as_json: bool, **fields: Any) -> None:
        wish = {k: read(mode.request.model_fields[k], v) for k, v in fields.items() if v is not None}
        with open_studio() as studio:
            job = studio.submit({"mode": mode.id, "preset": preset, **wish}, output=output)
            _run_job(studio, job, as_json=as_json)

    parameters = [
        parameter("output", Annotated[Path, typer.Option(help=_output_help(mode))]),
        *(option(name, field) for name, field in mode.request.model_fields.items() if name != "mode"),
        preset_parameter(),
        parameter("as_json", Json, default=False),
    ]
    return give_signature(command, parameters, mode.summary)


def _output_help(mode: Mode) -> str:
    if mode.folder:
        return "The folder to write, such as cup; a file such as cup.mp4 gets the clip alone."
    return "The file to write, such as clip.mp4."


for _mode in all_modes().values():
    app.command(_mode.id)(_mode_command(_mode))
app.command()(toybox)
app.command(context_settings=AS_THEY_ARE)(train)
app.command()(tune)


# --- jobs and files -------------------------------------------------------------------------------------------


def _job_table(jobs: list[Job], title: str) -> None:
    table = Table(title=title, box=None, pad_edge=False)
    for column in ("job", "mode", "variant", "state", "took", "file"):
        table.add_column(column, overflow="fold")
    for job in jobs:
        took = f"{job.elapsed_s:.1f} s" if job.elapsed_s is not None else ""
        says = job.files[0] if job.files else (job.error.message if job.error else "")
        table.add_row(job.id, job.mode, job.variant, job.state, took, says)
    out.print(table)


@app.command()
def jobs(
    cancel: Annotated[str | None, typer.Option(help="Cancel the job of this id.")] = None, as_json: Json = False
) -> None:
    """What runs and waits now, in every studio process on this home."""
    with open_studio() as studio:
        if cancel is not None:
            studio.cancel(cancel)
        found = studio.history(limit=1000, states=("queued", "running"))
    if as_json:
        print_json([job.public() for job in found])
    else:
        _job_table(found, "Jobs")


@app.command()
def history(
    limit: Annotated[int, typer.Option(min=1, max=10_000)] = 20,
    delete: Annotated[str | None, typer.Option(help="Forget the job of this id and remove its files.")] = None,
    as_json: Json = False,
) -> None:
    """What was made, newest first."""
    with open_studio() as studio:
        if delete is not None:
            studio.delete(delete)
        found = studio.history(limit=limit)
    if as_json:
        print_json([job.public() for job in found])
    else:
        _job_table(found, "History")


@app.command()
def recipe(file: Path, as_json: Json = False) -> None:
    """How a file was made: the recipe that it carries."""
    with open_studio() as studio:
        found = studio.recipe(file)
    if as_json:
        print_json(found)
    else:
        out.print_json(json.dumps(found))


def _rerun_command() -> Callable[..., None]:
    def command(file: Path, output: Path, as_json: bool, **inputs: Path | None) -> None:
        with open_studio() as studio:
            job = studio.rerun_file(file, output=output, inputs={k: v for k, v in inputs.items() if v is not None})
            _run_job(studio, job, as_json=as_json)

    files = dict.fromkeys(name for mode in all_modes().values() for name in mode.inputs)
    found = typer.Option(help="That file of the request, where the studio has not kept it.")
    parameters = [
        parameter("file", Annotated[Path, typer.Argument(metavar="FILE")]),
        parameter("output", Annotated[Path, typer.Option(help="The file or folder to write.")]),
        *(parameter(name, Annotated[Path | None, found], default=None) for name in files),
        parameter("as_json", Json, default=False),
    ]
    doc = "Makes a file again from the recipe that it carries: on the same machine, the same bytes."
    return give_signature(command, parameters, doc)


app.command("rerun")(_rerun_command())


@app.command()
def batch(
    file: Path,
    as_json: Json = False,
) -> None:
    """Runs the rows of a yaml or csv file, and skips those that are done already.

    A row is a request, with `output` beside its fields; `mode` may be left out where it is image-to-video. Paths are
    relative to the file. A row that fails doesn't stop the others.
    """
    from studio.batch import read_rows, run_rows

    rows = read_rows(file)
    with open_studio(runner=given.get("runner") or "process") as studio:
        results = run_rows(studio, rows, follow=lambda job: show_progress(studio, job, err))
    if as_json:
        print_json([r.public() for r in results])
    else:
        for result in results:
            out.print(f"{result.state:9} {result.output}  {escape(result.says)}".rstrip(), soft_wrap=True)
    if any(not r.good for r in results):
        raise typer.Exit(2 if all(r.good or r.state == "refused" for r in results) else 1)


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port; the first free one from 7860 by default.")] = None,
    share: Annotated[bool, typer.Option("--share", help="Make a public link.")] = False,
) -> None:
    """Opens the page, as `python app.py` does."""
    from studio.ui.launch import launch

    launch(chosen_settings(host=host, port=port, share=share or None))
