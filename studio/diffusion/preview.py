"""A glimpse of a latent without its decoder."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional

_RGB_OF_LATENT = (
    (0.298, 0.207, 0.208),
    (0.187, 0.286, 0.173),
    (-0.158, 0.189, 0.264),
    (-0.184, -0.271, -0.473),
)
"""Rows: the four latent channels; columns: red, green, blue in [-1, 1]. A least-squares fit of decoded pixels to
latents of Stable Diffusion 1's autoencoder, in whose space SVD works. Source: Keturn, "Decoding latents to RGB
without upscaling", Hugging Face forum, topic 23204 (2022)."""


def latent_to_rgb(latent_TCHW: torch.Tensor, enlarge: int = 2) -> np.ndarray:
    """uint8 (T, enlarge H, enlarge W, 3): roughly the colours that the scaled latent (x 0.18215) will decode to.

    Values that are no numbers show as black, so that a preview never fails.
    """
    weights_OC11 = torch.tensor(_RGB_OF_LATENT, dtype=torch.float32, device=latent_TCHW.device).T[:, :, None, None]
    rgb = functional.conv2d(latent_TCHW.float(), weights_OC11)
    rgb = functional.interpolate(rgb, scale_factor=enlarge, mode="bilinear", align_corners=False)
    rgb = ((rgb + 1) * 127.5).nan_to_num(0.0).clamp(0, 255).round().to(torch.uint8)
    return rgb.permute(0, 2, 3, 1).cpu().numpy()
