"""Weights that the studio's own training makes: where they lie, what is still to be trained, and their hashes."""

from __future__ import annotations

import json
from pathlib import Path

from studio.models.spec import ShippedSource
from studio.settings import shipped

TRAINED = "metrics.json"
"""In the folder of a stage of training: what came of it, and each file's bytes and sha256."""


def folders(source: ShippedSource, models_dir: Path, package: Path | None = None) -> tuple[Path, ...]:
    """Where such weights are looked for: in the models folder, which training may write to, then in the package.

    Args:
        package: the weights that come with the studio; None for its own.
    """
    return tuple(root / source.folder for root in (models_dir, package or shipped("weights")))


def file_of(plain: Path) -> Path | None:
    """A component's file, or the index of its shards; None where it is not there with its config."""
    index = plain.with_name(plain.name + ".index.json")
    found = plain if plain.is_file() else index if index.is_file() else None
    return found if (plain.parent / "config.json").is_file() else None


def untrained(source: ShippedSource, models_dir: Path) -> tuple[str, ...]:
    """The stages of which there are no weights yet, in order, in the folder that lacks the fewest."""
    lacking = [
        [file.partition("/")[0] for file in source.weights.values() if file_of(folder / file) is None]
        for folder in folders(source, models_dir)
    ]
    return tuple(dict.fromkeys(min(lacking, key=len)))


def hashes(manifest: Path) -> dict[str, str]:
    """File -> sha256, from a JSON file that lists them under ``files``; empty where it does not."""
    try:
        files = json.loads(manifest.read_text(encoding="utf-8"))["files"]
        return {name: facts["sha256"] for name, facts in files.items() if facts.get("sha256")}
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return {}


def stage_hashes(folder: Path) -> dict[str, str]:
    """File in that folder -> sha256, of all that stages of training wrote there."""
    each = {path.parent.name: hashes(path) for path in folder.glob(f"*/{TRAINED}")}
    return {f"{stage}/{name}": sha256 for stage, files in each.items() for name, sha256 in files.items()}
