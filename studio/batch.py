"""Batches: rows of requests from a yaml or csv file, each run once."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from studio.errors import BadInput, StudioError
from studio.jobs.intake import mode_of
from studio.jobs.job import Job
from studio.service import Studio

DEFAULT_MODE = "image-to-video"


@dataclass(frozen=True)
class Row:
    """One row: a request, the file it is to become, and where it stands (for messages)."""

    number: int
    request: dict[str, Any]
    output: Path


@dataclass(frozen=True)
class RowResult:
    """What became of a row: done, skipped, refused (the user's mistake), failed or cancelled."""

    number: int
    output: str
    state: str
    says: str = ""
    job_id: str = ""

    @property
    def good(self) -> bool:
        """True where the file is there."""
        return self.state in ("done", "skipped")

    def public(self) -> dict[str, Any]:
        """What ``--json`` prints."""
        return {
            "row": self.number, "output": self.output, "state": self.state, "says": self.says, "job": self.job_id,
        }  # fmt: skip


def read_rows(path: Path) -> list[Row]:
    """The rows of a `.yaml` list or a `.csv` table with a header; paths in it are relative to the file.

    Raises:
        BadInput: no such file, another format, or a row without `output`.
    """
    if not path.is_file():
        raise BadInput(f"There is no file {str(path)!r}.", "Check the path.")
    text = path.read_text(encoding="utf-8-sig")
    if path.suffix.lower() == ".csv":
        given = [
            {k: _cell(v) for k, v in row.items() if v not in (None, "")} for row in csv.DictReader(text.splitlines())
        ]
    elif path.suffix.lower() in (".yaml", ".yml"):
        try:
            given = yaml.safe_load(text)
        except yaml.YAMLError as e:
            raise BadInput(f"{path.name} is not valid yaml: {str(e).splitlines()[0]}.") from e
    else:
        raise BadInput(f"{path.name} is neither .yaml nor .csv.", "Save it as one of them.")
    if not isinstance(given, list) or not all(isinstance(row, dict) for row in given):
        raise BadInput(f"{path.name}: its top level is not a list of requests.", "Begin each row with a dash.")
    return [_row(number, row, path.parent) for number, row in enumerate(given, start=1)]


def _cell(text: str) -> Any:
    return yaml.safe_load(text) if text.lstrip("-").replace(".", "", 1).isdigit() else text


def _row(number: int, given: dict[str, Any], folder: Path) -> Row:
    request = {"mode": DEFAULT_MODE, **given}
    output = request.pop("output", None)
    if not output:
        raise BadInput(f"Row {number} has no output.", "Name the file that it is to become.")
    for field in mode_of(request).inputs:
        if isinstance(request.get(field), str) and not request[field].startswith("input:"):
            request[field] = str(folder / Path(request[field]).expanduser())
    if isinstance(request.get("finish"), str):
        request["finish"] = [step.strip() for step in request["finish"].split(";") if step.strip()]
    return Row(number, request, folder / Path(str(output)).expanduser())


def run_rows(studio: Studio, rows: list[Row], *, follow: Callable[[Job], Job]) -> list[RowResult]:
    """Runs what is not done yet, in order; a row that is refused or fails doesn't stop the others.

    Args:
        follow: waits for a job to end and returns it.
    """
    return [_run_row(studio, row, follow) for row in rows]


def _run_row(studio: Studio, row: Row, follow: Callable[[Job], Job]) -> RowResult:
    output = str(row.output)
    try:
        before = studio.done_with(row.request, row.output)
        if before is not None:
            return RowResult(row.number, output, "skipped", "done before", before.id)
        job = follow(studio.submit(row.request, output=row.output))
    except StudioError as e:
        return RowResult(row.number, output, "refused" if e.exit_code == 2 else "failed", str(e))
    says = f"{job.error.message} {job.error.remedy}".strip() if job.error else ""
    return RowResult(row.number, output, job.state, says, job.id)
