"""How well the views of an object agree on one solid, without knowing what is true; and which view is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from studio.errors import BadInput
from studio.scene.camera import Camera
from studio.scene.hull import Carver, visual_hull
from studio.scene.kernel import in_threads
from studio.scene.raster import rasterise
from studio.scene.silhouette import solid
from studio.scene.surface import Surface

_BACK_DEG = 45.0
"""Views turned so near to the input view's opposite count as its back, and so near to itself as its front."""

_AROUND = 3
"""Steps on either side of the loop's seam that it is compared with: objects turn faster in some places of the orbit."""

_STILL = 0.01
"""Levels of 255: so much the frames of a thing that looks the same from everywhere may differ."""


@dataclass(frozen=True)
class Consistency:
    """The scores of one orbit; in all but the last two 1 is best.

    Args:
        reprojection: for each frame, how much its silhouette and the hull's from there overlap
            (intersection over union).
        split_half: the same of two hulls, of the even frames and of the odd ones.
        loop_closure: how much the last frame differs from the first, in median differences of the neighbours on
            both sides of them: about 1 where the orbit closes.
        back_sharpness: the sharpness of the views from behind, in the sharpness of those from the front; None
            without frames or without views from there.
    """

    reprojection: tuple[float, ...]
    split_half: float
    loop_closure: float
    back_sharpness: float | None

    @property
    def mean(self) -> float:
        """Of the frames' scores."""
        return float(np.mean(self.reprojection))

    @property
    def lowest(self) -> float:
        """The score of the worst frame."""
        return min(self.reprojection)

    @property
    def worst(self) -> int:
        """The number of the worst frame, from 0."""
        return int(np.argmin(self.reprojection))

    def public(self) -> dict[str, Any]:
        """As JSON has it, rounded."""
        return {
            "reprojection": [round(score, 4) for score in self.reprojection],
            "mean": round(self.mean, 4),
            "lowest": round(self.lowest, 4),
            "worst_frame": self.worst,
            "split_half": round(self.split_half, 4),
            "loop_closure": round(self.loop_closure, 3),
            "back_sharpness": None if self.back_sharpness is None else round(self.back_sharpness, 3),
        }


def consistency(
    masks: np.ndarray, cameras: Sequence[Camera], frames: np.ndarray | None = None, *, grid: int = 64
) -> Consistency:
    """The scores of an orbit's views, the last of which is the input view.

    Args:
        masks: bool or uint8 alpha (T, H, W).
        cameras: one a mask, in the order of the orbit.
        frames: uint8 (T, H, W, 3) on one background; without them the loop's closure is that of the silhouettes.
        grid: points along the hull's longest side.

    Raises:
        BadInput: a mask shows nothing, the masks have no point in common, or there are fewer than four.
    """
    if len(masks) < 4:
        raise BadInput(f"{len(masks)} views are too few to be compared.", "Give four or more.")
    hull = visual_hull(masks, cameras, grid=grid)
    return Consistency(
        reprojection(hull, masks, cameras),
        _split_half(masks, cameras, grid),
        _loop_closure(masks, frames),
        None if frames is None else _back_sharpness(masks, cameras, frames),
    )


def reprojection(surface: Surface, masks: np.ndarray, cameras: Sequence[Camera]) -> tuple[float, ...]:
    """For each view the intersection over union of its mask and the surface's silhouette."""
    height, width = masks.shape[1:]

    def overlap(i: int) -> float:
        return _overlap(np.isfinite(rasterise(surface, cameras[i], width, height).depth), solid(masks[i]))

    return tuple(in_threads(overlap, range(len(cameras))))


def _overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Intersection over union; 1 where both are empty."""
    union = int((one | other).sum())
    return int((one & other).sum()) / union if union else 1.0


def _split_half(masks: np.ndarray, cameras: Sequence[Camera], grid: int) -> float:
    carver = Carver(masks, cameras, dissent=0)  # so few views can't spare one, and every disagreement shall show
    lattice = Carver(masks, cameras).lattice(grid)
    even, odd = (carver.without(range(i, len(masks), 2)).depths_on(lattice, exact_to=0.0) > 0 for i in (1, 0))
    return _overlap(even, odd)


def _loop_closure(masks: np.ndarray, frames: np.ndarray | None) -> float:
    shown = solid(masks).astype(np.uint8)[..., None] * np.uint8(255) if frames is None else frames
    steps = [float(cv2.absdiff(shown[i - 1], shown[i]).mean()) for i in range(len(shown))]  # the first: last to first
    usual = float(np.median(steps[1 : 1 + _AROUND] + steps[-_AROUND:]))
    return steps[0] / max(usual, _STILL)


def _back_sharpness(masks: np.ndarray, cameras: Sequence[Camera], frames: np.ndarray) -> float | None:
    flat = np.array([camera.position[:2] for camera in cameras])
    flat /= np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-9)
    turned = np.rad2deg(np.arccos(np.clip(flat @ flat[-1], -1, 1)))
    front = [_sharpness(frames[i], masks[i]) for i in np.nonzero(turned <= _BACK_DEG)[0]]
    back = [_sharpness(frames[i], masks[i]) for i in np.nonzero(turned >= 180 - _BACK_DEG)[0]]
    return float(np.mean(back) / np.mean(front)) if front and back and np.mean(front) > 0 else None


def _sharpness(frame: np.ndarray, mask: np.ndarray) -> float:
    """Mean absolute Laplacian of the grey values inside the object, away from its outline."""
    inside = cv2.erode(solid(mask).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    edges = np.abs(cv2.Laplacian(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY).astype(np.float32), cv2.CV_32F))
    return float(edges[inside].mean()) if inside.any() else 0.0
