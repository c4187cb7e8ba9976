"""The weights of Stable Diffusion XL: where they are read from, and which parts of the UNet can be streamed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from torch import nn

from studio.engines import svd_weights
from studio.engines.clip_tokens import read_tokenizer
from studio.engines.convert.load import open_component
from studio.engines.diffusers_folder import open_folder
from studio.engines.sdxl_networks import TextEncoder, build
from studio.engines.svd_weights import Unit
from studio.engines.weights.module_weights import ModuleWeights
from studio.models.checkpoint import Component
from studio.models.costs.sdxl_unets import BASE, REFINER
from studio.models.header import read_tensors
from studio.models.weights import Report

if TYPE_CHECKING:
    from studio.models.installed import Installed

_TOKENIZERS = {"text_encoder": ("tokenizer", "<|endoftext|>"), "text_encoder_2": ("tokenizer_2", "!")}
"""Text encoder -> its tokenizer's folder, and the token that fills up what is short."""


def open_weights(component: Component, installed: Installed, device: str, dtype: str) -> ModuleWeights:
    """The weights of one component, in its files, from a diffusers folder or a single-file checkpoint.

    A text encoder has its tokenizer with it; the UNet's blocks can be streamed. An autoencoder in a file of its own
    (``vae`` among the weights, beside a checkpoint or in place of a folder's) is taken before any other.

    Raises:
        BadInput: the files are missing, damaged or of another class.
    """
    own = installed.weights.get(component)
    folder: Path | None = None
    if own is not None and (own.parent / "config.json").is_file() and not _is_bare(own):
        opened = open_folder(lambda config: build(component, config), own)
        folder = own.parent.parent
    else:
        opened = open_component(component, own or installed.root)
    module = opened.module
    if isinstance(module, TextEncoder):
        name, pad = _TOKENIZERS[component]
        tokens = module.text_model.config.vocab_size
        module.tokenizer = read_tokenizer(folder / name if folder else None, pad=pad, tokens=tokens)
    if component != "unet":
        return ModuleWeights(opened, device, dtype)
    units = list(unet_units(module))
    return ModuleWeights(opened, device, dtype, units=[u.module for u in units], stay_first=stay_first(units))


def _is_bare(path: Path) -> bool:
    """True for an autoencoder under Stability's names, whatever lies beside it."""
    return path.suffix == ".safetensors" and path.is_file() and "encoder.mid.block_1.norm1.weight" in read_tensors(path)


def unet_units(unet: nn.Module) -> Iterator[Unit]:
    """Every res block, layer of a transformer, down- and upsampler, in order of execution.

    A whole transformer of the deepest level would be a seventh of the UNet, and two of them are on the device at once.
    """
    for unit in svd_weights.unet_units(unet):
        layers = getattr(unit.module, "transformer_blocks", None)
        if layers is None:
            yield unit
            continue
        for i, layer in enumerate(layers):
            yield Unit(f"{unit.name}.transformer_blocks.{i}", layer, unit.level)


def stay_first(units: Sequence[Unit]) -> list[int]:
    """Which units should stay on the device first: those with the least work to hide the copy of a byte."""
    names = [unit.name for unit in units]
    for unet in (BASE, REFINER):
        if names == [unit.name for unit in unet.units]:
            work = [unit.flop_share / unit.share for unit in unet.units]
            return sorted(range(len(units)), key=lambda i: work[i])
    return svd_weights.stay_first(units)


def load(component: Component, installed: Installed, device: str, dtype: str, report: Report) -> nn.Module:
    """One component with its weights on the device, whole.

    Raises:
        BadInput: the files are missing, damaged or of another class.
        DoesNotFit: memory ran out.
    """
    return open_weights(component, installed, device, dtype).place(report)
