"""Recipes go into files and come back whole; nobody's file is trusted."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import studio
from studio.errors import BadInput
from studio.media.recipe import MAX_BYTES, embed_in_gif, make_recipe, png_text, read_recipe, recipe_text
from studio.media.write import write_clip
from tests.media.conftest import moving


@pytest.mark.parametrize("suffix", ["mp4", "webm", "gif", "webp", "zip"])
def test_a_recipe_of_80_kb_with_every_awkward_character_comes_back(suffix: str, tmp_path: Path) -> None:
    awkward = "".join(map(chr, range(1, 0x180))) + "\u2028=;#\\\"'\r\n漢字🎬</x:xmpmeta>]]>"
    recipe = make_recipe(
        {"prompt": awkward, "long": "ab=;\\\n#" * 10_000}, "parallax", facts={"n": [1, 2.5, None, True]}
    )
    assert len(recipe_text(recipe)) > 80_000
    path = write_clip(moving(32, 32, 2), tmp_path / f"clip.{suffix}", recipe=recipe)
    assert read_recipe(path) == recipe


def test_its_layout_is_fixed() -> None:
    made = make_recipe({"seed": 1}, "parallax", components={"unet": "ab12"}, versions={"torch": "2.9"})
    assert made == {
        "studio": studio.__version__,
        "schema": 1,
        "request": {"seed": 1},
        "variant": "parallax",
        "components": {"unet": "ab12"},
        "versions": {"torch": "2.9"},
        "facts": {},
    }
    assert recipe_text(made).isascii()


def read_or_refused(path: Path) -> dict[str, Any] | None:
    try:
        return read_recipe(path)
    except BadInput:
        return None


def with_text(path: Path, text: str) -> Path:
    Image.new("RGB", (40, 40)).save(path, "PNG", pnginfo=png_text(text))
    return path


def valid(**changes: Any) -> str:
    return json.dumps({**make_recipe({}, "parallax"), **changes})


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("not json", "carries no recipe of this studio"),
        ("[1, 2]", "carries no recipe of this studio"),
        ('{"steps": 20, "prompt": "another tool"}', "carries no recipe of this studio"),
        ('{"studio": "0.1", "schema": 1, "x": NaN}', "carries no recipe of this studio"),
        ("[" * 100_000, "carries no recipe of this studio"),
        ('{"a": "' + "x" * MAX_BYTES + '"}', "carries no recipe of this studio"),
        (valid(schema=2), "has a recipe of schema 2; this studio reads 1"),
        (valid(schema={"x": 1}), "has a recipe of schema"),
        (valid(extra=1), "has a malformed recipe, at 'extra'"),
        (valid(request=[1]), "has a malformed recipe, at 'request'"),
        (valid(components={"unet": 5}), "has a malformed recipe, at 'components.unet'"),
    ],
)
def test_what_is_no_recipe_gets_one_sentence(text: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput) as caught:
        read_recipe(with_text(tmp_path / "given.png", text))
    assert caught.value.message.startswith(f"given.png {says}")


def test_files_without_a_recipe_say_so(tmp_path: Path) -> None:
    Image.new("RGB", (40, 40)).save(tmp_path / "a.png")
    Image.new("RGB", (40, 40)).save(tmp_path / "a.gif")
    Image.new("RGB", (40, 40)).save(tmp_path / "a.webp")
    Image.new("RGB", (40, 40)).save(tmp_path / "a.jpg")
    (tmp_path / "a.txt").write_text("text")
    (tmp_path / "a.mp4").write_bytes(b"")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("x.txt", "x")
    for path in tmp_path.iterdir():
        with pytest.raises(BadInput) as caught:
            read_recipe(path)
        assert caught.value.message == f"{path.name} carries no recipe of this studio."


@pytest.mark.parametrize("suffix", ["mp4", "webm", "gif", "webp", "zip"])
@pytest.mark.parametrize("kept", [0.02, 0.3, 0.97])
def test_a_truncated_file_gives_its_recipe_or_a_sentence(
    suffix: str, kept: float, recipe: dict[str, Any], tmp_path: Path
) -> None:
    path = write_clip(moving(48, 32, 3), tmp_path / f"clip.{suffix}", recipe=recipe)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * kept)])
    assert read_or_refused(path) in (recipe, None)


def test_a_zip_bomb_for_a_recipe_is_not_unpacked(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("recipe.json", "x" * 50_000_000)
    with pytest.raises(BadInput, match="carries no recipe"):
        read_recipe(tmp_path / "a.zip")


def test_a_missing_file_gets_its_sentence(tmp_path: Path) -> None:
    for name in ("none.mp4", "a\0b.mp4"):
        with pytest.raises(BadInput):
            read_recipe(tmp_path / name)


def test_a_gif_of_pillow_takes_a_recipe_and_still_opens(recipe: dict[str, Any], tmp_path: Path) -> None:
    Image.new("RGB", (40, 40), "#123456").save(tmp_path / "a.gif", comment=b"hello")
    embed_in_gif(tmp_path / "a.gif", recipe_text(recipe))
    assert read_recipe(tmp_path / "a.gif") == recipe
    with Image.open(tmp_path / "a.gif") as image:
        assert image.convert("RGB").getpixel((5, 5)) == (0x12, 0x34, 0x56)


def test_a_wrong_recipe_is_the_callers_mistake() -> None:
    with pytest.raises(ValueError, match="variant"):
        recipe_text({"studio": "1", "schema": 1, "request": {}})
    with pytest.raises(ValueError, match="are more than"):
        recipe_text(make_recipe({}, "v") | {"facts": {"x": "y" * MAX_BYTES}})
