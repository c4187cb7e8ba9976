"""From what a sentence asks for to a `Scene`: things are laid out by their relations, and none goes into another.

Everything that is left open (colours, turns, the camera, the light's side) is drawn from the seed, not from the words,
so that two ways of saying the same thing give the same scene.
"""

from __future__ import annotations

import numpy as np

from studio.scene.toybox.caption import caption
from studio.scene.toybox.layout import Layout
from studio.scene.toybox.lights import BACKDROPS, LIGHTS
from studio.scene.toybox.scene import FORMS, Scene
from studio.scene.toybox.words import Sentence, Thing

_DEFAULT = (
    Thing("sphere", colour="red", material="glossy"),
    Thing("cube", colour="teal"),
    Thing("cone", colour="yellow"),
)


def compose(sentence: Sentence, seed: int = 0) -> Scene:
    """The scene of a sentence; where it names nothing, a ball, a cube and a cone."""
    dice = np.random.default_rng([seed & 0xFFFFFFFF, 20])
    things = sentence.things or _DEFAULT
    home = [FORMS[t.kind] for t in things]
    light = sentence.light or next((h.light for h in home if h.light), "") or "studio"
    floor = sentence.floor or _floor(home, light)
    azimuth = float(dice.uniform(-24, 24))
    side = float(dice.choice([-1.0, 1.0]))
    lit = LIGHTS[light]
    key = azimuth + side * float(dice.uniform(148, 165) if lit.behind else dice.uniform(32, 58))
    elevation = float(dice.uniform(3.5, 7.5) if lit.low else dice.uniform(11, 18))
    default_backdrop = BACKDROPS[int(dice.integers(len(BACKDROPS)))] if light == "studio" else ""
    layout = Layout(things, azimuth, floor, seed)
    return Scene(
        solids=layout.solids,
        light=light,
        floor=floor,
        floor_colour=sentence.floor_colour,
        backdrop=sentence.backdrop or default_backdrop,
        shiny=sentence.shiny,
        key_azimuth_deg=round(key, 3),
        azimuth_deg=round(azimuth, 3),
        elevation_deg=round(elevation, 3),
        caption=caption(things, layout.firsts, light, floor),
    )


def _floor(home: list, light: str) -> str:
    """The floor of the first thing that has one and is at home in this light; else the light's own."""
    for form in home:
        if form.floor and (form.light == light or light not in ("studio", "fog")):
            return form.floor
    return LIGHTS[light].floor
