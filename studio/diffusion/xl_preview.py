"""A glimpse of Stable Diffusion XL's latents without their decoder."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional

_RGB_OF_LATENT = ((60, -60, 25, -70), (60, -5, 15, -50), (60, 10, -5, -35))
_GREY = (150, 140, 130)
"""Rows: red, green, blue in 0..255; columns: the four latent channels. Source: Vass, "Explaining the SDXL latent
space", Hugging Face blog (2024)."""


def xl_latent_to_rgb(latent_BCHW: torch.Tensor, enlarge: int = 2) -> np.ndarray:
    """uint8 (B, enlarge H, enlarge W, 3): roughly the colours that the scaled latent (x 0.13025) will decode to.

    Values that are no numbers show as black, so that a preview never fails.
    """
    latent_BCHW = latent_BCHW.float()
    weights_OC11 = latent_BCHW.new_tensor(_RGB_OF_LATENT)[:, :, None, None]
    rgb = functional.conv2d(latent_BCHW, weights_OC11, latent_BCHW.new_tensor(_GREY))
    rgb = functional.interpolate(rgb, scale_factor=enlarge, mode="bilinear", align_corners=False)
    return rgb.nan_to_num(0.0).clamp(0, 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
