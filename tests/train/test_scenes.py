import itertools

import numpy as np
import pytest

from studio.scene.toybox.touch import apart
from studio.scene.toybox.words import Thing, parse
from studio.train import dice as dices
from studio.train.dice import CLIPS, ORBITS, dice
from studio.train.scenes import draw_scene

MANY = 150


def facts(things: tuple[Thing, ...]) -> list[tuple]:
    """What is said of each thing, in any order."""
    found = [(t.kind, t.colour, t.material, t.pattern, t.size, t.relation) for t in things]
    targets = [things[t.target].kind if t.relation else "" for t in things]
    return sorted((*one, target) for one, target in zip(found, targets, strict=True))


def drawn(number: int, **more):
    return draw_scene(dice(CLIPS, 1, number), **more)


@pytest.mark.parametrize("language", ["english", "chinese"])
def test_what_a_caption_says_is_what_is_shown(language):
    for number in range(MANY):
        made = drawn(number)
        told = parse(made.scene.caption if language == "english" else made.caption_zh)

        assert facts(told.things) == facts(made.things), made
        assert (told.light, told.floor, told.unknown) == (made.scene.light, made.scene.floor, ())


def test_the_main_object_goes_by_the_colour_and_shape_that_are_said_of_it():
    for number in range(MANY):
        made = drawn(number)
        assert made.shape == made.scene.solids[0].kind
        assert made.colour in ("", made.scene.solids[0].colour)


def test_no_thing_stands_in_another():
    crowded = [made for made in map(drawn, range(MANY)) if len(made.scene.solids) > 1]
    assert len(crowded) > 20
    for made in crowded[:40]:
        for a, b in itertools.combinations(made.scene.solids, 2):
            assert apart(a, b) > 0, made.scene.caption


def test_an_object_for_an_orbit_is_alone():
    assert all(len(drawn(number, alone=True).scene.solids) == 1 for number in range(30))


def test_the_same_numbers_give_the_same_scene_and_others_another():
    assert drawn(7) == drawn(7)
    assert len({drawn(number).scene.caption for number in range(MANY)}) > 0.8 * MANY


def test_no_two_things_that_are_made_share_a_random_number():
    keys = [
        (CLIPS, 1, 0, False),
        (CLIPS, 1, 0, True),
        (CLIPS, 2, 0, False),
        (ORBITS, 1, 0, False),
        (CLIPS, 1, 1, False),
    ]
    streams = [dice(*key[:3], held_out=key[3]).integers(1 << 63, size=1000) for key in keys]
    for a, b in itertools.combinations(streams, 2):
        assert not set(a.tolist()) & set(b.tolist())
    states = set()
    for stream, seed, number, held_out in itertools.product(range(3), range(3), range(3), (False, True)):
        state = dices.dice(stream, seed, number, held_out=held_out).bit_generator.state["state"]
        states.add((*state["key"].tolist(), *state["counter"].tolist()))
    assert len(states) == 3 * 3 * 3 * 2


def test_a_seed_that_would_run_into_another_is_refused():
    with pytest.raises(ValueError, match="seed -1"):
        dice(CLIPS, -1, 0)
    with pytest.raises(ValueError, match="2\\^62"):
        dice(CLIPS, 1 << 62, 0)


def test_colours_and_shapes_are_spread_over_what_there_is():
    made = [drawn(number) for number in range(400)]
    shapes = np.unique([m.shape for m in made])
    colours, counts = np.unique([m.colour for m in made if m.colour], return_counts=True)
    assert len(shapes) > 40
    assert len(colours) == 14
    assert counts.max() < 4 * counts.min()
