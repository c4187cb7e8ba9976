"""Things that stand in a room."""

from __future__ import annotations

from studio.scene.toybox.forms import Form, ball, block, cone, egg, limb, out_of, ring, rod, star

_LEGS = tuple((x, z) for x in (-1, 1) for z in (-1, 1))

INDOORS: dict[str, Form] = {
    "table": Form(
        (
            block((0, 1.13, 0), (1.3, 0.06, 0.82), "main", edge=0.035),
            block((0, 0.99, 0), (1.12, 0.09, 0.66), "main"),
            *(cone((1.1 * x, 0.53, 0.64 * z), 0.05, 0.085, 0.52, "main") for x, z in _LEGS),
        ),
        ("brown",),
        light="studio",
        floor="wood",
        turned=12,
        material="wood",
    ),
    "chair": Form(
        (
            block((0, 0.52, 0), (0.3, 0.035, 0.3), "main", edge=0.03),
            *(limb((0.25 * x, 0.03, 0.25 * z), 0.03, 0.035, 0.46, "main") for x, z in _LEGS),
            *(limb((0.25 * x, 0.5, -0.27), 0.035, 0.03, 0.62, "main", turn=(0, -6, 0)) for x in (-1, 1)),
            block((0, 1.06, -0.33), (0.27, 0.09, 0.025), "main", edge=0.02, turn=(0, -6, 0)),
            block((0, 0.82, -0.305), (0.25, 0.045, 0.02), "main", edge=0.02, turn=(0, -6, 0)),
        ),
        ("brown", "red", "teal"),
        light="studio",
        floor="wood",
        turned=-32,
        material="wood",
    ),
    "lamp": Form(
        (
            rod((0, 0.035, 0), 0.26, 0.035, "brass", edge=0.02),
            ball((0, 0.16, 0), 0.13, "brass", melt=0.08),
            rod((0, 0.5, 0), 0.028, 0.4, "brass", melt=0.05),
            cone((0, 0.98, 0), 0.4, 0.22, 0.24, "shade", edge=0.012),
            out_of(cone((0, 0.965, 0), 0.385, 0.2, 0.26, "shade", edge=0.0)),
            rod((0, 0.8, 0), 0.022, 0.08, "brass"),
            ball((0, 0.94, 0), 0.09, "bulb"),
        ),
        ("beige", "orange", "red", "teal"),
        light="studio",
        floor="wood",
        lamp=(0, 0.93, 0),
    ),
    "cup": Form(
        (
            cone((0, 0.33, 0), 0.2, 0.29, 0.3, "main", edge=0.02),
            ring((0.29, 0.34, 0), 0.15, 0.042, "main", turn=(0, 90, 0), melt=0.05),
            out_of(cone((0, 0.38, 0), 0.18, 0.272, 0.3, "white", edge=0.0), melt=0.02),
            rod((0, 0.53, 0), 0.255, 0.012, "coffee"),
        ),
        ("red", "teal", "blue", "yellow"),
        light="studio",
        floor="wood",
        turned=-30,
        material="glossy",
    ),
    "teapot": Form(
        (
            egg((0, 0.42, 0), (0.5, 0.4, 0.5), "main"),
            limb((0.36, 0.3, 0), 0.15, 0.06, 0.5, "main", turn=(-52, 0, 0), melt=0.1),
            ring((-0.5, 0.46, 0), 0.22, 0.05, "main", turn=(0, 90, 0), melt=0.06),
            rod((0, 0.05, 0), 0.28, 0.05, "main", melt=0.05),
            out_of(rod((0.79, 0.68, 0), 0.04, 0.12, "dark", turn=(-52, 0, 0))),
            egg((0, 0.78, 0), (0.25, 0.09, 0.25), "main", melt=0.02),
            ball((0, 0.92, 0), 0.075, "main", melt=0.03),
        ),
        ("teal", "white", "blue", "orange"),
        light="studio",
        floor="wood",
        turned=18,
        material="glossy",
    ),
    "vase": Form(
        (
            egg((0, 0.36, 0), (0.36, 0.34, 0.36), "main"),
            cone((0, 0.78, 0), 0.1, 0.2, 0.18, "main", melt=0.16),
            rod((0, 0.03, 0), 0.2, 0.03, "main", melt=0.06),
            out_of(cone((0, 0.8, 0), 0.07, 0.17, 0.18, "dark", edge=0.0), melt=0.02),
        ),
        ("blue", "teal", "white", "copper"),
        light="studio",
        material="glossy",
    ),
    "bottle": Form(
        (
            rod((0, 0.4, 0), 0.24, 0.4, "main", edge=0.06),
            cone((0, 0.85, 0), 0.2, 0.07, 0.1, "main", melt=0.14),
            rod((0, 1.06, 0), 0.075, 0.16, "main", melt=0.05),
            rod((0, 1.25, 0), 0.06, 0.05, "wood"),
        ),
        ("green", "teal", "blue"),
        light="studio",
        floor="wood",
        material="glass",
    ),
    "candle": Form(
        (
            rod((0, 0.03, 0), 0.34, 0.03, "brass", edge=0.02),
            rod((0, 0.38, 0), 0.17, 0.34, "main", edge=0.03),
            rod((0, 0.74, 0), 0.015, 0.05, "dark", edge=0.0),
            limb((0, 0.83, 0), 0.055, 0.012, 0.14, "flame"),
        ),
        ("white", "beige", "red"),
        light="studio",
        floor="wood",
        lamp=(0, 0.9, 0),
    ),
    "book": Form(
        (
            block((0, 0.02, 0), (0.5, 0.02, 0.36), "main"),
            block((0.02, 0.1, 0), (0.46, 0.07, 0.33), "cream", edge=0.005),
            block((0, 0.18, 0), (0.5, 0.02, 0.36), "main"),
            rod((-0.49, 0.1, 0), 0.1, 0.36, "main", turn=(0, 90, 0)),
        ),
        ("red", "blue", "green", "purple"),
        light="studio",
        floor="wood",
        turned=24,
    ),
    "gift": Form(
        (
            block((0, 0.36, 0), (0.42, 0.36, 0.42), "main", edge=0.02),
            block((0, 0.72, 0), (0.45, 0.07, 0.45), "main", edge=0.02),
            block((0, 0.4, 0), (0.09, 0.41, 0.46), "yellow", edge=0.01),
            block((0, 0.4, 0), (0.46, 0.41, 0.09), "yellow", edge=0.01),
            ring((0.15, 0.89, 0), 0.12, 0.045, "yellow", turn=(30, 90, 0)),
            ring((-0.15, 0.89, 0), 0.12, 0.045, "yellow", turn=(-30, 90, 0)),
            ball((0, 0.84, 0), 0.08, "yellow", melt=0.03),
        ),
        ("red", "blue", "green", "purple", "pink"),
        turned=28,
    ),
    "apple": Form(
        (
            egg((0, 0.36, 0), (0.4, 0.36, 0.4), "main"),
            out_of(ball((0, 0.82, 0), 0.16, "main"), melt=0.22),
            rod((0.02, 0.74, 0), 0.022, 0.12, "bark", turn=(-10, 0, 0)),
            egg((0.15, 0.82, 0), (0.15, 0.025, 0.07), "leaf", turn=(24, 0, 0)),
        ),
        ("red", "green", "yellow"),
        light="studio",
        floor="wood",
        material="glossy",
    ),
    "cake": Form(
        (
            rod((0, 0.03, 0), 0.72, 0.03, "white", edge=0.02),
            rod((0, 0.24, 0), 0.58, 0.2, "main", edge=0.05),
            rod((0, 0.45, 0), 0.585, 0.05, "cream", edge=0.045, melt=0.04),
            rod((0, 0.62, 0), 0.36, 0.16, "main", edge=0.05),
            rod((0, 0.79, 0), 0.365, 0.05, "cream", edge=0.045, melt=0.04),
            ball((0.2, 0.88, 0.1), 0.075, "red"),
            ball((-0.2, 0.88, 0.1), 0.075, "red"),
            ball((0, 0.88, -0.22), 0.075, "red"),
            rod((0, 0.97, 0), 0.03, 0.14, "yellow"),
            limb((0, 1.15, 0), 0.035, 0.01, 0.09, "flame"),
        ),
        ("pink", "beige", "brown"),
        light="studio",
        lamp=(0, 1.2, 0),
    ),
    "icecream": Form(
        (
            cone((0, 0.46, 0), 0.03, 0.27, 0.42, "wood"),
            ball((0, 1.0, 0), 0.32, "main"),
            ring((0, 0.89, 0), 0.26, 0.06, "main", melt=0.1),
            ball((0.03, 1.37, 0), 0.2, "cream", melt=0.08),
            ball((0.05, 1.6, 0.02), 0.075, "red"),
        ),
        ("pink", "beige", "green"),
        light="studio",
    ),
    "crown": Form(
        (
            cone((0, 0.24, 0), 0.36, 0.44, 0.2, "main"),
            out_of(cone((0, 0.28, 0), 0.32, 0.4, 0.26, "red", edge=0.0)),
            *(ball((0.42 * c, 0.5, 0.42 * s), 0.085, "main", melt=0.06)
              for c, s in ((1, 0), (0.31, 0.95), (-0.81, 0.59), (-0.81, -0.59), (0.31, -0.95))),
            ball((0, 0.24, 0.4), 0.075, "red"),
        ),
        ("gold",),
        light="studio",
        material="metal",
    ),
    "drum": Form(
        (
            rod((0, 0.34, 0), 0.46, 0.3, "main"),
            rod((0, 0.64, 0), 0.49, 0.045, "brass", edge=0.02),
            rod((0, 0.06, 0), 0.49, 0.045, "brass", edge=0.02),
            rod((0, 0.665, 0), 0.44, 0.03, "cream"),
            limb((-0.2, 0.72, 0.25), 0.045, 0.02, 0.75, "wood", turn=(-70, 20, 0)),
        ),
        ("red", "blue"),
        light="studio",
        floor="wood",
    ),
    "trophy": Form(
        (
            block((0, 0.1, 0), (0.26, 0.1, 0.26), "dark"),
            cone((0, 0.3, 0), 0.16, 0.05, 0.1, "main", melt=0.04),
            rod((0, 0.45, 0), 0.045, 0.12, "main", melt=0.06),
            egg((0, 0.86, 0), (0.36, 0.38, 0.36), "main", melt=0.08),
            ring((0.38, 0.88, 0), 0.16, 0.035, "main", turn=(0, 90, 0), melt=0.03),
            ring((-0.38, 0.88, 0), 0.16, 0.035, "main", turn=(0, 90, 0), melt=0.03),
            out_of(block((0, 1.5, 0), (1, 0.5, 1), edge=0.0), melt=0.02),
            out_of(egg((0, 0.92, 0), (0.31, 0.36, 0.31), "main"), melt=0.02),
            star((0, 0.82, 0.37), 0.11, 0.01, "red"),
        ),
        ("gold", "silver"),
        light="studio",
        material="metal",
    ),
}  # fmt: skip
"""Name -> form."""
