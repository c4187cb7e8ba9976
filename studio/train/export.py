"""Weights of a stage, written whole or not at all and read again: fp16 safetensors in shards, in diffusers' layout."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from studio.errors import BadInput

POCKET = Path(__file__).parents[1] / "weights" / "pocket"
"""Where the family is shipped: a folder a stage."""

MAX_SHARD_BYTES = 8_900_000
"""Of a file of weights, so that a repository takes it; its header comes on top."""

METRICS = "metrics.json"
SHEET = "sheet.png"

_STEMS = {"image_encoder": "model", "text_encoder": "model", "text_encoder_2": "model"}
"""transformers' name of a component's files; diffusers' is the other."""


def write_component(folder: Path, state: Mapping[str, torch.Tensor], config: Mapping[str, Any]) -> None:
    """`folder` holds config.json and the tensors in fp16: one file, or shards with an index."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    stem = _STEMS.get(folder.name, "diffusion_pytorch_model")
    tensors = {name: t.detach().to("cpu", torch.float16).contiguous() for name, t in state.items()}
    shards = _shards(tensors)
    if len(shards) == 1:
        save_file(shards[0], folder / f"{stem}.safetensors", metadata={"format": "pt"})
        return
    where = {}
    for i, shard in enumerate(shards, 1):
        file = f"{stem}-{i:05d}-of-{len(shards):05d}.safetensors"
        save_file(shard, folder / file, metadata={"format": "pt"})
        where |= dict.fromkeys(shard, file)
    index = {"metadata": {"total_size": sum(t.nbytes for t in tensors.values())}, "weight_map": where}
    (folder / f"{stem}.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def weights_file(folder: Path) -> Path:
    """What a component's reader opens: its one file, or the index of its shards.

    Raises:
        BadInput: neither is there.
    """
    stem = _STEMS.get(folder.name, "diffusion_pytorch_model")
    for name in (f"{stem}.safetensors.index.json", f"{stem}.safetensors"):
        if (folder / name).is_file():
            return folder / name
    raise BadInput(f"{folder} holds no weights.", "Train the stage again.")


def read_state(folder: Path) -> dict[str, torch.Tensor]:
    """Name -> tensor, as stored, on the CPU, of a component that was written.

    Raises:
        BadInput: it is not there, or a file is missing or damaged.
    """
    file = weights_file(folder)
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        where = json.loads(file.read_text(encoding="utf-8"))["weight_map"]
        state = {name: t for shard in sorted(set(where.values())) for name, t in load_file(folder / shard).items()}
    except Exception as e:  # safetensors has an error of its own for each thing that can be wrong
        raise BadInput(f"{folder} is damaged: {e}", "Train the stage again.") from e
    if set(state) != set(where):
        raise BadInput(f"{folder}: the index does not name what the shards hold.", "Train the stage again.")
    return state


def read_config(folder: Path) -> dict[str, Any]:
    """The config.json of a component that was written."""
    return json.loads((folder / "config.json").read_text(encoding="utf-8"))


def identity(folder: Path) -> str:
    """Hexadecimal: the same for the same weights of a stage, and for no others."""
    files = read_metrics(folder)["files"]
    weights = sorted((name, told["sha256"]) for name, told in files.items() if name.endswith(".safetensors"))
    return hashlib.sha256(json.dumps(weights).encode()).hexdigest()


def find(roots: Sequence[Path], stage: str) -> Path:
    """The folder of a stage that has been trained: in the first of the roots that has it.

    Raises:
        BadInput: none has.
    """
    for root in roots:
        # The second is where a run that was killed between two renames left it.
        for folder in (root / stage, root / f".{stage}.old"):
            if (folder / METRICS).is_file():
                return folder
    looked = " or ".join(str(root) for root in roots)
    raise BadInput(
        f"{stage}: it has not been trained; there is nothing in {looked}.",
        f"Run `python -m studio train {stage}` first.",
        field="stage",
    )


def read_metrics(folder: Path) -> dict[str, Any]:
    """What is told of a stage beside its weights; empty where nothing is."""
    try:
        return json.loads((folder / METRICS).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}


def write_stage(
    root: Path,
    stage: str,
    components: Mapping[str, tuple[Mapping[str, torch.Tensor], Mapping[str, Any]]],
    metrics: Mapping[str, Any],
    *,
    sheet_png: bytes | None = None,
    other_files: Mapping[str, str] | None = None,
) -> Path:
    """The stage's folder now holds this and nothing else; killed in the middle, it holds what it held before.

    Args:
        components: folder -> (tensors, config).
        metrics: for metrics.json, which also gets bytes and sha256 of every file of the components.
        sheet_png: None keeps the one that is there.
        other_files: path in the folder -> text.
    """
    _settle(root, stage)
    final, fresh, before = root / stage, root / f".{stage}.new", root / f".{stage}.old"
    fresh.mkdir(parents=True)
    for name, (state, config) in components.items():
        write_component(fresh / name, state, config)
    for path, text in (other_files or {}).items():
        (fresh / path).parent.mkdir(parents=True, exist_ok=True)
        (fresh / path).write_text(text, encoding="utf-8")
    told = {**metrics, "files": _told(fresh)}
    if sheet_png is None and (final / SHEET).is_file():
        sheet_png = (final / SHEET).read_bytes()
    if sheet_png is not None:
        (fresh / SHEET).write_bytes(sheet_png)
    (fresh / METRICS).write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    if final.exists():
        final.rename(before)
    fresh.rename(final)
    shutil.rmtree(before, ignore_errors=True)
    return final


def rewrite_told(root: Path, stage: str, metrics: Mapping[str, Any], sheet_png: bytes | None = None) -> None:
    """metrics.json, and the sheet, say this now; the weights stay."""
    folder = root / stage
    told = {**metrics, "files": read_metrics(folder)["files"]}
    for name, content in ((SHEET, sheet_png), (METRICS, (json.dumps(told, indent=1) + "\n").encode())):
        if content is not None:
            beside = folder / f".{name}"
            beside.write_bytes(content)
            beside.replace(folder / name)


def _settle(root: Path, stage: str) -> None:
    """What a run that was killed while it wrote left behind is put in order."""
    final, fresh, before = root / stage, root / f".{stage}.new", root / f".{stage}.old"
    if before.exists() and not final.exists():
        before.rename(final)
    for left in (fresh, before):
        shutil.rmtree(left, ignore_errors=True)


def stored_bytes(folder: Path) -> int:
    """Of all weights in a folder."""
    return sum(f.stat().st_size for f in folder.rglob("*.safetensors"))


def _shards(tensors: Mapping[str, torch.Tensor]) -> list[dict[str, torch.Tensor]]:
    """As few as there must be, about equally large, in the tensors' order."""
    assert all(t.nbytes <= MAX_SHARD_BYTES for t in tensors.values()), "one tensor is more than a file may hold"
    total = sum(t.nbytes for t in tensors.values())
    count = max(1, math.ceil(total / MAX_SHARD_BYTES))
    while True:
        shards: list[dict[str, torch.Tensor]] = [{} for _ in range(count)]
        before = 0
        for name, tensor in tensors.items():
            shards[int((before + tensor.nbytes / 2) / total * count)][name] = tensor
            before += tensor.nbytes
        if all(sum(t.nbytes for t in shard.values()) <= MAX_SHARD_BYTES for shard in shards):
            return [shard for shard in shards if shard]
        count += 1


def _told(folder: Path) -> dict[str, dict[str, Any]]:
    files = sorted(f for f in folder.rglob("*") if f.is_file())
    return {
        f.relative_to(folder).as_posix(): {
            "bytes": f.stat().st_size,
            "sha256": hashlib.sha256(f.read_bytes()).hexdigest(),
        }
        for f in files
    }
