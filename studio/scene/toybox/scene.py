"""`Scene`: what is to be seen, as frozen data that prints; and as the arrays that the compiled functions read."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np

from studio.scene.toybox.creatures import CREATURES
from studio.scene.toybox.distance import (
    BOX,
    CONE,
    CUT,
    CYLINDER,
    ELLIPSOID,
    GEM,
    HEART,
    PYRAMID,
    ROOF,
    ROUND_CONE,
    SPHERE,
    STAR,
    TORUS,
    UNION,
    Packed,
)
from studio.scene.toybox.forms import Form, Part, Triple
from studio.scene.toybox.indoors import INDOORS
from studio.scene.toybox.lights import LIGHTS, light_array
from studio.scene.toybox.materials import LOOKS, MATERIALS, PATTERNS, TOY, Look, linear, material_row
from studio.scene.toybox.outdoors import OUTDOORS
from studio.scene.toybox.solids import SOLIDS

FORMS: dict[str, Form] = {**SOLIDS, **INDOORS, **OUTDOORS, **CREATURES}
"""Every thing that there is: name -> form."""


@dataclass(frozen=True)
class Solid:
    """One thing in its place.

    Args:
        kind: a key of `FORMS`.
        colour: sRGB ``#rrggbb`` or a name.
        material: a key of `MATERIALS`, or "" for what the form is of.
        pattern: a key of `PATTERNS`, or "".
        foot: the middle of its foot, scene units; y is up, the floor is y = 0.
        turn_deg: about the vertical, anticlockwise seen from above.
        scale: 1 is the form's own size.
    """

    kind: str
    colour: str
    material: str = ""
    pattern: str = ""
    foot: Triple = (0.0, 0.0, 0.0)
    turn_deg: float = 0.0
    scale: float = 1.0


@dataclass(frozen=True)
class Scene:
    """Solids on a floor in a light, and where they are looked at from.

    The world's x is right, y up, z towards the viewer; the floor is y = 0.

    Args:
        light: a key of `LIGHTS`.
        floor: a key of `FLOORS`.
        floor_colour: sRGB, or "" for the floor's own.
        backdrop: sRGB of the sky or backdrop, or "" for the light's own.
        shiny: the floor mirrors.
        key_azimuth_deg: where the key light stands; 0 is +z, 90 is +x.
        azimuth_deg: where the picture's camera stands, the same way.
        elevation_deg: and how high.
        caption: what it shows, in English.
    """

    solids: tuple[Solid, ...]
    light: str
    floor: str
    floor_colour: str = ""
    backdrop: str = ""
    shiny: bool = False
    key_azimuth_deg: float = 40.0
    azimuth_deg: float = 0.0
    elevation_deg: float = 14.0
    caption: str = ""


def turned(degrees: Triple) -> np.ndarray:
    """float64 (3, 3), part to thing: about z, then x, then y."""
    (cz, cx, cy), (sz, sx, sy) = ([f(math.radians(d)) for d in degrees] for f in (math.cos, math.sin))
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    return about_y @ about_x @ about_z


def box_of(part: Part) -> tuple[np.ndarray, np.ndarray]:
    """The corners (least, greatest), float64 (3,), of a box round a part in its own frame."""
    s = part.sizes
    low, high = {
        SPHERE: lambda: ((-s[0],) * 3, (s[0],) * 3),
        ELLIPSOID: lambda: ((-s[0], -s[1], -s[2]), s[:3]),
        BOX: lambda: ((-s[0], -s[1], -s[2]), s[:3]),
        CYLINDER: lambda: ((-s[0], -s[1], -s[0]), (s[0], s[1], s[0])),
        CONE: lambda: _round(max(s[0], s[1]) + s[3], -s[2] - s[3], s[2] + s[3]),
        TORUS: lambda: _round(s[0] + s[1], -s[1], s[1]),
        ROUND_CONE: lambda: _round(max(s[0], s[1]), min(-s[0], s[2] - s[1]), max(s[0], s[2] + s[1])),
        STAR: lambda: ((-s[0] - s[2], -s[0] - s[2], -s[1] - s[2]), (s[0] + s[2], s[0] + s[2], s[1] + s[2])),
        HEART: lambda: (
            (-0.62 * s[0] - s[2], -s[2], -s[1] - s[2]),
            (0.62 * s[0] + s[2], 1.12 * s[0] + s[2], s[1] + s[2]),
        ),
        PYRAMID: lambda: _round(s[0] + 3 * s[2], -s[2], s[1] + 3 * s[2]),
        ROOF: lambda: ((-s[0] - 3 * s[3], -s[3], -s[2] - s[3]), (s[0] + 3 * s[3], s[1] + 3 * s[3], s[2] + s[3])),
        GEM: lambda: _round(1.09 * s[0], -s[2], s[1]),
    }[part.kind]()  # fmt: skip
    return np.array(low, np.float64), np.array(high, np.float64)


def _round(radius: float, low: float, high: float) -> tuple[Triple, Triple]:
    return (-radius, low, -radius), (radius, high, radius)


@cache
def extent(kind: str) -> tuple[np.ndarray, np.ndarray]:
    """The corners (least, greatest), float64 (3,), of a box round a thing at its own size, unturned."""
    lows, highs = [], []
    for part in FORMS[kind].parts:
        if part.how == UNION:
            low, high = box_of(part)
            turn = turned(part.turn)
            middle = np.array(part.at) + turn @ ((low + high) / 2)
            half = np.abs(turn) @ ((high - low) / 2) + part.melt / 4
            lows.append(middle - half)
            highs.append(middle + half)
    low, high = np.min(lows, axis=0), np.max(highs, axis=0)
    for part in FORMS[kind].parts:  # what a cut takes off the top, where it takes all of it
        if part.how == CUT and part.kind == BOX and part.turn == (0, 0, 0):
            bottom, (wide, deep) = part.at[1] - part.sizes[1], (part.sizes[0], part.sizes[2])
            if wide >= high[0] and deep >= high[2] and part.at[1] + part.sizes[1] >= high[1] > bottom > low[1]:
                high[1] = bottom
    return low, high


def corners(solid: Solid) -> np.ndarray:
    """float64 (8, 3): of a box round the solid."""
    low, high = extent(solid.kind)
    each = np.array([[(low, high)[i >> j & 1][j] for j in range(3)] for i in range(8)])
    return np.array(solid.foot) + solid.scale * each @ turned((0, 0, solid.turn_deg)).T


def pack(scene: Scene) -> Packed:
    """The scene as arrays."""
    light = light_array(
        scene.light,
        scene.floor,
        key_azimuth_deg=scene.key_azimuth_deg,
        backdrop=scene.backdrop,
        floor_colour=scene.floor_colour,
        shiny=scene.shiny,
    )
    dark = LIGHTS[scene.light].dark
    lamps = [row for solid in scene.solids for row in _lamp(solid, dark)]
    return pack_solids(scene.solids, light, np.array(lamps, np.float64).reshape(-1, 6), dark=dark)


def pack_solids(solids: tuple[Solid, ...], light: np.ndarray, lamps: np.ndarray, *, dark: bool = False) -> Packed:
    """Solids as arrays, in a light that is one already."""
    rows, spans, parts, kinds, materials = [], [], [], [], []
    for solid in solids:
        form, place = FORMS[solid.kind], turned((0, 0, solid.turn_deg))
        first = len(parts)
        for part in form.parts:
            turn = place @ turned(part.turn)
            at = np.array(solid.foot) + solid.scale * (place @ np.array(part.at))
            low, high = box_of(part)
            radius = float(np.linalg.norm(np.maximum(np.abs(low), np.abs(high))))
            sizes = np.zeros(6)
            sizes[: len(part.sizes)] = np.array(part.sizes) * solid.scale
            tail = (part.melt * solid.scale, radius * solid.scale, solid.scale)
            parts.append(np.concatenate([at, turn.T.ravel(), sizes, tail]))
            kinds.append((part.kind, part.how, len(materials)))
            materials.append(_material(part, solid, form, dark=dark))
        spans.append((first, len(parts)))
        low, high = extent(solid.kind)
        middle = np.array(solid.foot) + solid.scale * (place @ ((low + high) / 2))
        radius = solid.scale * float(np.linalg.norm(high - low)) / 2
        is_glass = any(materials[kinds[i][2]][6] > 0.5 and kinds[i][1] == UNION for i in range(first, len(parts)))
        rows.append([*middle, radius, *solid.foot, float(is_glass)])
    return Packed(
        np.array(rows, np.float64).reshape(-1, 8),
        np.array(spans, np.int64).reshape(-1, 2),
        np.array(parts, np.float64).reshape(-1, 21),
        np.array(kinds, np.int64).reshape(-1, 3),
        np.array(materials, np.float64).reshape(-1, 9),
        light,
        lamps,
    )


def _material(part: Part, solid: Solid, form: Form, *, dark: bool) -> np.ndarray:
    look = LOOKS.get(part.look, Look("main"))
    asked = MATERIALS.get(solid.material)
    is_main = look.colour == "main"
    colour = solid.colour if is_main else look.colour
    material = look.material if look.material is not TOY or not is_main else MATERIALS.get(form.material, TOY)
    pattern = material.pattern
    if asked is not None and not look.kept:
        material, pattern = asked, asked.pattern or (look.material.pattern if is_main else 0)
        if asked.colour and not is_main:
            colour = asked.colour
    if is_main and solid.pattern:
        pattern = PATTERNS[solid.pattern]
    glow = look.glow + (look.night if dark else 0.0)
    if dark and look.night_colour:
        colour = look.night_colour
    rgb = linear(colour)
    if material.glass > 0:
        rgb = 1 - (1 - rgb) * 0.75  # a colour in glass is seen through twice
    return material_row(rgb, material, pattern, glow)


def _lamp(solid: Solid, dark: bool) -> list[np.ndarray]:
    lamp = FORMS[solid.kind].lamp
    if lamp is None:
        return []
    at = np.array(solid.foot) + solid.scale * (turned((0, 0, solid.turn_deg)) @ np.array(lamp))
    strength = (0.75 if dark else 0.22) * solid.scale**2
    return [np.concatenate([at, strength * np.array([1.0, 0.70, 0.36])])]
