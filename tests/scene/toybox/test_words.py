import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from studio.scene.toybox.composition import compose
from studio.scene.toybox.scene import FORMS
from studio.scene.toybox.vocabulary import FLOORS, LIGHTS, MATERIALS, PATTERNS, THINGS
from studio.scene.toybox.words import MOST_THINGS, Thing, parse


def one(prompt):
    (thing,) = parse(prompt).things
    return thing


def test_every_thing_that_has_a_form_has_a_word_and_the_other_way_round():
    assert set(THINGS) == set(FORMS)


@pytest.mark.parametrize("kind", THINGS)
def test_every_word_of_a_thing_means_it_in_both_languages(kind):
    english, chinese = THINGS[kind].split("|")
    assert {t.kind for w in english.split(",") for t in parse(f"a {w.strip()}").things} == {kind}
    assert [t.kind for t in parse(chinese).things] == [kind] * len(chinese.split(","))
    assert parse(english).unknown == parse(chinese).unknown == ()


def test_what_stands_before_a_noun_belongs_to_it():
    assert one("three small striped blue glass balls") == Thing(
        "sphere", count=3, size=0.7, colour="blue", material="glass", pattern="striped"
    )


def test_what_a_thing_is_made_of_may_follow_it():
    assert parse("a house made of red glass beside a tree").things[0] == Thing(
        "house", colour="red", material="glass", relation="beside", target=1
    )


@pytest.mark.parametrize(
    ("prompt", "kind", "count"),
    [
        ("cherries", None, None),
        ("boxes", "cube", 3),
        ("2 pies and 4 cacti", "cactus", 4),
        ("a dozen mice and two benches", "bench", 2),
        ("0 cups", "cup", 1),
        ("99999999999 cups", "cup", 99),
    ],
)
def test_plurals_and_numbers(prompt, kind, count):
    things = parse(prompt).things
    assert [(t.kind, t.count) for t in things] == ([(kind, count)] if kind else [])


@pytest.mark.parametrize(
    ("prompt", "relation"),
    [
        ("a cup on top of a table", "on"),
        ("a cup in front of a table", "front"),
        ("a cup to the left of a table", "left"),
        ("a cup next to a table", "beside"),
        ("a cup underneath a table", "under"),
        ("a cup hovering over a table", "above"),
        ("杯子在桌子上", "on"),
        ("桌子后面的杯子", "behind"),
        ("桌子左边有一个杯子", "left"),
        ("杯子放在桌子下面", "under"),
    ],
)
def test_a_relation_places_the_one_by_the_other(prompt, relation):
    things = {t.kind: t for t in parse(prompt).things}
    assert things["cup"].relation == relation
    assert parse(prompt).things[things["cup"].target].kind == "table"
    assert things["table"].relation == ""


def test_it_is_the_thing_before():
    table, lamp = parse("a table, a lamp behind it").things
    assert (lamp.relation, lamp.target, table.relation) == ("behind", 0, "")
    table, lamp = parse("a table. Behind it a lamp").things
    assert (lamp.relation, lamp.target, table.relation) == ("behind", 0, "")


def test_things_of_a_list_are_all_on_it():
    assert [t.relation for t in parse("a cup and a book on a table").things] == ["on", "on", ""]
    assert [t.relation for t in parse("桌子上有一个杯子和一本书").things] == ["", "on", "on"]
    assert [t.relation for t in parse("a boat, a bird on a rock").things] == ["", "on", ""]


def test_light_floor_and_colours_of_both_are_understood():
    s = parse("a cup on a shiny checkered floor at night")
    assert (s.light, s.floor, s.shiny, s.things[0].relation) == ("night", "checker", True, "")
    s = parse("a cup on a wooden floor, pink background, studio")
    assert (s.light, s.floor, s.backdrop, s.things[0].colour) == ("studio", "wood", "pink", "")
    s = parse("雪地上的雪人、日落")
    assert (s.light, s.floor) == ("sunset", "snow")
    for table, field in ((LIGHTS, "light"), (FLOORS, "floor")):
        for name, words in table.items():
            for word in words.replace("|", ",").split(","):
                assert getattr(parse(word), field) == name, word


def test_every_material_and_pattern_is_known_in_both_languages():
    for table, field in ((MATERIALS, "material"), (PATTERNS, "pattern")):
        for name, words in table.items():
            for word in words.replace("|", ",").split(","):
                assert getattr(parse(f"{word} cup 杯子").things[0], field) in (name, ""), word
            assert getattr(one(f"{words.split(',')[0]} cup"), field) == name


def test_unknown_words_are_named_in_order_once_each():
    s = parse("A zorble cube beside a frimple, another Zorble and 量子纠缠 🦖")
    assert s.unknown == ("zorble", "frimple", "another", "量子纠缠", "🦖")


def test_what_was_said_of_something_unknown_is_not_said_of_the_next():
    assert parse("two red zorbles beside a cube").things == (Thing("cube"),)
    assert one("a red zorble ball").colour == "red"


def test_a_coloured_floor_is_a_plain_one():
    s = parse("a duck on a black floor")
    assert (s.floor, s.floor_colour) == ("plain", "black")


def test_a_relation_to_something_unknown_places_nothing():
    cup, tree = parse("a cup on a frimple and a tree").things
    assert (cup.relation, tree.relation) == ("", "")


@pytest.mark.parametrize(
    ("english", "chinese"),
    [
        ("a red cube on a blue table", "蓝色的桌子上有一个红色的立方体"),
        ("three small glass balls on a table at night", "夜晚、桌子上有三个小玻璃球"),
        ("a snowman behind a house in the snow", "雪地里房子后面有一个雪人"),
        ("a big golden rocket beside a white castle at sunset", "日落、一座白色城堡旁边有一个大的金色火箭"),
        ("two spotted mushrooms on grass in fog", "雾中、草地上有两朵斑点蘑菇"),
    ],
)
def test_the_same_in_english_and_chinese_is_the_same_scene(english, chinese):
    assert parse(english).unknown == parse(chinese).unknown == ()
    assert compose(parse(english), 5) == compose(parse(chinese), 5)


@pytest.mark.parametrize(
    "prompt",
    ["", " \n\t", "\x00\x07\x1b[31m\u202e\u200f", "、。!", "w " * 50_000, "红" * 100_000, "a tree " * 15_000,
     "?" * 100_000],
    ids=["empty", "blank", "control", "stops", "long", "long-chinese", "many", "marks"],
)  # fmt: skip
def test_odd_prompts_give_a_scene(prompt):
    s = parse(prompt)
    assert len(s.things) <= MOST_THINGS
    assert len(s.unknown) <= 1
    assert compose(s, 0).solids


def test_right_to_left_words_are_named_without_the_marks_that_turn_a_line():
    assert parse("\u202eقط بيت\u202c").unknown == ("قط", "بيت")


def test_emoji_are_words():
    assert [t.kind for t in parse("🚀🌲❤️").things] == ["rocket", "pine", "heart"]


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=80))
def test_no_text_makes_it_fail(text):
    s = parse(text)
    assert len(set(s.unknown)) == len(s.unknown)


_KNOWN = st.sampled_from(
    ["a", "red", "cube", "ball", "house", "of", "on", "behind", "under", "it", "and", "with", ",", ".", "between", "在",
     "上", "桌子", "树", "红色", "的", "floor", "wooden", "night", "两", "旁边", "有", "和"]
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.lists(_KNOWN, max_size=14).map(" ".join))
def test_known_words_in_any_order_are_all_understood(text):
    s = parse(text)
    assert s.unknown == ()
    assert all(-1 <= t.target < len(s.things) for t in s.things)
