"""Checkpoints that lie where their owner keeps them: which file stands for which variant, in one small JSON file."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path

from studio.errors import BadInput
from studio.models.checkpoint import Kind, read_checkpoint
from studio.models.spec import FileSource, VariantSpec
from studio.models.weights_file import replace_json

ADDED = "added.json"
"""In the models folder: variant -> path of the file."""


def add(path: Path, specs: Iterable[VariantSpec], models_dir: Path, variant: str | None = None) -> VariantSpec:
    """The variant that the file stands for from now on; the file stays where it is, and must stay.

    Raises:
        BadInput: see `choose`.
    """
    path = path.expanduser().absolute()
    chosen = choose(path, specs, variant)
    replace_json(models_dir / ADDED, {**_read(models_dir), chosen.id: str(path)})
    return chosen


def choose(path: Path, specs: Iterable[VariantSpec], variant: str | None = None) -> VariantSpec:
    """The variant that the file is: by what it holds, which is read off its tensors, and by its name.

    Of several variants that hold the same networks (SVD, SVD-XT, SVD-XT 1.1), the file's name decides, or `variant`
    does.

    Raises:
        BadInput: the file won't do, it is not what `variant` is, or its name does not say which variant it is.
    """
    kind = read_checkpoint(path).kind
    able = [spec for spec in specs if any(source.holds == kind for source in file_sources(spec))]
    names = [spec.id for spec in able]
    if not able:
        raise BadInput(f"{path.name} holds {kind} networks; no variant of the studio runs on them.")
    if variant is not None:
        if variant not in names:
            can = ", ".join(names)
            raise BadInput(f"{path.name} holds {kind} networks, so it can't be {variant}; it can be {can}.")
        return able[names.index(variant)]
    named = able if len(able) == 1 else [spec for spec in able if _is_named(path, spec, kind)]
    if len(named) != 1:
        raise BadInput(
            f"{path.name} may be {' or '.join(names)}: they look alike inside, and its name does not say.",
            f"Say which: --as {names[0]}",
        )
    return named[0]


def added(variant: str, models_dir: Path) -> Path | None:
    """The file that was added for the variant, there or not."""
    path = _read(models_dir).get(variant)
    return Path(path) if path else None


def forget(variant: str, models_dir: Path) -> bool:
    """The variant's file is no longer known; the file itself is not touched. False where none was."""
    known = _read(models_dir)
    if variant not in known:
        return False
    replace_json(models_dir / ADDED, {v: p for v, p in known.items() if v != variant})
    return True


def plain_name(path: Path) -> str:
    """The file's name without what varies from copy to copy: case, separators, suffix, precision, whom it is for."""
    words = re.split(r"[^a-z0-9]+", path.name.lower().removesuffix(".safetensors"))
    return "_".join(w for w in words if w not in ("fp16", "fp32", "bf16", "half", "pruned", "comfy"))


def file_sources(spec: VariantSpec) -> list[FileSource]:
    """The single files that the variant may be read from."""
    return [source for source in spec.sources if isinstance(source, FileSource)]


def _is_named(path: Path, spec: VariantSpec, kind: Kind) -> bool:
    names = {plain_name(Path(name)) for source in file_sources(spec) if source.holds == kind for name in source.names}
    return plain_name(path) in names


def _read(models_dir: Path) -> dict[str, str]:
    try:
        known = json.loads((models_dir / ADDED).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {v: p for v, p in known.items() if isinstance(p, str)} if isinstance(known, dict) else {}
