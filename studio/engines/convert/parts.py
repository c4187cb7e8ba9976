"""What each component of a recognised checkpoint takes: its tensors, its key table, its config."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from studio.engines import networks, sdxl_networks
from studio.engines.convert import clip, sdxl, unet, vae
from studio.engines.convert.table import Table, Target, source, targets, under
from studio.errors import BadInput
from studio.models.checkpoint import CLIP_L, FIRST_STAGE, UNET, VISION, Checkpoint, Component
from studio.models.header import Stored, shown

HEAD_DIM = 64
"""Channels of one head of the UNet's attention, in all published files."""

CLIP_HEAD_DIM = 80
"""The same in ViT-H/14."""

_FRAMES = {"svd": 14, "svd-image-decoder": 14, "sv3d-u": 21, "sv3d-p": 21}

_XL = ("sdxl", "sdxl-refiner", "vae")
"""Kinds whose networks are Stable Diffusion XL's."""

_REMEDY = "Get the file from its publisher again."


class Step(NamedTuple):
    """One tensor of the file and all that is made of it."""

    name: str
    stored: Stored
    targets: tuple[Target, ...]


@dataclass(frozen=True)
class Part:
    """One component of one file.

    Args:
        table: from the file's names, prefixes included, to the module's.
        config: what ``config.json`` of a diffusers folder would say.
        build: from component and config to the module.
    """

    path: Path
    component: Component
    tensors: Mapping[str, Stored]
    table: Table
    config: dict[str, Any]
    build: Callable[[str, dict[str, Any]], nn.Module] = networks.build

    def plan(self) -> tuple[nn.Module, list[Step]]:
        """The module on the meta device, and how to fill it: each tensor of it exactly once, each of its shape.

        Raises:
            BadInput: tensors are missing, left over, or of another shape; names the first, as the file calls it.
        """
        try:
            with networks.on_meta():
                module = self.build(self.component, self.config)
        except (ValueError, TypeError, KeyError, IndexError, ZeroDivisionError, RuntimeError) as e:
            raise _no_network(self.path, self.component) from e
        wanted = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
        steps, extra = [], []
        for name, stored in self.tensors.items():
            found = targets(self.table, name)
            if not found or any(t.name not in wanted for t in found):
                extra.append(name)
                continue
            for target in found:
                self._check_shape(name, stored, target, wanted.pop(target.name))
            steps.append(Step(name, stored, found))
        refuse(self.path, "lacks", list(dict.fromkeys(source(self.table, name) for name in wanted)))
        refuse(self.path, "has the unknown", extra)
        return module, steps

    def _check_shape(self, name: str, stored: Stored, target: Target, wanted: tuple[int, ...]) -> None:
        try:
            given = tuple(target.transform(torch.empty(stored.shape, device="meta")).shape)
        except (RuntimeError, IndexError):
            given = ()
        if given != wanted:
            raise BadInput(
                f"{self.path.name}: {shown(name)} is {list(stored.shape)}, which does not go with the rest of it.",
                _REMEDY,
            )


def read_part(
    checkpoint: Checkpoint, component: Component, *, head_dim: int = HEAD_DIM, clip_head_dim: int = CLIP_HEAD_DIM
) -> Part:
    """The component of the file, with its sizes read off the tensors.

    Raises:
        BadInput: a tensor that tells a size is missing, or the widths don't divide into heads.
    """
    sizes = _Sizes(checkpoint, component)
    build = networks.build
    try:
        if checkpoint.kind in _XL:
            build = sdxl_networks.build
            inner, config = _xl(checkpoint, component, sizes, head_dim)
        elif component == "unet":
            _check_heads(checkpoint, head_dim, unet.channels(sizes), "--head-dim")
            inner = unet.table(*unet.size(sizes))
            config = unet.config(sizes, head_dim, _FRAMES[checkpoint.kind], per_frame=checkpoint.kind == "sv3d-p")
        elif component == "vae":
            temporal = checkpoint.kind == "svd"
            inner = vae.table(*vae.size(sizes), temporal=temporal)
            config = vae.config(sizes, temporal=temporal)
        else:
            _check_heads(checkpoint, clip_head_dim, [sizes["proj"][0]], "--clip-head-dim")
            inner = clip.table(clip.size(sizes))
            config = clip.config(sizes, clip_head_dim)
    except (IndexError, ValueError, TypeError, ZeroDivisionError) as e:
        raise _no_network(checkpoint.path, component) from e
    table: dict[str, tuple[Target, ...]] = {}
    for path, found in inner.items():
        table |= under(_prefix(checkpoint, component, path).removesuffix("."), "", {path: found})
    return Part(checkpoint.path, component, checkpoint.components[component], table, config, build)


