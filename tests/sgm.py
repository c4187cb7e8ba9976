"""A complete SVD or SV3D as a single-file checkpoint at tiny size, written by the key tables read backwards.

Heads are as wide as in the published files (64 and 80), so that nothing has to be said about them.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any, Literal

TINY_UNET: dict[str, Any] = {
    "in_channels": 8, "out_channels": 4, "block_out_channels": [64, 128],
    "down_block_types": ["CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal"],
    "up_block_types": ["UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal"],
    "layers_per_block": 1, "cross_attention_dim": 32, "num_attention_heads": [1, 2], "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 768,
}  # fmt: skip
TINY_VAE: dict[str, Any] = {
    "block_out_channels": [32, 32, 32, 32], "down_block_types": ["DownEncoderBlock2D"] * 4, "layers_per_block": 1 + 1,
    "latent_channels": 4, "scaling_factor": 0.18215,
}  # fmt: skip
TINY_CLIP: dict[str, Any] = {
    "hidden_size": 160, "intermediate_size": 320, "projection_dim": 32, "num_hidden_layers": 2,
    "num_attention_heads": 2, "image_size": 224, "patch_size": 56, "hidden_act": "gelu", "layer_norm_eps": 1e-5,
}  # fmt: skip


def header_bytes(shapes: dict[str, tuple[int, ...]], dtype: str = "F16") -> bytes:
    """A safetensors header for tensors of these shapes, without their data."""
    width, end, entries = {"F32": 4, "F16": 2, "F8_E4M3": 1}[dtype], 0, {}
    for name, shape in shapes.items():
        count = width
        for n in shape:
            count *= n
        entries[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [end, end + count]}
        end += count
    text = json.dumps(entries).encode()
    return struct.pack("<Q", len(text)) + text


def write_zeros(path: Path, shapes: dict[str, tuple[int, ...]], dtype: str = "F16") -> Path:
    """`path`, a whole file of zeros; on most disks its data takes no room."""
    header = header_bytes(shapes, dtype)
    entries = json.loads(header[8:])
    with path.open("wb") as file:
        file.write(header)
        file.truncate(len(header) + max((e["data_offsets"][1] for e in entries.values()), default=0))
    return path


def write_tiny_sgm(
    path: Path, kind: Literal["svd", "svd-image-decoder", "sv3d-u", "sv3d-p"] = "svd", *, seed: int = 0
) -> dict[str, Any]:
    """Writes the checkpoint (fp16) to `path`; returns the modules that it holds, fp32, in eval mode."""
    import torch
    from safetensors.torch import save_file

    from studio.engines.convert import clip, unet, vae
    from studio.engines.convert.table import source, third
    from studio.engines.networks import build
    from tests.tiny import keep_variance

    image = kind != "svd"
    vae_class = {"_class_name": "AutoencoderKL", "up_block_types": ["UpDecoderBlock2D"] * 4} if image else {}
    if kind.startswith("sv3d"):
        vae_class["use_post_quant_conv"] = False
    unet_class = {"_class_name": "PerFrameUNet"} if kind == "sv3d-p" else {}
    told = {"sv3d-u": 256, "sv3d-p": 1280}.get(kind, 768)
    unet_config = {**TINY_UNET, **unet_class, "projection_class_embeddings_input_dim": told}
    configs = {"unet": unet_config, "vae": {**TINY_VAE, **vae_class}, "image_encoder": TINY_CLIP}
    tables = {
        "unet": unet.table([True, False], 1),
        "vae": vae.table(4, 2, temporal=not image),
        "image_encoder": clip.table(2),
    }
    modules, stored = {}, {}
    for i, (component, config) in enumerate(configs.items()):
        module = build(component, config)
        keep_variance(module, torch.Generator().manual_seed(seed + i))
        modules[component] = module.half().float().eval()
        state = module.state_dict()
        for name, tensor in state.items():
            key = _prefix(component, name, kind) + source(tables[component], name)
            if key.endswith((".q.weight", ".k.weight", ".v.weight", ".proj_out.weight")) and component == "vae":
                tensor = tensor[:, :, None, None]
            elif key.endswith("visual.proj"):
                tensor = tensor.t()
            elif "in_proj_" in key:
                if "q_proj" not in name:
                    continue
                tensor = torch.cat([state[name.replace("q_proj", f"{x}_proj")] for x in "qkv"])
                assert torch.equal(third(0)(tensor), state[name])
            stored[key] = tensor.half().contiguous()
    left_over = {"conditioner.embedders.0.open_clip.model.logit_scale": torch.zeros(()),
                 f"{_encoder(kind)}decoder.conv_in.weight": torch.zeros(8, 4, 3, 3),
                 "first_stage_model.encoder.conv_in.weight": torch.zeros(8, 3, 3, 3)}  # fmt: skip
    save_file({**stored, **left_over}, path)
    return modules


def _encoder(kind: str) -> str:
    return f"conditioner.embedders.{1 if kind.startswith('sv3d') else 3}.encoder."


def _prefix(component: str, name: str, kind: str) -> str:
    if component == "vae":
        decodes = name.startswith(("decoder", "post_quant_conv"))
        return "first_stage_model." if decodes else _encoder(kind)
    return {"unet": "model.diffusion_model.", "image_encoder": "conditioner.embedders.0.open_clip.model.visual."}[
        component
    ]
