"""Files between a browser and the studio: what it gave, and where it may fetch what the studio has."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from studio.errors import BadInput
from studio.jobs.inputs import is_reference


def given_path(raw: Any, roots: Iterable[Path], field: str) -> str | None:
    """The path (or the studio's own reference) of a file that came with a request; None where there is none.

    A page or a client names files by a path on this machine, which it was told at the upload. Only paths under
    `roots` count: no string from outside ever becomes a path of its own choosing.

    Args:
        raw: None, a reference `input:<sha256>.<suffix>`, or Gradio's file data (a mapping with ``path``).
        roots: folders of uploads and of the studio's own files.

    Raises:
        BadInput: anything else.
    """
    if raw is None or raw == "":
        return None
    if isinstance(raw, str) and is_reference(raw):
        return raw
    path = raw.get("path") if isinstance(raw, dict) else None
    if not isinstance(path, str) or not path or "\0" in path:
        raise BadInput(f"{field}: this is not an uploaded file.", "Upload the file and try again.", field=field)
    try:
        real = Path(path).resolve(strict=True)
    except OSError as e:
        raise BadInput(f"{field}: the uploaded file is gone.", "Upload it again.", field=field) from e
    if not real.is_file() or not any(real.is_relative_to(root.resolve()) for root in roots):
        raise BadInput(f"{field}: this is not an uploaded file.", "Upload the file and try again.", field=field)
    return str(real)


def file_url(path: str | Path) -> str:
    """Where the page fetches a file of the studio's; relative, so that it holds behind a proxy's prefix too."""
    return f"gradio_api/file={quote(str(path))}"
