"""The weights of Stable Video Diffusion: where they are read from, and which parts of the UNet can be streamed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from torch import nn

from studio.engines.convert.load import open_component, open_video_unet
from studio.engines.convert.parts import read_part
from studio.engines.diffusers_folder import open_as, open_folder, read_config
from studio.engines.networks import build, build_empty, set_trained_eps
from studio.engines.weights.carrier import Carrier
from studio.engines.weights.layout import Opened
from studio.engines.weights.module_weights import ModuleWeights
from studio.models.checkpoint import read_checkpoint
from studio.models.costs.svd_units import UNET_UNITS
from studio.models.sampling import DISTILLED
from studio.models.unet_file import unet_layout
from studio.models.weights import Report

if TYPE_CHECKING:
    from studio.models.installed import Installed

CHANNELS_LAST = ("unet", DISTILLED, "vae")
"""The components made of convolutions, whose weights may lie with their channels last."""


def open_weights(
    component: str,
    installed: Installed,
    device: str,
    dtype: str,
    *,
    carrier: Carrier | None = None,
    channels_last: bool = False,
) -> ModuleWeights:
    """The weights of one component, in its files, from a diffusers folder or a single-file checkpoint.

    The UNet's res-block norms get the eps they were trained with, and its blocks can be streamed.

    Args:
        carrier: how they get to the device; the device's own way by default.
        channels_last: the weights of convolutions lie so.

    Raises:
        BadInput: the files are missing, damaged or of another class.
    """
    if component == DISTILLED:
        opened = _open_distilled(installed)
    elif installed.layout == "sgm":
        opened = open_component(component, installed.root)
    else:
        opened = open_folder(lambda config: build(component, config), installed.weights[component])
    if component not in ("unet", DISTILLED):
        return ModuleWeights(opened, device, dtype, carrier=carrier, channels_last=channels_last)
    set_trained_eps(opened.module)
    units = list(unet_units(opened.module))
    return ModuleWeights(
        opened,
        device,
        dtype,
        units=[u.module for u in units],
        stay_first=stay_first(units),
        carrier=carrier,
        channels_last=channels_last,
    )


def load(component: str, installed: Installed, device: str, dtype: str, report: Report) -> nn.Module:
    """One component with its weights on the device, whole.

    Raises:
        BadInput: the files are missing, damaged or of another class.
        DoesNotFit: memory ran out.
    """
    return open_weights(component, installed, device, dtype).place(report)


def _open_distilled(installed: Installed) -> Opened:
    """The UNet for few steps: under diffusers' names it has no config, but is the same network as the variant's own."""
    path = installed.files(DISTILLED)[0]
    if unet_layout(path) == "sgm":
        return open_video_unet(path)
    if installed.layout == "sgm":
        config = read_part(read_checkpoint(installed.root), "unet").config
    else:
        config = read_config(installed.weights["unet"].parent)
    return open_as(build_empty("unet", config), path)


class Unit(NamedTuple):
    """A part of the UNet that can be streamed.

    Args:
        level: how often the picture was halved where it computes.
    """

    name: str
    module: nn.Module
    level: int


def unet_units(unet: nn.Module) -> Iterator[Unit]:
    """Every res block, transformer, down- and upsampler, in order of execution."""
    deepest = len(unet.down_blocks) - 1
    for level, block in enumerate(unet.down_blocks):
        name = f"down_blocks.{level}"
        yield from _pairs(name, block, level)
        for i, module in enumerate(block.downsamplers or ()):
            yield Unit(f"{name}.downsamplers.{i}", module, level + 1)
    first, *others = unet.mid_block.resnets
    yield Unit("mid_block.resnets.0", first, deepest)
    for i, (attention, resnet) in enumerate(zip(unet.mid_block.attentions, others, strict=True)):
        yield Unit(f"mid_block.attentions.{i}", attention, deepest)
        yield Unit(f"mid_block.resnets.{i + 1}", resnet, deepest)
    for up, block in enumerate(unet.up_blocks):
        name = f"up_blocks.{up}"
        yield from _pairs(name, block, deepest - up)
        for i, module in enumerate(block.upsamplers or ()):
            yield Unit(f"{name}.upsamplers.{i}", module, deepest - up - 1)


def stay_first(units: Sequence[Unit]) -> list[int]:
    """Which units should stay on the device first: those with the least work to hide the copy of a byte.

    Of the published UNet that was counted, and is the order that plans are made with; of another, each level has a
    quarter of the cells of the one above it, so that the deepest come first.
    """
    work = {unit.name: unit.flop_share / unit.share for unit in UNET_UNITS}
    if [unit.name for unit in units] != list(work):
        work = {unit.name: 4.0**-unit.level for unit in units}
    return sorted(range(len(units)), key=lambda i: work[units[i].name])


def _pairs(name: str, block: nn.Module, level: int) -> Iterator[Unit]:
    attentions = getattr(block, "attentions", None) or [None] * len(block.resnets)
    for i, (resnet, attention) in enumerate(zip(block.resnets, attentions, strict=True)):
        yield Unit(f"{name}.resnets.{i}", resnet, level)
        if attention is not None:
            yield Unit(f"{name}.attentions.{i}", attention, level)
