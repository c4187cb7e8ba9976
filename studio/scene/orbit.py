"""`Orbit`: where the cameras of a turntable stand, and the `Camera`s themselves.

The world is SV3D's: right-handed, z up, the object at the origin with a longest side of about 1. At azimuth a and
elevation e the camera stands at ``RADIUS (cos e sin a, -cos e cos a, sin e)`` and looks at the origin with z up, so
azimuth 0, the input view, is at -y, azimuth grows counter-clockwise seen from above, and e > 0 is above.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from studio.errors import BadInput
from studio.scene.camera import Camera

FOV_DEG = 33.8
"""Of SV3D's square frames."""

RADIUS = 2.0
"""From the origin to each camera, world units. Another radius scales all that is reconstructed, and nothing else."""

VIEWS = 21
"""Frames of an SV3D orbit."""

STEEPEST_DEG = 89.0
"""Elevations go no further up or down."""

SURE_DEG = 30.0
"""SV3D was shown few views from further up or down."""

_DRAWN = 84
"""Steps of a dynamic orbit that are drawn, whatever the number of views: SV3D's training renders had so many."""

_PERIODS = 5


@dataclass(frozen=True)
class Orbit:
    """Cameras round an object, one a frame; the last is the input view and the one before the first.

    Args:
        azimuths_deg: in [0, 360), all growing (or all falling, see `reversed`); the last is 0.
        elevations_deg: as many, within +-`STEEPEST_DEG`.

    Raises:
        ValueError: they are not so.
    """

    azimuths_deg: tuple[float, ...]
    elevations_deg: tuple[float, ...]

    def __post_init__(self) -> None:
        azimuths, elevations = self.azimuths_deg, self.elevations_deg
        if len(azimuths) != len(elevations) or len(azimuths) < 2:
            raise ValueError(f"orbit: {len(azimuths)} azimuths and {len(elevations)} elevations; two or more of each.")
        between = azimuths[:-1]
        grows = all(a < b for a, b in pairwise((0.0, *between, 360.0)))
        falls = all(a > b for a, b in pairwise((360.0, *between, 0.0)))
        if azimuths[-1] != 0 or not (grows or falls):
            raise ValueError(f"orbit: azimuths {azimuths} do not go once round to a last one of 0.")
        if not all(abs(e) <= STEEPEST_DEG for e in elevations):
            raise ValueError(f"orbit: elevations {elevations} are not within +-{STEEPEST_DEG:g}.")

    def __len__(self) -> int:
        return len(self.azimuths_deg)

    @property
    def is_static(self) -> bool:
        """True where the elevation never changes."""
        return len(set(self.elevations_deg)) == 1

    def reversed(self) -> Orbit:
        """The same frames seen by an orbit of the other sense: azimuths a become 360 - a, elevations stay."""
        return Orbit(tuple((360.0 - a) % 360.0 for a in self.azimuths_deg), self.elevations_deg)

    def warnings(self) -> tuple[str, ...]:
        """One sentence where the orbit leaves what SV3D was trained on, else nothing."""
        worst = max(self.elevations_deg, key=abs)
        if abs(worst) <= SURE_DEG:
            return ()
        return (
            f"The orbit goes to {worst:.3g} degrees of elevation; from beyond {SURE_DEG:g} up or down "
            "generated views and the mesh get worse.",
        )

    def radians(self) -> tuple[np.ndarray, np.ndarray]:
        """(polar, azimuth) float64 (T,) each, as SV3D hears them: polar is 90 degrees - elevation, the last azimuth 0.

        It must be 0 and not 2 pi: the embedding of an angle is not periodic.
        """
        return np.deg2rad(90.0 - np.array(self.elevations_deg)), np.deg2rad(np.array(self.azimuths_deg))


def static(elevation_deg: float, views: int = VIEWS) -> Orbit:
    """The orbit of one elevation and even steps.

    Raises:
        BadInput: the elevation is too steep.
    """
    return sine(elevation_deg, 0.0, views)


def sine(elevation_deg: float, amplitude_deg: float, views: int = VIEWS) -> Orbit:
    """The orbit that rises by the amplitude until azimuth 90 and sinks as far below until 270; even steps.

    Raises:
        BadInput: it gets too steep.
    """
    _check_steepness(elevation_deg, "elevation_deg")
    for extreme in (elevation_deg + amplitude_deg, elevation_deg - amplitude_deg):
        _check_steepness(extreme, "amplitude_deg")
    azimuths = _even(views)
    return _orbit(azimuths, elevation_deg + amplitude_deg * np.sin(np.deg2rad(azimuths)))


