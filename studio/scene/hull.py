"""The visual hull: the largest solid that looks like the silhouettes from every camera.

Each point of space takes the smallest of its distances to the outlines, in world units; where that is 0 is the
surface. A hull only ever adds: hollows that no outline shows are filled.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from studio.errors import BadInput
from studio.scene.camera import Camera
from studio.scene.kernel import in_threads, kernel
from studio.scene.silhouette import check_views, outline_distances
from studio.scene.surface import Surface

DISSENT = 1
"""Views that may be wrong about a point; see `Carver`."""

_COARSE = 24
"""Points along a side of the grid that only finds where the object is."""

_NEAR = 3.0
"""Grid steps from the surface up to which distances are exact; beyond, only their sign is."""

_MARGIN = 1.2
"""The first box looked at, in sizes of what the cameras see of the object."""

_SPECK = 1e-3
"""Of the hull's points: parts with fewer are where cones of sight happen to meet."""


@dataclass(frozen=True, eq=False)
class Lattice:
    """A grid of points in the world.

    Args:
        low: float64 (3,): the first point.
        step: world units between neighbours.
        shape: points along x, y and z.
    """

    low: np.ndarray
    step: float
    shape: tuple[int, int, int]

    def plane(self, x: int) -> np.ndarray:
        """float64 (Y * Z, 3): the points of one x, z fastest."""
        axes = [self.low[i] + self.step * np.arange(self.shape[i]) for i in range(3)]
        return np.stack(np.meshgrid(axes[0][x], axes[1], axes[2], indexing="ij"), axis=-1).reshape(-1, 3)


class Carver:
    """Silhouettes that tell whether a point lies inside the hull, and how far.

    Args:
        masks: bool or uint8 alpha (T, H, W).
        cameras: one a mask.
        dissent: as many views may have any one point outside, and it still counts as inside. 0 for perfect masks;
            with 1 a single wrong frame takes nothing away.

    Raises:
        BadInput: a mask shows nothing.
    """

    def __init__(self, masks: np.ndarray, cameras: Sequence[Camera], *, dissent: int = DISSENT) -> None:
        check_views(masks, cameras)
        self._distances = outline_distances(masks)
        self._cameras = list(cameras)
        self._dissent = min(dissent, len(masks) - 1)

    def without(self, left_out: Sequence[int]) -> Carver:
        """The same of the other views."""
        stay = [i for i in range(len(self._cameras)) if i not in set(left_out)]
        return self._of(self._distances[stay], [self._cameras[i] for i in stay])

    def seen_from(self, cameras: Sequence[Camera]) -> Carver:
        """The same silhouettes, had these cameras seen them."""
        return self._of(self._distances, list(cameras))

    def _of(self, distances: np.ndarray, cameras: list[Camera]) -> Carver:
        other = object.__new__(Carver)
        other._distances, other._cameras = distances, cameras
        other._dissent = min(self._dissent, len(cameras) - 1)
        return other

    def surface(self, grid: int) -> Surface:
        """The hull as a closed mesh without colours, `grid` points along its longest side.

        Raises:
            BadInput: there is no point that the views agree on, or they see the object from too few sides.
        """
        lattice = self.lattice(grid)
        return _skin(self.depths_on(lattice, exact_to=_NEAR * lattice.step), lattice)

    def depths_on(self, lattice: Lattice, *, exact_to: float) -> np.ndarray:
        """float32 of the lattice's shape: world units from the hull's surface, positive inside.

        Args:
            lattice: points to look at.
            exact_to: points that lie farther outside may be given any smaller number. It saves most of the work.
        """
        found = np.empty(lattice.shape, np.float32)
        carve = self._carve_with(exact_to)
        in_threads(lambda x: carve(lattice.plane(x), found[x].reshape(-1)), range(len(found)))
        return found

    def depths(self, points: np.ndarray) -> np.ndarray:
        """float32 (N,): the same of any points, float64 (N, 3), exact everywhere."""
        found = np.empty(len(points), np.float32)
        self._carve_with(np.inf)(np.ascontiguousarray(points), found)
        return found

    def _carve_with(self, exact_to: float) -> Callable[[np.ndarray, np.ndarray], None]:
        k = np.stack([c.intrinsics for c in self._cameras])
        projections = k @ np.stack([c.world_to_camera[:3] for c in self._cameras])
        focal = (k[:, 0, 0] + k[:, 1, 1]) / 2
        order = _scattered(len(self._cameras))

        def carve(points: np.ndarray, found: np.ndarray) -> None:
            _carve(points, self._distances, projections, focal, order, self._dissent, exact_to, found)

        return carve

    def lattice(self, grid: int) -> Lattice:
        """The smallest grid round the hull with `grid` points along its longest side.

        Raises:
            BadInput: there is no point that the views agree on, or they see the object from too few sides.
        """
        half = _MARGIN * self._seen_radius()
        for _ in range(4):
            step = 2 * half / (_COARSE - 1)
            coarse = Lattice(np.full(3, -half), step, (_COARSE,) * 3)
            # Nothing of the hull is farther from a grid point than half a cell's diagonal.
            near = np.argwhere(self.depths_on(coarse, exact_to=2 * step) > -step)
            if len(near) and near.min() > 0 and near.max() < _COARSE - 1:
                low, high = -half + step * (near.min(axis=0) - 1), -half + step * (near.max(axis=0) + 1)
                fine = float((high - low).max()) / (grid - 1)
                return Lattice(low, fine, tuple(int(n) for n in np.ceil((high - low) / fine + 1 - 1e-9)))
            if not len(near):
                raise _disagreement()
            half *= 1.6
        raise BadInput(
            "The views do not enclose the object: its hull has no end on one side.",
            "Give views from all around.",
        )

    def _seen_radius(self) -> float:
        """World units from the origin that the silhouettes reach at most, were the object as far as the origin."""
        most = 0.0
        for camera, distances in zip(self._cameras, self._distances, strict=True):
            rows, columns = np.nonzero(distances.max(axis=1) > 0)[0], np.nonzero(distances.max(axis=0) > 0)[0]
            k = camera.intrinsics
            across = max(abs(columns[0] - k[0, 2]), abs(columns[-1] - k[0, 2])) / k[0, 0]
            along = max(abs(rows[0] - k[1, 2]), abs(rows[-1] - k[1, 2])) / k[1, 1]
            most = max(most, max(across, along) * float(np.linalg.norm(camera.position)))
        return most


