"""Stable Video 3D: SVD's UNet and sampling loop, turned round an object.

Shapes: B = 1 video, T frames, C channels, S x S pixels. Precision and noise are SVD's (`studio.engines.svd_road`), but
that the decoder runs in fp32 always, each frame by itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch

from studio.diffusion.conditioning import view_vectors
from studio.engines.svd_network import Sampled
from studio.engines.svd_road import Road
from studio.engines.svd_weights import CHANNELS_LAST as CHANNELS_LAST
from studio.engines.svd_weights import open_weights as open_weights
from studio.errors import BadInput
from studio.models.costs.sv3d import as_clip
from studio.scene.orbit import Orbit
from studio.scene.views import Views

if TYPE_CHECKING:
    from studio.context import Context

COMPONENTS = ("image_encoder", "unet", "vae")


class Wish(Sampled, Protocol):
    """The fields of a multiview request that this family listens to."""

    @property
    def size(self) -> int: ...


class Engine(Road):
    """SV3D_u, which chooses its cameras, or SV3D_p, which is told them: data in `spec` and in the weights."""

    def orbit(self, picture: np.ndarray, alpha: np.ndarray, orbit: Orbit, request: Wish, ctx: Context) -> Views:
        """The views of the orbit; the last one is the picture itself.

        Goes on where memory runs out or the process died, as SVD's `animate` does.

        Args:
            picture: uint8 (S, S, 3), the object on white, of the request's size, which is a multiple of 64.
            alpha: uint8 (S, S); not looked at.
            orbit: of as many frames as the request's.
            request: with no None left in it.

        Raises:
            BadInput: the orbit changes its elevation, and the variant is told of none.
            Cancelled: at most one sampling step or one decoded chunk after it was asked for.
            DoesNotFit: memory ran out in the leanest way too.
            StudioError: the model gave numbers that are not finite, in fp32 too.
        """
        assert picture.shape == (request.size, request.size, 3), (picture.shape, request.size)
        assert len(orbit) == request.frames, (len(orbit), request.frames)
        told = self._told(orbit, request.noise_augmentation)
        run = self._components.start(request, ctx)
        with torch.no_grad():
            latent_TCHW = self._sampled(picture, told, as_clip(request), run, ctx)
            frames = run.phase("decode", lambda way: self._decode(latent_TCHW, way.choice, ctx, fp32=True))
        if self._spec.facts["last_view"] == "picture":
            frames[-1] = picture
        return Views(frames, posed="told" if self._spec.facts["told_cameras"] else "unknown")

    def _told(self, orbit: Orbit, noise_augmentation: float) -> torch.Tensor:
        """What the UNet is told besides the picture; see `studio.engines.svd_network.Conditioning`."""
        if self._spec.facts["told_cameras"]:
            return view_vectors(noise_augmentation, *orbit.radians())
        if not orbit.is_static:
            raise BadInput(
                f"orbit: {self._spec.id} goes round at one elevation only, that of the picture.",
                "Use orbit static, or sv3d-p.",
                field="orbit",
            )
        return torch.tensor([[noise_augmentation]], dtype=torch.float32)
