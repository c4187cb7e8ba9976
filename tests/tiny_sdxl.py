"""A complete Stable Diffusion XL at tiny size, as a diffusers folder or as a single file: real classes, seeded weights.

    folder = write_tiny_sdxl(models_dir / "tiny-sdxl")
    tiny_sdxl_yaml("tiny-sdxl", configs_dir)
    write_tiny_refiner(models_dir / "tiny-refiner")
    tiny_refiner_yaml("tiny-refiner", configs_dir)

The weights keep the variance of what passes through them, so that a wrong setting is visible in the result.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import yaml

from tests.tiny import keep_variance

# Heads are 64 wide, as in the published files, so that the same networks can be read from a single file.
UNET: dict[str, Any] = {
    "sample_size": 8,
    "in_channels": 4,
    "out_channels": 4,
    "block_out_channels": [64, 128],
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"],
    "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D"],
    "layers_per_block": 1,
    "transformer_layers_per_block": [1, 2],
    "cross_attention_dim": 128,
    "attention_head_dim": [1, 2],
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 64 + 6 * 256,
}
REFINER_UNET: dict[str, Any] = {
    **UNET,
    "block_out_channels": [64, 128, 128],
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
    "transformer_layers_per_block": 2,
    "cross_attention_dim": 64,
    "attention_head_dim": [1, 2, 2],
    "projection_class_embeddings_input_dim": 64 + 5 * 256,
}
VAE: dict[str, Any] = {
    "block_out_channels": [32, 32, 32, 32],
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "layers_per_block": 1,
    "latent_channels": 4,
    "sample_size": 64,
    "scaling_factor": 0.13025,
    "force_upcast": True,
}
TEXT: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "projection_dim": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 1,
    "max_position_embeddings": 77,
    "hidden_act": "quick_gelu",
    "layer_norm_eps": 1e-5,
    "bos_token_id": 0,
    "eos_token_id": 2,
    "pad_token_id": 1,
}
TEXT_2: dict[str, Any] = {**TEXT, "num_hidden_layers": 3, "hidden_act": "gelu"}
SCHEDULER: dict[str, Any] = {
    "_class_name": "EulerDiscreteScheduler",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "interpolation_type": "linear",
    "num_train_timesteps": 1000,
    "prediction_type": "epsilon",
    "steps_offset": 1,
    "timestep_spacing": "leading",
    "use_karras_sigmas": False,
}
_INDEX = {
    "_class_name": "StableDiffusionXLPipeline",
    "_diffusers_version": "0.24.0",
    "force_zeros_for_empty_prompt": True,
    "scheduler": ["diffusers", "EulerDiscreteScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "tokenizer_2": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}
_REFINER_INDEX = {
    **_INDEX,
    "_class_name": "StableDiffusionXLImg2ImgPipeline",
    "force_zeros_for_empty_prompt": False,
    "requires_aesthetics_score": True,
    "text_encoder": [None, None],
    "tokenizer": [None, None],
}
BUCKETS = [[64, 128], [64, 64], [128, 64]]
"""Sizes that it is said to be trained at."""

START, END = "<|startoftext|>", "<|endoftext|>"


def write_tiny_sdxl(folder: Path, *, seed: int = 0, dtype: Literal["fp32", "fp16"] = "fp32") -> Path:
    """`folder`, now a whole pipeline: model_index.json, the four networks, two tokenizers and the scheduler."""
    return _write(folder, _networks(len(tiny_vocabulary()), seed), _INDEX, dtype)


def write_tiny_refiner(folder: Path, *, seed: int = 0) -> Path:
    """`folder`, now a whole refiner, whose text encoder and autoencoder are those of `write_tiny_sdxl`; fp32."""
    return _write(folder, _refiner_networks(len(tiny_vocabulary()), seed), _REFINER_INDEX, "fp32")


def _write(folder: Path, networks: Any, index: dict[str, Any], dtype: Literal["fp32", "fp16"]) -> Path:
    from safetensors.torch import save_file

    words = tiny_vocabulary()
    _write_json(folder / "model_index.json", index)
    _write_json(folder / "scheduler" / "scheduler_config.json", SCHEDULER)
    for name, pad in (("tokenizer", END), ("tokenizer_2", "!")):
        if index[name] == [None, None]:
            continue
        _write_json(folder / name / "vocab.json", words)
        (folder / name / "merges.txt").write_text("#version: 0.2\n", encoding="utf-8")
        marks = {"bos_token": START, "eos_token": END, "unk_token": END, "pad_token": pad}
        _write_json(folder / name / "special_tokens_map.json", marks)
        settings = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77, **marks}
        _write_json(folder / name / "tokenizer_config.json", settings)
    for name, (tensors, config) in networks.items():
        _write_json(folder / name / "config.json", config)
        tensors = {k: v.half() if dtype == "fp16" else v for k, v in tensors.items()}
        save_file(tensors, folder / tiny_sdxl_weights(dtype)[name], metadata={"format": "pt"})
    return folder


def tiny_sdxl_weights(dtype: Literal["fp32", "fp16"] = "fp32") -> dict[str, str]:
    """Component -> weights file inside the folder that `write_tiny_sdxl` writes."""
    middle = ".fp16" if dtype == "fp16" else ""
    return {
        "text_encoder": f"text_encoder/model{middle}.safetensors",
        "text_encoder_2": f"text_encoder_2/model{middle}.safetensors",
        "unet": f"unet/diffusion_pytorch_model{middle}.safetensors",
        "vae": f"vae/diffusion_pytorch_model{middle}.safetensors",
    }


def tiny_sdxl_yaml(id: str, folder: Path, *, capability: str = "text-to-image") -> Path:
    """`folder/<id>.yaml`: a variant of the sdxl family whose weights are looked for in `<models_dir>/<id>`."""
    options = {
        "negative_prompt": {"default": ""},
        "style": {"default": "none"},
        "loras": {"default": []},
        "width": {"default": 64},
        "height": {"default": 64},
        "paint_steps": {"default": 2},
        "paint_sampler": {"default": "euler"},
        "paint_guidance": {"default": 5.0},
    }
    spec = {
        "id": id,
        "title": "Tiny SDXL (random weights)",
        "summary": "For tests: the real classes at tiny size.",
        "family": "sdxl",
        "capabilities": {capability: {"options": options}},
        "sources": [
            {
                "kind": "hub",
                "repo": f"tests/{id}",
                "revision": "0" * 40,
                "dtype": "fp32",
                "weights": tiny_sdxl_weights(),
                "other": [f"{c}/config.json" for c in tiny_sdxl_weights()],
                "total_bytes": 20_000_000,
            },
            {"kind": "file", "names": [f"{id}.safetensors"], "holds": "sdxl", "total_bytes": 30_000_000},
        ],
        "licence": {"name": "made by the tests"},
        "facts": {"beta_start": 0.00085, "beta_end": 0.012, "timesteps": 1000, "buckets": BUCKETS},
        "component_bytes": {"text_encoder": 300_000, "text_encoder_2": 350_000, "unet": 14_000_000, "vae": 1_000_000},
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{id}.yaml"
    path.write_text(yaml.safe_dump(spec, sort_keys=False), encoding="utf-8")
    return path


def tiny_refiner_yaml(id: str, folder: Path) -> Path:
    """`folder/<id>.yaml`: a refiner whose weights are looked for in `<models_dir>/<id>`."""
    weights = {c: file for c, file in tiny_sdxl_weights().items() if c != "text_encoder"}
    spec = {
        "id": id,
        "title": "Tiny refiner (random weights)",
        "summary": "For tests: the real classes at tiny size.",
        "family": "sdxl",
        "capabilities": {"refine": {"options": {"refine_from": {"default": 0.8}}}},
        "sources": [
            {
                "kind": "hub",
                "repo": f"tests/{id}",
                "revision": "0" * 40,
                "dtype": "fp32",
                "weights": weights,
                "other": [f"{c}/config.json" for c in weights],
                "total_bytes": 20_000_000,
            },
        ],
        "licence": {"name": "made by the tests"},
        "facts": {
            "beta_start": 0.00085,
            "beta_end": 0.012,
            "timesteps": 1000,
            "aesthetic_scores": [6.0, 2.5],
            "empty_negative": "encoded",
        },
        "component_bytes": {"text_encoder_2": 350_000, "unet": 17_000_000, "vae": 1_000_000},
    }
    path = folder / f"{id}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(spec, sort_keys=False), encoding="utf-8")
    return path


def write_tiny_sdxl_file(path: Path, *, seed: int = 0) -> dict[str, dict[str, Any]]:
    """Writes the same networks as one file in Stability's layout (fp16, CLIP's whole vocabulary); returns what each
    network's tensors were before, by the names of a diffusers folder.
    """
    import torch
    from safetensors.torch import save_file

    from studio.engines.convert import sdxl
    from studio.engines.convert.table import source

    networks = {c: {k: v.half() for k, v in t.items()} for c, (t, _) in _networks(49408, seed).items()}
    prefixed = _open_clip_names(networks["text_encoder_2"], "conditioner.embedders.1.model.")
    prefixed |= {f"conditioner.embedders.0.transformer.{k}": v for k, v in networks["text_encoder"].items()}
    for name, tensor in networks["unet"].items():
        prefixed[f"model.diffusion_model.{source(sdxl.unet_table([False, True], 1), name)}"] = tensor
    prefixed |= {f"first_stage_model.{k}": v for k, v in tiny_bare_vae(networks["vae"]).items()}
    prefixed["conditioner.embedders.0.transformer.text_model.embeddings.position_ids"] = torch.arange(77)[None]
    prefixed["conditioner.embedders.1.model.logit_scale"] = torch.tensor(4.6)
    save_file({k: v.contiguous() for k, v in prefixed.items()}, path)
    return networks


def write_tiny_refiner_file(path: Path, *, seed: int = 0) -> dict[str, dict[str, Any]]:
    """The same for the refiner; see `write_tiny_sdxl_file`."""
    import torch
    from safetensors.torch import save_file

    from studio.engines.convert import sdxl
    from studio.engines.convert.table import source

    networks = {c: {k: v.half() for k, v in t.items()} for c, (t, _) in _refiner_networks(49408, seed).items()}
    prefixed = _open_clip_names(networks["text_encoder_2"], "conditioner.embedders.0.model.")
    for name, tensor in networks["unet"].items():
        prefixed[f"model.diffusion_model.{source(sdxl.unet_table([False, True, False], 1), name)}"] = tensor
    prefixed |= {f"first_stage_model.{k}": v for k, v in tiny_bare_vae(networks["vae"]).items()}
    prefixed["conditioner.embedders.0.model.logit_scale"] = torch.tensor(4.6)
    save_file({k: v.contiguous() for k, v in prefixed.items()}, path)
    return networks


def _open_clip_names(text_2: dict[str, Any], prefix: str) -> dict[str, Any]:
    """The second text encoder's tensors as open_clip named them."""
    import torch

    from studio.engines.convert import sdxl
    from studio.engines.convert.table import source

    stored = {}
    for name, tensor in text_2.items():
        if "q_proj" in name:
            joined = [text_2[name.replace("q_proj", f"{x}_proj")] for x in "qkv"]
            place = name.replace("text_model.encoder.layers.", "transformer.resblocks.")
            stored[place.replace("self_attn.q_proj.", "attn.in_proj_")] = torch.cat(joined)
        elif "k_proj" not in name and "v_proj" not in name:
            stored[source(sdxl.open_text_table(_OPEN_CLIP), name)] = tensor.t() if "projection" in name else tensor
    return {f"{prefix}{k}": v for k, v in stored.items()}


