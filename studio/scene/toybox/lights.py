"""Lights and floors: data, and both as the array that the compiled functions read."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from studio.scene.toybox import skies
from studio.scene.toybox.materials import linear

Rgb = tuple[float, float, float]


@dataclass(frozen=True)
class Light:
    """What a scene is lit by. Colours are linear and may be above 1.

    Args:
        height_deg: of the key light above the horizon.
        key: its colour and strength.
        zenith: the sky's colour overhead.
        horizon: and at the horizon.
        bounce: light from below.
        softness: half-width of a shadow's edge, a unit from what casts it.
        around: strength of the light from all sides.
        rim: strength of the light from behind.
        floor: the texture that lies there unless stated.
        reach: how far the floor goes.
        fade: from which part of that on it fades into the sky.
        dark: lamps and windows are lit.
        behind: the key light stands behind what is seen.
        low: the camera stands low, so that there is sky.
    """

    height_deg: float
    key: Rgb
    zenith: Rgb
    horizon: Rgb
    bounce: Rgb
    softness: float
    around: float
    rim: float = 0.0
    exposure: float = 1.0
    fog: float = 0.0
    stars: float = 0.0
    clouds: float = 0.0
    disc: float = 0.0
    boxes: float = 0.0
    floor: str = "plain"
    reach: float = 60.0
    fade: float = 0.45
    dark: bool = False
    behind: bool = False
    low: bool = True


LIGHTS: dict[str, Light] = {
    "studio": Light(
        height_deg=50, key=(1.9, 1.82, 1.7), zenith=(0.42, 0.46, 0.52), horizon=(0.80, 0.82, 0.84),
        bounce=(0.34, 0.33, 0.32), softness=0.16, around=0.62, rim=0.25, boxes=1.0, reach=26.0, fade=0.12, low=False,
    ),
    "day": Light(
        height_deg=46, key=(2.05, 1.92, 1.66), zenith=(0.05, 0.19, 0.68), horizon=(0.44, 0.66, 0.98),
        bounce=(0.22, 0.24, 0.16), softness=0.05, around=0.72, rim=0.1, fog=0.003, clouds=0.95, disc=0.5,
        floor="grass", reach=140.0, fade=0.35,
    ),
    "sunset": Light(
        height_deg=10, key=(3.2, 1.5, 0.62), zenith=(0.11, 0.11, 0.30), horizon=(1.10, 0.46, 0.22),
        bounce=(0.20, 0.13, 0.12), softness=0.07, around=0.85, rim=0.35, fog=0.008, clouds=0.7, disc=1.0,
        floor="sand", reach=140.0, fade=0.3, behind=True,
    ),
    "night": Light(
        height_deg=42, key=(0.30, 0.40, 0.68), zenith=(0.008, 0.014, 0.045), horizon=(0.040, 0.062, 0.135),
        bounce=(0.02, 0.025, 0.04), softness=0.06, around=1.1, rim=0.5, exposure=1.35, fog=0.01, stars=1.0, disc=0.10,
        floor="grass", reach=140.0, fade=0.3, dark=True,
    ),
    "fog": Light(
        height_deg=55, key=(0.55, 0.56, 0.58), zenith=(0.62, 0.66, 0.70), horizon=(0.66, 0.69, 0.71),
        bounce=(0.22, 0.23, 0.22), softness=0.5, around=0.95, fog=0.055, floor="grass", reach=80.0, fade=0.2,
    ),
}  # fmt: skip
"""Name -> light."""


BACKDROPS = ("#e4e2de", "#c9dbe8", "#cfe0cf", "#f0d9c4", "#ddd3ea", "#efe0b4", "#bfdcdc")
"""Of a studio where none is asked for."""


@dataclass(frozen=True)
class Floor:
    """A floor: its texture, its two colours and how much it shines."""

    kind: int
    first: str
    second: str
    gloss: float = 0.0


FLOORS: dict[str, Floor] = {
    "plain": Floor(skies.PLAIN, "#d9d6d0", "#d9d6d0", 0.25),
    "checker": Floor(skies.CHECKER, "#ece8df", "#2b2c30", 0.55),
    "wood": Floor(skies.WOOD, "#a9713f", "#dca76a", 0.5),
    "grass": Floor(skies.GRASS, "#2f6b26", "#5d9434"),
    "water": Floor(skies.WATER, "#0c3c4c", "#1b6a78", 1.25),
    "sand": Floor(skies.SAND, "#d9bd8c", "#e9d3a8"),
    "snow": Floor(skies.SNOW, "#eef2f7", "#dbe4ef"),
    "tiles": Floor(skies.TILES, "#dfe3e2", "#8d938f", 0.6),
    "marble": Floor(skies.MARBLE, "#f0eeea", "#9a948c", 0.7),
}
"""Name -> floor."""


def direction(azimuth_deg: float, elevation_deg: float) -> np.ndarray:
    """float64 (3,): the unit vector from the middle to there; azimuth 0 is +z, 90 +x; elevation 90 is +y."""
    a, e = math.radians(azimuth_deg), math.radians(elevation_deg)
    return np.array([math.cos(e) * math.sin(a), math.sin(e), math.cos(e) * math.cos(a)])


def light_array(
    light: str, floor: str, *, key_azimuth_deg: float, backdrop: str = "", floor_colour: str = "", shiny: bool = False
) -> np.ndarray:
    """float64 (LIGHT_SIZE,): light and floor as the compiled functions read them.

    Args:
        backdrop: a colour for the sky (in a studio: for the backdrop and a plain floor), or "".
        floor_colour: a colour for the floor, or "".
        shiny: a floor that mirrors.
    """
    n, f = LIGHTS[light], FLOORS[floor]
    a = np.zeros(skies.LIGHT_SIZE)
    first, second = linear(floor_colour or f.first), linear(f.second)
    zenith, horizon = np.array(n.zenith), np.array(n.horizon)
    if floor_colour and f.kind != skies.CHECKER:
        second = first * 0.75
    if backdrop:
        tint = 0.93 * linear(backdrop) + 0.02
        zenith, horizon = (0.5 * zenith.max() + 0.05) * tint / 0.6, horizon.max() * (0.06 + tint)
        if f.kind == skies.PLAIN and not floor_colour:
            first = second = 0.04 + 0.86 * tint
    for at, value in (
        (skies.KEY, direction(key_azimuth_deg, n.height_deg)),
        (skies.KEY_COLOUR, n.key),
        (skies.ZENITH, zenith),
        (skies.HORIZON, horizon),
        (skies.BOUNCE, np.array(n.bounce) * (0.35 + first / (first.mean() + 0.05))),
        (skies.FLOOR_A, first),
        (skies.FLOOR_B, second),
    ):
        a[at : at + 3] = value
    a[skies.FOG], a[skies.SOFTNESS], a[skies.EXPOSURE] = n.fog, n.softness, n.exposure
    a[skies.STARS], a[skies.CLOUDS], a[skies.DISC], a[skies.BOXES] = n.stars, n.clouds, n.disc, n.boxes
    a[skies.AMBIENT], a[skies.FLOOR_KIND], a[skies.REACH], a[skies.FADE] = n.around, f.kind, n.reach, n.fade
    a[skies.GLOSS], a[skies.RIM] = (max(f.gloss, 0.9) if shiny else f.gloss), n.rim
    return a
