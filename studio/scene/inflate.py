"""A silhouette blown up like a balloon: a closed `Surface` that looks from the front like the picture it is made of.

Over the mask the height h solves ``laplace(h^2) = -4`` with h = 0 at the rim, so a disc becomes a ball and a strip a
tube, and h^2, unlike h, has a finite slope at the rim. The surface is where ``h(x, y)^2 = depth^2``, found by
marching cubes in the camera's own coordinates, pixels by depth, so holes and separate parts need no care and the
outline stays where it is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from scipy.ndimage import distance_transform_edt
from scipy.sparse import csc_matrix
from scipy.sparse.linalg import splu
from skimage.measure import marching_cubes

from studio.errors import BadInput
from studio.scene.camera import Camera
from studio.scene.silhouette import outline_distances
from studio.scene.surface import Surface

CELLS = 112
"""Cells along the longer side of the silhouette."""

_MOST_CELLS = 336
"""The same for a silhouette that is thinner than a cell."""

_UPRIGHT = 0.5
"""The middle plane stands so far between facing the camera, which makes a standing figure lean back, and upright, from
which a ball bulges askew towards the camera."""

_MARGIN = 2
"""Cells around the silhouette."""

_SMOOTH = 0.6
"""Blur of the mask, pixels, so that one without soft edges has no stairs."""

_SOLID = 0.5
"""Cells from the rim at least, where the slope of h^2 at the rim is read off."""

_STRAIGHT = 0.1
"""World units behind the rim over which the sides leave the rays, along which the back would become the larger side."""

_CRUMB = 6
"""Nodes that a part has at least."""

_OPAQUE = 250
"""Alpha from which a pixel's colour is the object's alone."""

_SOFTEST = 0.04
"""Blur of the back, as a part of the silhouette's longer side."""

_MIRRORED = 0.4
"""How much of the back is the picture; the rest is the rim's colours."""


def inflated(picture: np.ndarray, alpha: np.ndarray, camera: Camera, *, thickness: float = 1.0) -> Surface:
    """The picture's object as a closed textured surface about the origin.

    The camera sees the picture on the front. The back is the picture mirrored, softened and mixed with the colours of
    the rim.

    Args:
        picture: uint8 (H, W, 3), sRGB, the object on white.
        alpha: uint8 (H, W).
        camera: took the picture; looks at the origin with z up.
        thickness: 1 makes a ball of a disc.

    Raises:
        BadInput: the mask is empty, or no more than a hair.
    """
    room = math.ceil(_MARGIN * (max(alpha.shape) / CELLS + 1)) + 1
    picture = np.pad(picture, ((room, room), (room, room), (0, 0)), mode="edge")
    alpha = np.pad(alpha, room)
    outline = outline_distances(cv2.GaussianBlur(alpha, (0, 0), _SMOOTH)[None])[0]
    grid, inside = _nodes(outline)
    membrane = _Membrane(inside)
    cell = grid.step * float(np.linalg.norm(camera.position)) / camera.intrinsics[0, 0]
    squared = _beyond_the_rim(membrane.bulge(), inside) * (cell * thickness) ** 2
    nodes, faces = _balloon(squared, cell)
    x, y, depth = grid.x + nodes[:, 0] * grid.step, grid.y + nodes[:, 1] * grid.step, nodes[:, 2]
    vertices = _in_world(x - room, y - room, depth, camera)
    front, back = _sides(picture, alpha, outline, grid, membrane)
    return Surface(vertices, faces, uv=_uv(x, y, depth, faces, front.shape), texture=np.hstack([front, back]))


@dataclass(frozen=True)
class _Grid:
    """Nodes over the silhouette and a little beyond.

    Args:
        x: of the first column, pixels.
        y: of the first row, pixels.
        step: pixels between nodes.
        columns: how many.
        rows: how many.
    """

    x: float
    y: float
    step: float
    columns: int
    rows: int

    @classmethod
    def over(cls, outline: np.ndarray) -> _Grid:
        rows, columns = (np.flatnonzero((outline > 0).any(axis=a)) for a in (1, 0))
        wide, high = int(columns[-1] - columns[0]) + 1, int(rows[-1] - rows[0]) + 1
        longest = max(wide, high)
        step = min(longest / CELLS, max(float(outline.max()), longest / _MOST_CELLS))
        margin = _MARGIN * (step + 1)
        count = (math.ceil((side + 2 * margin) / step) for side in (wide, high))
        return cls(columns[0] - margin, rows[0] - margin, step, *count)

    def sample(self, picture: np.ndarray) -> np.ndarray:
        """float32 (rows, columns, ...): the picture at the nodes."""
        x = (self.x + np.arange(self.columns) * self.step).astype(np.float32)
        y = (self.y + np.arange(self.rows) * self.step).astype(np.float32)
        return cv2.remap(picture.astype(np.float32), *np.meshgrid(x, y), cv2.INTER_LINEAR, None, cv2.BORDER_REPLICATE)

    def spread(self, values: np.ndarray, height: int, width: int) -> np.ndarray:
        """float32 (height, width, ...): a picture of the values at the nodes."""
        x = ((np.arange(width) - self.x) / self.step).astype(np.float32)
        y = ((np.arange(height) - self.y) / self.step).astype(np.float32)
        return cv2.remap(values.astype(np.float32), *np.meshgrid(x, y), cv2.INTER_LINEAR, None, cv2.BORDER_REPLICATE)


