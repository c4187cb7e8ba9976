"""A complete SVD in diffusers' folder layout at tiny size: the real classes, seeded random weights, a few MB.

    folder = write_tiny_svd(models_dir / "tiny-svd", frames=4)
    tiny_spec_yaml("tiny-svd", configs_dir, frames=4)

The weights keep the variance of what passes through them, so that a wrong conditioning value is visible in the
result, as it is with trained weights.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import yaml

# With 32 channels a group norm of 32 groups takes each channel's mean away, and with it the embedding of fps and
# motion bucket: at least one level needs 64, or no test can see those two.
UNET: dict[str, Any] = {
    "sample_size": 8,
    "in_channels": 8,
    "out_channels": 4,
    "block_out_channels": [32, 64],
    "down_block_types": ["CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal"],
    "up_block_types": ["UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal"],
    "layers_per_block": 1,
    "cross_attention_dim": 32,
    "num_attention_heads": [2, 4],
    "addition_time_embed_dim": 32,
    "projection_class_embeddings_input_dim": 96,
    "num_frames": 4,
}
# Two layers a block: diffusers' temporal mid block has as many resnets as there are layers, Stability's always two.
VAE: dict[str, Any] = {
    "block_out_channels": [32, 32, 32, 32],
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "layers_per_block": 2,
    "latent_channels": 4,
    "sample_size": 64,
    "scaling_factor": 0.18215,
    "force_upcast": True,
}
IMAGE_ENCODER: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "projection_dim": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": 224,
    "patch_size": 32,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-5,
}
SCHEDULER: dict[str, Any] = {
    "_class_name": "EulerDiscreteScheduler",
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "v_prediction",
    "timestep_type": "continuous",
    "timestep_spacing": "leading",
    "steps_offset": 1,
    "use_karras_sigmas": True,
    "sigma_min": 0.002,
    "sigma_max": 700.0,
}
FEATURE_EXTRACTOR: dict[str, Any] = {
    "image_processor_type": "CLIPImageProcessor",
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
    "do_resize": True,
    "size": {"shortest_edge": 224},
    "do_center_crop": True,
    "crop_size": {"height": 224, "width": 224},
    "do_rescale": True,
    "rescale_factor": 0.00392156862745098,
    "do_normalize": True,
    "do_convert_rgb": True,
    "resample": 3,
}
DIFFUSERS_WARNS = "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"
"""For `pytest.mark.filterwarnings`: diffusers 0.42.1's scheduler hands tensors to numpy.array as numpy 2 deprecates."""

_CLASSES = {
    "feature_extractor": ["transformers", "CLIPImageProcessor"],
    "image_encoder": ["transformers", "CLIPVisionModelWithProjection"],
    "scheduler": ["diffusers", "EulerDiscreteScheduler"],
    "unet": ["diffusers", "UNetSpatioTemporalConditionModel"],
    "vae": ["diffusers", "AutoencoderKLTemporalDecoder"],
}


def write_tiny_svd(folder: Path, *, frames: int = 14, seed: int = 0, dtype: Literal["fp32", "fp16"] = "fp32") -> Path:
    """`folder`, now holding a whole diffusers pipeline: model_index.json, unet, vae, image_encoder and the rest.

    Args:
        frames: what the UNet's config says it makes; any number runs.
        seed: of the weights; same seed, same bytes.
        dtype: fp16 also gives the files their `.fp16.safetensors` names, as on the hub.
    """
    from safetensors.torch import save_file

    index = {"_class_name": "StableVideoDiffusionPipeline", "_diffusers_version": "0.24.0", **_CLASSES}
    _write_json(folder / "model_index.json", index)
    _write_json(folder / "scheduler" / "scheduler_config.json", SCHEDULER)
    _write_json(folder / "feature_extractor" / "preprocessor_config.json", FEATURE_EXTRACTOR)
    for name, (model, config) in _models(frames, seed).items():
        _write_json(folder / name / "config.json", config)
        tensors = {k: v.detach().contiguous() for k, v in model.state_dict().items()}
        if dtype == "fp16":
            tensors = {k: v.half() for k, v in tensors.items()}
        save_file(tensors, folder / tiny_weights(dtype)[name], metadata={"format": "pt"})
    return folder


def tiny_weights(dtype: Literal["fp32", "fp16"] = "fp32") -> dict[str, str]:
    """Component -> weights file inside the folder that `write_tiny_svd` writes."""
    middle = ".fp16" if dtype == "fp16" else ""
    return {
        "image_encoder": f"image_encoder/model{middle}.safetensors",
        "unet": f"unet/diffusion_pytorch_model{middle}.safetensors",
        "vae": f"vae/diffusion_pytorch_model{middle}.safetensors",
    }


