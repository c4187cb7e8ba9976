"""SVD's and SV3D's UNet: Stability's `VideoUNet` -> diffusers' `UNetSpatioTemporalConditionModel`.

Source of the rules: both implementations; checked name by name and shape by shape against the full-size key lists.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from studio.engines.convert.table import Table, Target, to, under

Shapes = Mapping[str, tuple[int, ...]]
"""The UNet's tensors, their names without ``model.diffusion_model.``."""

SCALAR_WIDTH = 256
"""Width of the embedding of one conditioning number (fps, motion bucket, ...); not to be seen in the weights."""

RES_BLOCK: Table = {
    "in_layers.0": to("norm1"),
    "in_layers.2": to("conv1"),
    "emb_layers.1": to("time_emb_proj"),
    "out_layers.0": to("norm2"),
    "out_layers.3": to("conv2"),
    "skip_connection": to("conv_shortcut"),
}
"""A 2-D res block; the 3-D one has the same names."""

VIDEO_RES_BLOCK: Table = {
    **under("", "spatial_res_block", RES_BLOCK),
    **under("time_stack", "temporal_res_block", RES_BLOCK),
    "time_mixer": to("time_mixer"),
}

ATTENTION: Table = {
    "norm": to("norm"),
    "proj_in": to("proj_in"),
    "proj_out": to("proj_out"),
    "transformer_blocks": to("transformer_blocks"),
    "time_stack": to("temporal_transformer_blocks"),
    "time_pos_embed.0": to("time_pos_embed.linear_1"),
    "time_pos_embed.2": to("time_pos_embed.linear_2"),
    "time_mixer": to("time_mixer"),
}


def table(attends: Sequence[bool], layers: int) -> dict[str, tuple[Target, ...]]:
    """The key table of a UNet.

    Args:
        attends: for each level, the finest first: whether its blocks attend.
        layers: res blocks of a level on the way down; there is one more on the way up.
    """
    found = {
        "time_embed.0": to("time_embedding.linear_1"),
        "time_embed.2": to("time_embedding.linear_2"),
        "label_emb.0.0": to("add_embedding.linear_1"),
        "label_emb.0.2": to("add_embedding.linear_2"),
        "input_blocks.0.0": to("conv_in"),
        "out.0": to("conv_norm_out"),
        "out.2": to("conv_out"),
        **under("middle_block.0", "mid_block.resnets.0", VIDEO_RES_BLOCK),
        **under("middle_block.1", "mid_block.attentions.0", ATTENTION),
        **under("middle_block.2", "mid_block.resnets.1", VIDEO_RES_BLOCK),
    }
    last = len(attends) - 1
    for level, attention in enumerate(attends):
        first = 1 + level * (layers + 1)
        for layer in range(layers):
            found |= _block(f"input_blocks.{first + layer}", f"down_blocks.{level}", layer, attention)
        if level < last:
            found[f"input_blocks.{first + layers}.0.op"] = to(f"down_blocks.{level}.downsamplers.0.conv")
    for level, attention in enumerate(reversed(attends)):
        first = level * (layers + 1)
        for layer in range(layers + 1):
            found |= _block(f"output_blocks.{first + layer}", f"up_blocks.{level}", layer, attention)
        if level < last:
            # The last block of a level also enlarges: its third child, or its second where it does not attend.
            child = f"output_blocks.{first + layers}.{2 if attention else 1}"
            found[f"{child}.conv"] = to(f"up_blocks.{level}.upsamplers.0.conv")
    return found


def _block(source: str, place: str, layer: int, attention: bool) -> dict[str, tuple[Target, ...]]:
    return {
        **under(f"{source}.0", f"{place}.resnets.{layer}", VIDEO_RES_BLOCK),
        **(under(f"{source}.1", f"{place}.attentions.{layer}", ATTENTION) if attention else {}),
    }


def size(shapes: Shapes) -> tuple[list[bool], int]:
    """For each level whether it attends, and the res blocks of each on the way down, as the names tell."""
    blocks = {m.group(1) for m in (re.match(r"input_blocks\.(\d{1,3})\.", n) for n in shapes) if m}
    levels = 1 + sum(bool(re.fullmatch(r"input_blocks\.\d{1,3}\.0\.op\.weight", n)) for n in shapes)
    layers = (len(blocks) - levels) // levels
    return [f"input_blocks.{1 + level * (layers + 1)}.1.norm.weight" in shapes for level in range(levels)], layers


def channels(shapes: Shapes) -> list[int]:
    """The width of each level.

    Raises:
        KeyError: the tensor of this name is needed to tell it.
    """
    attends, layers = size(shapes)
    return [shapes[f"input_blocks.{1 + i * (layers + 1)}.0.out_layers.3.weight"][0] for i in range(len(attends))]


def config(shapes: Shapes, head_dim: int, frames: int, *, per_frame: bool) -> dict[str, Any]:
    """What ``config.json`` of a diffusers folder would say.

    Args:
        head_dim: channels of one attention head; 64 in all published files, not to be seen in the weights.
        frames: what it was trained for, which is not in the weights either and which nothing depends on.
        per_frame: it is told something of every frame (SV3D_p), which takes a class of our own.

    Raises:
        KeyError: the tensor of this name is needed to tell a size.
    """
    widths = channels(shapes)
    attends, layers = size(shapes)
    kinds = ["CrossAttn" if attention else "" for attention in attends]
    middle = "middle_block.1.transformer_blocks"
    return {
        "_class_name": "PerFrameUNet" if per_frame else "UNetSpatioTemporalConditionModel",
        "sample_size": 96,
        "in_channels": shapes["input_blocks.0.0.weight"][1],
        "out_channels": shapes["out.2.weight"][0],
        "block_out_channels": widths,
        "down_block_types": [f"{kind}DownBlockSpatioTemporal" for kind in kinds],
        "up_block_types": [f"{kind}UpBlockSpatioTemporal" for kind in reversed(kinds)],
        "layers_per_block": layers,
        "transformer_layers_per_block": sum(bool(re.fullmatch(rf"{middle}\.\d+\.norm1\.weight", n)) for n in shapes),
        "cross_attention_dim": shapes[f"{middle}.0.attn2.to_k.weight"][1],
        "num_attention_heads": [count // head_dim for count in widths],
        "addition_time_embed_dim": SCALAR_WIDTH,
        "projection_class_embeddings_input_dim": shapes["label_emb.0.0.weight"][1],
        "num_frames": frames,
    }
