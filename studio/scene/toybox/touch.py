"""How far solids are apart: what keeps a layout from putting one into another."""

from __future__ import annotations

from functools import cache

import numpy as np

from studio.scene.toybox.compiled import kept
from studio.scene.toybox.distance import Packed, solid_distance
from studio.scene.toybox.scene import Solid, corners, extent, pack_solids, turned
from studio.scene.toybox.skies import LIGHT_SIZE

_GRID = 18
"""Points along each side of a box round a thing, from which its surface is found."""


def _distances(digest):
    def distances(packed, solid, points, out):
        """Writes the distance of each of float64 (n, 3) points to a solid."""
        _ = digest
        for i in range(points.shape[0]):
            out[i] = solid_distance(packed, solid, points[i, 0], points[i, 1], points[i, 2])

    return distances


distances = kept(_distances)


def _alone(*solids: Solid) -> Packed:
    return pack_solids(solids, np.zeros(LIGHT_SIZE), np.zeros((0, 6)))


@cache
def surface(kind: str) -> np.ndarray:
    """float64 (n, 3): points spread over a thing's surface, at its own size, unturned."""
    packed = _alone(Solid(kind, "white"))
    low, high = extent(kind)
    axes = [np.linspace(a - 0.01, b + 0.01, _GRID) for a, b in zip(low, high, strict=True)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    d = np.empty(grid.shape[:3])
    distances(packed, 0, grid.reshape(-1, 3), d.reshape(-1))
    slope = np.stack(np.gradient(d, *axes), axis=-1)
    near = np.abs(d) < 0.75 * max(a[1] - a[0] for a in axes)
    length2 = (slope[near] ** 2).sum(axis=-1, keepdims=True)
    points = grid[near]
    out = d[near]
    for _ in range(6):  # down the slope to the surface; a bound less than the distance takes several steps
        points = points - out[:, None] * slope[near] / np.maximum(length2, 0.05)
        out = np.empty(len(points))
        distances(packed, 0, points, out)
    return points[np.abs(out) < 0.004]


def _skin(solid: Solid) -> np.ndarray:
    return np.array(solid.foot) + solid.scale * surface(solid.kind) @ turned((0, 0, solid.turn_deg)).T


def apart(a: Solid, b: Solid) -> float:
    """How far two solids are apart, scene units, from points on both surfaces; negative where one is in the other."""
    ends = [corners(s) for s in (a, b)]
    box = np.maximum(ends[0].min(axis=0) - ends[1].max(axis=0), ends[1].min(axis=0) - ends[0].max(axis=0))
    if box.max() > 0.5:
        return float(np.linalg.norm(np.maximum(box, 0)))
    found = []
    for one, other in ((a, b), (b, a)):
        points = _skin(other)
        out = np.empty(len(points))
        distances(_alone(one), 0, points, out)
        found.append(out.min(initial=1e9))
    return float(min(found))
