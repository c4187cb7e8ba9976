"""SVD-XT with random weights, at full size or tiny, and the two ways to run it: diffusers' pipeline and ours."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from studio.context import Context
from studio.events import Event
from studio.models.spec import VariantSpec, read_spec
from tests import tiny
from tests.engines.held import Held

_ROOT = Path(__file__).resolve().parent.parent

FULL: dict[str, dict[str, Any]] = {
    "unet": {
        "sample_size": 96,
        "in_channels": 8,
        "out_channels": 4,
        "block_out_channels": [320, 640, 1280, 1280],
        "layers_per_block": 2,
        "cross_attention_dim": 1024,
        "num_attention_heads": [5, 10, 20, 20],
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": 768,
        "num_frames": 25,
    },
    "vae": {
        "block_out_channels": [128, 256, 512, 512],
        "down_block_types": ["DownEncoderBlock2D"] * 4,
        "layers_per_block": 2,
        "latent_channels": 4,
        "sample_size": 768,
        "scaling_factor": 0.18215,
        "force_upcast": True,
    },
    "image_encoder": {
        "hidden_size": 1280,
        "intermediate_size": 5120,
        "projection_dim": 1024,
        "num_hidden_layers": 32,
        "num_attention_heads": 16,
        "image_size": 224,
        "patch_size": 14,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-5,
    },
}
"""SVD-XT's three networks as Stability's configs describe them: 1,524,623,082 + 97,742,847 + 632,076,800 weights."""

TINY = {"unet": tiny.UNET, "vae": tiny.VAE, "image_encoder": tiny.IMAGE_ENCODER}


COMPONENTS = ("image_encoder", "unet", "vae")


def build(
    configs: dict[str, dict[str, Any]], device: str, dtype: str, seed: int = 0, names: Sequence[str] = COMPONENTS
) -> dict[str, Any]:
    """The modules in eval mode, straight on the device, with seeded weights that keep the variance.

    The norms have the eps that SVD was trained with, for both ways of running them.
    """
    import torch
    from accelerate import init_empty_weights

    from studio.engines import networks
    from studio.engines.place import DTYPES

    modules = {}
    for i, name in enumerate(COMPONENTS):
        if name not in names:
            continue
        with init_empty_weights(include_buffers=False):
            module = networks.build(name, configs[name])
        for path, parameter in list(module.named_parameters()):
            owner, _, leaf = path.rpartition(".")
            empty = torch.empty(parameter.shape, device=device, dtype=DTYPES[dtype])
            module.get_submodule(owner)._parameters[leaf] = torch.nn.Parameter(empty, requires_grad=False)
        module = module.to(device)
        tiny.keep_variance(module, torch.Generator(device).manual_seed(seed + i))
        if name == "unet":
            networks.set_trained_eps(module)
        modules[name] = module.eval()
    return modules


def write_folder(modules: dict[str, Any], configs: dict[str, dict[str, Any]], root: Path, dtype: str) -> None:
    """`root` holds the modules as a diffusers folder that the catalog's ``hub`` sources describe."""
    from safetensors.torch import save_file

    for name, module in modules.items():
        file = root / tiny.tiny_weights(dtype)[name]
        file.parent.mkdir(parents=True, exist_ok=True)
        (file.parent / "config.json").write_text(json.dumps(configs[name]), encoding="utf-8")
        save_file({k: v.detach().cpu().contiguous() for k, v in module.state_dict().items()}, file)


def make_pipeline(modules: dict[str, Any]) -> Any:
    """diffusers' own pipeline around these modules, silent."""
    from diffusers import StableVideoDiffusionPipeline
    from transformers import CLIPImageProcessorPil

    pipeline = StableVideoDiffusionPipeline(
        **modules, scheduler=tiny.euler_scheduler(), feature_extractor=CLIPImageProcessorPil()
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def svd_xt() -> VariantSpec:
    """What the studio knows of SVD-XT."""
    return read_spec(_ROOT / "configs" / "models" / "svd-xt.yaml")


def make_engine(modules: dict[str, Any], device: str, dtype: str, compiling: str = "off") -> Any:
    """The studio's engine around these modules; `compiling` is on or off."""
    from studio.engines import svd

    return svd.Engine(svd_xt(), Held(svd_xt(), modules, device=device, dtype=dtype, compiling=compiling))


def request(**given: Any) -> SimpleNamespace:
    """An image-to-video request for the engine, at SVD-XT's settings with diffusers' 25 steps."""
    values = {
        "seed": 0, "width": 1024, "height": 576, "frames": 25, "steps": 25, "guidance_min": 1.0, "guidance_max": 3.0,
        "noise_augmentation": 0.02, "motion_bucket": 127, "conditioning_fps": 7, "decode_chunk": 25, "export_fps": 7.0,
        "sampler": "euler", "guidance": "linear", "decode": "auto", "speed": "exact",
    }  # fmt: skip
    return SimpleNamespace(**{**values, **given})


def call_pipeline(pipeline: Any, picture: np.ndarray, wish: SimpleNamespace, **more: Any) -> np.ndarray:
    """float32 (T, H, W, 3) in 0..1 of diffusers' pipeline for the same wish; the same noise as the engine's.

    Args:
        more: arguments of the pipeline's that no wish has.
    """
    import torch
    from PIL import Image

    return pipeline(
        Image.fromarray(picture), wish.height, wish.width, num_frames=wish.frames, num_inference_steps=wish.steps,
        min_guidance_scale=wish.guidance_min, max_guidance_scale=wish.guidance_max, fps=wish.conditioning_fps,
        motion_bucket_id=wish.motion_bucket, noise_aug_strength=wish.noise_augmentation,
        decode_chunk_size=wish.decode_chunk, generator=torch.Generator().manual_seed(wish.seed), output_type="np",
        **more,
    ).frames[0]  # fmt: skip


def made_picture(width: int, height: int) -> np.ndarray:
    """uint8 (H, W, 3): soft blocks of colour."""
    from PIL import Image

    blocks = (np.random.default_rng(0).random((9, 16, 3)) * 255).astype(np.uint8)
    return np.asarray(Image.fromarray(blocks).resize((width, height), Image.Resampling.BICUBIC))


def quiet_context(emit: Callable[[Event], None] = lambda event: None) -> Context:
    """A context of no job; nobody listens, unless `emit` does."""
    return Context(job_id="benchmark", scratch=Path(), emit=emit, lease=lambda variant, ctx: None, find_input=Path)
