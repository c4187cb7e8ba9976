"""LoRAs: small changes to Stable Diffusion XL's networks, added to what their layers give and never to the weights.

Read from `.safetensors` in the namings of kohya's scripts (Stability's or diffusers' block names) and of diffusers.
Source: Hu et al. 2022, "LoRA: Low-Rank Adaptation of Large Language Models", eq. 3, with alpha / rank as its scale.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional

from studio.engines.convert.sdxl import unet_table
from studio.engines.convert.table import source
from studio.errors import BadInput

_COMPONENTS = {
    "lora_unet_": "unet",
    "lora_te1_": "text_encoder",
    "lora_te2_": "text_encoder_2",
    "unet.": "unet",
    "text_encoder.": "text_encoder",
    "text_encoder_2.": "text_encoder_2",
}
"""What names begin with -> the network that they are for."""

_PARTS = {
    ".lora_down.weight": "down",
    ".lora_up.weight": "up",
    ".alpha": "alpha",
    ".lora_A.weight": "down",
    ".lora_B.weight": "up",
    ".lora.down.weight": "down",
    ".lora.up.weight": "up",
    ".lora_linear_layer.down.weight": "down",
    ".lora_linear_layer.up.weight": "up",
}
"""What names end with."""


@dataclass(frozen=True)
class Change:
    """To one layer: its output gets `scale` times up(down(x)) more."""

    down: torch.Tensor
    up: torch.Tensor
    scale: float


Lora = Mapping[str, Mapping[str, Change]]
"""Network -> layer, its name's dots written as underscores -> change."""


def identity(loras: Sequence[tuple[str, float]]) -> tuple[Any, ...]:
    """Names them by what they do, as far as their files can be told apart without reading them.

    Raises:
        BadInput: a file is not there.
    """
    found = []
    for path, weight in loras:
        try:
            stat = Path(path).stat()
        except OSError as e:
            raise BadInput(f"loras: {path} is not there.", field="loras") from e
        found.append((str(path), stat.st_size, stat.st_mtime_ns, weight))
    return tuple(found)


def read_lora(path: Path) -> Lora:
    """What the file changes.

    Raises:
        BadInput: it is damaged, no LoRA, or one of another kind; says which entry.
    """
    try:
        stat = path.stat()
        return _read(path, stat.st_size, stat.st_mtime_ns)
    except (SafetensorError, OSError) as e:
        raise BadInput(f"loras: {path.name} is no .safetensors file, or is damaged.", field="loras") from e


@contextmanager
def applied(component: str, network: nn.Module, loras: Sequence[tuple[str, float]]) -> Iterator[None]:
    """The network's layers give what the LoRAs make of them for the length of the block; its weights stay as they are.

    Args:
        loras: files and their weights; of a weight of 0 nothing is seen.

    Raises:
        BadInput: a file is for other networks, or none of its layers is in this one.
    """
    with ExitStack() as hooks:
        for path, weight in loras:
            changes = read_lora(Path(path)).get(component, {})
            layers = _layers(component, network) if changes else {}
            for name, change in changes.items():
                layer = layers.get(name)
                if layer is None or not _fits(layer, change):
                    raise BadInput(
                        f"loras: {Path(path).name} changes {component} {name[:80]}, which Stable Diffusion XL does not "
                        "have in that size.",
                        "Use a LoRA that was made for SDXL.",
                        field="loras",
                    )
                hooks.callback(layer.register_forward_hook(_Added(layer, change, weight)).remove)
        yield


class _Added:
    """A forward hook: what the layer gives, and the change to it."""

    def __init__(self, layer: nn.Module, change: Change, weight: float) -> None:
        self._convolution = layer if isinstance(layer, nn.Conv2d) else None
        self._change, self._scale = change, change.scale * weight
        self._there: tuple[torch.Tensor, torch.Tensor] | None = None

    def __call__(self, layer: nn.Module, given: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
        if self._there is None:
            self._there = tuple(t.to(output.device, output.dtype) for t in (self._change.down, self._change.up))
        down, up = self._there
        if self._convolution is None:
            more = functional.linear(functional.linear(given[0], down), up)
        else:
            inner = functional.conv2d(
                given[0], _square(down), None, self._convolution.stride, self._convolution.padding
            )
            more = functional.conv2d(inner, _square(up))
        return output + self._scale * more


def _square(weight: torch.Tensor) -> torch.Tensor:
    """A convolution's weight; what is stored as a matrix is a 1x1 convolution."""
    return weight if weight.ndim == 4 else weight[:, :, None, None]


def _fits(layer: nn.Module, change: Change) -> bool:
    whole = layer.weight.shape
    down, up = change.down.shape, change.up.shape
    inside = (up[0], down[1], up[1]) == (whole[0], whole[1], down[0])
    return inside and (len(down) == 2 or (len(whole) == 4 and down[2:] == whole[2:])) and up[2:] in ((), (1, 1))


def _layers(component: str, network: nn.Module) -> dict[str, nn.Module]:
    """Linear and convolution layers by every name that files have for them."""
    found = {name: m for name, m in network.named_modules() if isinstance(m, (nn.Linear, nn.Conv2d))}
    layers = {name.replace(".", "_"): module for name, module in found.items()}
    if component == "unet":
        attends = ["CrossAttn" in kind for kind in network.config.down_block_types]
        table = unet_table(attends, network.config.layers_per_block)
        layers |= {source(table, name).replace(".", "_"): module for name, module in found.items()}
    return layers


@lru_cache(maxsize=4)
def _read(path: Path, size: int, mtime_ns: int) -> Lora:
    layers: dict[tuple[str, str], dict[str, torch.Tensor]] = {}
    for name, tensor in load_file(path).items():
        start = next((s for s in _COMPONENTS if name.startswith(s)), None)
        end = next((e for e in _PARTS if name.endswith(e)), None)
        if start is None or end is None or (end != ".alpha" and tensor.ndim not in (2, 4)):
            shown = re.sub(r"[^\w.]", "?", name)[:80]
            raise BadInput(
                f"loras: {path.name} has {shown}; the studio reads LoRAs for SDXL in kohya's and diffusers' naming.",
                field="loras",
            )
        layer = name.removeprefix(start).removesuffix(end).replace(".", "_")
        layers.setdefault((_COMPONENTS[start], layer), {})[_PARTS[end]] = tensor
    found: dict[str, dict[str, Change]] = {}
    for (component, layer), parts in layers.items():
        if not {"down", "up"} <= set(parts):
            raise BadInput(f"loras: {path.name} has only a part of {layer[:80]}.", field="loras")
        rank = parts["down"].shape[0]
        alpha = float(parts["alpha"]) if "alpha" in parts else rank
        found.setdefault(component, {})[layer] = Change(parts["down"], parts["up"], alpha / rank)
    if not found:
        raise BadInput(f"loras: {path.name} is empty.", field="loras")
    return found
