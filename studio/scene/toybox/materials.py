"""Colours, materials and looks: data, and a material as a row of numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from studio.scene.toybox.march import (
    BRICKS,
    CHECKS,
    DOTS,
    GRAIN,
    MATERIAL_SIZE,
    NO_PATTERN,
    STONE,
    STRIPES,
    VEINS,
)

COLOURS: dict[str, str] = {
    "red": "#d3242b",
    "orange": "#f07818",
    "yellow": "#f6c61e",
    "green": "#2f9e44",
    "teal": "#14958f",
    "blue": "#2063d0",
    "navy": "#1b2f6e",
    "purple": "#7a3fc0",
    "pink": "#f07aa8",
    "brown": "#7a4a2a",
    "beige": "#e2cfa8",
    "white": "#f1f0ec",
    "grey": "#8c9096",
    "black": "#1c1d21",
    "gold": "#f5b942",
    "silver": "#cfd3d8",
    "copper": "#d98355",
}
"""Name -> sRGB."""


@dataclass(frozen=True)
class Material:
    """How a surface takes light.

    Args:
        rough: 0 a mirror's highlight, 1 none.
        metal: 1 reflects in its own colour and has no other.
        coat: how much lacquer it has.
        glass: 1 can be seen through.
        pattern: of `studio.scene.toybox.march`.
        colour: its own, for a substance; it then goes for every part of the thing.
    """

    rough: float = 0.6
    metal: float = 0.0
    coat: float = 0.25
    glass: float = 0.0
    pattern: int = NO_PATTERN
    colour: str = ""


MATERIALS: dict[str, Material] = {
    "matte": Material(rough=0.9, coat=0.0),
    "glossy": Material(rough=0.22, coat=1.0),
    "metal": Material(rough=0.28, metal=1.0, coat=0.0),
    "glass": Material(rough=0.1, coat=1.0, glass=1.0),
    "leafy": Material(rough=0.75, coat=0.12),
    "gold": Material(rough=0.25, metal=1.0, coat=0.0, colour="#ffc356"),
    "silver": Material(rough=0.2, metal=1.0, coat=0.0, colour="#e6e8ea"),
    "copper": Material(rough=0.3, metal=1.0, coat=0.0, colour="#f0936a"),
    "wood": Material(rough=0.55, coat=0.3, pattern=GRAIN, colour="#c08a52"),
    "stone": Material(rough=0.95, coat=0.0, pattern=STONE, colour="#b4b0a8"),
    "marble": Material(rough=0.25, coat=0.8, pattern=VEINS, colour="#f0eeea"),
    "brick": Material(rough=0.9, coat=0.0, pattern=BRICKS, colour="#a8442c"),
    "ice": Material(rough=0.15, coat=1.0, glass=0.85, colour="#cfeaf5"),
}
"""Name -> material. Those with a colour are substances."""

PATTERNS: dict[str, int] = {"striped": STRIPES, "spotted": DOTS, "checkered": CHECKS}

TOY = Material(rough=0.42, coat=0.5)
"""What things are of when nothing is said: a toy's lacquer."""


@dataclass(frozen=True)
class Look:
    """A part's colour and material where the sentence does not decide them.

    Args:
        glow: how much light it gives, times its colour.
        night: more of it in the dark, then in `night_colour` where that is given.
        kept: True where a substance that was asked for leaves it as it is.
    """

    colour: str
    material: Material = TOY
    glow: float = 0.0
    night: float = 0.0
    kept: bool = False
    night_colour: str = ""


LOOKS: dict[str, Look] = {
    "bark": Look("#6b4528", Material(rough=0.95, coat=0.0, pattern=STONE)),
    "wood": Look("#b07b45", MATERIALS["wood"]),
    "leaf": Look("#3c8f38", Material(rough=0.8, coat=0.05)),
    "cream": Look("#f3e6cc", Material(rough=0.7, coat=0.1)),
    "wall": Look("#efe3cb", Material(rough=0.85, coat=0.0)),
    "white": Look("#f4f3ef"),
    "snow": Look("#f3f6fa", Material(rough=0.9, coat=0.1)),
    "grey": Look("#8d9298"),
    "stone": Look("#b0aca4", Material(rough=0.95, coat=0.0, pattern=STONE)),
    "brick": Look("#a8442c", MATERIALS["brick"]),
    "dark": Look("#26272c", Material(rough=0.5, coat=0.3)),
    "tyre": Look("#1d1e21", Material(rough=0.8, coat=0.05)),
    "steel": Look("#c9ced4", MATERIALS["metal"]),
    "brass": Look("#e8b552", MATERIALS["metal"]),
    "window": Look("#27414f", Material(rough=0.1, coat=1.0), night=1.6, night_colour="#ffbe5c"),
    "pane": Look("#23343f", Material(rough=0.08, coat=1.0)),
    "dotted": Look("main", Material(rough=0.35, coat=0.6, pattern=DOTS)),
    "red": Look("#d3242b"),
    "orange": Look("#f07818"),
    "yellow": Look("#f8cc2c"),
    "green": Look("#3f9c45"),
    "blue": Look("#2a6fd6"),
    "pink": Look("#f3a0b8"),
    "brown": Look("#7a4a2a"),
    "coffee": Look("#3a1f10", Material(rough=0.15, coat=1.0)),
    "water": Look("#9fd0e6", MATERIALS["glass"]),
    "shade": Look("main", Material(rough=0.9, coat=0.0), glow=0.12, night=0.75),
    "bulb": Look("#ffdf9a", Material(rough=0.9, coat=0.0), glow=3.0, night=4.0, kept=True),
    "flame": Look("#ffa63a", Material(rough=0.9, coat=0.0), glow=3.0, night=1.5, kept=True),
    "eye": Look("#8ff0ff", TOY, glow=1.4, night=1.0, kept=True),
    "cloud": Look("#f6f8fb", Material(rough=1.0, coat=0.0), glow=0.06),
    "moonlight": Look("main", Material(rough=1.0, coat=0.0, pattern=STONE), glow=0.25, night=0.5),
}
"""Name -> look; ``main`` as a colour is the one that was asked for."""


def linear(colour: str) -> np.ndarray:
    """float64 (3,) in [0, 1], linear, of an sRGB ``#rrggbb`` or a name of `COLOURS`."""
    text = COLOURS.get(colour, colour)
    c = np.array([int(text[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def material_row(rgb: np.ndarray, material: Material, pattern: int, glow: float) -> np.ndarray:
    """float64 (MATERIAL_SIZE,): a material as the compiled functions read it."""
    row = np.array([*rgb, material.rough, material.metal, material.coat, material.glass, glow, pattern], np.float64)
    assert row.shape == (MATERIAL_SIZE,)
    return row
