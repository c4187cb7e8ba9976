"""SVD's image encoder: open_clip's ViT-H/14 -> transformers' `CLIPVisionModelWithProjection`."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from studio.engines.convert.table import Table, Target, third, to, transposed, under

Shapes = Mapping[str, tuple[int, ...]]
"""The image encoder's tensors, their names without ``conditioner.embedders.0.open_clip.model.visual.``."""

_QKV = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")

LAYER: Table = {
    "ln_1": to("layer_norm1"),
    "ln_2": to("layer_norm2"),
    "attn.in_proj_weight": tuple(Target(f"{name}.weight", third(i)) for i, name in enumerate(_QKV)),
    "attn.in_proj_bias": tuple(Target(f"{name}.bias", third(i)) for i, name in enumerate(_QKV)),
    "attn.out_proj": to("self_attn.out_proj"),
    "mlp.c_fc": to("mlp.fc1"),
    "mlp.c_proj": to("mlp.fc2"),
}


def table(layers: int) -> dict[str, tuple[Target, ...]]:
    """The key table of a vision transformer with that many layers."""
    vision = {
        "class_embedding": to("embeddings.class_embedding"),
        "positional_embedding": to("embeddings.position_embedding.weight"),
        "conv1": to("embeddings.patch_embedding"),
        "ln_pre": to("pre_layrnorm"),  # so spelt in transformers
        "ln_post": to("post_layernorm"),
    }
    for layer in range(layers):
        vision |= under(f"transformer.resblocks.{layer}", f"encoder.layers.{layer}", LAYER)
    return {**under("", "vision_model", vision), "proj": to("visual_projection.weight", transposed)}


def size(shapes: Shapes) -> int:
    """The number of layers."""
    return sum(bool(re.fullmatch(r"transformer\.resblocks\.\d{1,3}\.ln_1\.weight", n)) for n in shapes)


def config(shapes: Shapes, head_dim: int) -> dict[str, Any]:
    """What ``config.json`` of a diffusers folder would say.

    Args:
        head_dim: width of one attention head; 80 in ViT-H/14, not to be seen in the weights.

    Raises:
        KeyError: the tensor of this name is needed to tell a size.
    """
    width, projected = shapes["proj"]
    patch = shapes["conv1.weight"][-1]
    return {
        "architectures": ["CLIPVisionModelWithProjection"],
        "model_type": "clip_vision_model",
        "hidden_size": width,
        "intermediate_size": shapes["transformer.resblocks.0.mlp.c_fc.weight"][0],
        "projection_dim": projected,
        "num_hidden_layers": size(shapes),
        "num_attention_heads": width // head_dim,
        "image_size": patch * math.isqrt(shapes["positional_embedding"][0] - 1),
        "patch_size": patch,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-5,
    }
