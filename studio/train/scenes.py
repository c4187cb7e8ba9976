"""`draw_scene`: a small random scene of the toybox, with what it shows in English and in Chinese."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from studio.scene.toybox import vocabulary
from studio.scene.toybox.caption import caption
from studio.scene.toybox.lights import BACKDROPS, LIGHTS, direction
from studio.scene.toybox.materials import MATERIALS
from studio.scene.toybox.scene import FORMS, Scene, Solid, extent
from studio.scene.toybox.solids import SOLIDS
from studio.scene.toybox.words import Thing

COLOURS = tuple(vocabulary.COLOURS)
"""That a thing can be named by."""

PLAIN_KINDS = tuple(SOLIDS)
"""The plain shapes: more than half of all things."""

KINDS = tuple(k for k, form in FORMS.items() if k not in ("cloud", "moon") and form.floats < 2)
"""What scenes are made of: what would hang far above the others is left out."""

_LIGHTS = {"studio": 0.5, "day": 0.25, "sunset": 0.1, "fog": 0.08, "night": 0.07}
_INDOORS = {"plain": 0.5, "wood": 0.18, "checker": 0.12, "tiles": 0.1, "marble": 0.1}
_OUTDOORS = {"grass": 0.45, "sand": 0.2, "snow": 0.15, "water": 0.1, "tiles": 0.1}
_SURFACES = {"": 0.6, "matte": 0.15, "glossy": 0.25}
_SUBSTANCES = ("gold", "silver", "copper", "wood", "stone", "marble", "brick")
_SIZES = {0.7: 0.3, 1.0: 0.45, 1.4: 0.25}
_MANY = {1: 0.5, 2: 0.36, 3: 0.14}
_GAP = 0.16
"""Between the circles round two things, scene units."""

_PLACED_ZH = {"left": "左边", "right": "右边", "behind": "后面", "front": "前面"}
_LIT_ZH = {"studio": "影棚里", "day": "白天", "sunset": "日落", "night": "夜晚", "fog": "雾中"}
_SIZED_ZH = {0.7: "小的", 1.0: "", 1.4: "大的"}
_FORM_MATERIAL = {"glass": "glossy"}
"""Glass is lacquer here (`studio.train.render`), so that what is of glass by itself is said to be glossy."""


@dataclass(frozen=True)
class Drawn:
    """A scene and what is true of it.

    Args:
        things: what it shows, the main object first, as many as solids.
        caption_zh: the caption in Chinese; the English one is the scene's.
        colour: of the main object, "" where it goes by no colour.
        shape: what the main object is.
    """

    scene: Scene
    things: tuple[Thing, ...]
    caption_zh: str
    colour: str
    shape: str


def draw_scene(dice: np.random.Generator, *, alone: bool = False) -> Drawn:
    """A scene of one to three solids.

    Args:
        alone: one solid, in a studio (for orbits).
    """
    many = 1 if alone else _one_of(dice, _MANY)
    light = "studio" if alone else _one_of(dice, _LIGHTS)
    floor = "plain" if alone else _one_of(dice, _INDOORS if light == "studio" else _OUTDOORS)
    azimuth = float(dice.uniform(-180, 180))
    things = [_thing(dice, main=i == 0, sized=many > 1) for i in range(many)]
    solids = [_turned(dice, thing, azimuth) for thing in things]
    for i in range(1, many):
        things[i], solids[i] = _placed(dice, things[i], solids[i], solids[:i], azimuth)
    solids = [_rested(solid, floor) for solid in solids]
    lit = LIGHTS[light]
    side = float(dice.choice([-1.0, 1.0]))
    elevation = dice.uniform(4, 16) if lit.low else dice.uniform(8, 24)
    scene = Scene(
        solids=tuple(solids),
        light=light,
        floor=floor,
        backdrop=BACKDROPS[int(dice.integers(len(BACKDROPS)))] if light == "studio" else "",
        key_azimuth_deg=azimuth + side * float(dice.uniform(140, 165) if lit.behind else dice.uniform(25, 65)),
        azimuth_deg=azimuth,
        elevation_deg=float(elevation),
        caption=caption(tuple(things), tuple(solids), light, floor),
    )
    return Drawn(scene, tuple(things), caption_zh(things, light, floor), things[0].colour, things[0].kind)


def _one_of(dice: np.random.Generator, weights: dict):
    return list(weights)[int(dice.choice(len(weights), p=list(weights.values())))]


def _thing(dice: np.random.Generator, *, main: bool, sized: bool) -> Thing:
    kind = str(dice.choice(PLAIN_KINDS if dice.random() < 0.6 else KINDS))
    form = FORMS[kind]
    size = _one_of(dice, _SIZES) if sized else 1.0
    colour, material = str(dice.choice(COLOURS)), _one_of(dice, _SURFACES)
    pattern = str(dice.choice(tuple(vocabulary.PATTERNS))) if dice.random() < 0.15 else ""
    if not main and dice.random() < 0.2:
        return Thing(kind, size=size, material=str(dice.choice(_SUBSTANCES)))
    if form.trim:
        return Thing(kind, size=size)
    material = material or _FORM_MATERIAL.get(form.material, "")
    return Thing(kind, size=size, colour=colour, material=material, pattern=pattern)


def _turned(dice: np.random.Generator, thing: Thing, azimuth: float) -> Solid:
    form = FORMS[thing.kind]
    own = str(dice.choice(form.colours))
    colour = thing.colour or (MATERIALS[thing.material].colour if thing.material else "") or own
    turn = form.turned + azimuth + float(dice.normal(0, 35))
    material = thing.material or _FORM_MATERIAL.get(form.material, "")
    return Solid(thing.kind, colour, material, thing.pattern, turn_deg=turn, scale=thing.size)


def _placed(
    dice: np.random.Generator, thing: Thing, solid: Solid, others: list[Solid], azimuth: float
) -> tuple[Thing, Solid]:
    """By the thing before it, clear of all others; what is behind stands aside so that it is seen."""
    right, near = direction(azimuth + 90, 0), direction(azimuth, 0)
    relation = _one_of(dice, {"left": 0.36, "right": 0.36, "behind": 0.14, "front": 0.14})
    aside = float(dice.choice([-1.0, 1.0]) * dice.uniform(0.35, 0.6))
    way = {
        "left": -right + aside * 0.5 * near,
        "right": right + aside * 0.5 * near,
        "behind": -near + aside * right,
        "front": near + 1.3 * aside * right,
    }[relation]
    way = way / np.linalg.norm(way)
    far = spread(solid) + spread(others[-1]) + _GAP
    for _ in range(24):
        at = np.array(others[-1].foot) + far * way
        if all(np.hypot(*(at - o.foot)[[0, 2]]) >= spread(solid) + spread(o) + _GAP for o in others):
            break
        far += 0.25
    foot = (float(at[0]), 0.0, float(at[2]))
    return replace(thing, relation=relation, target=len(others) - 1), replace(solid, foot=foot)


def spread(solid: Solid) -> float:
    """The radius of the circle on the floor that a solid stays in however it turns, scene units."""
    low, high = extent(solid.kind)
    return solid.scale * float(np.hypot(max(-low[0], high[0]), max(-low[2], high[2])))


def _rested(solid: Solid, floor: str) -> Solid:
    form = FORMS[solid.kind]
    low = float(extent(solid.kind)[0][1]) * solid.scale
    height = -form.sinks * solid.scale if floor == "water" and form.sinks else 0.6 * form.floats - low
    return replace(solid, foot=(solid.foot[0], float(height), solid.foot[2]))


def stood(dice: np.random.Generator, thing: Thing, azimuth: float) -> Solid:
    """The thing alone on a plain floor, its front about that way."""
    return _rested(_turned(dice, thing, azimuth), "plain")


def caption_zh(things: list[Thing], light: str, floor: str) -> str:
    """What a scene shows, as one Chinese sentence; each thing but the first is placed by the one before it."""
    said = [_spoken_zh(thing) for thing in things]
    text = f"{_ground_zh(floor)}有一个{said[0]}"
    for thing, words in zip(things[1:], said[1:], strict=True):
        text += f",它的{_PLACED_ZH[thing.relation]}有一个{words}"
    return f"{text},{_LIT_ZH[light]}。"


def _ground_zh(floor: str) -> str:
    word = _first_zh(vocabulary.FLOORS[floor])
    return word if word.endswith("面") else f"{word}上"


def _spoken_zh(thing: Thing) -> str:
    words = [_first_zh(table[name]) for table, name in (
        (vocabulary.PATTERNS, thing.pattern), (vocabulary.MATERIALS, thing.material)) if name]  # fmt: skip
    colour = f"{_first_zh(vocabulary.COLOURS[thing.colour]).removesuffix('色')}色" if thing.colour else ""
    return f"{_SIZED_ZH[thing.size]}{colour}{''.join(words)}{_noun_zh(thing.kind)}"


def _noun_zh(kind: str) -> str:
    """The first word of two signs or more, since one alone may be how another word begins; none that tells a size."""
    words = [w.strip() for w in vocabulary.THINGS[kind].partition("|")[2].split(",")]
    return next((w for w in words if len(w) > 1 and w[0] not in "大小"), words[0])


def _first_zh(entry: str) -> str:
    return entry.partition("|")[2].split(",")[0].strip()
