"""SVD's autoencoders -> diffusers' `AutoencoderKLTemporalDecoder` and `AutoencoderKL`.

The encoder is the conditioner's, with its quant_conv; the decoder is the first stage's. The first stage's own encoder
has no quant_conv and must not be paired with the conditioner's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from studio.engines.convert.table import Table, Target, pointwise, to, under
from studio.engines.convert.unet import RES_BLOCK

Shapes = Mapping[str, tuple[int, ...]]
"""The tensors in use, their names without the prefix: ``encoder.*``, ``quant_conv.*``, ``decoder.*``, and so on."""

SCALING_FACTOR = 0.18215
"""Latents are multiplied by it for the UNet; Stable Diffusion's own, not to be seen in the weights."""

IMAGE_RES_BLOCK: Table = {
    "norm1": to("norm1"),
    "conv1": to("conv1"),
    "norm2": to("norm2"),
    "conv2": to("conv2"),
    "nin_shortcut": to("conv_shortcut"),
}

VIDEO_RES_BLOCK: Table = {
    **under("", "spatial_res_block", IMAGE_RES_BLOCK),
    **under("time_stack", "temporal_res_block", RES_BLOCK),
    "mix_factor": to("time_mixer.mix_factor"),
}

ATTENTION: Table = {
    "norm": to("group_norm"),
    "q": to("to_q", pointwise),
    "k": to("to_k", pointwise),
    "v": to("to_v", pointwise),
    "proj_out": to("to_out.0", pointwise),
}


def table(levels: int, layers: int, *, temporal: bool) -> dict[str, tuple[Target, ...]]:
    """The key table of an autoencoder with that many resolutions and res blocks at each (one more in the decoder)."""
    encoder = _half(IMAGE_RES_BLOCK)
    for level in range(levels):
        for layer in range(layers):
            encoder |= under(f"down.{level}.block.{layer}", f"down_blocks.{level}.resnets.{layer}", IMAGE_RES_BLOCK)
        encoder[f"down.{level}.downsample.conv"] = to(f"down_blocks.{level}.downsamplers.0.conv")
    block = VIDEO_RES_BLOCK if temporal else IMAGE_RES_BLOCK
    decoder = _half(block)
    for level in range(levels):
        # Stability counts the decoder's levels from the finest, diffusers from the one that comes first.
        place = f"up_blocks.{levels - 1 - level}"
        for layer in range(layers + 1):
            decoder |= under(f"up.{level}.block.{layer}", f"{place}.resnets.{layer}", block)
        decoder[f"up.{level}.upsample.conv"] = to(f"{place}.upsamplers.0.conv")
    if temporal:
        decoder["conv_out.time_mix_conv"] = to("time_conv_out")
    return {
        **under("encoder", "encoder", encoder),
        **under("decoder", "decoder", decoder),
        "quant_conv": to("quant_conv"),
        "post_quant_conv": to("post_quant_conv"),
    }


def _half(block: Table) -> dict[str, tuple[Target, ...]]:
    """What encoder and decoder share."""
    return {
        "conv_in": to("conv_in"),
        "norm_out": to("conv_norm_out"),
        "conv_out": to("conv_out"),
        **under("mid.block_1", "mid_block.resnets.0", block),
        **under("mid.attn_1", "mid_block.attentions.0", ATTENTION),
        **under("mid.block_2", "mid_block.resnets.1", block),
    }


def size(shapes: Shapes) -> tuple[int, int]:
    """Levels, and the encoder's res blocks at each, as the names tell."""
    found = [
        m.groups() for m in (re.fullmatch(r"encoder\.down\.(\d)\.block\.(\d)\.norm1\.weight", n) for n in shapes) if m
    ]
    levels = {level for level, _ in found}
    return len(levels), len(found) // max(1, len(levels))


def config(shapes: Shapes, *, temporal: bool) -> dict[str, Any]:
    """What ``config.json`` of a diffusers folder would say.

    Raises:
        KeyError: the tensor of this name is needed to tell a size.
    """
    levels, layers = size(shapes)
    found = {
        "_class_name": "AutoencoderKLTemporalDecoder" if temporal else "AutoencoderKL",
        "in_channels": shapes["encoder.conv_in.weight"][1],
        "out_channels": shapes["decoder.conv_out.weight"][0],
        "latent_channels": shapes["decoder.conv_in.weight"][1],
        "block_out_channels": [shapes[f"encoder.down.{level}.block.0.conv1.weight"][0] for level in range(levels)],
        "down_block_types": ["DownEncoderBlock2D"] * levels,
        "layers_per_block": layers,
        "sample_size": 768,
        "scaling_factor": SCALING_FACTOR,
        "force_upcast": True,
    }
    if not temporal:
        found["up_block_types"] = ["UpDecoderBlock2D"] * levels
        found["use_post_quant_conv"] = "post_quant_conv.weight" in shapes
    return found