def _xl(
    checkpoint: Checkpoint, component: Component, sizes: Mapping[str, tuple[int, ...]], head_dim: int
) -> tuple[Mapping[str, tuple[Target, ...]], dict[str, Any]]:
    """Table and config of one of Stable Diffusion XL's networks."""
    if component == "unet":
        _check_heads(checkpoint, head_dim, unet.channels(sizes), "--head-dim")
        return sdxl.unet_table(*unet.size(sizes)), sdxl.unet_config(sizes, head_dim)
    if component == "vae":
        return sdxl.vae_table(sizes), sdxl.vae_config(sizes)
    if component == "text_encoder":
        return sdxl.text_table(), sdxl.text_config(sizes)
    return sdxl.open_text_table(sizes), sdxl.open_text_config(sizes)


class _Sizes(dict[str, tuple[int, ...]]):
    """A component's shapes by name without prefix; one that is not there is told as the file calls it."""

    def __init__(self, checkpoint: Checkpoint, component: Component) -> None:
        self._checkpoint, self._component = checkpoint, component
        for name, stored in checkpoint.components[component].items():
            prefix = next(p for p in _prefixes(checkpoint, component) if name.startswith(p))
            self[name.removeprefix(prefix)] = stored.shape

    def __missing__(self, name: str) -> tuple[int, ...]:
        refuse(self._checkpoint.path, "lacks", [_prefix(self._checkpoint, self._component, name) + name])
        raise AssertionError("refuse has raised")


def _prefixes(checkpoint: Checkpoint, component: Component) -> tuple[str, ...]:
    if component == "vae" and checkpoint.kind in _XL:
        return ("",) if checkpoint.kind == "vae" else (FIRST_STAGE,)
    places: dict[Component, tuple[str, ...]] = {
        "unet": (UNET,),
        "image_encoder": (VISION,),
        "vae": (checkpoint.vae_encoder, FIRST_STAGE),
        "text_encoder": (CLIP_L,),
        "text_encoder_2": (checkpoint.text_encoder_2,),
    }
    return places[component]


def _prefix(checkpoint: Checkpoint, component: Component, name: str) -> str:
    """What the file puts before `name`; the VAE's encoder and decoder come from two places."""
    first, *rest = _prefixes(checkpoint, component)
    return rest[0] if rest and name.startswith(("decoder", "post_quant_conv")) else first


def _check_heads(checkpoint: Checkpoint, head_dim: int, channels: Sequence[int], option: str) -> None:
    if head_dim < 1 or any(count % head_dim for count in channels):
        widths = ", ".join(str(count) for count in dict.fromkeys(channels))
        raise BadInput(
            f"{checkpoint.path.name}: heads of {head_dim} don't divide its {widths} channels.",
            f"It is a model of its own; give its head width by {option}.",
        )


def _no_network(path: Path, component: Component) -> BadInput:
    return BadInput(f"{path.name}: the sizes in its {component} describe no such network.", _REMEDY)


def refuse(path: Path, what: str, names: list[str]) -> None:
    """Raises `BadInput` if there are any of these names."""
    if names:
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        raise BadInput(f"{path.name} is not as published: it {what} {shown(names[0])}{more}.", _REMEDY)