def _nodes(outline: np.ndarray) -> tuple[_Grid, np.ndarray]:
    """The grid over an outline (pixels to it, positive inside), and float32 (rows, columns): cells to it.

    Raises:
        BadInput: no node is inside.
    """
    if outline.max() > 0:
        grid = _Grid.over(outline)
        inside = _without_dust(grid.sample(outline) / grid.step)
        if inside.max() > 0:
            return grid, inside
    raise BadInput(
        "image: nothing, or no more than a hair, is left of the picture once its background is cut out.",
        "Correct the mask, or take another picture.",
        field="image",
    )


def _without_dust(inside: np.ndarray) -> np.ndarray:
    """The same less the parts of very few nodes, which would become crumbs; the largest part always stays."""
    count, parts, facts, _ = cv2.connectedComponentsWithStats((inside > 0).astype(np.uint8), connectivity=4)
    sizes = facts[:, cv2.CC_STAT_AREA]
    crumbs = np.flatnonzero(sizes < _CRUMB)
    crumbs = crumbs[(crumbs != 0) & (crumbs != 1 + sizes[1:].argmax())] if count > 1 else crumbs[:0]
    return np.where(np.isin(parts, crumbs), np.float32(-0.5), inside)


class _Membrane:
    """A rubber skin that is held at the rim: Poisson's equation over the nodes inside, factorised once.

    A node next to the rim knows how far it is, which makes heights of second order (Gibou, Fedkiw, Cheng, Kang, 2002).

    Args:
        inside: float32 (rows, columns), cells to the rim, positive inside; negative all along the edge.
    """

    def __init__(self, inside: np.ndarray) -> None:
        self._inside = inside > 0
        count = int(self._inside.sum())
        number = np.full(inside.shape, -1)
        number[self._inside] = np.arange(count)
        own = number[self._inside]
        diagonal = np.zeros(count)
        rows, columns = [own], [own]
        self._rim: list[tuple[tuple[int, int], np.ndarray]] = []
        for shift in ((0, 1), (0, -1), (1, 0), (-1, 0)):
            other = np.roll(number, shift, (0, 1))[self._inside]
            here, there = inside[self._inside], np.roll(inside, shift, (0, 1))[self._inside]
            gap = np.clip(here / np.maximum(here - there, 1e-6), 0.05, 1.0)
            pull = np.where(other < 0, 1 / gap, 0.0)
            diagonal += np.where(other < 0, pull, 1.0)
            self._rim.append((shift, pull))
            rows.append(own[other >= 0])
            columns.append(other[other >= 0])
        values = np.concatenate([diagonal, np.full(sum(map(len, rows[1:])), -1.0)])
        matrix = csc_matrix((values, (np.concatenate(rows), np.concatenate(columns))), shape=(count, count))
        self._solver = splu(matrix, permc_spec="MMD_AT_PLUS_A", options={"SymmetricMode": True})

    def bulge(self) -> np.ndarray:
        """float64 (rows, columns): h^2 in cells, 0 outside."""
        return self._over_nodes(self._solver.solve(np.full(int(self._inside.sum()), 4.0)))

    def fill(self, values: np.ndarray) -> np.ndarray:
        """float64 (rows, columns, n): the values (rows, columns, n) just outside the rim, spread inside most evenly."""
        pulled = sum(np.roll(values, shift, (0, 1))[self._inside] * pull[:, None] for shift, pull in self._rim)
        found = self._over_nodes(self._solver.solve(np.asarray(pulled, np.float64)))
        return np.where(self._inside[..., None], found, values)

    def _over_nodes(self, values: np.ndarray) -> np.ndarray:
        spread = np.zeros((*self._inside.shape, *values.shape[1:]))
        spread[self._inside] = values
        return spread


