"""`deliver`: what a mode made becomes files, each whole and under its name, or none of them."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from studio.errors import WriteFailed
from studio.jobs.task import Layout, Task
from studio.media.encode import OnFrame
from studio.media.still import write_still
from studio.media.write import write_clip
from studio.modes import Result


def deliver(result: Result, task: Task, layout: Layout, recipe: Mapping[str, Any], on_frame: OnFrame) -> list[Path]:
    """The files, the clip's first.

    A job's own folder is made under another name beside it and then named, so that it is there with all that belongs
    in it. Where it was there before, each file takes its place in it, the clip's last.

    Raises:
        WriteFailed: no permission, disk full; nothing is left behind.
    """
    folder = task.target.parent
    if layout != "folder":
        _make(folder)
        return _write(result, task.target, recipe, on_frame, beside=layout == "beside")
    _make(folder.parent)
    part = folder.with_name(f"{_part_prefix(folder)}{secrets.token_hex(4)}")
    try:
        part.mkdir()
        target = part / task.target.name
        written = _write(result, target, recipe, on_frame, beside=True, prefix="")
        with suppress(OSError):  # there and not empty: then file by file
            if folder.is_dir():
                folder.rmdir()
            os.replace(part, folder)
            return [folder / path.relative_to(part) for path in written]
        return [_put(path, folder / path.relative_to(part)) for path in reversed(written)][::-1]
    finally:
        shutil.rmtree(part, ignore_errors=True)


def unfinished_folders(folder: Path) -> list[Path]:
    """What making that folder left behind where its process was killed."""
    beside = folder.parent.iterdir() if folder.parent.is_dir() else ()
    return [path for path in beside if path.name.startswith(_part_prefix(folder)) and path.is_dir()]


def _part_prefix(folder: Path) -> str:
    return f".{folder.name[:40]}.folder-"


def _write(
    result: Result,
    target: Path,
    recipe: Mapping[str, Any],
    on_frame: OnFrame,
    *,
    beside: bool,
    prefix: str | None = None,
) -> list[Path]:
    """The files that were written, the clip's first.

    Args:
        beside: write what goes with the clip too.
        prefix: of the names of what goes with it; the clip's own by default.
    """
    before = f"{target.stem}-" if prefix is None else prefix
    files = [write_clip(result.clip, target, recipe=recipe, on_frame=on_frame)]
    if beside:
        for name, path in result.artifacts.items():
            files.append(_put(path, target.with_name(f"{before}{name}") if "/" not in name else target.parent / name))
        for name, still in result.stills.items():
            of_still = {**recipe, "request": dict(still.request)}
            files.append(write_still(still.pixels, target.with_name(f"{before}{name}"), recipe=of_still))
    return files


def _put(path: Path, target: Path) -> Path:
    """`target`, which is that file from then on, also where it lies on another disk."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.replace(path, target)
    except OSError:
        part = target.with_name(f".{target.name}.part-{secrets.token_hex(4)}")
        try:
            shutil.copyfile(path, part)
            os.replace(part, target)
        finally:
            part.unlink(missing_ok=True)
    return target


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as e:
        raise WriteFailed(f"{folder} is not a folder.", "Choose another output.") from e
