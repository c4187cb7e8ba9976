import numpy as np
import pytest

from studio.scene.toybox.composition import compose
from studio.scene.toybox.lights import direction
from studio.scene.toybox.scene import FORMS, Scene, Solid, corners, extent
from studio.scene.toybox.touch import apart, surface
from studio.scene.toybox.words import parse

PROMPTS = [
    "three cubes and four balls",
    "a teapot, two cups and a book on a table",
    "six trees around a castle",
    "a cat under a table",
    "a star on a pyramid",
    "a robot between two houses with a car",
    "two birds above a boat on the sea",
    "a ball in a bowl",
    "twelve barrels beside a train",
]


def scene(prompt, seed=0):
    return compose(parse(prompt), seed)


def found(prompt, *kinds, seed=0):
    solids = scene(prompt, seed).solids
    return [next(s for s in solids if s.kind == k) for k in kinds]


def middle(solid):
    return corners(solid).mean(axis=0)


@pytest.mark.parametrize("prompt", PROMPTS)
def test_nothing_goes_into_anything_else_nor_into_the_floor(prompt):
    solids = scene(prompt).solids
    for i, a in enumerate(solids):
        assert corners(a)[:, 1].min() > -0.03 or scene(prompt).floor == "water"
        for b in solids[:i]:
            assert apart(a, b) > -0.001, (a, b)


@pytest.mark.parametrize("kind", FORMS)
def test_a_form_lies_within_its_box_and_its_foot_is_at_the_floor(kind):
    low, high = extent(kind)
    points = surface(kind)
    assert len(points) > 50
    assert (points >= low - 0.02).all()
    assert (points <= high + 0.02).all()
    assert points[:, 1].min() == pytest.approx(max(0, low[1]), abs=0.09)


def test_on_touches_the_top():
    cup, table = found("a cup on a table", "cup", "table")
    assert 0 <= apart(cup, table) < 0.01
    assert middle(cup)[1] > corners(table)[:, 1].max()


def test_a_ball_in_a_bowl_lies_below_its_rim():
    ball, bowl = found("a tiny ball in a bowl", "sphere", "bowl")
    assert corners(ball)[:, 1].min() < corners(bowl)[:, 1].max() - 0.05
    assert apart(ball, bowl) < 0.01


@pytest.mark.parametrize(
    ("relation", "way", "sign"),
    [("to the left of", 90, -1), ("to the right of", 90, 1), ("behind", 0, -1), ("in front of", 0, 1)],
)
def test_sides_are_the_cameras(relation, way, sign):
    made = scene(f"a cone {relation} a house", 3)
    cone, house = (next(s for s in made.solids if s.kind == k) for k in ("cone", "house"))
    step = (middle(cone) - middle(house)) @ direction(made.azimuth_deg + way, 0)
    assert step * sign > 0.3


def test_above_hangs_free_and_under_stands_below():
    bird, house = found("a bird above a house", "bird", "house")
    assert corners(bird)[:, 1].min() > corners(house)[:, 1].max()
    cat, table = found("a cat under a table", "cat", "table")
    assert corners(cat)[:, 1].max() < corners(table)[:, 1].max()
    assert np.linalg.norm((middle(cat) - middle(table))[[0, 2]]) < 0.3


def test_the_seed_decides_what_is_left_open_and_nothing_else_does():
    assert scene("a cup and a tree", 1) == scene("a cup and a tree", 1)
    assert scene("a cup and a tree", 1) != scene("a cup and a tree", 2)
    assert scene("a cup and a tree", 2**63) == scene("a cup and a tree", 2**63)
    assert len({scene("a cup", s).azimuth_deg for s in range(5)}) == 5


def test_a_scene_prints_as_it_is_written():
    made = scene("a cup on a table")
    assert eval(repr(made), {"Scene": Scene, "Solid": Solid}) == made


@pytest.mark.parametrize("prompt", PROMPTS)
def test_a_caption_is_made_of_words_that_are_known(prompt):
    made = scene(prompt)
    read = parse(made.caption)
    assert read.unknown == ()
    assert {t.kind for t in read.things} == {s.kind for s in made.solids}
    assert (read.light, read.floor) == (made.light, made.floor)


def test_a_caption_says_how_things_lie():
    assert scene("three small glass balls on a wooden table at night").caption == (
        "Three small glass spheres on a wooden table, on a wooden floor at night."
    )


def test_a_caption_names_a_thing_by_its_colour_only_where_that_is_seen_or_asked_for():
    said = "A snowman and two trees, on snow at night."
    for prompt in ("雪人 和 两棵 树 在 夜晚", "a snowman and two trees at night"):
        assert {scene(prompt, seed).caption for seed in range(6)} == {said}
    assert scene("a red snowman").caption == "A red snowman, on snow by day."
    assert scene("a tree").caption == "A green tree, on grass by day."


def test_a_thing_brings_its_own_place_where_none_is_said():
    assert (scene("a boat").light, scene("a boat").floor) == ("day", "water")
    assert (scene("a boat at night").light, scene("a boat at night").floor) == ("night", "water")
    assert scene("a boat on grass").floor == "grass"
    assert scene("").light == "studio"


def test_there_are_never_more_solids_than_there_is_room_for():
    made = scene("12 cups, 12 balls, 12 cubes")
    assert len(made.solids) == 24
    assert {s.kind for s in made.solids} == {"cup", "sphere", "cube"}


def test_relations_that_go_round_in_a_ring_end():
    assert len(scene("a cup on a table, it beside a tree behind the cup").solids) >= 3
