"""The colours of a surface from pictures of it: blended at its vertices, or as a texture of whole views.

Views need not come from one orbit: a photo of the object with its mask and camera is one more of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import cv2
import numpy as np

from studio.scene.camera import Camera
from studio.scene.kernel import in_threads
from studio.scene.raster import BARE, rasterise
from studio.scene.silhouette import check_views, outline_distances
from studio.scene.surface import Surface

if TYPE_CHECKING:
    from scipy.sparse import csr_array

_TOLERANCE = 0.02
"""World units by which a point may lie behind what the camera sees, and still be what it sees."""

_RIM_PX = (2.0, 4.0)
"""Pixels inside the outline at which a view's colour begins to count, and counts wholly: nearer is background."""

_POWER = 4
"""Of the cosine between a vertex's normal and the view."""

_FAINT = 1e-3
"""Weight below which nobody has seen a vertex."""

_GOOD, _FAIR = 0.85, 0.6
"""A view is as good as the best for a face that it sees with such a part of its score; and may have it for the sake of
faces around with such a part."""

_LARGEST_SHEET = 4096
"""Pixels along a side: what every viewer of textures takes."""

_SMOOTHING = 12
"""Rounds in which faces take over from their neighbours what view they are cut from."""


def colour_vertices(
    surface: Surface, frames: np.ndarray, masks: np.ndarray, cameras: Sequence[Camera], *, weights: Sequence[float] = ()
) -> Surface:
    """The surface with vertex colours: what the views show there, those that look straight at it first.

    A vertex that no view sees takes the colour of the nearest that one does.

    Args:
        frames: uint8 (T, H, W, 3).
        masks: bool or uint8 alpha (T, H, W).
        cameras: one a frame.
        weights: how much each view counts, 1 each if empty.

    Raises:
        BadInput: a mask shows nothing.
    """
    check_views(masks, cameras)
    normals = _vertex_normals(surface)
    distances = outline_distances(masks)
    said = _weights(weights, len(cameras))

    def seen(i: int) -> tuple[np.ndarray, np.ndarray]:
        look = _look(surface, surface.vertices, normals, cameras[i], distances[i])
        return look.weight(_POWER) * said[i], _sampled(frames[i], look.u, look.v)

    total = np.zeros(len(surface.vertices), np.float32)
    colours = np.zeros((len(surface.vertices), 3), np.float32)
    for weight, colour in in_threads(seen, range(len(cameras))):
        total += weight
        colours += weight[:, None] * colour
    known = total > _FAINT
    if not known.any():
        return surface.with_colours(np.full((len(total), 3), BARE, np.uint8))
    colours[known] /= total[known, None]
    colours[~known] = colours[known][_nearest(surface.vertices[~known], surface.vertices[known])]
    return surface.with_colours(np.rint(colours).astype(np.uint8))


def sheet_texture(
    surface: Surface, frames: np.ndarray, masks: np.ndarray, cameras: Sequence[Camera], *, weights: Sequence[float] = ()
) -> Surface:
    """The surface with all views, tiled, as its texture, and each face cut from the view that sees it best.

    Sharper than vertex colours; where neighbouring faces come from different views, what the views disagree on shows
    as a seam. Neighbours are asked, so that such seams are few. A face that no view sees takes one colour, from the
    nearest that one does.

    Args:
        frames: uint8 (T, H, W, 3).
        masks: bool or uint8 alpha (T, H, W).
        cameras: one a frame.
        weights: how much each view counts, 1 each if empty.

    Raises:
        BadInput: a mask shows nothing.
    """
    check_views(masks, cameras)
    said = _weights(weights, len(cameras))
    corners = surface.vertices[surface.faces]
    centres = corners.mean(axis=1)
    normals = _unit(_vertex_normals(surface)[surface.faces].mean(axis=1))
    distances = outline_distances(masks)

    def seen(i: int) -> np.ndarray:
        return _look(surface, centres, normals, cameras[i], distances[i]).weight(1) * said[i]

    scores = np.stack(in_threads(seen, range(len(cameras))), axis=1)
    labels = _agreed(scores, surface.faces)
    sheet, scale, columns = _sheet(frames, distances)
    uv = _tile_corners(corners, cameras, labels, scale, columns, frames.shape[1:3], sheet.shape[:2])
    known = scores.max(axis=1) > 0
    if known.any():
        middles = uv[known].mean(axis=1)
        uv[~known] = middles[_nearest(centres[~known], centres[known])][:, None]
    return replace(surface, colours=None, uv=uv, texture=sheet)


