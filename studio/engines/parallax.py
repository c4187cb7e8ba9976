"""Parallax: a camera move over a still photo. Not SVD, and no weights: what SVD Studio does where nothing is installed.

The photo gets a guessed depth (`studio.scene.disparity`), a second layer behind its near edges
(`studio.scene.layers`) and a camera path (`studio.scene.path`), and every frame is rendered from it
(`studio.scene.render`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Protocol

import cv2
import numpy as np

from studio.media.clip import Clip
from studio.models.cores import usable_cpus
from studio.models.spec import VariantSpec
from studio.scene.camera import Camera
from studio.scene.disparity import estimate_disparity, subject_disparity
from studio.scene.layers import LayeredPicture, inverse_depth
from studio.scene.path import camera_path
from studio.scene.render import render, scene_for

if TYPE_CHECKING:
    from studio.context import Context

COMPONENTS: tuple[str, ...] = ()

PREVIEW_PX = 256
"""Longer side of the preview."""

_MOST_WORKERS = 4
"""Frames rendered at a time at most; each holds some 60 bytes a pixel."""


class Wish(Protocol):
    """The fields of an image-to-video request that this family listens to (engines know no modes)."""

    @property
    def seed(self) -> int: ...
    @property
    def frames(self) -> int: ...
    @property
    def camera_move(self) -> str: ...
    @property
    def amount(self) -> float: ...
    @property
    def easing(self) -> str: ...
    @property
    def export_fps(self) -> float: ...


def load(component: str, installed: Any, device: Any, dtype: Any, report: Callable[[int, int], None]) -> Any:
    """Never called: there is no component to load."""
    raise AssertionError(f"parallax has no components, and so none called {component!r}.")


class Engine:
    """Animates a still by moving a camera through it. `components` is not looked at."""

    def __init__(self, spec: VariantSpec, components: Any = None) -> None:
        self.spec = spec

    def disparity(self, picture: np.ndarray) -> np.ndarray:
        """float32 (H, W) in [0, 1], 1 = near: the depth that `animate` guesses for this picture."""
        return estimate_disparity(picture)

    def animate(self, picture: np.ndarray, request: Wish, ctx: Context) -> Clip:
        """The clip of the request's camera move; its first frame is the picture.

        Reads frames, camera_move, amount, easing, seed and export_fps. The same request gives the same bytes.

        Args:
            picture: uint8 (H, W, 3) sRGB, at the clip's size.

        Raises:
            Cancelled: the user asked for it; noticed at every frame.
        """
        ctx.step(0, 2, "depth")
        disparity = estimate_disparity(picture)
        ctx.step(1, 2, "depth")
        cameras = _cameras(disparity, request)
        scene = scene_for(picture, disparity, cameras)
        ctx.step(2, 2, "depth")
        preview = _Preview(picture, disparity, request, ctx)
        frames = np.empty((len(cameras), *picture.shape), np.uint8)
        for i, frame in enumerate(_rendered(scene, cameras)):
            frames[i] = frame
            ctx.step(i + 1, len(cameras), "render", preview)
        return Clip(frames, float(request.export_fps))


def _cameras(disparity: np.ndarray, request: Wish) -> list[Camera]:
    height, width = disparity.shape
    return camera_path(
        request.camera_move,
        width=width,
        height=height,
        frames=request.frames,
        amount=request.amount,
        easing=request.easing,
        subject_depth=1 / float(inverse_depth(subject_disparity(disparity))),
        duration_s=request.frames / request.export_fps,
        seed=request.seed,
    )


def _rendered(scene: LayeredPicture, cameras: Sequence[Camera]) -> Iterator[np.ndarray]:
    """The frames in order, a few being rendered ahead. Closing the iterator drops those not begun."""
    workers = min(_MOST_WORKERS, usable_cpus(), len(cameras))
    pool = ThreadPoolExecutor(workers, thread_name_prefix="parallax")
    ahead: list[Future[np.ndarray]] = []
    try:
        for camera in cameras:
            ahead.append(pool.submit(render, scene, camera))
            if len(ahead) > workers:
                yield ahead.pop(0).result()
        while ahead:
            yield ahead.pop(0).result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


class _Preview:
    """Makes the whole move, small, when first asked; it does not change after that."""

    def __init__(self, picture: np.ndarray, disparity: np.ndarray, request: Wish, ctx: Context) -> None:
        self._picture, self._disparity = picture, disparity
        self._request, self._ctx = request, ctx
        self._clip: Clip | None = None

    def __call__(self) -> Clip:
        if self._clip is None:
            self._clip = self._small()
        return self._clip

    def _small(self) -> Clip:
        height, width = self._disparity.shape
        scale = min(1.0, PREVIEW_PX / max(height, width))
        size = (max(16, round(width * scale)), max(16, round(height * scale)))
        picture = cv2.resize(self._picture, size, interpolation=cv2.INTER_AREA)
        disparity = cv2.resize(self._disparity, size, interpolation=cv2.INTER_AREA)
        cameras = _cameras(disparity, self._request)
        scene = scene_for(picture, disparity, cameras)
        frames = []
        for camera in cameras:
            self._ctx.check()
            frames.append(render(scene, camera))
        return Clip(np.stack(frames), float(self._request.export_fps))
