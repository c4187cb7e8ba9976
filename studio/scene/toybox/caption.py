"""A scene in words."""

from __future__ import annotations

from studio.scene.toybox.scene import FORMS, Solid
from studio.scene.toybox.vocabulary import COLOURS
from studio.scene.toybox.words import Thing

_NUMBERS = (
    "no", "one", "two", "three", "four", "five", "six", "seven",
    "eight", "nine", "ten", "eleven", "twelve",
)  # fmt: skip
_PLACED = {"on": "on", "above": "above", "under": "under", "beside": "beside", "left": "to the left of",
           "right": "to the right of", "behind": "behind", "front": "in front of",
           "around": "around", "between": "between"}  # fmt: skip
_LIT = {"studio": "in a studio", "day": "by day", "sunset": "at sunset", "night": "at night", "fog": "in fog"}
_GROUND = {"plain": "a plain floor", "checker": "a checkered floor", "wood": "a wooden floor", "grass": "grass",
           "water": "water", "sand": "sand", "snow": "snow", "tiles": "tiles", "marble": "a marble floor"}  # fmt: skip
_SIZED = ((0.5, "tiny "), (0.8, "small "), (1.2, ""), (1.6, "big "), (99, "huge "))
_SPOKEN = {"icecream": "ice cream", "pine": "pine tree", "ufo": "flying saucer", "disc": "disc", "torus": "ring"}


def caption(things: tuple[Thing, ...], firsts: tuple[Solid, ...], light: str, floor: str) -> str:
    """What a scene shows, as one English sentence; `firsts` has one solid of each thing."""
    said: set[int] = set()

    def tell(number: int) -> str:
        thing = things[number]
        if number in said:
            return f"the {_noun(thing)}"
        said.add(number)
        text = _spoken(thing, firsts[number])
        if thing.relation and 0 <= thing.target < len(things):
            text += f" {_PLACED[thing.relation]} {tell(thing.target)}"
        return text

    targets = {t.target for t in things if t.relation}
    heads = [i for i in range(len(things)) if i not in targets]
    told = [tell(i) for i in (*heads, *range(len(things))) if i not in said]
    whole = ", ".join(told[:-1]) + (" and " if len(told) > 1 else "") + told[-1]
    return f"{whole[0].upper()}{whole[1:]}, on {_GROUND[floor]} {_LIT[light]}."


def _noun(thing: Thing) -> str:
    word = _SPOKEN.get(thing.kind, thing.kind)
    if thing.count == 1:
        return word
    if word.endswith("fish"):
        return word
    word = {"cactus": "cacti", "snowman": "snowmen"}.get(word, word)
    return word if word in ("cacti", "snowmen") else word + ("es" if word.endswith(("s", "x", "ch", "sh")) else "s")


def _spoken(thing: Thing, solid: Solid) -> str:
    size = next(word for limit, word in _SIZED if thing.size <= limit)
    shows = solid.colour in COLOURS and thing.count == 1 and not FORMS[thing.kind].trim
    colour = thing.colour or (solid.colour if shows else "")
    words = f"{size}{colour + ' ' if colour else ''}{thing.pattern + ' ' if thing.pattern else ''}"
    material = {"wood": "wooden", "gold": "golden"}.get(thing.material, thing.material)
    words += f"{material} " if thing.material else ""
    words += _noun(thing)
    if thing.count > 1:
        return f"{_NUMBERS[thing.count] if thing.count < len(_NUMBERS) else thing.count} {words}"
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"