# --- who sees what --------------------------------------------------------------------------------------------


def _weights(weights: Sequence[float], count: int) -> np.ndarray:
    """float32 (T,)."""
    return np.array(weights, np.float32) if len(weights) else np.ones(count, np.float32)


@dataclass(frozen=True, eq=False)
class _Look:
    """What one view has to say about points: where they are in it, float32 (N,) each, and how well it sees them."""

    u: np.ndarray
    v: np.ndarray
    facing: np.ndarray
    clear: np.ndarray

    def weight(self, power: int) -> np.ndarray:
        """float32 (N,) in [0, 1]."""
        return self.facing**power * self.clear


def _look(surface: Surface, points: np.ndarray, normals: np.ndarray, camera: Camera, distances: np.ndarray) -> _Look:
    """How the camera sees points of the surface: `clear` is 0 where something hides them or the outline is near."""
    height, width = distances.shape
    pose, k = camera.world_to_camera, camera.intrinsics
    there = points @ pose[:3, :3].T + pose[:3, 3]
    z = np.maximum(there[:, 2], 1e-6)
    u = (k[0, 0] * there[:, 0] / z + k[0, 2]).astype(np.float32)
    v = (k[1, 1] * there[:, 1] / z + k[1, 2]).astype(np.float32)
    facing = np.einsum("ij,ij->i", normals, _unit(camera.position - points))
    x = np.clip(np.rint(u), 0, width - 1).astype(np.int32)
    y = np.clip(np.rint(v), 0, height - 1).astype(np.int32)
    within = (u > 0) & (u < width - 1) & (v > 0) & (v < height - 1) & (there[:, 2] > 1e-6)
    unhidden = there[:, 2] <= rasterise(surface, camera, width, height).depth[y, x] + _TOLERANCE
    low, high = _RIM_PX
    inside = np.clip((distances[y, x] - low) / (high - low), 0, 1)
    return _Look(u, v, np.maximum(facing, 0).astype(np.float32), inside * (within & unhidden))


