"""Key tables: from the names in a checkpoint to those of diffusers' and transformers' modules.

A table is a plain dict. Its left side is the path of a module (or of one tensor) in the checkpoint, its right side
where that goes; what follows the path is kept: ``{"out.0": to("conv_norm_out")}`` sends ``out.0.weight`` to
``conv_norm_out.weight``. The longest path that fits counts. What no path fits is not part of the family.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch

Transform = Callable[[torch.Tensor], torch.Tensor]
"""The stored tensor -> the tensor that the module wants; views where that is possible, never in place."""


class Target(NamedTuple):
    """Where a tensor goes, and as what."""

    name: str
    transform: Transform


Table = Mapping[str, tuple[Target, ...]]


def as_it_is(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor."""
    return tensor


def transposed(tensor: torch.Tensor) -> torch.Tensor:
    """A matrix whose rows are the stored one's columns."""
    return tensor.t()


def pointwise(tensor: torch.Tensor) -> torch.Tensor:
    """A 1x1 convolution's weight as the matrix that it is; its bias as it is."""
    return tensor[:, :, 0, 0] if tensor.ndim == 4 and tensor.shape[2:] == (1, 1) else tensor


def third(index: int) -> Transform:
    """One of three equal parts along the first dimension."""

    def part(tensor: torch.Tensor) -> torch.Tensor:
        rows = tensor.shape[0] // 3
        return tensor[index * rows : (index + 1) * rows]

    return part


def to(name: str, transform: Transform = as_it_is) -> tuple[Target, ...]:
    """The right side of most entries: one place."""
    return (Target(name, transform),)


def under(source: str, place: str, table: Table) -> dict[str, tuple[Target, ...]]:
    """The table for a module that lies at `source` in the checkpoint and at `place` in the module."""
    return {
        _join(source, path): tuple(Target(_join(place, t.name), t.transform) for t in targets)
        for path, targets in table.items()
    }


def targets(table: Table, name: str) -> tuple[Target, ...]:
    """Where the checkpoint's tensor goes; () where the family has no such tensor."""
    path, rest = name, ""
    while path:
        if path in table:
            return tuple(Target(_join(t.name, rest), t.transform) for t in table[path])
        path, _, last = path.rpartition(".")
        rest = _join(last, rest)
    return ()


def source(table: Table, name: str) -> str:
    """The checkpoint's name of what the module calls `name`; the table read backwards. "" where there is none."""
    back = {t.name: path for path, found in table.items() for t in found}
    path, rest = name, ""
    while path:
        if path in back:
            return _join(back[path], rest)
        path, _, last = path.rpartition(".")
        rest = _join(last, rest)
    return ""


def _join(first: str, second: str) -> str:
    return f"{first}.{second}" if first and second else first or second
