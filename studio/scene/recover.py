"""Where the cameras of an orbit stood, told from its silhouettes: how high, and which way round they went."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from studio.errors import BadInput
from studio.scene.consistency import reprojection
from studio.scene.hull import Carver
from studio.scene.orbit import STEEPEST_DEG, Orbit, orbit_cameras

SURE = 0.005
"""Margin from which the answer is not chance."""

_LOWEST_DEG, _HIGHEST_DEG = -40.0, 60.0
"""Elevations of the input view that are tried."""

_COARSE_DEG = 10.0

_APART_DEG = 7.5
"""Elevations that differ by so much are different answers."""


@dataclass(frozen=True)
class Recovered:
    """What silhouettes tell of their orbit.

    Args:
        orbit: the one that was assumed, raised or lowered as a whole, and turned round if that fits better; as it was
            where they tell nothing.
        elevation_deg: of its input view.
        clockwise: it was turned round: clockwise seen from above, where the assumed one grew in azimuth.
        score: mean overlap of the silhouettes with those of the hull that the best of all orbits gives, 0 to 1.
        assumed_score: the same for the orbit that was assumed.
        margin: by how much the best of all clearly different orbits scores less.
    """

    orbit: Orbit
    elevation_deg: float
    clockwise: bool
    score: float
    assumed_score: float
    margin: float

    @property
    def sure(self) -> bool:
        """False where other orbits fit as well: a ball or a vase looks the same from everywhere at that height."""
        return self.margin >= SURE


def recover_orbit(
    masks: np.ndarray, orbit: Orbit, *, grid: int = 32, size_px: int = 128, dissent: int = 0
) -> Recovered:
    """The elevation and the sense of the orbit that made these silhouettes.

    For each candidate the hull is built and looked at again: only the right cameras give one that fills the
    silhouettes, since a wrong one cuts off what others show. Perspective tells the sense.

    Args:
        masks: bool or uint8 alpha (T, S, S), in the order of the orbit, the last the input view.
        orbit: what is assumed: azimuths, and elevations but for a constant.
        grid: points along the hull's longest side.
        size_px: masks are compared at this size at most.
        dissent: see `Carver`.

    Raises:
        BadInput: a mask shows nothing.
    """
    trial = _Trial(_shrunk(masks, size_px), orbit, grid, dissent)
    coarse = np.arange(_LOWEST_DEG, _HIGHEST_DEG + 1, _COARSE_DEG)
    for turned in (False, True):
        for elevation in coarse:
            trial.score(float(elevation), turned)
    for turned in (False, True):
        step = _COARSE_DEG / 2
        while step > 1:
            middle = trial.best(turned)
            for elevation in (middle - step, middle + step):
                trial.score(elevation, turned)
            step /= 2
    assumed = trial.score(orbit.elevations_deg[-1], False)
    turned = trial.best_score(True) > trial.best_score(False)
    score, elevation = trial.best_score(turned), trial.best(turned)
    others = [s for (e, t), s in trial.scores.items() if t != turned or abs(e - elevation) >= _APART_DEG]
    margin = score - max(others)
    if margin < SURE:
        elevation, turned = orbit.elevations_deg[-1], False
    found = trial.candidate(elevation, turned)
    return Recovered(found, found.elevations_deg[-1], turned, score, assumed, margin)


class _Trial:
    """The scores of candidates: (elevation of the input view, turned round) -> mean overlap."""

    def __init__(self, masks: np.ndarray, orbit: Orbit, grid: int, dissent: int) -> None:
        self._masks, self._orbit, self._grid = masks, orbit, grid
        self._carver = Carver(masks, orbit_cameras(orbit, masks.shape[1]), dissent=dissent)
        self.scores: dict[tuple[float, bool], float] = {}

    def candidate(self, elevation_deg: float, turned: bool) -> Orbit:
        """The assumed orbit moved so that its input view has that elevation."""
        rise = elevation_deg - self._orbit.elevations_deg[-1]
        moved = tuple(min(max(e + rise, -STEEPEST_DEG), STEEPEST_DEG) for e in self._orbit.elevations_deg)
        orbit = Orbit(self._orbit.azimuths_deg, moved)
        return orbit.reversed() if turned else orbit

    def score(self, elevation_deg: float, turned: bool) -> float:
        key = (elevation_deg, turned)
        if key not in self.scores:
            cameras = orbit_cameras(self.candidate(elevation_deg, turned), self._masks.shape[1])
            try:
                hull = self._carver.seen_from(cameras).surface(self._grid)
                self.scores[key] = float(np.mean(reprojection(hull, self._masks, cameras)))
            except BadInput:  # these cameras leave nothing of the object
                self.scores[key] = 0.0
        return self.scores[key]

    def best(self, turned: bool) -> float:
        """The best elevation so far in this sense."""
        return max((e for e, t in self.scores if t == turned), key=lambda e: self.scores[e, turned])

    def best_score(self, turned: bool) -> float:
        return self.scores[self.best(turned), turned]


def _shrunk(masks: np.ndarray, size_px: int) -> np.ndarray:
    """uint8 alpha (T, S, S), S at most `size_px`."""
    alpha = masks.astype(np.uint8) * np.uint8(255) if masks.dtype == bool else masks
    size = min(size_px, alpha.shape[1])
    return np.stack([cv2.resize(a, (size, size), interpolation=cv2.INTER_AREA) for a in alpha])