def _beyond_the_rim(squared: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """h^2 going on below 0 outside as steeply as it comes down inside, so that its zero is the rim."""
    solid = (inside >= min(_SOLID, 0.9 * float(inside.max()))) & (squared > 0)
    row, column = distance_transform_edt(~solid, return_distances=False, return_indices=True)
    slope = squared[row, column] / inside[row, column]
    return np.where(solid, squared, slope * inside)


def _balloon(squared: np.ndarray, cell: float) -> tuple[np.ndarray, np.ndarray]:
    """Vertices float64 (V, 3) as (column, row, depth in world units, negative in front) and faces int32 (F, 3)."""
    layers = math.ceil(math.sqrt(float(squared.max())) / cell) + 1
    depth = np.arange(-layers, layers + 1) * cell
    level = (squared[..., None] - depth**2).astype(np.float32)
    level[level == 0] = 1e-12  # a node exactly on the surface would give faces without area
    found, faces, _, _ = marching_cubes(level, 0.0)
    row, column, layer = found.T.astype(np.float64)
    return np.stack([column, row, (layer - layers) * cell], axis=1), faces.astype(np.int32)


def _in_world(x: np.ndarray, y: np.ndarray, depth: np.ndarray, camera: Camera) -> np.ndarray:
    """float64 (V, 3): pixels brought onto a plane before the origin, and from there along their rays by the depth.

    In front the depth is bent, since the rim that the camera sees of a ball is nearer than the ball's middle. The
    plane is so far before the origin that the whole is about it.
    """
    pose, k = camera.world_to_camera[:3, :3], camera.intrinsics
    right, down, forward = pose
    distance = float(np.linalg.norm(camera.position))
    bent = depth + np.minimum(depth, 0.0) ** 2 / distance
    aside = np.multiply.outer((x - k[0, 2]) / k[0, 0], right) + np.multiply.outer((y - k[1, 2]) / k[1, 1], down)
    rays = aside + forward  # to a depth of one
    leans = (1 - _UPRIGHT) * math.asin(np.clip(-forward[2], -1.0, 1.0))
    up = np.array([0.0, 0.0, 1.0])
    normal = math.cos(leans) * np.cross(up, right) - math.sin(leans) * up
    middle = (float(bent.max()) + float(bent.min())) / 2
    along = -(middle + camera.position @ normal) / (rays @ normal)
    behind = np.maximum(bent, 0.0)
    spread = np.minimum(bent, 0.0) + behind / (1 + behind / _STRAIGHT)
    return camera.position + along[:, None] * rays + bent[:, None] * forward + spread[:, None] * aside


def _sides(
    picture: np.ndarray, alpha: np.ndarray, outline: np.ndarray, grid: _Grid, membrane: _Membrane
) -> tuple[np.ndarray, np.ndarray]:
    """Front and back, uint8 like the picture: where the object ends its colours go on."""
    known = (alpha >= _OPAQUE) & (outline >= 1)
    if not known.any():
        known = alpha >= min(_OPAQUE, int(alpha.max()))
    row, column = distance_transform_edt(~known, return_distances=False, return_indices=True)
    front = picture[row, column]
    size = max(grid.columns, grid.rows) * grid.step * _SOFTEST
    height, width = alpha.shape
    rim = grid.spread(membrane.fill(grid.sample(cv2.GaussianBlur(front, (0, 0), size))), height, width)
    weight = cv2.GaussianBlur(known.astype(np.float32), (0, 0), size)
    soft = cv2.GaussianBlur(np.where(known[..., None], picture, 0).astype(np.float32), (0, 0), size)
    soft /= np.maximum(weight, 1e-6)[..., None]
    share = np.clip(outline / (0.4 * outline.max()), 0, 1)[..., None]
    share = share * share * (3 - 2 * share)
    back = front * (1 - share) + (_MIRRORED * soft + (1 - _MIRRORED) * rim) * share
    return front, np.clip(np.rint(back), 0, 255).astype(np.uint8)


def _uv(x: np.ndarray, y: np.ndarray, depth: np.ndarray, faces: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """float32 (F, 3, 2): pixels of the left half of the texture for faces in front, of the right half for others."""
    height, width = size[:2]
    behind = depth[faces].mean(axis=1) > 0
    u = (x[faces] + 0.5 + width * behind[:, None]) / (2 * width)
    return np.stack([u, 1 - (y[faces] + 0.5) / height], axis=-1).astype(np.float32)
