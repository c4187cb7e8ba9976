"""The places of a module's tensors: what is pointed elsewhere when weights come and go. The module itself stays.

Names only ever select what is there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import nn

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


@dataclass(frozen=True, eq=False)
class Place:
    """A parameter or buffer of a module, which may be any tensor of its shape.

    Args:
        name: from the whole module, as its state dict says it.
        owner: the submodule that has it.
        empty: what is there when there are no weights: a tensor on the meta device; of a buffer that no file holds,
            the buffer.
    """

    name: str
    owner: nn.Module
    leaf: str
    empty: torch.Tensor

    def as_dtype(self, dtype: torch.dtype) -> Place:
        """The same place; also when there are no weights, its tensor says that dtype."""
        return replace(self, empty=_like(self.empty, torch.empty(self.empty.shape, dtype=dtype, device="meta")))

    def make(self, tensor: torch.Tensor) -> torch.Tensor:
        """What `point` takes, around the memory of that tensor."""
        return _like(self.empty, tensor)

    def point(self, made: torch.Tensor) -> None:
        """The module has this here from now on."""
        held = self.owner._parameters if self.leaf in self.owner._parameters else self.owner._buffers
        held[self.leaf] = made

    def clear(self) -> None:
        """There are no weights here any more."""
        self.point(self.empty)


def places(module: nn.Module) -> dict[str, Place]:
    """Name -> place of every parameter and buffer, also of those that no file holds; in the state dict's order."""
    found = {}
    for path, owner in module.named_modules():
        for held in (owner._parameters, owner._buffers):
            for leaf, tensor in held.items():
                if tensor is not None:
                    name = f"{path}.{leaf}" if path else leaf
                    found[name] = Place(name, owner, leaf, tensor)
    return found


def _like(empty: torch.Tensor, tensor: torch.Tensor) -> torch.Tensor:
    return nn.Parameter(tensor, requires_grad=False) if isinstance(empty, nn.Parameter) else tensor
