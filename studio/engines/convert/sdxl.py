"""Stable Diffusion XL's networks: Stability's single file -> diffusers' and transformers' modules.

The UNet is laid out as SVD's without its layers over time; the autoencoder is the one of `vae`. The first text encoder
is stored under transformers' own names, the second under open_clip's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from studio.engines.convert import clip, unet, vae
from studio.engines.convert.table import Target, to, transposed, under

Shapes = Mapping[str, tuple[int, ...]]
"""A component's tensors, their names without prefix."""

TEXT_HEAD_DIM = 64
"""Channels of one head in both text encoders; not to be seen in the weights."""

SCALING_FACTOR = 0.13025
"""Of the autoencoder's latents; not to be seen in the weights."""

_NUMBER_WIDTH = 256
"""Width of the embedding of one conditioning number (height, width, crop); not to be seen in the weights."""


def unet_table(attends: Sequence[bool], layers: int) -> dict[str, tuple[Target, ...]]:
    """The key table of a UNet: SVD's (see `unet.table`), with plain res blocks in place of those over time."""
    blocks: dict[str, tuple[Target, ...]] = {}
    for path, found in unet.table(attends, layers).items():
        (target,) = found
        if "temporal" in target.name or "time_mixer" in target.name or "time_pos_embed" in target.name:
            continue
        blocks[path] = to(target.name.replace(".spatial_res_block", ""), target.transform)
    return blocks


def unet_config(shapes: Shapes, head_dim: int) -> dict[str, Any]:
    """What ``config.json`` of a diffusers folder would say.

    Args:
        head_dim: channels of one attention head; 64 in all published files, not to be seen in the weights.

    Raises:
        KeyError: the tensor of this name is needed to tell a size.
    """
    widths = unet.channels(shapes)
    attends, layers = unet.size(shapes)
    depths = [_depth(shapes, f"input_blocks.{1 + i * (layers + 1)}.1") for i in range(len(widths) - 1)]
    depths.append(_depth(shapes, "middle_block.1"))  # diffusers 0.42.1 gives the middle the last level's
    kinds = ["CrossAttnDownBlock2D" if attention else "DownBlock2D" for attention in attends]
    return {
        "_class_name": "UNet2DConditionModel",
        "sample_size": 128,
        "in_channels": shapes["input_blocks.0.0.weight"][1],
        "out_channels": shapes["out.2.weight"][0],
        "block_out_channels": widths,
        "down_block_types": kinds,
        "up_block_types": [kind.replace("Down", "Up") for kind in reversed(kinds)],
        "layers_per_block": layers,
        "transformer_layers_per_block": [max(1, depth) for depth in depths],
        "cross_attention_dim": shapes["middle_block.1.transformer_blocks.0.attn2.to_k.weight"][1],
        "attention_head_dim": [count // head_dim for count in widths],  # so called in diffusers; heads are counted
        "use_linear_projection": True,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": _NUMBER_WIDTH,
        "projection_class_embeddings_input_dim": shapes["label_emb.0.0.weight"][1],
    }


def _depth(shapes: Shapes, place: str) -> int:
    return sum(bool(re.fullmatch(rf"{re.escape(place)}\.transformer_blocks\.\d+\.norm1\.weight", n)) for n in shapes)


def vae_table(shapes: Shapes) -> dict[str, tuple[Target, ...]]:
    """The key table of the autoencoder whose tensors these are."""
    return vae.table(*vae.size(shapes), temporal=False)


def vae_config(shapes: Shapes) -> dict[str, Any]:
    """What ``config.json`` of a diffusers folder would say.

    Raises:
        KeyError: the tensor of this name is needed to tell a size.
    """
    return {**vae.config(shapes, temporal=False), "sample_size": 1024, "scaling_factor": SCALING_FACTOR}


def text_table() -> dict[str, tuple[Target, ...]]:
    """The key table of the first text encoder: its names as they are."""
    return {"text_model": to("text_model")}


def text_config(shapes: Shapes) -> dict[str, Any]:
    """What ``config.json`` of a diffusers folder would say.

    Raises:
        KeyError: the tensor of this name is needed to tell a size.
    """
    tokens, width = shapes["text_model.embeddings.token_embedding.weight"]
    return _text_config(
        tokens,
        width,
        positions=shapes["text_model.embeddings.position_embedding.weight"][0],
        layers=_count(shapes, r"text_model\.encoder\.layers\.\d{1,3}\.layer_norm1\.weight"),
        inner=shapes["text_model.encoder.layers.0.mlp.fc1.weight"][0],
        projected=width,
        act="quick_gelu",
    )


def open_text_table(shapes: Shapes) -> dict[str, tuple[Target, ...]]:
    """The key table of the second text encoder, which open_clip named."""
    text = {
        "token_embedding": to("embeddings.token_embedding"),
        "positional_embedding": to("embeddings.position_embedding.weight"),
        "ln_final": to("final_layer_norm"),
    }
    for layer in range(_open_layers(shapes)):
        text |= under(f"transformer.resblocks.{layer}", f"encoder.layers.{layer}", clip.LAYER)
    return {**under("", "text_model", text), "text_projection": to("text_projection.weight", transposed)}


def open_text_config(shapes: Shapes) -> dict[str, Any]:
    """What ``config.json`` of a diffusers folder would say.

    Raises:
        KeyError: the tensor of this name is needed to tell a size.
    """
    tokens, width = shapes["token_embedding.weight"]
    return _text_config(
        tokens,
        width,
        positions=shapes["positional_embedding"][0],
        layers=_open_layers(shapes),
        inner=shapes["transformer.resblocks.0.mlp.c_fc.weight"][0],
        projected=shapes["text_projection"][1],
        act="gelu",
    )


def _open_layers(shapes: Shapes) -> int:
    return _count(shapes, r"transformer\.resblocks\.\d{1,3}\.ln_1\.weight")


def _count(shapes: Shapes, pattern: str) -> int:
    return sum(bool(re.fullmatch(pattern, name)) for name in shapes)


def _text_config(
    tokens: int, width: int, *, positions: int, layers: int, inner: int, projected: int, act: str
) -> dict[str, Any]:
    return {
        "model_type": "clip_text_model",
        "vocab_size": tokens,
        "hidden_size": width,
        "intermediate_size": inner,
        "projection_dim": projected,
        "num_hidden_layers": layers,
        "num_attention_heads": width // TEXT_HEAD_DIM,
        "max_position_embeddings": positions,
        "hidden_act": act,
        "layer_norm_eps": 1e-5,
        "bos_token_id": 0,
        "eos_token_id": 2,  # as published; transformers takes it for "the token of the highest number"
        "pad_token_id": 1,
    }
