"""Solids whose shape is known by formula: as distances, as coloured meshes, and rendered from an orbit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from skimage.measure import marching_cubes

from studio.scene.camera import Camera
from studio.scene.orbit import Orbit, orbit_cameras, sine
from studio.scene.raster import rasterise
from studio.scene.surface import Surface

Distance = Callable[[np.ndarray], np.ndarray]
"""float64 (N, 3) points -> float64 (N,), about the distance to the surface, negative inside."""


def _ball(at: tuple[float, float, float], radius: float) -> Distance:
    return lambda p: np.linalg.norm(p - at, axis=1) - radius


def _capsule(a: tuple[float, float, float], b: tuple[float, float, float], radius: float) -> Distance:
    start, along = np.array(a), np.array(b) - np.array(a)

    def distance(p: np.ndarray) -> np.ndarray:
        part = np.clip((p - start) @ along / (along @ along), 0, 1)
        return np.linalg.norm(p - start - part[:, None] * along, axis=1) - radius

    return distance


def _block(at: tuple[float, float, float], half: tuple[float, float, float]) -> Distance:
    def distance(p: np.ndarray) -> np.ndarray:
        q = np.abs(p - at) - half
        return np.linalg.norm(np.maximum(q, 0), axis=1) + np.minimum(q.max(axis=1), 0)

    return distance


def _ring(at: tuple[float, float, float], large: float, small: float) -> Distance:
    """A torus that stands: its axis is y."""

    def distance(p: np.ndarray) -> np.ndarray:
        q = p - at
        return np.hypot(np.hypot(q[:, 0], q[:, 2]) - large, q[:, 1]) - small

    return distance


def _tin(radius: float, low: float, high: float) -> Distance:
    """An upright cylinder."""
    return lambda p: np.maximum(
        np.hypot(p[:, 0], p[:, 1]) - radius, np.abs(p[:, 2] - (low + high) / 2) - (high - low) / 2
    )


def _joined(*parts: Distance, melt: float = 0.0) -> Distance:
    def distance(p: np.ndarray) -> np.ndarray:
        found = parts[0](p)
        for part in parts[1:]:
            other = part(p)
            blend = np.maximum(melt - np.abs(found - other), 0) ** 2 / (4 * melt) if melt else 0.0
            found = np.minimum(found, other) - blend
        return found

    return distance


def _mug() -> Distance:
    wall, hollow = _tin(0.3, -0.4, 0.35), _tin(0.25, -0.34, 0.5)
    handle = _ring((0.36, 0.0, -0.02), 0.16, 0.045)
    return lambda p: np.maximum(np.minimum(wall(p), handle(p)), -hollow(p))


SHAPES: dict[str, Distance] = {
    "sphere": _ball((0, 0, 0), 0.46),
    "blob": _joined(
        _ball((-0.13, 0, 0.02), 0.3), _ball((0.2, 0.05, 0.1), 0.22), _ball((0, -0.1, -0.2), 0.24), melt=0.2
    ),
    "figure": _joined(
        _ball((0, 0, 0.33), 0.15),
        _capsule((0, 0, 0.13), (0, 0, -0.06), 0.17),
        _capsule((-0.16, 0, 0.17), (-0.34, 0, 0.0), 0.06),
        _capsule((0.16, 0, 0.17), (0.34, 0.06, 0.24), 0.06),
        _capsule((-0.09, 0, -0.1), (-0.15, 0.03, -0.4), 0.085),
        _capsule((0.09, 0, -0.1), (0.15, -0.05, -0.4), 0.085),
        melt=0.06,
    ),
    "donut": _ring((0, 0, 0), 0.33, 0.14),
    "box": _block((0, 0, 0), (0.4, 0.26, 0.3)),
    "chair": _joined(
        _block((0, 0, -0.02), (0.24, 0.24, 0.03)),
        _block((0, 0.21, 0.2), (0.24, 0.03, 0.22)),
        *(_block((x, y, -0.22), (0.03, 0.03, 0.2)) for x in (-0.21, 0.21) for y in (-0.21, 0.21)),
    ),
    "mug": _mug(),
    "vase": _joined(_tin(0.16, -0.42, -0.36), _ball((0, 0, -0.12), 0.27), _tin(0.12, 0.0, 0.42), melt=0.1),
}
"""Every shape fits an orbit's frames; its longest side is a little less than 1."""


@cache
def mesh(name: str, grid: int = 96) -> Surface:
    """The shape as a mesh with a colour at each corner that changes from place to place."""
    axis = np.linspace(-0.56, 0.56, grid)
    points = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1)
    inside = -SHAPES[name](points.reshape(-1, 3)).reshape(points.shape[:3])
    vertices, faces, _, _ = marching_cubes(inside.astype(np.float32), 0.0, gradient_direction="ascent")
    vertices = axis[0] + vertices.astype(np.float64) * (axis[1] - axis[0])
    return Surface(vertices, faces.astype(np.int32), colours=colours_at(vertices))


def colours_at(points: np.ndarray) -> np.ndarray:
    """uint8 (N, 3): broad stripes along three directions, one a channel."""
    waves = np.sin(points @ np.array([[9, 3, 2], [2, 8, -5], [4, -3, 10]], float).T + [0.3, 1.1, 2.0])
    return np.rint(140 + 80 * waves).astype(np.uint8)


@dataclass(frozen=True, eq=False)
class Rendered:
    """A shape seen from an orbit.

    Args:
        frames: uint8 (T, S, S, 3), on white.
        alpha: uint8 (T, S, S).
        cameras: one a frame.
        orbit: that they belong to.
    """

    frames: np.ndarray
    alpha: np.ndarray
    cameras: list[Camera]
    orbit: Orbit

    @property
    def masks(self) -> np.ndarray:
        """bool (T, S, S)."""
        return self.alpha >= 128


def rendered(surface: Surface, orbit: Orbit, size: int = 192) -> Rendered:
    """The surface seen from the orbit, anti-aliased."""
    cameras = orbit_cameras(orbit, size)
    views = [rasterise(surface, camera, size, size, supersample=2) for camera in cameras]
    alpha = np.stack([view.alpha for view in views])
    return Rendered(np.stack([on_white(view.rgb, view.alpha) for view in views]), alpha, cameras, orbit)


def on_white(rgb: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """uint8 (H, W, 3)."""
    a = alpha[..., None] / 255
    return np.rint(rgb * a + 255 * (1 - a)).astype(np.uint8)


def shifted(mask: np.ndarray, right: int, down: int) -> np.ndarray:
    """The mask moved by whole pixels; what leaves the frame is lost, what comes in is empty."""
    height, width = mask.shape
    moved = np.zeros_like(mask)
    moved[max(down, 0) : height + min(down, 0), max(right, 0) : width + min(right, 0)] = mask[
        max(-down, 0) : height + min(-down, 0), max(-right, 0) : width + min(-right, 0)
    ]
    return moved


def jittered(masks: np.ndarray, pixels: int, seed: int = 0) -> np.ndarray:
    """Every mask moved by up to that many pixels each way."""
    steps = np.random.default_rng(seed).integers(-pixels, pixels + 1, (len(masks), 2))
    return np.stack([shifted(mask, *map(int, step)) for mask, step in zip(masks, steps, strict=True)])


@cache
def turntable(name: str, elevation_deg: float = 0.0, amplitude_deg: float = 20.0, size: int = 192) -> Rendered:
    """The shape from a sine orbit of 21 views; the same object for the same arguments, so it must not be changed."""
    return rendered(mesh(name), sine(elevation_deg, amplitude_deg), size)
