"""`LayeredPicture`: a still photo with depth, and behind its near edges a second layer with what they may hide.

A layered depth image (Shade et al., Layered Depth Images, 1998) of two layers: the photo itself, and a *plate* that
continues the farther side of every depth edge underneath the nearer one, in colour and in depth. Around both lies a
margin mirrored from the photo, so that a camera that turns away sees no black.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from studio.scene.fill import pull_push

FAR = 3.0
"""Depth of disparity 0 in world units; disparity 1 is at depth 1. In between the inverse depth is linear."""

STRETCH = 0.7
"""Pixels by which two neighbours of the photo may part before that looks like a pulled sheet: there it is cut."""

GAP = 2.5
"""Pixels by which two neighbours may part and still be closed without a plate behind them."""


@dataclass(frozen=True, eq=False)
class LayeredPicture:
    """A photo's two layers, stacked one above the other in arrays of twice the canvas's height.

    Args:
        width: of the photo, in pixels.
        height: of the photo, in pixels.
        left: margin, so that the photo's (0, 0) is the canvas's (left, top).
        top: margin.
        colour: uint8 (2 H', W', 3): the photo with its margin, and below it the plate.
        inverse_depth: float32 (2 H', W'): of both, in 1 / world units.
        points_u: float32 (N,): column, relative to the photo's, of each pixel worth drawing, far ones first.
        points_v: float32 (N,): its row.
        points_q: float32 (N,): its inverse depth.
    """

    width: int
    height: int
    left: int
    top: int
    colour: np.ndarray
    inverse_depth: np.ndarray
    points_u: np.ndarray
    points_v: np.ndarray
    points_q: np.ndarray

    @property
    def canvas_height(self) -> int:
        """H': rows of one layer."""
        return self.colour.shape[0] // 2


@dataclass(frozen=True)
class Margin:
    """Pixels by which the canvas is larger than the photo, on each side."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def sides(self) -> tuple[int, int, int, int]:
        """Top, bottom, left, right: OpenCV's order."""
        return self.top, self.bottom, self.left, self.right


def inverse_depth(disparity: np.ndarray | float) -> np.ndarray | float:
    """Disparity in [0, 1] -> 1 / depth in world units, in [1 / FAR, 1]."""
    return 1 / FAR + (1 - 1 / FAR) * disparity


def layered(picture: np.ndarray, disparity: np.ndarray, margin: Margin, reach: int) -> LayeredPicture:
    """The two layers of a photo.

    Args:
        picture: uint8 (H, W, 3) sRGB.
        disparity: float32 (H, W) in [0, 1], 1 = near.
        margin: what a camera will see beyond the photo.
        reach: pixels behind an edge that a camera will see at most.

    Raises:
        ValueError: picture and disparity differ in size.
    """
    height, width = disparity.shape
    if picture.shape != (height, width, 3):
        raise ValueError(f"disparity: {list(disparity.shape)} is not the picture's {list(picture.shape[:2])}.")
    scale = max(1.0, max(height, width) / 1024)
    q = cut_edges(inverse_depth(disparity).astype(np.float32), reach, scale)
    q = cv2.copyMakeBorder(q, *margin.sides, cv2.BORDER_REPLICATE)
    front = cv2.copyMakeBorder(picture, *margin.sides, cv2.BORDER_REFLECT_101)
    plate, plate_q, hidden = _plate(front, q, reach, scale)
    u, v, points_q = _points(q, plate_q, hidden, margin)
    return LayeredPicture(
        width=width,
        height=height,
        left=margin.left,
        top=margin.top,
        colour=np.concatenate([front, plate]),
        inverse_depth=np.concatenate([q, plate_q]),
        points_u=u,
        points_v=v,
        points_q=points_q,
    )