def tiny_spec_yaml(
    id: str, folder: Path, *, frames: int = 4, steps: int = 2, dtype: Literal["fp32", "fp16"] = "fp32"
) -> Path:
    """`folder/<id>.yaml`: a variant of the svd family whose weights are looked for in `<models_dir>/<id>`."""
    options = {
        "frames": {"default": frames, "min": 2, "max": 25, "trained": [frames]},
        "export_fps": {"default": 7},
        "width": {"default": 64, "min": 64, "max": 512, "multiple_of": 64},
        "height": {"default": 64, "min": 64, "max": 512, "multiple_of": 64},
        "steps": {"default": steps},
        "sampler": {"default": "euler"},
        "guidance": {"default": "linear"},
        "guidance_min": {"default": 1.0},
        "guidance_max": {"default": 2.5},
        "noise_augmentation": {"default": 0.02},
        "motion_bucket": {"default": 127},
        "conditioning_fps": {"default": 7},
        "decode": {"default": "auto"},
        "decode_chunk": {"default": frames},
    }
    spec = {
        "id": id,
        "title": "Tiny SVD (random weights)",
        "summary": "For tests: the real classes at tiny size.",
        "family": "svd",
        "capabilities": {
            "image-to-video": {"options": options},
            "in-between": {
                "options": {
                    **options,
                    "between_prior": {"default": "vibid"},
                    "overlap": {"default": 1},
                    "windows": {"default": 1},
                }
            },
        },
        "sources": [
            {
                "kind": "hub",
                "repo": f"tests/{id}",
                "revision": "0" * 40,
                "dtype": dtype,
                "weights": tiny_weights(dtype),
                "other": [f"{c}/config.json" for c in ("image_encoder", "unet", "vae")],
                "total_bytes": 8_300_000,
            }
        ],
        "licence": {"name": "made by the tests"},
        "facts": {"sigma_min": 0.002, "sigma_max": 700.0, "rho": 7.0},
        "component_bytes": {"image_encoder": 240_000, "unet": 2_640_000, "vae": 1_250_000},
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{id}.yaml"
    path.write_text(yaml.safe_dump(spec, sort_keys=False), encoding="utf-8")
    return path


def keep_variance(module: Any, generator: Any) -> None:
    """Fills the module's parameters so that activations keep a variance near 1, whatever the depth.

    Matrices are normal with variance 1 / fan-in, norms near the identity, biases and mixing factors small.
    Works in place, in the parameters' own dtype and device; `generator` must live on that device.
    """
    import torch

    with torch.no_grad():
        for name, p in module.named_parameters():
            if p.ndim >= 2:
                p.normal_(0.0, (p[0].numel()) ** -0.5, generator=generator)
            elif name.endswith("weight"):
                p.normal_(1.0, 0.05, generator=generator)
            else:
                p.normal_(0.0, 0.1, generator=generator)


def _models(frames: int, seed: int) -> dict[str, tuple[Any, dict[str, Any]]]:
    import torch
    from diffusers import AutoencoderKLTemporalDecoder, UNetSpatioTemporalConditionModel
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    unet_config = {"_class_name": "UNetSpatioTemporalConditionModel", **UNET, "num_frames": frames}
    vae_config = {"_class_name": "AutoencoderKLTemporalDecoder", **VAE}
    clip_config = {"architectures": ["CLIPVisionModelWithProjection"], "model_type": "clip_vision_model"}
    clip_config = {**clip_config, **IMAGE_ENCODER}
    with torch.random.fork_rng(devices=[]):
        models = {
            "unet": (UNetSpatioTemporalConditionModel.from_config(unet_config), unet_config),
            "vae": (AutoencoderKLTemporalDecoder.from_config(vae_config), vae_config),
            "image_encoder": (CLIPVisionModelWithProjection(CLIPVisionConfig(**IMAGE_ENCODER)), clip_config),
        }
    for i, (model, _) in enumerate(models.values()):
        keep_variance(model, torch.Generator().manual_seed(seed * 16 + i))
    return models


def _write_json(path: Path, data: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data, indent=2), encoding="utf-8")


def euler_scheduler() -> Any:
    """diffusers' scheduler as SVD's folders configure it."""
    from diffusers import EulerDiscreteScheduler

    return EulerDiscreteScheduler.from_config(SCHEDULER)
