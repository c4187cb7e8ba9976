import numpy as np
import pytest

from studio.scene.toybox.words import parse
from studio.train.recogniser import COLOURS, SHAPES, Recogniser, check_prompts, pictures


@pytest.fixture(scope="module")
def recogniser() -> Recogniser:
    return Recogniser("cpu", each=16)


def test_colours_and_shapes_of_true_pictures_that_it_never_saw_are_recognised(recogniser):
    shown, prompts = pictures("cpu", 96, size=64, held_out=True)
    read = [recogniser.read(picture) for picture in shown]
    right = [(colour == p.colour, shape == p.shape) for (colour, shape), p in zip(read, prompts, strict=True)]
    colours, shapes = np.mean(right, axis=0)
    assert colours >= 0.95
    assert shapes >= 0.95


def test_nothing_is_recognised_where_there_is_nothing(recogniser):
    assert recogniser.read(np.full((256, 256, 3), 200, np.uint8)) == ("", "")


def test_prompts_name_every_colour_and_shape_about_as_often_and_say_so_in_both_languages():
    prompts = check_prompts(100)
    for names, asked in ((COLOURS, [p.colour for p in prompts]), (SHAPES, [p.shape for p in prompts])):
        counts = [asked.count(name) for name in names]
        assert max(counts) - min(counts) <= 3
    assert len({(p.colour, p.shape) for p in prompts[:64]}) == 64
    for prompt in prompts:
        for text in (prompt.caption, prompt.caption_zh):
            (thing,) = parse(text).things
            assert (thing.colour, thing.kind) == (prompt.colour, prompt.shape)
    assert prompts == check_prompts(100)