def cut_edges(q: np.ndarray, reach: int, scale: float = 1.0) -> np.ndarray:
    """The map with its steep ramps made steps, and the near side of each grown by three pixels or so.

    A ramp would be drawn as a stretched sheet between near and far. Each of its pixels goes to the nearer of the two
    ends (the toggle mapping of Kramer and Bruckner, 1975). The growth makes the blended pixels of a photo's outline
    travel with what they outline.

    Args:
        q: float32 (H, W), inverse depth.
        reach: pixels by which a step of the whole range parts near from far, at most.
        scale: of the picture against one of 1024 pixels; widths go with it.
    """
    radius = max(2, round(4 * scale))
    kernel = _square(radius)
    steep = 2 * radius * STRETCH * _step_of_a_pixel(reach)
    near, far = cv2.dilate(q, kernel), cv2.erode(q, kernel)
    q = np.where(near - far > steep, np.where(near - q <= q - far, near, far), q)
    grown = cv2.dilate(q, _square(max(1, round(3 * scale))))
    return np.where(grown - q > GAP * _step_of_a_pixel(reach), grown, q)


def _step_of_a_pixel(reach: int) -> float:
    """The step of inverse depth that parts two neighbours by one pixel in the most extreme view."""
    return (1 - 1 / FAR) / max(1, reach)


def _square(radius: int) -> np.ndarray:
    return np.ones((2 * radius + 1, 2 * radius + 1), np.uint8)


def _plate(front: np.ndarray, q: np.ndarray, reach: int, scale: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Colour, inverse depth and mask of what lies behind the near edges."""
    edge = GAP * _step_of_a_pixel(reach)
    beside = cv2.dilate(q, _square(1)) - q > edge
    if reach < 1 or not beside.any():
        return front.copy(), q.copy(), np.zeros(q.shape, bool)
    distance, nearest = _nearest(beside)
    edge_q = q.ravel()[nearest]
    close = distance <= reach + 2
    hidden = close & (q > edge_q + edge / 2)
    clean = close & ~hidden & (distance >= 1 + scale)
    known = clean.astype(np.float32)
    filled = pull_push(np.dstack([front.astype(np.float32), q]), known)
    plate_q = np.where(hidden, np.minimum(filled[..., 3], q), q)
    colour = filled[..., :3] + _mirrored_detail(front, nearest, clean, scale)
    plate = np.where(hidden[..., None], np.clip(np.rint(colour), 0, 255).astype(np.uint8), front)
    return plate, plate_q.astype(np.float32), hidden


def _nearest(seeds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of every pixel the distance to the nearest seed, and that seed's flat index."""
    distance, labels = cv2.distanceTransformWithLabels(
        (~seeds).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    index = np.zeros(int(labels.max()) + 1, np.int32)
    index[labels[seeds]] = np.flatnonzero(seeds)
    return distance, index[labels]


_GRAIN = 16
"""Levels; what differs by more from its surroundings is an outline, and one seen twice would look like a ghost."""


def _mirrored_detail(front: np.ndarray, nearest: np.ndarray, clean: np.ndarray, scale: float) -> np.ndarray:
    """Fine texture for the plate: the photo's on the far side of the nearest edge, seen in a mirror along it."""
    height, width = clean.shape
    edge_v, edge_u = np.divmod(nearest, width)
    u = (2 * edge_u - np.arange(width, dtype=np.int32)).astype(np.float32)
    v = (2 * edge_v - np.arange(height, dtype=np.int32)[:, None]).astype(np.float32)
    weight = clean.astype(np.float32)
    near_by = cv2.GaussianBlur(weight, (0, 0), 2 * scale)
    average = cv2.GaussianBlur(front * weight[..., None], (0, 0), 2 * scale) / np.maximum(near_by, 1e-3)[..., None]
    detail = np.clip(front - average, -_GRAIN, _GRAIN) * (weight * np.clip(2 * near_by - 0.8, 0, 1))[..., None]
    return cv2.remap(detail, u, v, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT)


def _points(q: np.ndarray, plate_q: np.ndarray, hidden: np.ndarray, margin: Margin):
    """Columns, rows and inverse depths of all pixels of the front and the hidden ones of the plate, far first."""
    behind = np.flatnonzero(hidden)
    every = np.concatenate([q.ravel(), plate_q.ravel()[behind]])
    order = np.argsort(every, kind="stable")
    where = np.concatenate([np.arange(q.size, dtype=np.int32), behind.astype(np.int32)])[order]
    v, u = np.divmod(where, q.shape[1])
    return (u - margin.left).astype(np.float32), (v - margin.top).astype(np.float32), every[order]