def keyed(keys: Iterable[tuple[float, float]], views: int = VIEWS) -> Orbit:
    """The orbit through (azimuth_deg, elevation_deg) keys, in any order; even steps.

    Between keys the elevation follows a closed curve without corners that never leaves the range of its two keys
    (Fritsch and Butland, A method for constructing local monotone piecewise cubic interpolants, 1984).

    Raises:
        BadInput: no key, a key that is too steep or not a number, or two at one azimuth.
    """
    found: dict[float, float] = {}
    for azimuth, elevation in keys:
        if not math.isfinite(azimuth):
            raise BadInput(f"keys: {azimuth} is not an azimuth. Give degrees.", field="keys")
        _check_steepness(elevation, "keys")
        azimuth = azimuth % 360.0 % 360.0  # twice: a tiny negative one becomes 360.0 first
        if azimuth in found:
            raise BadInput(f"keys: two keys at azimuth {azimuth:g}. Leave one out.", field="keys")
        found[azimuth] = elevation
    if not found:
        raise BadInput("keys: there is no key. Give at least one azimuth with its elevation.", field="keys")
    azimuths = _even(views)
    return _orbit(
        azimuths, _closed_curve(np.array(sorted(found)), np.array([found[a] for a in sorted(found)]), azimuths)
    )


def dynamic(elevation_deg: float, seed: int, views: int = VIEWS) -> Orbit:
    """A seeded orbit like those that SV3D_p was trained on: uneven steps, elevation a sum of sines.

    The sines have 1 to 5 whole periods and amplitudes of 0.5 to 10 degrees, and all begin at 0, so that the input
    view keeps its elevation. The curve does not depend on the number of views. (SV3D, arXiv 2403.12008, section 3;
    its code draws many more sines and throws most of what it drew away for being too steep.)

    Raises:
        BadInput: the elevation is too steep.
    """
    _check_steepness(elevation_deg, "elevation_deg")
    rng = np.random.default_rng(seed)
    walked = np.concatenate([[0.0], np.cumsum(rng.uniform(0.2, 1.8, _DRAWN))])
    amplitudes = rng.uniform(0.5, 10.0, _PERIODS) * rng.choice([-1.0, 1.0], _PERIODS)
    time = np.arange(1, views + 1) / views
    azimuths = np.interp(time, np.linspace(0.0, 1.0, _DRAWN + 1), walked / walked[-1] * 360.0)
    waves = np.sin(2 * np.pi * np.outer(time, np.arange(1, _PERIODS + 1)))
    waves[-1] = 0.0
    return _orbit(azimuths, np.clip(elevation_deg + waves @ amplitudes, -STEEPEST_DEG, STEEPEST_DEG))


def orbit_cameras(orbit: Orbit, size_px: int, *, fov_deg: float = FOV_DEG, radius: float = RADIUS) -> list[Camera]:
    """One `Camera` a frame, for square frames of that size."""
    focal = 0.5 * size_px / math.tan(math.radians(fov_deg) / 2)
    middle = (size_px - 1) / 2
    k = np.array([[focal, 0.0, middle], [0.0, focal, middle], [0.0, 0.0, 1.0]])
    pairs = zip(orbit.azimuths_deg, orbit.elevations_deg, strict=True)
    return [Camera(k.copy(), _pose(azimuth, elevation, radius)) for azimuth, elevation in pairs]


def _pose(azimuth_deg: float, elevation_deg: float, radius: float) -> np.ndarray:
    a, e = math.radians(azimuth_deg), math.radians(elevation_deg)
    ca, sa, ce, se = math.cos(a), math.sin(a), math.cos(e), math.sin(e)
    pose = np.eye(4)
    pose[:3, :3] = [[ca, sa, 0.0], [se * sa, -se * ca, -ce], [-ce * sa, ce * ca, -se]]
    pose[2, 3] = radius
    return pose


def _closed_curve(keys: np.ndarray, values: np.ndarray, at: np.ndarray) -> np.ndarray:
    """float64, shape of `at`: the monotone cubics through values at keys (growing, in [0, 360)), closed at 360."""
    widths = np.diff(keys, append=keys[0] + 360.0)
    rises = np.diff(values, append=values[0]) / widths
    before, width_before = np.roll(rises, 1), np.roll(widths, 1)
    level = rises * before <= 0  # a key that is highest or lowest: the curve is level there
    w, w_before = 2 * widths + width_before, widths + 2 * width_before
    slopes = np.where(
        level, 0.0, (w + w_before) / (w / np.where(level, 1.0, before) + w_before / np.where(level, 1.0, rises))
    )
    i = np.searchsorted(keys, at % 360.0, side="right") - 1  # -1, before the first key: in the last span
    s = (at - keys[i]) % 360.0 / widths[i]
    j = (i + 1) % len(keys)
    gain = s * s * (3 - 2 * s)
    bend = widths[i] * s * (1 - s) * ((1 - s) * slopes[i] - s * slopes[j])
    return values[i] + (values[j] - values[i]) * gain + bend


def _even(views: int) -> np.ndarray:
    return 360.0 * np.arange(1, views + 1) / views


def _orbit(azimuths_deg: np.ndarray, elevations_deg: np.ndarray) -> Orbit:
    """The orbit of azimuths that end at 360."""
    return Orbit((*map(float, azimuths_deg[:-1]), 0.0), tuple(map(float, elevations_deg)))


def _check_steepness(elevation_deg: float, field: str) -> None:
    if not abs(elevation_deg) <= STEEPEST_DEG:
        raise BadInput(
            f"{field}: the orbit would go to {elevation_deg:g} degrees of elevation; "
            f"{-STEEPEST_DEG:g} to {STEEPEST_DEG:g} can be had.",
            field=field,
        )
