"""Puts a tensor in its place in a module that was built on the meta device. Names only ever select what is there."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

DTYPES = {"fp16": torch.float16, "fp32": torch.float32}

Report = Callable[[int, int], None]
"""(done_bytes, total_bytes); raises to stop the load."""


def put(module: nn.Module, name: str, tensor: torch.Tensor, device: str, dtype: torch.dtype) -> None:
    """The module's parameter or buffer of that name is the tensor, on the device; floating point in `dtype`.

    A tensor that is on the device in that dtype already is taken as it is, not copied.
    """
    owner, leaf = _owner(module, name)
    placed = tensor.to(device=device, dtype=dtype if tensor.is_floating_point() else None).contiguous()
    if leaf in owner._parameters:
        owner._parameters[leaf] = nn.Parameter(placed, requires_grad=False)
    else:
        owner._buffers[leaf] = placed


def settle(module: nn.Module, device: str) -> nn.Module:
    """The module, complete: buffers that no file holds on the device too, in eval mode, wanting no gradient."""
    for name, buffer in list(module.named_buffers()):
        owner, leaf = _owner(module, name)
        owner._buffers[leaf] = buffer.to(device)
    return module.eval().requires_grad_(False)


def _owner(module: nn.Module, name: str) -> tuple[nn.Module, str]:
    path, _, leaf = name.rpartition(".")
    return module.get_submodule(path), leaf
