"""Reads one component of a diffusers folder straight to its place, tensor by tensor.

Only `config.json` and safetensors are read; nothing of a checkpoint is ever executed, and a name in a file only
ever selects a parameter that the class has already.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from accelerate import init_empty_weights
from safetensors import SafetensorError, safe_open
from torch import nn

from studio.engines.out_of_memory import must_fit
from studio.engines.place import DTYPES, Report, put, settle
from studio.errors import BadInput

_LEFT_OVER = ("position_ids",)
"""Last part of names that older transformers wrote and that hold nothing."""


def load_module(
    build: Callable[[dict[str, Any]], nn.Module], weights: Path, device: str, dtype: str, report: Report
) -> nn.Module:
    """The module with its weights in place, in eval mode, wanting no gradient.

    Built on the meta device, so that nothing is allocated or initialised twice; each tensor then goes from the
    mapped file to `device` and `dtype`. On the CPU a tensor that is in `dtype` already stays mapped: it costs page
    cache, not memory.

    Args:
        build: from the content of ``config.json`` to the module.
        weights: a `.safetensors` file or the `.safetensors.index.json` of a sharded one; ``config.json`` is beside it.
        dtype: "fp16" or "fp32", for all floating-point tensors.
        report: called before the first and after each tensor.

    Raises:
        BadInput: a file is missing, damaged or does not belong to this class; says which entry.
        DoesNotFit: memory ran out.
    """
    module = _build(build, weights)
    where = tensor_files(weights)
    shapes = _shapes(where)
    _check(module, shapes, weights)
    total = sum(size for _, size in shapes.values())
    with must_fit(f"the weights in {weights.name}", "Close what else uses the device, or choose another device."):
        done = 0
        report(done, total)
        for file, names in _by_file(where, module).items():
            with safe_open(file, framework="pt", device="cpu") as opened:
                for name in names:
                    put(module, name, opened.get_tensor(name), device, DTYPES[dtype])
                    done += shapes[name][1]
                    report(done, total)
    return settle(module, device)


def tensor_files(weights: Path) -> dict[str, Path]:
    """Tensor name -> file that holds it, for one file or for an index of shards.

    Raises:
        BadInput: the file is not there, is damaged, or names a shard outside its folder.
    """
    if not weights.name.endswith(".index.json"):
        with _opened(weights) as opened:
            return dict.fromkeys(opened.keys(), weights)
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
        with init_empty_weights(include_buffers=False):
            return build(config)
    except (TypeError, ValueError, KeyError, IndexError, ZeroDivisionError) as e:
        path = weights.parent / "config.json"
        says = (str(e).splitlines() or [type(e).__name__])[0]
        raise BadInput(f"{path} does not describe this component: {says}", "Pull the variant again.") from e


def _opened(file: Path) -> Any:
    try:
        return safe_open(file, framework="pt", device="cpu")
    except FileNotFoundError as e:
        raise BadInput(f"{file} is missing.", "Pull the variant again.") from e
    except (SafetensorError, OSError) as e:
        raise _damaged(file) from e


def _damaged(path: Path) -> BadInput:
    return BadInput(f"{path} is damaged or cut short.", "Remove the variant and pull it again.")


def _shapes(where: Mapping[str, Path]) -> dict[str, tuple[tuple[int, ...], int]]:
    """Tensor name -> shape and bytes, from the headers alone."""
    found: dict[str, tuple[tuple[int, ...], int]] = {}
    for file in set(where.values()):
        with _opened(file) as opened:
            for name in opened.keys():  # noqa: SIM118 - safe_open is no mapping
                piece = opened.get_slice(name)
                shape = tuple(piece.get_shape())
                found[name] = (shape, math.prod(shape) * _width(piece.get_dtype()))
    return found


def _width(dtype: str) -> int:
    """Bytes of an element of a safetensors dtype such as F16, BF16, F32, I64, BOOL."""
    found = re.search(r"\d+", dtype)
    return max(1, int(found.group()) // 8) if found else 1


def _check(module: nn.Module, shapes: Mapping[str, tuple[tuple[int, ...], int]], weights: Path) -> None:
    wanted = module.state_dict()
    missing = [name for name in wanted if name not in shapes]
    unexpected = [name for name in shapes if name not in wanted and name.rpartition(".")[2] not in _LEFT_OVER]
    if missing or unexpected:
        what, names = ("lacks", missing) if missing else ("has the unknown", unexpected)
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        raise BadInput(
            f"{weights} does not belong to a {type(module).__name__}: it {what} {names[0]}{more}.",
            "Remove the variant and pull it again.",
        )
    for name, tensor in wanted.items():
        if tuple(tensor.shape) != shapes[name][0]:
            raise BadInput(
                f"{weights}: {name} is {list(shapes[name][0])}; its config.json asks for {list(tensor.shape)}.",
                "Remove the variant and pull it again.",
            )


def _by_file(where: Mapping[str, Path], module: nn.Module) -> dict[Path, list[str]]:
    """File -> names to read from it, in the module's order, so that a load walks through the file once."""
    grouped: dict[Path, list[str]] = {}
    for name in module.state_dict():
        grouped.setdefault(where[name], []).append(name)
    return grouped