def visual_hull(masks: np.ndarray, cameras: Sequence[Camera], *, grid: int = 96, dissent: int = DISSENT) -> Surface:
    """The hull as a closed mesh without colours.

    Args:
        masks: bool or uint8 alpha (T, H, W); an alpha's outline is known better than to the pixel.
        cameras: one a mask, around the origin.
        grid: points along the longest side.
        dissent: see `Carver`.

    Raises:
        BadInput: a mask shows nothing, or the masks have no point in common.
    """
    return Carver(masks, cameras, dissent=dissent).surface(grid)


def _skin(depths: np.ndarray, lattice: Lattice) -> Surface:
    """The surface at depth 0, by marching cubes, without specks."""
    from scipy.ndimage import label  # with marching cubes some 0.3 s to import
    from skimage.measure import marching_cubes

    parts, count = label(depths > 0)
    if not count:
        raise _disagreement()
    sizes = np.bincount(parts.ravel())[1:]
    speck = np.concatenate([[False], sizes < _SPECK * sizes.sum()])
    depths = np.where(speck[parts], np.float32(-1e-7), depths)
    # Exact zeros would give faces without area.
    depths = np.pad(np.where(depths == 0, np.float32(-1e-7), depths), 1, constant_values=-lattice.step)
    vertices, faces, _, _ = marching_cubes(depths, 0.0, gradient_direction="ascent")
    return Surface(lattice.low + lattice.step * (vertices.astype(np.float64) - 1), faces.astype(np.int32))


def _disagreement() -> BadInput:
    return BadInput(
        "The silhouettes have no solid in common.",
        "Look at the frames' scores, mend the cut-outs, or let more views disagree.",
    )


def _scattered(count: int) -> np.ndarray:
    """int64: the numbers below `count`, each far from the one before, so that outside points are found out soon."""
    step = max(1, round(count * 0.382))
    while np.gcd(step, count) != 1:
        step += 1
    return np.arange(count, dtype=np.int64) * step % count


@kernel
def _carve(points, distances, projections, focal, order, dissent, exact_to, found):
    """Writes how deep points lie in the hull.

    Args:
        points: float64 (N, 3).
        distances: float32 (T, H, W), pixels.
        projections: float64 (T, 3, 4), world to pixels.
        focal: float64 (T,), pixels.
        order: int64 (T,): in which the views are asked.
        dissent: smallest distances that are passed over.
        exact_to: see `Carver.depths`.
        found: float32 (N,).
    """
    height, width = distances.shape[1], distances.shape[2]
    least = np.empty(dissent + 1)
    for n in range(points.shape[0]):
        x, y, z = points[n, 0], points[n, 1], points[n, 2]
        least[:] = np.inf
        for i in range(order.shape[0]):
            t = order[i]
            p = projections[t]
            w = p[2, 0] * x + p[2, 1] * y + p[2, 2] * z + p[2, 3]
            if w <= 1e-6:
                depth = -1e6
            else:
                u = (p[0, 0] * x + p[0, 1] * y + p[0, 2] * z + p[0, 3]) / w
                v = (p[1, 0] * x + p[1, 1] * y + p[1, 2] * z + p[1, 3]) / w
                inner_u = min(max(u, 0.0), width - 1.0)
                inner_v = min(max(v, 0.0), height - 1.0)
                beyond = max(abs(u - inner_u), abs(v - inner_v))
                left, top = min(int(inner_u), width - 2), min(int(inner_v), height - 2)
                a, b = inner_u - left, inner_v - top
                d = distances[t]
                upper = d[top, left] * (1 - a) + d[top, left + 1] * a
                lower = d[top + 1, left] * (1 - a) + d[top + 1, left + 1] * a
                depth = (upper * (1 - b) + lower * b - beyond) * w / focal[t]
            for j in range(dissent + 1):
                if depth < least[j]:
                    depth, least[j] = least[j], depth
            if least[dissent] < -exact_to:
                break
        found[n] = least[dissent]
