"""Things that stand, drive, swim or fly outside."""

from __future__ import annotations

from studio.scene.toybox.distance import BOX, KEEP, ROOF
from studio.scene.toybox.forms import Form, Part, ball, block, cone, egg, limb, out_of, pyramid, ring, rod, roof, star


def _pane(
    x: float, y: float, z: float, wide: float = 0.12, high: float = 0.14, across: bool = False
) -> tuple[Part, ...]:
    """A window with its frame, facing z, or x where `across`."""
    thin = 0.02
    frame = (thin, high + 0.035, wide + 0.035) if across else (wide + 0.035, high + 0.035, thin)
    glass = (thin + 0.008, high, wide) if across else (wide, high, thin + 0.008)
    return block((x, y, z), frame, "white", edge=0.01), block((x, y, z), glass, "window", edge=0.0)


def _wheel(x: float, z: float, radius: float = 0.2) -> tuple[Part, ...]:
    """A wheel that rolls along x."""
    out = 0.06 if z > 0 else -0.06
    return (
        rod((x, radius, z), radius, 0.075, "tyre", edge=0.04, turn=(0, 90, 0)),
        rod((x, radius, z + out), radius * 0.55, 0.03, "steel", turn=(0, 90, 0)),
    )


OUTDOORS: dict[str, Form] = {
    "tree": Form(
        (
            cone((0, 0.5, 0), 0.15, 0.085, 0.5, "bark"),
            limb((0.03, 0.8, 0), 0.07, 0.04, 0.45, "bark", turn=(-38, 0, 0), melt=0.06),
            ball((0, 1.45, 0), 0.5, "main", melt=0.02),
            ball((0.42, 1.2, 0.08), 0.32, "main", melt=0.14),
            ball((-0.4, 1.25, -0.05), 0.34, "main", melt=0.14),
            ball((0.05, 1.22, 0.4), 0.31, "main", melt=0.14),
            ball((-0.08, 1.25, -0.38), 0.32, "main", melt=0.14),
            ball((0.1, 1.82, 0.02), 0.34, "main", melt=0.14),
            ball((-0.26, 1.62, 0.26), 0.26, "main", melt=0.12),
            ball((0.34, 1.58, -0.2), 0.26, "main", melt=0.12),
        ),
        ("green",),
        material="leafy",
        light="day",
        floor="grass",
    ),
    "pine": Form(
        (
            rod((0, 0.2, 0), 0.11, 0.2, "bark"),
            cone((0, 0.66, 0), 0.58, 0.14, 0.36, "main", edge=0.04),
            cone((0, 1.1, 0), 0.47, 0.1, 0.33, "main", edge=0.04, melt=0.03),
            cone((0, 1.5, 0), 0.36, 0.06, 0.3, "main", edge=0.03, melt=0.03),
            cone((0, 1.85, 0), 0.24, 0.01, 0.27, "main", edge=0.03, melt=0.03),
        ),
        ("green",),
        material="leafy",
        light="day",
        floor="snow",
    ),
    "house": Form(
        (
            block((0, 0.46, 0), (0.66, 0.46, 0.52), "wall"),
            block((0, 0.05, 0), (0.69, 0.06, 0.55), "stone"),
            roof((0, 0.9, 0), 0.84, 0.56, 0.64, "main"),
            block((0.38, 1.3, -0.15), (0.1, 0.28, 0.1), "brick"),
            block((0.38, 1.58, -0.15), (0.125, 0.03, 0.125), "stone"),
            block((0, 0.34, 0.52), (0.155, 0.29, 0.025), "white", edge=0.01),
            block((0, 0.33, 0.53), (0.12, 0.26, 0.03), "wood", edge=0.01),
            ball((0.075, 0.33, 0.575), 0.02, "brass"),
            *_pane(-0.41, 0.52, 0.52),
            *_pane(0.41, 0.52, 0.52),
            *_pane(-0.66, 0.5, 0.0, across=True),
            *_pane(0.66, 0.5, 0.0, across=True),
            rod((0, 1.13, 0.645), 0.13, 0.02, "white", turn=(0, 90, 0)),
            rod((0, 1.13, 0.655), 0.095, 0.02, "window", turn=(0, 90, 0)),
        ),
        ("red", "blue", "teal", "orange"),
        light="day",
        floor="grass",
        turned=26,
        trim=True,
    ),
    "rocket": Form(
        (
            egg((0, 1.05, 0), (0.36, 1.1, 0.36), "white"),
            Part(BOX, (0, 1.05, 0), (0.6, 0.86, 0.6, 0.0), "white", how=KEEP),
            cone((0, 1.83, 0), 0.255, 0.02, 0.24, "main", edge=0.01),
            rod((0, 1.58, 0), 0.305, 0.025, "main"),
            rod((0, 0.42, 0), 0.315, 0.03, "main"),
            cone((0, 0.16, 0), 0.27, 0.17, 0.08, "steel"),
            *(Part(BOX, (0.4 * c, 0.36, 0.4 * s), (0.15, 0.25, 0.028, 0.02), "main", turn=(z, 0, a))
              for c, s, a, z in ((0.71, 0.71, -45, 28), (-0.71, 0.71, -135, 28),
                                 (-0.71, -0.71, 135, 28), (0.71, -0.71, 45, 28))),
            ring((0, 1.24, 0.325), 0.14, 0.035, "steel", turn=(0, 84, 0)),
            egg((0, 1.24, 0.32), (0.13, 0.13, 0.04), "pane"),
            ring((0, 0.84, 0.335), 0.085, 0.025, "steel", turn=(0, 92, 0)),
            egg((0, 0.84, 0.33), (0.08, 0.08, 0.03), "pane"),
        ),
        ("red", "blue", "orange"),
        light="day",
        turned=15,
    ),
    "boat": Form(
        (
            egg((0, 0.42, 0), (1.05, 0.42, 0.44), "main"),
            out_of(block((0, 0.42 + 0.6, 0), (2, 0.6, 2), edge=0.0), melt=0.02),
            out_of(egg((0, 0.46, 0), (0.95, 0.34, 0.36), "wood"), melt=0.02),
            block((-0.25, 0.33, 0), (0.09, 0.025, 0.36), "wood"),
            rod((0.1, 1.05, 0), 0.03, 0.85, "wood"),
            Part(ROOF, (-0.34, 0.52, 0), (0.44, 1.2, 0.008, 0.006), "white", turn=(-20.1, 0, 0)),
            Part(ROOF, (0.42, 0.62, 0), (0.29, 0.95, 0.008, 0.006), "cream", turn=(17, 0, 0)),
            block((0.21, 1.85, 0), (0.11, 0.06, 0.008), "main", edge=0.004),
        ),
        ("red", "blue", "brown", "teal"),
        light="day",
        floor="water",
        sinks=0.16,
        turned=24,
    ),
    "mushroom": Form(
        (
            egg((0, 0.5, 0), (0.56, 0.44, 0.56), "dotted"),
            out_of(block((0, 0.0, 0), (1, 0.48, 1), "cream", edge=0.0), melt=0.06),
            limb((0, 0.16, 0), 0.2, 0.13, 0.36, "cream", melt=0.08),
            ring((0, 0.4, 0), 0.13, 0.03, "cream", melt=0.05),
        ),
        ("red", "orange", "purple"),
        light="day",
        floor="grass",
    ),
    "car": Form(
        (
            block((0, 0.36, 0), (0.95, 0.19, 0.42), "main", edge=0.13),
            block((-0.1, 0.62, 0), (0.5, 0.2, 0.36), "pane", edge=0.15),
            block((-0.1, 0.8, 0), (0.38, 0.035, 0.32), "main", edge=0.03, melt=0.03),
            block((-0.08, 0.64, 0), (0.035, 0.17, 0.375), "main", edge=0.02),
            *_wheel(0.56, 0.38),
            *_wheel(-0.56, 0.38),
            *_wheel(0.56, -0.38),
            *_wheel(-0.56, -0.38),
            egg((0.92, 0.4, 0.25), (0.05, 0.08, 0.1), "bulb"),
            egg((0.92, 0.4, -0.25), (0.05, 0.08, 0.1), "bulb"),
            block((0.93, 0.24, 0), (0.05, 0.045, 0.36), "steel", edge=0.03),
            block((-0.93, 0.24, 0), (0.05, 0.045, 0.36), "steel", edge=0.03),
            egg((-0.93, 0.42, 0.27), (0.03, 0.06, 0.08), "red"),
            egg((-0.93, 0.42, -0.27), (0.03, 0.06, 0.08), "red"),
        ),
        ("red", "blue", "yellow", "teal"),
        light="day",
        turned=-32,
        material="glossy",
    ),
    "train": Form(
        (
            block((0, 0.3, 0), (0.95, 0.07, 0.36), "dark"),
            rod((0.3, 0.64, 0), 0.29, 0.6, "main", edge=0.04, turn=(90, 0, 0)),
            rod((0.9, 0.64, 0), 0.25, 0.03, "brass", turn=(90, 0, 0)),
            block((-0.6, 0.78, 0), (0.32, 0.46, 0.36), "main", edge=0.03),
            block((-0.6, 1.26, 0), (0.4, 0.04, 0.43), "dark", edge=0.03),
            *_pane(-0.6, 0.92, 0.36),
            *_pane(-0.6, 0.92, -0.36),
            cone((0.62, 1.05, 0), 0.08, 0.14, 0.17, "dark"),
            ball((0.15, 0.95, 0), 0.12, "brass"),
            *(part for x in (-0.6, 0.05, 0.6) for z in (0.34, -0.34) for part in _wheel(x, z)),
        ),
        ("green", "red", "blue"),
        light="day",
        turned=-28,
    ),
    "castle": Form(
        (
            block((0, 0.45, 0), (0.7, 0.45, 0.5), "stone"),
            *(block((x, 0.95, 0.45), (0.08, 0.08, 0.06), "stone") for x in (-0.44, -0.15, 0.15, 0.44)),
            *(rod((x, 0.62, z), 0.22, 0.62, "stone") for x in (-0.7, 0.7) for z in (-0.5, 0.5)),
            *(cone((x, 1.5, z), 0.29, 0.01, 0.26, "main") for x in (-0.7, 0.7) for z in (-0.5, 0.5)),
            rod((0, 0.85, -0.1), 0.28, 0.85, "stone"),
            cone((0, 2.0, -0.1), 0.36, 0.01, 0.32, "main"),
            rod((0, 0.42, 0.5), 0.17, 0.04, "wood", turn=(0, 90, 0)),
            block((0, 0.21, 0.5), (0.17, 0.21, 0.04), "wood", edge=0.01),
            *_pane(0, 1.28, 0.18, 0.05, 0.1),
        ),
        ("blue", "red", "purple"),
        light="day",
        floor="grass",
        turned=18,
        trim=True,
    ),
    "lighthouse": Form(
        (
            rod((0, 0.1, 0), 0.55, 0.1, "stone", edge=0.04),
            cone((0, 0.9, 0), 0.36, 0.22, 0.72, "main", edge=0.01),
            rod((0, 1.16, 0), 0.285, 0.12, "white"),
            rod((0, 0.62, 0), 0.345, 0.12, "white"),
            rod((0, 1.66, 0), 0.34, 0.04, "dark", edge=0.02),
            rod((0, 1.83, 0), 0.17, 0.14, "bulb"),
            cone((0, 2.1, 0), 0.27, 0.02, 0.13, "main"),
            block((0, 0.36, 0.36), (0.09, 0.16, 0.03), "wood", edge=0.01),
        ),
        ("red", "blue"),
        light="sunset",
        floor="water",
        sinks=0.06,
        lamp=(0, 1.9, 0.3),
    ),
    "windmill": Form(
        (
            cone((0, 0.75, 0), 0.48, 0.32, 0.75, "white"),
            cone((0, 1.68, 0), 0.38, 0.04, 0.2, "main"),
            block((0, 0.26, 0.46), (0.12, 0.25, 0.03), "wood", edge=0.01),
            *_pane(0, 0.95, 0.42, 0.08, 0.1),
            rod((0, 1.4, 0.45), 0.05, 0.14, "dark", turn=(0, 90, 0)),
            *(block((0.42 * x, 1.4 + 0.42 * y, 0.56), (0.4, 0.09, 0.012), "wood", edge=0.005, turn=(a, 0, 0))
              for x, y, a in ((0.82, 0.57, 35), (-0.57, 0.82, 125), (-0.82, -0.57, 215), (0.57, -0.82, 305))),
        ),
        ("red", "blue", "orange"),
        light="day",
        floor="grass",
        turned=22,
        trim=True,
    ),
    "flower": Form(
        (
            limb((0, 0.03, 0), 0.03, 0.028, 0.95, "leaf"),
            egg((0.16, 0.36, 0), (0.2, 0.03, 0.08), "leaf", turn=(32, 0, 0), melt=0.03),
            egg((-0.16, 0.5, 0), (0.2, 0.03, 0.08), "leaf", turn=(-32, 0, 0), melt=0.03),
            *(egg((0.23 * c, 1.05 + 0.23 * s, 0.05), (0.17, 0.13, 0.05), "main", turn=(a, 0, 0), melt=0.02)
              for c, s, a in ((1, 0, 0), (0.5, 0.87, 60), (-0.5, 0.87, 120),
                              (-1, 0, 180), (-0.5, -0.87, 240), (0.5, -0.87, 300))),
            egg((0, 1.05, 0.09), (0.14, 0.14, 0.08), "yellow"),
        ),
        ("pink", "red", "purple", "white", "blue"),
        light="day",
        floor="grass",
    ),
    "cactus": Form(
        (
            limb((0, 0.19, 0), 0.2, 0.19, 1.02, "main"),
            rod((0, 0.04, 0), 0.17, 0.04, "main", melt=0.05),
            limb((0.18, 0.5, 0), 0.11, 0.11, 0.24, "main", turn=(-90, 0, 0), melt=0.06),
            limb((0.43, 0.5, 0), 0.11, 0.1, 0.34, "main", melt=0.05),
            limb((-0.18, 0.72, 0), 0.1, 0.1, 0.2, "main", turn=(90, 0, 0), melt=0.06),
            limb((-0.38, 0.72, 0), 0.1, 0.09, 0.28, "main", melt=0.05),
            ball((0.02, 1.42, 0.04), 0.075, "pink"),
        ),
        ("green",),
        material="leafy",
        light="day",
        floor="sand",
    ),
    "rock": Form(
        (
            egg((0, 0.32, 0), (0.58, 0.34, 0.44), "main"),
            egg((0.28, 0.26, 0.12), (0.34, 0.26, 0.34), "main", turn=(12, 0, 30), melt=0.14),
            egg((-0.24, 0.3, -0.05), (0.3, 0.3, 0.3), "main", melt=0.12),
            out_of(block((0.1, 0.84, 0.2), (0.9, 0.2, 0.9), "main", turn=(14, 16, 0)), melt=0.06),
        ),
        ("grey",),
        material="stone",
        floor="grass",
        sinks=0.12,
        light="day",
    ),
    "cloud": Form(
        (
            ball((0, 0.3, 0), 0.36, "cloud"),
            ball((0.4, 0.24, 0.05), 0.27, "cloud", melt=0.16),
            ball((-0.4, 0.24, 0), 0.28, "cloud", melt=0.16),
            ball((0.15, 0.45, -0.05), 0.28, "cloud", melt=0.16),
            ball((-0.72, 0.17, 0.03), 0.17, "cloud", melt=0.14),
            ball((0.7, 0.17, 0.0), 0.17, "cloud", melt=0.14),
        ),
        ("white",),
        light="day",
        floats=2.0,
    ),
    "planet": Form(
        (
            ball((0, 0.55, 0), 0.5, "main"),
            rod((0, 0.55, 0), 0.92, 0.015, "cream", turn=(18, 14, 0)),
        ),
        ("orange", "blue", "purple", "teal"),
        light="night",
        floats=0.8,
    ),
    "moon": Form(
        (
            ball((0, 0.5, 0), 0.5, "moonlight"),
            out_of(rod((0.22, 0.6, 0), 0.42, 1.0, "moonlight", edge=0.0, turn=(0, 90, 0)), melt=0.03),
        ),
        ("yellow",),
        light="night",
        floats=2.1,
    ),
    "balloon": Form(
        (
            limb((0, 0.85, 0), 0.22, 0.62, 0.7, "main"),
            block((0, 0.16, 0), (0.18, 0.14, 0.18), "wood", edge=0.03),
            *(limb((0.16 * x, 0.28, 0.16 * z), 0.012, 0.012, 0.5, "bark") for x in (-1, 1) for z in (-1, 1)),
        ),
        ("red", "orange", "purple", "teal"),
        light="day",
        floats=0.7,
    ),
    "ufo": Form(
        (
            egg((0, 0.3, 0), (0.85, 0.17, 0.85), "main"),
            ball((0, 0.4, 0), 0.34, "pane", melt=0.02),
            *(ball((0.66 * c, 0.22, 0.66 * s), 0.065, "eye")
              for c, s in ((1, 0), (0.5, 0.87), (-0.5, 0.87), (-1, 0), (-0.5, -0.87), (0.5, -0.87))),
        ),
        ("silver", "grey"),
        light="night",
        floats=1.3,
        lamp=(0, -0.2, 0),
        material="metal",
    ),
    "fence": Form(
        (
            *(block((x, 0.34, 0), (0.07, 0.34, 0.025), "main") for x in (-0.8, -0.4, 0.0, 0.4, 0.8)),
            *(roof((x, 0.67, 0), 0.075, 0.1, 0.02, "main") for x in (-0.8, -0.4, 0.0, 0.4, 0.8)),
            block((0, 0.22, -0.04), (1.0, 0.05, 0.02), "main"),
            block((0, 0.52, -0.04), (1.0, 0.05, 0.02), "main"),
        ),
        ("white", "brown"),
        light="day",
        floor="grass",
    ),
    "bench": Form(
        (
            *(block((0, 0.42, z), (0.8, 0.025, 0.075), "wood") for z in (-0.18, 0.0, 0.18)),
            *(block((0, y, -0.31), (0.8, 0.07, 0.022), "wood", turn=(0, -10, 0)) for y in (0.64, 0.84)),
            *(block((0.66 * x, 0.2, 0), (0.035, 0.2, 0.24), "dark") for x in (-1, 1)),
            *(block((0.66 * x, 0.66, -0.33), (0.035, 0.3, 0.02), "dark", turn=(0, -10, 0)) for x in (-1, 1)),
        ),
        ("brown",),
        light="day",
        floor="grass",
        turned=20,
    ),
    "barrel": Form(
        (
            egg((0, 0.45, 0), (0.44, 0.78, 0.44), "wood"),
            Part(BOX, (0, 0.45, 0), (0.7, 0.45, 0.7, 0.0), "wood", how=KEEP, melt=0.02),
            *(ring((0, y, 0), 0.385, 0.026, "steel") for y in (0.14, 0.76)),
            *(ring((0, y, 0), 0.425, 0.026, "steel") for y in (0.34, 0.56)),
        ),
        ("brown",),
    ),
    "tent": Form(
        (
            pyramid((0, 0, 0), 0.75, 1.05, "main"),
            out_of(Part(ROOF, (0, -0.02, 0.7), (0.24, 0.62, 0.5, 0.0), "dark")),
            rod((0, 1.08, 0), 0.02, 0.1, "wood"),
            star((0, 1.22, 0), 0.09, 0.01, "yellow"),
        ),
        ("orange", "green", "blue", "red"),
        light="sunset",
        floor="grass",
        turned=22,
    ),
    "umbrella": Form(
        (
            egg((0, 0.95, 0), (0.72, 0.42, 0.72), "main"),
            out_of(egg((0, 0.9, 0), (0.7, 0.4, 0.7), "main")),
            out_of(block((0, 0.4, 0), (2, 0.56, 2), edge=0.0)),
            rod((0, 0.72, 0), 0.022, 0.72, "wood"),
            rod((0, 0.03, 0), 0.2, 0.03, "stone"),
        ),
        ("red", "yellow", "blue"),
        light="day",
        floor="sand",
    ),
}  # fmt: skip
"""Name -> form."""
