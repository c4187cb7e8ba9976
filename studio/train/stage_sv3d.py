"""pocket-sv3d: 21 views round an object, each told its camera as SV3D_p's are; begins where pocket-svd ended.

Shapes: B orbits, T views, C channels, S x S pixels, h x w latent cells.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from studio.diffusion.conditioning import ANGLE_WIDTH, SCALAR_WIDTH, sinusoid
from studio.scene.orbit import Orbit
from studio.train import networks
from studio.train.encoding import as_pixels, encode
from studio.train.pool import Rows
from studio.train.scores import psnr
from studio.train.sheets import as_frames, sheet
from studio.train.shipped import Shipped, Unwatched
from studio.train.stage_svd import mean
from studio.train.stages import Bound, Clock, Measured, Setup
from studio.train.video import VideoTraining

_NOISE = 1e-5
"""On the picture: what SV3D is run with, and so trained with here."""

_ABOVE = 1e-3


class Sv3d:
    name = "sv3d"
    needs = ("vae", "clip", "svd")
    begins_from = "svd"
    minutes = 7.0
    evaluation_s = 60.0
    bounds: Mapping[str, Bound] = {
        "orbit_psnr_db": Bound("at least", 21.0),
        "above_inflate_db": Bound("at least", _ABOVE),
        "above_repeating_db": Bound("at least", _ABOVE),
    }

    def begin(self, setup: Setup) -> _Training:
        return _Training(setup)

    def measure(self, shipped: Shipped, setup: Setup, count: int, clock: Clock) -> Measured:
        """Held-out orbits against the true ones: the 20 views that are not the picture itself."""
        source = setup.held_out()
        made_db, inflated_db, repeated_db, rows, left_out = [], [], [], [], {}
        for i in range(count):
            batch = source.orbits(1)
            true = as_frames(batch.frames[0])
            orbit = Orbit(
                tuple(float(a) for a in batch.azimuths_deg[0]), tuple(float(e) for e in batch.elevations_deg[0])
            )
            picture = true[-1]
            made = shipped.orbit(picture, orbit, seed=i)
            made_db.append(psnr(made[:-1], true[:-1]))
            repeated_db.append(psnr(np.repeat(picture[None], len(true) - 1, axis=0), true[:-1]))
            rows += [true, made] if i < 5 else []
            try:
                inflated = _inflated(picture, batch.masks[0, -1].cpu().numpy(), orbit)
            except ModuleNotFoundError as e:
                left_out["above_inflate_db"] = f"the inflate engine needs {e.name}, which is not installed here"
            else:
                inflated_db.append(psnr(inflated[:-1], true[:-1]))
                rows += [inflated] if i < 5 else []
            if clock.left_s < 8:
                break
        figures = {
            "orbit_psnr_db": mean(made_db),
            "repeating_psnr_db": mean(repeated_db),
            "above_repeating_db": mean(made_db) - mean(repeated_db),
            "samples": float(len(made_db)),
        }
        if inflated_db:
            figures |= {
                "inflate_psnr_db": mean(inflated_db),
                "above_inflate_db": mean(made_db) - mean(inflated_db),
            }
        return Measured(figures, sheet(rows), left_out)


class _Training(VideoTraining):
    def __init__(self, setup: Setup) -> None:
        own = setup.resumed("sv3d", "unet")
        super().__init__(
            setup,
            "sv3d",
            networks.sv3d_config(setup.size),
            own if own is not None else setup.state("svd", "unet"),
            **({"batch": 4, "made": 4, "first": 8, "capacity": 32} if setup.toy else
               {"batch": 12, "made": 6, "first": 192, "capacity": 10_000}),
        )  # fmt: skip

    def _make(self) -> Rows:
        batch = self._source.orbits(self._made)
        picture_BCHW = batch.frames[:, -1]
        angles_BT2 = torch.stack([90 - batch.elevations_deg, batch.azimuths_deg], dim=-1).deg2rad()
        latent_BCHW = encode(self._vae, as_pixels(picture_BCHW))
        told = {"picture_latent": latent_BCHW, "vector": view_vectors(angles_BT2)}
        return {**self._encoded(batch.frames, picture_BCHW), **told}

    def _told(self, rows: Rows) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        return rows["picture_latent"], {"vector": rows["vector"]}


def view_vectors(angles_BT2: torch.Tensor) -> torch.Tensor:
    """fp32 (B, T, 1280): `studio.diffusion.conditioning.view_vectors` of many orbits, on their device.

    Args:
        angles_BT2: polar angle and azimuth, radians.
    """
    batch, views = angles_BT2.shape[:2]
    flat = angles_BT2.cpu().flatten()
    embedded_BTC = sinusoid(flat, ANGLE_WIDTH).reshape(batch, views, 2 * ANGLE_WIDTH)
    noise_BTC = sinusoid(torch.tensor([_NOISE]), SCALAR_WIDTH).expand(batch, views, -1)
    return torch.cat([noise_BTC, embedded_BTC], dim=-1).to(angles_BT2.device)


def _inflated(picture: np.ndarray, mask: np.ndarray, orbit: Orbit) -> np.ndarray:
    from studio.engines.inflate import Engine

    wish: Any = SimpleNamespace(thickness=1.0, export_fps=8.0)
    spec: Any = SimpleNamespace(id="inflate")
    return Engine(spec).orbit(picture, mask.astype(np.uint8) * 255, orbit, wish, Unwatched()).frames


STAGE = Sv3d()