def _vertex_normals(surface: Surface) -> np.ndarray:
    """float64 (V, 3), outwards, of length 1: those of the faces around, large ones counting more."""
    corners = surface.vertices[surface.faces]
    of_faces = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    at, count = surface.faces.ravel(), len(surface.vertices)
    sums = [np.bincount(at, np.repeat(of_faces[:, i], 3), minlength=count) for i in range(3)]
    return _unit(np.stack(sums, axis=1))


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def _sampled(frame: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """float32 (N, 3): the frame's colours between its pixels, by linear interpolation."""
    height, width = frame.shape[:2]
    x, y = np.clip(u, 0, width - 1.001), np.clip(v, 0, height - 1.001)
    left, top = x.astype(np.int32), y.astype(np.int32)
    a, b = (x - left)[:, None], (y - top)[:, None]
    upper = frame[top, left] * (1 - a) + frame[top, left + 1] * a
    lower = frame[top + 1, left] * (1 - a) + frame[top + 1, left + 1] * a
    return (upper * (1 - b) + lower * b).astype(np.float32)


def _nearest(points: np.ndarray, known: np.ndarray) -> np.ndarray:
    """int64 (N,): for each point the number of the nearest known one."""
    from scipy.spatial import cKDTree

    return cKDTree(known).query(points)[1]


# --- the texture ----------------------------------------------------------------------------------------------


def _agreed(scores: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """int64 (F,): the view of each face: one that sees it well, from as few views as that takes, in whole patches."""
    best = scores.max(axis=1, keepdims=True)
    good = (scores >= _GOOD * best) & (best > 0)
    chosen = np.zeros_like(scores)
    left = best[:, 0] > 0
    while left.any():
        view = int(good[left].sum(axis=0).argmax())
        chosen[left & good[:, view], view] = 1
        left &= ~good[:, view]
    around = _around(faces)
    for _ in range(_SMOOTHING):
        chosen = around @ chosen
    return np.where(scores >= _FAIR * best, chosen, chosen - 2).argmax(axis=1)


def _around(faces: np.ndarray) -> csr_array:
    """float32 (F, F), sparse: what takes the mean of a face and of those that share an edge with it and no third."""
    from scipy.sparse import csr_array

    edges = np.sort(faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1).astype(np.int64)
    key = edges[:, 0] * (int(faces.max()) + 1) + edges[:, 1]
    order = np.argsort(key, kind="stable")
    _, starts, counts = np.unique(key[order], return_index=True, return_counts=True)
    pairs = starts[counts == 2]
    one, other, own = order[pairs] // 3, order[pairs + 1] // 3, np.arange(len(faces))
    rows, columns = np.concatenate([one, other, own]), np.concatenate([other, one, own])
    shares = (1 / np.bincount(rows))[rows].astype(np.float32)
    return csr_array((shares, (rows, columns)), shape=(len(faces),) * 2)


def _sheet(frames: np.ndarray, distances: np.ndarray) -> tuple[np.ndarray, float, int]:
    """(uint8 texture, its pixels per frame pixel, tiles a row): the frames, each with its object's colours going on
    where it ends, since textures are also seen from afar, where pixels are averaged."""
    count, height, width = distances.shape
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    scale = min(1.0, _LARGEST_SHEET / (columns * width), _LARGEST_SHEET / (rows * height))
    tile_w, tile_h = int(width * scale), int(height * scale)
    sheet = np.full((rows * tile_h, columns * tile_w, 3), BARE, np.uint8)

    def put(i: int) -> None:
        tile = _grown(frames[i], distances[i] >= _RIM_PX[0])
        if scale < 1:
            tile = cv2.resize(tile, (tile_w, tile_h), interpolation=cv2.INTER_AREA)
        y, x = i // columns * tile_h, i % columns * tile_w
        sheet[y : y + tile_h, x : x + tile_w] = tile

    in_threads(put, range(count))
    return sheet, scale, columns


def _grown(frame: np.ndarray, known: np.ndarray) -> np.ndarray:
    """The frame with the nearest known pixel's colour wherever a pixel is not known."""
    if not known.any():
        return frame
    _, labels = cv2.distanceTransformWithLabels(
        np.where(known, 0, 255).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    of_label = np.zeros((int(labels.max()) + 1, 3), np.uint8)
    of_label[labels[known]] = frame[known]
    return of_label[labels]


def _tile_corners(
    corners: np.ndarray,
    cameras: Sequence[Camera],
    labels: np.ndarray,
    scale: float,
    columns: int,
    frame_size: tuple[int, int],
    sheet_size: tuple[int, int],
) -> np.ndarray:
    """float32 (F, 3, 2): where in the sheet each corner of each face lies in its view's tile."""
    height, width = frame_size
    tile_w, tile_h = int(width * scale), int(height * scale)
    uv = np.empty((len(corners), 3, 2), np.float32)
    for i, camera in enumerate(cameras):
        own = labels == i
        pose, k = camera.world_to_camera, camera.intrinsics
        there = corners[own] @ pose[:3, :3].T + pose[:3, 3]
        z = np.maximum(there[..., 2], 1e-6)
        x = (k[0, 0] * there[..., 0] / z + k[0, 2] + 0.5) / width
        y = (k[1, 1] * there[..., 1] / z + k[1, 2] + 0.5) / height
        uv[own, :, 0] = (i % columns + np.clip(x, 0, 1)) * tile_w / sheet_size[1]
        uv[own, :, 1] = 1 - (i // columns + np.clip(y, 0, 1)) * tile_h / sheet_size[0]
    return uv
