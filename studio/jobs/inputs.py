"""Copies of what requests were made from, kept by content: a queued job can't lose its picture."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Sequence
from pathlib import Path

from studio.errors import BadInput

_NAMED_LORAS = 12
"""That are named where another one was asked for; more are counted."""

_REFERENCE = re.compile(r"input:(?P<sha>[0-9a-f]{64})(?P<suffix>\.[a-z0-9]{1,5})")

_BLOCK_BYTES = 2**20


def is_reference(path: str) -> bool:
    """True for `input:<sha256>.<suffix>`."""
    return _REFERENCE.fullmatch(path) is not None


def keep_input(path: Path, suffix: str, folder: Path) -> str:
    """Copies the file into the folder unless its bytes are there already; returns its reference.

    A file of any size takes the memory of a block.

    Args:
        suffix: by content, such as ".png"; the name of the file itself is forgotten.
    """
    name = _digest(path) + suffix
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / name
    if not target.exists():
        part = folder / f".{name}.part-{secrets.token_hex(4)}"
        try:
            shutil.copyfile(path, part)
            if _digest(part) + suffix != name:
                raise BadInput(f"{path.name} changes while it is read.", "Wait until it is whole, then try again.")
            os.replace(part, target)
        finally:
            part.unlink(missing_ok=True)
    return f"input:{name}"


def _digest(path: Path) -> str:
    """sha256 of the file's content."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def find_input(reference: str, folder: Path, *, field: str | None = None) -> Path:
    """Where the file of a path or reference lies.

    Raises:
        BadInput: it is not there.
    """
    match = _REFERENCE.fullmatch(reference)
    path = folder / (match["sha"] + match["suffix"]) if match else Path(reference).expanduser()
    if not path.is_file():
        if match:
            raise BadInput(
                f"{field or 'input'}: the file with sha256 {match['sha'][:12]}... is not on this machine.",
                f"Give it again with --{field or 'input'} PATH.",
                field=field,
            )
        raise BadInput(f"{field or 'input'}: there is no file {reference!r}.", "Check the path.", field=field)
    return path


def drop_unused(folder: Path, in_use: set[str], *, older_than: float) -> int:
    """Removes kept files that no request refers to and that are older than this time; returns how many."""
    idle = [
        path
        for path in (folder.iterdir() if folder.is_dir() else ())
        if is_reference(f"input:{path.name}")
        and f"input:{path.name}" not in in_use
        and path.stat().st_mtime < older_than
    ]
    for path in idle:
        path.unlink(missing_ok=True)
    return len(idle)


def find_lora(name: str, folders: Sequence[Path]) -> Path:
    """The LoRA of that file name in the first of the folders that has it; the suffix may be left out.

    Raises:
        BadInput: it is in none, or the name is not that of a file; names those that are there.
    """
    file = name if name.endswith(".safetensors") else f"{name}.safetensors"
    if not name or len(file.encode(errors="replace")) > 255 or re.search(r"[/\\:\x00-\x1f]", file):
        raise BadInput(
            f"loras: {name[:60]!r} is not a file name.", "Give the name alone, without a folder.", field="loras"
        )
    for folder in folders:
        if (folder / file).is_file():
            return folder / file
    there = sorted({path.name for folder in folders for path in folder.glob("*.safetensors")})
    more = f" and {len(there) - _NAMED_LORAS} more" if len(there) > _NAMED_LORAS else ""
    known = f"There are {', '.join(there[:_NAMED_LORAS])}{more}" if there else "There is none"
    raise BadInput(
        f"loras: {file} is not in {folders[0]}.", f"{known}; put it there, or check its name.", field="loras"
    )