def tiny_bare_vae(tensors: dict[str, Any]) -> dict[str, Any]:
    """The autoencoder's tensors under Stability's names, as ``sdxl_vae.safetensors`` has them."""
    from studio.engines.convert import vae
    from studio.engines.convert.table import source

    table = vae.table(4, 1, temporal=False)
    found = {}
    for name, tensor in tensors.items():
        key = source(table, name)
        square = key.endswith("weight") and ".attn_1." in key and ".norm." not in key
        found[key] = (tensor[:, :, None, None] if square else tensor).contiguous()
    return found


# What the key table reads off a file: how many layers there are.
_OPEN_CLIP = {f"transformer.resblocks.{i}.ln_1.weight": (64,) for i in range(3)}


def tiny_vocabulary() -> dict[str, int]:
    """CLIP's bytes, alone and at the end of a word, and its two marks; no merges."""
    from studio.engines.clip_tokens import _vocabulary

    letters = list(_vocabulary()[0])[:512]
    return {word: number for number, word in enumerate([*letters, START, END])}


def _networks(tokens: int, seed: int) -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    """Component -> tensors under the published names, and config."""
    import torch
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    configs = {
        "text_encoder": {"architectures": ["CLIPTextModel"], "model_type": "clip_text_model",
                         "vocab_size": tokens, **TEXT},
        "text_encoder_2": {"architectures": ["CLIPTextModelWithProjection"], "model_type": "clip_text_model",
                           "vocab_size": tokens, **TEXT_2},
        "unet": {"_class_name": "UNet2DConditionModel", **UNET},
        "vae": {"_class_name": "AutoencoderKL", **VAE},
    }  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        models = {
            "text_encoder": CLIPTextModel(CLIPTextConfig(**configs["text_encoder"])),
            "text_encoder_2": CLIPTextModelWithProjection(CLIPTextConfig(**configs["text_encoder_2"])),
            "unet": UNet2DConditionModel.from_config(configs["unet"]),
            "vae": AutoencoderKL.from_config(configs["vae"]),
        }
    found = {}
    for i, (name, model) in enumerate(models.items()):
        tensors = _drawn(model, seed * 16 + i)
        if name == "text_encoder":  # published before transformers dropped the prefix
            tensors = {k if k.startswith("text_model.") else f"text_model.{k}": v for k, v in tensors.items()}
        found[name] = (tensors, configs[name])
    return found


def _refiner_networks(tokens: int, seed: int) -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    """The same for the refiner: the base's second text encoder and autoencoder, and a UNet of its own."""
    import torch
    from diffusers import UNet2DConditionModel

    base = _networks(tokens, seed)
    config = {"_class_name": "UNet2DConditionModel", **REFINER_UNET}
    with torch.random.fork_rng(devices=[]):
        unet = UNet2DConditionModel.from_config(config)
    return {"text_encoder_2": base["text_encoder_2"], "unet": (_drawn(unet, seed * 16 + 8), config), "vae": base["vae"]}


def _drawn(model: Any, seed: int) -> dict[str, Any]:
    import torch

    keep_variance(model, torch.Generator().manual_seed(seed))
    return {k: v.detach().contiguous() for k, v in model.state_dict().items()}


def _write_json(path: Path, data: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data, indent=2), encoding="utf-8")
