"""A `LayeredPicture` seen by a camera.

Two passes. Forward: every point is thrown onto the new view, far ones first, so that near covers far; this tells which
depth each new pixel shows. Backward: with that depth each pixel knows where in the photo to look, and the colour is
read from there once, with a cubic kernel, so that it stays as crisp as the photo.

The forward order is the source's depth, which is also the new view's as long as it turns little, as all of
`studio.scene.path` does. Nothing here depends on the number of threads.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np

from studio.scene.camera import Camera, picture_camera, project, unproject, view_change
from studio.scene.kernel import kernel
from studio.scene.layers import FAR, GAP, LayeredPicture, Margin, inverse_depth, layered

_NEAR_Q, _FAR_Q = 1.0, 1 / FAR

_TAPS = 2
"""Pixels that the cubic kernel reads beyond; without them the last row would see the first of the layer below it."""

_SAME_Q = 0.02
"""Inverse depths that differ by no more belong to one surface."""


def scene_for(picture: np.ndarray, disparity: np.ndarray, cameras: Sequence[Camera]) -> LayeredPicture:
    """The layers of a photo with as much margin, and as much behind its edges, as these cameras will see.

    Args:
        picture: uint8 (H, W, 3) sRGB.
        disparity: float32 (H, W) in [0, 1], 1 = near.
        cameras: the whole path; the world is that of `picture_camera`.
    """
    height, width = disparity.shape
    low, high = float(inverse_depth(float(disparity.min()))), float(inverse_depth(float(disparity.max())))
    return layered(picture, disparity, margin_for(width, height, cameras, low, high), reach_for(width, height, cameras))


def margin_for(width: int, height: int, cameras: Sequence[Camera], low: float, high: float) -> Margin:
    """What of the world beyond the photo comes into view, were its border anywhere between the two inverse depths."""
    home = picture_camera(width, height)
    x, y = _frame_outline(width, height)
    left = top = right = bottom = 0.0
    for camera in cameras:
        for q in (low, high):
            u, v = unproject(home, camera, x, y, q)
            left, right = max(left, -u.min()), max(right, u.max() - (width - 1))
            top, bottom = max(top, -v.min()), max(bottom, v.max() - (height - 1))
    return Margin(*(math.ceil(side) + _TAPS for side in (left, top, right, bottom)))


def reach_for(width: int, height: int, cameras: Sequence[Camera]) -> int:
    """Pixels by which near and far part at most: how far one can see behind an edge."""
    home = picture_camera(width, height)
    x, y = _frame_outline(width, height)
    most = 0.0
    for camera in cameras:
        near_u, near_v = unproject(home, camera, x, y, _NEAR_Q)
        far_u, far_v = unproject(home, camera, x, y, _FAR_Q)
        most = max(most, float(np.hypot(near_u - far_u, near_v - far_v).max()))
    return math.ceil(most)


def _frame_outline(width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
    """Corners, middles of sides and centre of the frame."""
    x, y = np.meshgrid([0.0, (width - 1) / 2, width - 1.0], [0.0, (height - 1) / 2, height - 1.0])
    return x.ravel(), y.ravel()


def render(scene: LayeredPicture, camera: Camera) -> np.ndarray:
    """uint8 (H, W, 3): what the camera sees, at the photo's size. The photo's own camera sees the photo itself."""
    home = picture_camera(scene.width, scene.height)
    if camera.same_view(home):
        rows = slice(scene.top, scene.top + scene.height)
        return scene.colour[rows, scene.left : scene.left + scene.width].copy()
    q = _close(_throw(scene, home, camera), _largest_gap(scene, home, camera))
    look = _Backward(scene, home, camera)
    u, v = look.at(q)
    below = np.float32(scene.canvas_height)
    on_plate = np.abs(look.depth_there(u, v + below) - q) < np.abs(look.depth_there(u, v) - q)
    layer = on_plate * below
    better = look.depth_there(u, v + layer, cv2.INTER_LINEAR)
    u, v = look.at(np.where(np.abs(better - q) <= _SAME_Q, better, q))
    v += layer
    return cv2.remap(scene.colour, u, v, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)


def _throw(scene: LayeredPicture, home: Camera, camera: Camera) -> np.ndarray:
    """float32 (H, W): the inverse depth (the photo's) of the nearest point that falls on each pixel; -1 where none."""
    h, b = (a.astype(np.float32) for a in view_change(home, camera))
    seen = np.full((scene.height, scene.width), -1, np.float32)
    _fall(scene.points_u, scene.points_v, scene.points_q, h, b, seen)
    return seen


@kernel
def _fall(u, v, q, h, b, seen):
    """Writes each point's inverse depth to the pixel of `seen` that it falls on; the last, the nearest, stays.

    All float32: points (N,) each, h (3, 3), b (3,), seen (H, W).
    """
    height, width = seen.shape
    for i in range(len(q)):
        w = np.float32(1) / (h[2, 0] * u[i] + h[2, 1] * v[i] + (h[2, 2] + q[i] * b[2]))
        x = np.rint((h[0, 0] * u[i] + h[0, 1] * v[i] + (h[0, 2] + q[i] * b[0])) * w)
        y = np.rint((h[1, 0] * u[i] + h[1, 1] * v[i] + (h[1, 2] + q[i] * b[1])) * w)
        if x >= 0 and x < width and y >= 0 and y < height and w > 0:
            seen[np.int64(y), np.int64(x)] = q[i]


def _largest_gap(scene: LayeredPicture, home: Camera, camera: Camera) -> int:
    """Pixels between two neighbours of the photo in the new view, at most, where the photo is not cut."""
    x, y = _frame_outline(scene.width, scene.height)
    most = 1.0
    for q in (_NEAR_Q, _FAR_Q):
        x0, y0 = project(home, camera, x, y, q)
        for du, dv in ((1, 0), (0, 1)):
            x1, y1 = project(home, camera, x + du, y + dv, q)
            most = max(most, float(np.hypot(x1 - x0, y1 - y0).max()))
    return math.ceil(most + GAP - 1)


def _close(q: np.ndarray, gap: int) -> np.ndarray:
    """The map without cracks between neighbouring points, and without holes.

    Cracks are at most `gap` wide, and are closed from both sides. What is still empty lies beyond the plate; it takes
    the farther of its surroundings.
    """
    radius = max(1, gap // 2 + gap % 2)
    q = cv2.morphologyEx(q, cv2.MORPH_CLOSE, np.ones((2 * radius + 1, 2 * radius + 1), np.uint8))
    empty = q < 0
    while empty.any():
        grown = cv2.erode(np.where(empty, np.float32(9), q), np.ones((9, 9), np.uint8))
        if (grown > 8).all():
            return np.full_like(q, _FAR_Q)
        q = np.where(empty & (grown < 8), grown, q)
        empty = q < 0
    return q


class _Backward:
    """Where in the photo's canvas to look for each pixel of the new view, given its depth."""

    def __init__(self, scene: LayeredPicture, home: Camera, camera: Camera) -> None:
        h, b = view_change(home, camera)
        g = np.linalg.inv(h)
        self._shift = (g @ b).astype(np.float32)
        x = np.arange(scene.width)[None, :]
        y = np.arange(scene.height)[:, None]
        w = (1 / (g[2, 0] * x + (g[2, 1] * y + g[2, 2]))).astype(np.float32)
        self._u = ((g[0, 0] * x).astype(np.float32) + (g[0, 1] * y + g[0, 2]).astype(np.float32)) * w
        self._v = ((g[1, 0] * x).astype(np.float32) + (g[1, 1] * y + g[1, 2]).astype(np.float32)) * w
        self._scene = scene

    def at(self, q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """float32 columns and rows in the canvas."""
        c = self._shift
        u = self._u + q * (c[2] * self._u - c[0])
        v = self._v + q * (c[2] * self._v - c[1])
        u += self._scene.left
        v += self._scene.top
        return u, v

    def depth_there(self, u: np.ndarray, v: np.ndarray, how: int = cv2.INTER_NEAREST) -> np.ndarray:
        """float32: the inverse depth that the layers have at those places."""
        return cv2.remap(self._scene.inverse_depth, u, v, how, borderMode=cv2.BORDER_REPLICATE)
