"""The pocket networks: what the config.json of each component says, at full size and at a toy size for tests.

Every GroupNorm of diffusers' temporal decoder has 32 groups. A level of 32 channels would so lose each channel's mean,
and with it the brightness of a picture: none is so narrow where pixels are made.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

SIDE = 256
"""Height and width of the pictures, in pixels."""

FRAMES = 14
"""Of a clip of pocket-svd."""

SIGMA_MIN = 0.02
"""The lowest noise that pocket-svd and pocket-sv3d are sampled from before none: below the error of latents in fp16."""

SIGMA_MAX = 80.0
"""The highest: 2.8 standard deviations up in what they are trained on (`studio.train.noise`)."""

RHO = 7.0


@dataclass(frozen=True)
class Size:
    """How large the pictures and the networks are.

    Args:
        side: of the pictures, in pixels; an eighth of it in latent cells.
        frames: of a clip.
    """

    side: int
    frames: int
    vae_channels: tuple[int, int, int, int]
    clip_width: int
    clip_layers: int
    clip_heads: int
    clip_patch: int
    unet_channels: tuple[int, ...]
    unet_heads: tuple[int, ...]
    embedding: int
    """Width of the image encoder's embedding."""

    @property
    def cells(self) -> int:
        """Height and width of a latent."""
        return self.side // 8


FULL = Size(
    side=SIDE,
    frames=FRAMES,
    vae_channels=(64, 64, 128, 128),
    clip_width=256,
    clip_layers=4,
    clip_heads=4,
    clip_patch=14,
    unet_channels=(64, 128, 128),
    unet_heads=(2, 4, 4),
    embedding=192,
)

TOY = Size(
    side=32,
    frames=4,
    vae_channels=(64, 32, 32, 32),
    clip_width=32,
    clip_layers=1,
    clip_heads=2,
    clip_patch=56,
    unet_channels=(32, 64),
    unet_heads=(1, 2),
    embedding=32,
)


def vae_config(size: Size, scaling_factor: float = 1.0) -> dict[str, Any]:
    """Of the `AutoencoderKLTemporalDecoder` that all pocket models share.

    Args:
        scaling_factor: what a latent is multiplied by to be of unit variance.
    """
    return {
        "_class_name": "AutoencoderKLTemporalDecoder",
        "in_channels": 3,
        "out_channels": 3,
        "down_block_types": ["DownEncoderBlock2D"] * 4,
        "block_out_channels": list(size.vae_channels),
        "layers_per_block": 2,
        "latent_channels": 4,
        "sample_size": size.side,
        "scaling_factor": scaling_factor,
        "force_upcast": True,
    }


def clip_config(size: Size) -> dict[str, Any]:
    """Of the `CLIPVisionModelWithProjection`; whatever the size of the pictures, it sees them at 224 pixels."""
    return {
        "architectures": ["CLIPVisionModelWithProjection"],
        "model_type": "clip_vision_model",
        "hidden_size": size.clip_width,
        "intermediate_size": 4 * size.clip_width,
        "projection_dim": size.embedding,
        "num_hidden_layers": size.clip_layers,
        "num_attention_heads": size.clip_heads,
        "image_size": 224,
        "patch_size": size.clip_patch,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-5,
    }


def svd_config(size: Size) -> dict[str, Any]:
    """Of pocket-svd's UNet: 8 channels in (noisy latent, picture's latent), told fps - 1, motion bucket and noise."""
    return {**_unet(size), "_class_name": "UNetSpatioTemporalConditionModel", "num_frames": size.frames}


def sv3d_config(size: Size) -> dict[str, Any]:
    """Of pocket-sv3d's: pocket-svd's but for what it is told, which is SV3D_p's vector for each frame."""
    told = {"projection_class_embeddings_input_dim": 1280, "num_frames": 21}
    return {**_unet(size), "_class_name": "PerFrameUNet", **told}


def _unet(size: Size) -> dict[str, Any]:
    levels = len(size.unet_channels)
    return {
        "sample_size": size.cells,
        "in_channels": 8,
        "out_channels": 4,
        "block_out_channels": list(size.unet_channels),
        "down_block_types": ["CrossAttnDownBlockSpatioTemporal"] * levels,
        "up_block_types": ["CrossAttnUpBlockSpatioTemporal"] * levels,
        "layers_per_block": 1,
        "cross_attention_dim": size.embedding,
        "num_attention_heads": list(size.unet_heads),
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": 768,
    }
