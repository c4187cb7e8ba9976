"""Finds the tensors of one component in a single-file checkpoint, and loads it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from studio.engines.convert.parts import CLIP_HEAD_DIM, HEAD_DIM, Part, Step, read_part, refuse
from studio.engines.weights.layout import Opened, source_of
from studio.engines.weights.module_weights import ModuleWeights
from studio.engines.weights.reading import STORED_DTYPES, begins
from studio.errors import BadInput
from studio.models.checkpoint import Component, read_checkpoint, read_video_unet
from studio.models.weights import Report

_WINDOW_BYTES = 128 << 20
"""How much of the file is mapped and read before it is let go of: what bounds the memory that reading takes."""


def open_component(
    component: Component, path: Path, *, head_dim: int = HEAD_DIM, clip_head_dim: int = CLIP_HEAD_DIM
) -> Opened:
    """The component on the meta device, and where its tensors lie, as parts of what is stored where they are that.

    Args:
        head_dim: channels of one head of the UNet's attention; not to be seen in the weights.
        clip_head_dim: the same of CLIP's.

    Raises:
        BadInput: the file is damaged, of another family, incomplete, or holds more than it should.
    """
    checkpoint = read_checkpoint(path)
    refuse(path, "has the unknown", list(checkpoint.unknown))
    return _opened(read_part(checkpoint, component, head_dim=head_dim, clip_head_dim=clip_head_dim))


def open_video_unet(path: Path, *, head_dim: int = HEAD_DIM) -> Opened:
    """The UNet of a file that may hold no more than that, or other parts that nobody asks for; see `open_component`."""
    return _opened(read_part(read_video_unet(path), "unet", head_dim=head_dim))


def _opened(part: Part) -> Opened:
    module, steps = part.plan()
    begin = begins(part.path)
    sources = {
        target.name: source_of(
            part.path, begin[step.name], STORED_DTYPES[step.stored.dtype], step.stored.shape, target.transform
        )
        for step in steps
        for target in step.targets
    }
    return Opened(module, sources, f"the {part.component} in {part.path.name}")


def load_component(
    component: Component,
    path: Path,
    device: str,
    dtype: str,
    report: Report,
    *,
    head_dim: int = HEAD_DIM,
    clip_head_dim: int = CLIP_HEAD_DIM,
) -> nn.Module:
    """The component with its weights in place, in eval mode, wanting no gradient.

    Args:
        dtype: "fp16" or "fp32".
        report: called before the first and after each tensor.
        head_dim, clip_head_dim: see `open_component`.

    Raises:
        BadInput: see `open_component`.
        DoesNotFit: memory ran out.
    """
    opened = open_component(component, path, head_dim=head_dim, clip_head_dim=clip_head_dim)
    return ModuleWeights(opened, device, dtype).place(report)


def check(path: Path) -> None:
    """Holds all names and shapes of the file to the networks; reads its header only.

    Heads of any width will do here: no name and no shape depends on it.

    Raises:
        BadInput: the file is damaged, of another family, incomplete, or holds more than it should.
    """
    checkpoint = read_checkpoint(path)
    refuse(path, "has the unknown", list(checkpoint.unknown))
    for component in checkpoint.components:
        read_part(checkpoint, component, head_dim=1, clip_head_dim=1).plan()


def read_steps(path: Path, steps: Sequence[Step]) -> Iterator[tuple[Step, torch.Tensor]]:
    """Each step with its tensor as stored, mapped, on the CPU; the file is opened anew for every window of it.

    What has been read counts as memory of this process for as long as its mapping lives.
    """
    for window in _windows(steps):
        try:
            with safe_open(path, framework="pt", device="cpu") as opened:
                for step in window:
                    yield step, opened.get_tensor(step.name)
        except (SafetensorError, OSError) as e:
            raise BadInput(f"{path} is damaged or cut short.", "Get the file from its publisher again.") from e


def _windows(steps: Sequence[Step]) -> Iterator[list[Step]]:
    window: list[Step] = []
    for step in steps:
        if window and sum(s.stored.stored_bytes for s in window) + step.stored.stored_bytes > _WINDOW_BYTES:
            yield window
            window = []
        window.append(step)
    if window:
        yield window
