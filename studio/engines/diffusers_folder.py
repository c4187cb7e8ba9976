"""Finds the tensors of one component in a diffusers folder.

Only `config.json` and safetensors are read; nothing of a checkpoint is ever executed, and a name in a file only
ever selects a parameter that the class has already.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from studio.engines.networks import on_meta
from studio.engines.weights.layout import Opened, source_of
from studio.engines.weights.reading import STORED_DTYPES, begins
from studio.errors import BadInput
from studio.models.header import Stored, read_tensors

_LEFT_OVER = ("position_ids",)
"""Last part of names that older transformers wrote and that hold nothing."""


def open_folder(build: Callable[[dict[str, Any]], nn.Module], weights: Path) -> Opened:
    """The module on the meta device, so that nothing is allocated or initialised, and where its tensors lie.

    Args:
        build: from the content of ``config.json`` to the module.
        weights: a `.safetensors` file or the `.safetensors.index.json` of a sharded one; ``config.json`` is beside it.

    Raises:
        BadInput: a file is missing, damaged or does not belong to this class; says which entry.
    """
    return open_as(_build(build, weights), weights)


def open_as(module: nn.Module, weights: Path) -> Opened:
    """That module, and where its tensors lie in a file or an index of shards, which needs no ``config.json`` then.

    Args:
        module: on the meta device.

    Raises:
        BadInput: a file is missing, damaged or of another network; says which entry.
    """
    where = tensor_files(weights)
    stored = _stored(where)
    _check(module, stored, weights)
    sources = {
        name: source_of(where[name], begins(where[name])[name], STORED_DTYPES[stored[name].dtype], stored[name].shape)
        for name in module.state_dict()
    }
    return Opened(module, sources, f"the weights in {weights.name}")


def tensor_files(weights: Path) -> dict[str, Path]:
    """Tensor name -> file that holds it, for one file or for an index of shards.

    Raises:
        BadInput: the file is not there, is damaged, or names a shard outside its folder.
    """
    if not weights.name.endswith(".index.json"):
        return dict.fromkeys(_tensors(weights), weights)
    try:
        names = json.loads(weights.read_text(encoding="utf-8"))["weight_map"]
        where = {str(name): weights.parent / str(file) for name, file in names.items()}
    except (OSError, ValueError, KeyError, AttributeError) as e:
        raise _damaged(weights) from e
    for file in set(where.values()):
        if file.parent != weights.parent or file.suffix != ".safetensors":
            raise BadInput(f"{weights}: it names {file.name}, which is no .safetensors file beside it.")
    return where


def read_config(folder: Path) -> dict[str, Any]:
    """The component's ``config.json``.

    Raises:
        BadInput: it is not there or is not a JSON object.
    """
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as e:
        raise BadInput(f"{path} is missing.", "Pull the variant again.") from e
    except (OSError, ValueError) as e:
        raise _damaged(path) from e
    if not isinstance(config, dict):
        raise _damaged(path)
    return config


def _build(build: Callable[[dict[str, Any]], nn.Module], weights: Path) -> nn.Module:
    config = read_config(weights.parent)
    try:
        with on_meta():
            return build(config)
    except (TypeError, ValueError, KeyError, IndexError, ZeroDivisionError) as e:
        path = weights.parent / "config.json"
        says = (str(e).splitlines() or [type(e).__name__])[0]
        raise BadInput(f"{path} does not describe this component: {says}", "Pull the variant again.") from e


def _tensors(file: Path) -> Mapping[str, Stored]:
    if not file.is_file():
        raise BadInput(f"{file} is missing.", "Pull the variant again.")
    try:
        found = read_tensors(file)
    except BadInput as e:
        raise _damaged(file) from e
    if any(stored.dtype not in STORED_DTYPES for stored in found.values()):
        raise _damaged(file)
    return found


def _damaged(path: Path) -> BadInput:
    return BadInput(f"{path} is damaged or cut short.", "Remove the variant and pull it again.")


def _stored(where: Mapping[str, Path]) -> dict[str, Stored]:
    """Tensor name -> how it is stored, from the headers alone."""
    found = ((file, name, stored) for file in set(where.values()) for name, stored in _tensors(file).items())
    # What an index says of a tensor holds: a tensor that lies in another shard than it says is not there.
    return {name: stored for file, name, stored in found if where.get(name, file) == file}


def _check(module: nn.Module, stored: Mapping[str, Stored], weights: Path) -> None:
    wanted = module.state_dict()
    missing = [name for name in wanted if name not in stored]
    unexpected = [name for name in stored if name not in wanted and name.rpartition(".")[2] not in _LEFT_OVER]
    if missing or unexpected:
        what, names = ("lacks", missing) if missing else ("has the unknown", unexpected)
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        raise BadInput(
            f"{weights} does not belong to a {type(module).__name__}: it {what} {names[0]}{more}.",
            "Remove the variant and pull it again.",
        )
    for name, tensor in wanted.items():
        if tuple(tensor.shape) != stored[name].shape:
            raise BadInput(
                f"{weights}: {name} is {list(stored[name].shape)}; its network's config asks for {list(tensor.shape)}.",
                "Remove the variant and pull it again.",
            )
