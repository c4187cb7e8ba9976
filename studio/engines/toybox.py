"""Toybox: a small scene of real solids, composed from the words that it knows. Not SDXL or SVD: no weights, no GPU.

The prompt becomes a scene (`studio.scene.toybox`), which is rendered by sphere tracing. A clip is a true camera move
through it, and depth, masks and cameras are exact.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import cv2
import numpy as np

from studio.media.clip import Clip
from studio.models.spec import VariantSpec
from studio.scene.toybox.composition import compose
from studio.scene.toybox.render import View, film_cameras, orbit_cameras, render_view, scene_camera
from studio.scene.toybox.scene import Scene
from studio.scene.toybox.words import Sentence, parse

if TYPE_CHECKING:
    from studio.context import Context

COMPONENTS: tuple[str, ...] = ()

PREVIEW_PX = 256
"""Longer side of the preview."""

_NAMED = 12
"""Unknown words that are named to the user; the others are counted."""


class Size(Protocol):
    """The fields of a request that a picture listens to (engines know no modes)."""

    @property
    def seed(self) -> int: ...
    @property
    def width(self) -> int: ...
    @property
    def height(self) -> int: ...


class Wish(Size, Protocol):
    """The fields of a request that a film listens to."""

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


def open_weights(component: str, installed: Any, device: str, dtype: str) -> Any:
    """Never called: there is no component to open."""
    raise AssertionError(f"toybox has no components, and so none called {component!r}.")


class Engine:
    """Paints and films scenes. `components` is not looked at.

    All three methods tell the user what the picture shows and which words weren't understood; no prompt is refused.
    """

    def __init__(self, spec: VariantSpec, components: Any = None) -> None:
        self.spec = spec

    def size_for(self, width: int, height: int) -> tuple[int, int]:
        """(width, height) that it paints at for a clip of that size: any size will do."""
        return width, height

    def paint_all(self, prompt: str, wishes: Sequence[Size], ctx: Context) -> Iterator[np.ndarray]:
        """uint8 (H, W, 3) sRGB for each wish: the scene of the prompt. The same prompt and seed give the same bytes.

        Raises:
            Cancelled: the user asked for it; noticed every few rows.
        """
        for wish in wishes:
            scene = _scene(prompt, wish.seed, ctx)
            size = (wish.width, wish.height)
            camera = scene_camera(scene, *size)
            yield render_view(scene, camera, *size, report=lambda done, total: ctx.step(done, total, "render")).rgb

    def film(self, prompt: str, request: Wish, ctx: Context) -> Clip:
        """The request's camera move through the scene of the prompt; the first frame is what `paint_all` gives.

        Raises:
            Cancelled: the user asked for it; noticed every few rows.
        """
        scene = _scene(prompt, request.seed, ctx)
        cameras = film_cameras(
            scene,
            request.camera_move,
            width=request.width,
            height=request.height,
            frames=request.frames,
            amount=request.amount,
            easing=request.easing,
            duration_s=request.frames / request.export_fps,
            seed=request.seed,
        )
        frames = np.empty((len(cameras), request.height, request.width, 3), np.uint8)
        for i, camera in enumerate(cameras):
            view = render_view(scene, camera, request.width, request.height, report=lambda done, total: ctx.check())
            frames[i] = view.rgb
            so_far = frames[: i + 1]
            ctx.step(i + 1, len(cameras), "render", lambda so_far=so_far: _small(so_far, request.export_fps))
        return Clip(frames, float(request.export_fps))

    def orbit(
        self,
        prompt: str,
        views: int,
        *,
        width: int,
        height: int,
        seed: int,
        ctx: Context,
        elevation_deg: float | None = None,
    ) -> list[View]:
        """Views all round the scene of the prompt, evenly, with depth, masks and cameras: ground truth.

        Args:
            elevation_deg: of the cameras; None means the picture's own.
        """
        scene = _scene(prompt, seed, ctx)
        found = []
        for azimuth, elevation, camera in orbit_cameras(scene, views, width, height, elevation_deg):
            found.append(
                render_view(
                    scene,
                    camera,
                    width,
                    height,
                    azimuth_deg=azimuth,
                    elevation_deg=elevation,
                    report=lambda done, total: ctx.check(),
                )
            )
            ctx.step(len(found), views, "render")
        return found


def _scene(prompt: str, seed: int, ctx: Context) -> Scene:
    sentence = parse(prompt)
    scene = compose(sentence, seed)
    for notice in notices(sentence, scene):
        ctx.notice(notice)
    return scene


def notices(sentence: Sentence, scene: Scene) -> list[str]:
    """What the user is told: what the picture shows, and what wasn't understood or had no room."""
    says = [f"This is a toy scene made of known words, not SDXL: {scene.caption}"]
    if not sentence.things:
        says = [f"No thing of the toybox was named, so it shows a scene of its own, not SDXL: {scene.caption}"]
    if sentence.unknown:
        named = ", ".join(sentence.unknown[:_NAMED])
        more = len(sentence.unknown) - _NAMED
        says.append(f"The toybox doesn't know: {named}{f' and {more} more' if more > 0 else ''}.")
    asked = sum(t.count for t in sentence.things)
    shown = len(scene.solids)
    if sentence.things and (sentence.left_out or asked > shown):
        says.append(f"There is room for {shown} of the {asked + sentence.left_out} things; the others are left out.")
    return says


def _small(frames: np.ndarray, fps: float) -> Clip:
    height, width = frames.shape[1:3]
    scale = min(1.0, PREVIEW_PX / max(height, width))
    size = (max(16, round(width * scale)), max(16, round(height * scale)))
    return Clip(np.stack([cv2.resize(f, size, interpolation=cv2.INTER_AREA) for f in frames]), float(fps))
