"""The plain shapes."""

from __future__ import annotations

from studio.scene.toybox.forms import Form, ball, block, cone, egg, gem, heart, limb, out_of, pyramid, ring, rod, star

_BRIGHT = ("red", "blue", "yellow", "green", "orange", "teal", "purple", "pink")

SOLIDS: dict[str, Form] = {
    "sphere": Form((ball((0, 0.45, 0), 0.45),), _BRIGHT),
    "cube": Form((block((0, 0.4, 0), (0.4, 0.4, 0.4), edge=0.04),), _BRIGHT, turned=28),
    "cylinder": Form((rod((0, 0.45, 0), 0.36, 0.45, edge=0.03),), _BRIGHT),
    "cone": Form((cone((0, 0.53, 0), 0.42, 0.005, 0.5, edge=0.03),), _BRIGHT),
    "torus": Form((ring((0, 0.52, 0), 0.36, 0.16, turn=(0, 78, 0)),), _BRIGHT, turned=25),
    "capsule": Form((limb((0, 0.28, 0), 0.28, 0.28, 0.5),), _BRIGHT),
    "pyramid": Form((pyramid((0, 0.012, 0), 0.5, 0.78),), _BRIGHT, turned=25),
    "gem": Form(
        (
            gem((0, 0.5, 0), 0.42, 0.45, 0.5),
            out_of(block((0, 0.5 + 0.2 + 0.3, 0), (1, 0.3, 1), edge=0.0)),
        ),
        ("teal", "pink", "purple", "blue"),
        material="glass",
    ),
    "egg": Form((limb((0, 0.34, 0), 0.34, 0.22, 0.34),), ("beige", "white", "pink", "teal")),
    "star": Form((star((0, 0.47, 0), 0.55, 0.09),), ("yellow", "orange", "pink"), turned=12),
    "heart": Form((heart((0, 0.09, 0), 0.8, 0.12),), ("red", "pink"), turned=12),
    "disc": Form((rod((0, 0.07, 0), 0.5, 0.07, edge=0.03),), _BRIGHT),
    "bowl": Form(
        (
            egg((0, 0.46, 0), (0.55, 0.42, 0.55)),
            out_of(block((0, 0.4 + 0.5, 0), (1, 0.5, 1), edge=0.0), melt=0.04),
            out_of(egg((0, 0.49, 0), (0.49, 0.37, 0.49)), melt=0.02),
            rod((0, 0.04, 0), 0.2, 0.04),
        ),
        ("white", "teal", "blue", "orange"),
    ),
}
"""Name -> form."""
