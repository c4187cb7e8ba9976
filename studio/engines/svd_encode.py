"""What SVD's encoders say about pictures: CLIP's embedding, and the latent of the VAE.

Shapes: B batch, C channels, H x W pixels, h x w latent cells. The VAE encodes in fp32 always.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn
from transformers import CLIPImageProcessorPil

from studio.diffusion import conditioning
from studio.engines.svd_decode import dtype_of, in_fp32

if TYPE_CHECKING:
    from studio.context import Context
    from studio.models.run import Run


class Encoder:
    """The encode phase of one job. What an encoder gave for the same pixels before is recalled, and then nothing
    needs to be on the device.

    Args:
        components: the lease's (see `studio.engines`).
        total: how many things will be asked for; each is reported under ``encode``.
    """

    def __init__(self, components: Any, run: Run, ctx: Context, *, total: int) -> None:
        self._components, self._run, self._ctx = components, run, ctx
        self._done, self._total = 0, total
        ctx.step(0, total, "encode")

    def embedding(self, pixels_BCHW: torch.Tensor) -> torch.Tensor:
        """CLIP's of pixels in [-1, 1]: fp32 (B, 1, C) on the host."""

        def embed() -> torch.Tensor:
            with self._components.use("image_encoder", phase="encode") as (image_encoder,):
                seen_BCHW = clip_pixels(pixels_BCHW).to(self._components.device, dtype_of(image_encoder))
                return image_encoder(pixel_values=seen_BCHW).image_embeds.float().cpu()

        return self._recalled("image_encoder", pixels_BCHW, embed)[:, None]

    def latent(self, pixels_BCHW: torch.Tensor) -> torch.Tensor:
        """The VAE's mean for pixels in [-1, 1]: fp32 (B, C, h, w) on the host, not scaled."""

        def encode() -> torch.Tensor:
            with self._components.use("vae", phase="encode") as (vae,):
                return encode_mean(vae, pixels_BCHW.to(self._components.device)).cpu()

        return self._recalled("vae", pixels_BCHW, encode)

    def scaling(self) -> float:
        """What the VAE's latents are multiplied by to become those that are sampled; not counted."""

        def read() -> torch.Tensor:
            with self._components.use("vae", phase="encode") as (vae,):
                return torch.tensor(vae.config.scaling_factor, dtype=torch.float64)

        return float(
            self._components.recall(
                "vae", "scaling factor", lambda: self._run.phase("encode", lambda way: read(), whole=False)
            )
        )

    def _recalled(self, component: str, pixels_BCHW: torch.Tensor, make: Any) -> torch.Tensor:
        value = self._components.recall(
            component, _digest(pixels_BCHW), lambda: self._run.phase("encode", lambda way: make(), whole=False)
        )
        self._done += 1
        self._ctx.step(self._done, self._total, "encode")
        return value


def as_pixels(picture: np.ndarray) -> torch.Tensor:
    """fp32 (1, 3, H, W) in [-1, 1] of a picture, uint8 (H, W, 3)."""
    return torch.tensor(picture).permute(2, 0, 1)[None].float() / 127.5 - 1


def clip_pixels(pixels_BCHW: torch.Tensor) -> torch.Tensor:
    """What CLIP is given for pixels in [-1, 1]: 224 x 224, with CLIP's mean taken off and divided by its deviation.

    The PIL-backed processor is named outright: the other needs torchvision (transformers 5.23), and all that is
    left for it here is that normalisation.
    """
    zero_to_one = (conditioning.clip_resize(pixels_BCHW) + 1) / 2
    processor = CLIPImageProcessorPil(
        do_resize=False, do_center_crop=False, do_rescale=False, do_convert_rgb=False, do_normalize=True
    )
    return processor(images=list(zero_to_one.numpy()), return_tensors="pt").pixel_values


def encode_mean(vae: nn.Module, pixels_BCHW: torch.Tensor) -> torch.Tensor:
    """The posterior's mean for pixels in [-1, 1]: fp32 (B, C, h, w), not scaled; computed in fp32."""
    encoder, quant_conv = in_fp32(vae.encoder), in_fp32(vae.quant_conv)
    mean_BCHW, _ = quant_conv(encoder(pixels_BCHW.float())).chunk(2, dim=1)
    return mean_BCHW


def _digest(pixels_BCHW: torch.Tensor) -> str:
    """Names a picture by its content: fp32 pixels and their shape."""
    return hashlib.sha256(repr(tuple(pixels_BCHW.shape)).encode() + pixels_BCHW.numpy().tobytes()).hexdigest()
