"""Inflate: a toy relief of a cut-out, turned before the camera. Not SV3D: no weights, no GPU.

The silhouette is blown up to a closed mesh with the picture on its front (`studio.scene.inflate`), and every frame is
really rendered from the orbit (`studio.scene.raster`): cameras, masks and mesh are exact.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Protocol

import cv2
import numpy as np

from studio.media.clip import Clip
from studio.models.cores import usable_cpus
from studio.scene.camera import Camera
from studio.scene.inflate import inflated
from studio.scene.orbit import Orbit, orbit_cameras
from studio.scene.raster import Rendered, rasterise
from studio.scene.surface import Surface
from studio.scene.views import Views

if TYPE_CHECKING:
    from studio.context import Context
    from studio.models.spec import VariantSpec

COMPONENTS: tuple[str, ...] = ()

PREVIEW_PX = 192
"""Side of the preview."""

_SAMPLES = 3
"""A pixel's samples along x and along y."""

_MOST_WORKERS = 4
"""Frames rendered at a time at most; each holds some 20 bytes a pixel."""


class Wish(Protocol):
    """The fields of a multiview request that this family listens to (engines know no modes)."""

    @property
    def thickness(self) -> float: ...
    @property
    def export_fps(self) -> float: ...


def open_weights(component: str, installed: Any, device: str, dtype: str) -> Any:
    """Never called: there is no component to open."""
    raise AssertionError(f"inflate has no components, and so none called {component!r}.")


class Engine:
    """Turns cut-outs. `components` is not looked at."""

    def __init__(self, spec: VariantSpec, components: Any = None) -> None:
        self.spec = spec

    def orbit(self, picture: np.ndarray, alpha: np.ndarray, orbit: Orbit, request: Wish, ctx: Context) -> Views:
        """The toy relief of the picture from all around, with alpha and mesh; the last frame shows the picture.

        Reads thickness, and export_fps for the preview; the same picture, orbit and thickness give the same bytes.

        Args:
            picture: uint8 (S, S, 3) sRGB, the object on white.
            alpha: uint8 (S, S).

        Raises:
            BadInput: the mask is empty.
            Cancelled: the user asked for it; noticed at every frame.
        """
        ctx.notice("This is a toy relief blown up from the outline, not SV3D: its back is made up.")
        size = len(picture)
        cameras = orbit_cameras(orbit, size)
        ctx.step(0, 1, "shape")
        surface = inflated(picture, alpha, cameras[-1], thickness=request.thickness)
        ctx.step(1, 1, "shape")
        frames = np.empty((len(cameras), size, size, 3), np.uint8)
        coverage = np.empty((len(cameras), size, size), np.uint8)
        for i, seen in enumerate(_rendered(surface, cameras, size)):
            frames[i], coverage[i] = seen.over(255), seen.alpha
            so_far = frames[: i + 1]
            ctx.step(i + 1, len(cameras), "render", lambda so_far=so_far: _small(so_far, float(request.export_fps)))
        return Views(frames, coverage, surface, "exact")


def _rendered(surface: Surface, cameras: Sequence[Camera], size: int) -> Iterator[Rendered]:
    """The views in order, a few being rendered ahead. Closing the iterator drops those not begun."""
    workers = min(_MOST_WORKERS, usable_cpus(), len(cameras))
    pool = ThreadPoolExecutor(workers, thread_name_prefix="inflate")
    ahead: list[Future[Rendered]] = []
    try:
        for camera in cameras:
            ahead.append(pool.submit(rasterise, surface, camera, size, size, supersample=_SAMPLES))
            if len(ahead) > workers:
                yield ahead.pop(0).result()
        while ahead:
            yield ahead.pop(0).result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _small(frames: np.ndarray, fps: float) -> Clip:
    size = min(PREVIEW_PX, frames.shape[1])
    return Clip(np.stack([cv2.resize(f, (size, size), interpolation=cv2.INTER_AREA) for f in frames]), fps)
