"""A picture beside a clip."""

import numpy as np
import pytest
from PIL import Image

from studio.media.recipe import make_recipe, read_recipe
from studio.media.still import write_still

PIXELS = np.random.default_rng(0).integers(0, 256, (30, 50, 3)).astype(np.uint8)


def recipe(**request):
    return make_recipe({"mode": "text-to-video", **request}, "toybox", components={}, versions={}, facts={})


def test_the_pixels_and_the_recipe_come_back(tmp_path):
    path = write_still(PIXELS, tmp_path / "a.png", recipe=recipe(prompt="雪人, ⛄ and שלג"))
    assert np.array_equal(np.asarray(Image.open(path)), PIXELS)
    assert read_recipe(path)["request"]["prompt"] == "雪人, ⛄ and שלג"


def test_the_same_picture_and_recipe_are_the_same_bytes(tmp_path):
    made = recipe(prompt="a cup")
    paths = [write_still(PIXELS, tmp_path / name, recipe=made) for name in ("a.png", "b.png")]
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_where_it_can_not_be_written_the_one_before_stays_and_nothing_else(tmp_path, monkeypatch):
    path = write_still(PIXELS, tmp_path / "a.png", recipe=recipe())
    before = path.read_bytes()

    def fails(*args, **kwargs):
        raise OSError("no room")

    monkeypatch.setattr(Image.Image, "save", fails)
    with pytest.raises(OSError, match="no room"):
        write_still(PIXELS, path, recipe=recipe(prompt="other"))
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]
