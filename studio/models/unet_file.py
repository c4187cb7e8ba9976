"""A file with SVD's UNet in it, alone or with others: whose names its tensors have, and what they take. No torch."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from studio.errors import BadInput
from studio.models.checkpoint import UNET, is_video_unet
from studio.models.header import Stored, read_tensors

_TEMPORAL = "down_blocks.0.resnets.0.temporal_res_block.conv1.weight"

_NOTHING = Stored("F16", (), 0)


def unet_layout(path: Path) -> Literal["diffusers", "sgm"]:
    """Whose names the file's UNet has: diffusers', where it is alone, or Stability's, where it may be in a checkpoint.

    Raises:
        BadInput: the file is damaged, or there is no video UNet in it.
    """
    tensors = read_tensors(path)
    if is_video_unet(tensors):
        return "sgm"
    if _TEMPORAL in tensors and tensors.get("conv_in.weight", _NOTHING).shape[1:2] == (8,):
        return "diffusers"
    raise BadInput(f"{path.name} holds no UNet of Stable Video Diffusion.", "Get the file from its publisher again.")


def unet_bytes(path: Path) -> int:
    """Bytes of the UNet's tensors in the file.

    Raises:
        BadInput: see `unet_layout`.
    """
    start = UNET if unet_layout(path) == "sgm" else ""
    return sum(stored.stored_bytes for name, stored in read_tensors(path).items() if name.startswith(start))
