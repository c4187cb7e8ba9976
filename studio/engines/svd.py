"""Stable Video Diffusion: diffusers' modules under our own sampling loop.

Shapes, precision and noise as in `studio.engines.svd_road`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from studio.diffusion import conditioning
from studio.engines.svd_between import InBetween
from studio.engines.svd_continue import Continuing
from studio.engines.svd_network import Wish
from studio.engines.svd_weights import CHANNELS_LAST as CHANNELS_LAST
from studio.engines.svd_weights import open_weights as open_weights
from studio.media.clip import Clip

if TYPE_CHECKING:
    from studio.context import Context

COMPONENTS = ("image_encoder", "unet", "vae")


class Engine(InBetween, Continuing):
    """SVD, SVD-XT or SVD-XT 1.1: which one is data in `spec` and in the weights."""

    def animate(self, picture: np.ndarray, request: Wish, ctx: Context) -> Clip:
        """A clip that begins with the picture.

        Where memory runs out the work goes on in a leaner way, after the last step that was finished; where the
        process died, a new one goes on from what this one kept.

        Args:
            picture: uint8 (H, W, 3) of the request's size, which is a multiple of 64.
            request: with no None left in it.

        Raises:
            Cancelled: at most one sampling step or one decoded chunk after it was asked for.
            DoesNotFit: memory ran out in the leanest way too.
            StudioError: the model gave numbers that are not finite, in fp32 too.
        """
        assert picture.shape == (request.height, request.width, 3), (picture.shape, request.height, request.width)
        ids = conditioning.added_ids(request.conditioning_fps, request.motion_bucket, request.noise_augmentation)
        run = self._components.start(request, ctx)
        with torch.no_grad():
            latent_TCHW = self._sampled(picture, ids, request, run, ctx)
            frames = run.phase("decode", lambda way: self._decode(latent_TCHW, way.choice, ctx))
        return Clip(frames, request.export_fps)
