"""SV3D through the whole studio: real networks at tiny size, whose views are noise, from a checkpoint on disk."""

import json

import numpy as np
import pytest
import yaml
from PIL import Image, ImageDraw

from studio.errors import BadInput
from studio.media.decode import read_clip
from studio.media.recipe import read_recipe
from studio.modes.orbiting import turn
from studio.scene.orbit import sine, static
from studio.scene.recover import recover_orbit
from studio.service import Studio
from studio.settings import Settings, shipped
from tests.scene.shapes import mesh, rendered
from tests.sgm import write_tiny_sgm

VIEWS, SIZE = 8, 64
FILES = {"sv3d-u": "tiny_u.safetensors", "sv3d-p": "tiny_p.safetensors"}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A home with both of SV3D's models, as few views and pixels as a test needs."""
    home = tmp_path_factory.mktemp("home")
    (home / "models").mkdir()
    (home / "configs" / "models").mkdir(parents=True)
    for id, name in FILES.items():
        spec = yaml.safe_load((shipped("configs") / "models" / f"{id}.yaml").read_text(encoding="utf-8"))
        options = spec["capabilities"]["multiview"]["options"]
        options |= {"size": {"default": SIZE, "min": SIZE}, "frames": {"default": VIEWS}, "steps": {"default": 2}}
        spec |= {"id": f"tiny-{id}", "sources": [{**spec["sources"][0], "names": [name]}]}
        (home / "configs" / "models" / f"tiny-{id}.yaml").write_text(yaml.safe_dump(spec), encoding="utf-8")
        write_tiny_sgm(home / "models" / name, id)
    return home


@pytest.fixture(scope="module")
def studio(home):
    with Studio(Settings(home=home, device="cpu", runner="inline")) as studio:
        yield studio


@pytest.fixture
def figure(tmp_path):
    picture = Image.new("RGBA", (120, 120), (0, 0, 0, 0))
    ImageDraw.Draw(picture).ellipse((30, 10, 90, 110), fill=(220, 60, 50, 255))
    picture.save(tmp_path / "figure.png")
    return str(tmp_path / "figure.png")


def masks_of(orbit):
    """Alpha of a shape that looks different from everywhere."""
    return rendered(mesh("figure", 48), orbit, 96).alpha


@pytest.fixture
def ask(figure):
    def ask(variant, **more):
        return {"mode": "multiview", "image": figure, "variant": f"tiny-{variant}", "seed": 1, "mesh_grid": 32, **more}

    return ask


@pytest.fixture(scope="module")
def made(studio, tmp_path_factory):
    """Runs a request; its job, its folder and its report."""

    def made(request):
        folder = tmp_path_factory.mktemp("out") / "cup"
        job = studio.wait(studio.submit(request, output=folder).id)
        assert job.state == "done", job.error
        return job, folder, json.loads((folder / "report.json").read_text(encoding="utf-8"))

    return made


def test_the_one_that_is_told_its_cameras_keeps_them_and_its_recipe_names_weights_and_ways(made, ask):
    job, folder, report = made(ask("sv3d-p", orbit="sine", elevation_deg=5.0, amplitude_deg=20.0))
    assert report["cameras"] == {"known": "told"}
    asked = sine(5.0, 20.0, VIEWS)
    assert report["views"][0] | {"score": 0} == {
        "image": "images/000.png", "azimuth_deg": 0.0, "elevation_deg": 5.0, "score": 0,
    }  # fmt: skip
    found = [(v["azimuth_deg"], v["elevation_deg"]) for v in report["views"][1:]]
    told = list(zip(asked.azimuths_deg, asked.elevations_deg, strict=True))[:-1]
    mirrored = list(zip(asked.reversed().azimuths_deg, asked.elevations_deg, strict=True))[:-1]
    assert found in ([pytest.approx(pair, abs=1e-3) for pair in way] for way in (told, mirrored))
    recipe = read_recipe(folder / "turntable.mp4")
    assert set(recipe["components"]) == {"tiny-sv3d-p/checkpoint"}
    assert set(recipe["facts"]["ways"]["tiny-sv3d-p"]) == {"encode", "sample", "decode"}
    assert recipe["facts"]["multiview"] == report
    assert recipe["request"]["frames"] == VIEWS
    assert job.request == recipe["request"]
    assert len(read_clip(folder / "turntable.mp4").frames) == VIEWS


def test_the_one_that_is_told_none_has_its_cameras_recovered_and_says_where_they_are_a_guess(made, ask, studio):
    job, folder, report = made(ask("sv3d-u", elevation_deg=10.0))
    cameras = report["cameras"]
    assert set(cameras) == {"known", "elevation_deg", "clockwise", "margin", "sure"}
    assert cameras["known"] == "unknown"
    if not cameras["sure"]:
        assert {v["elevation_deg"] for v in report["views"]} == {10.0}, "then they stay as they were asked for"
    assert cameras["sure"] != any("guess" in n for n in job.notices)
    with Image.open(folder / "images" / "000.png") as first:
        assert np.asarray(first)[SIZE // 2, SIZE // 2].tolist() == pytest.approx([220, 60, 50, 255], abs=3)
    with pytest.raises(BadInput) as caught:
        studio.check(ask("sv3d-u", orbit="sine"))
    assert caught.value.field == "orbit"


def test_a_picture_that_the_generated_views_do_not_agree_with_is_not_asked_for_again(made, ask):
    job, _, report = made(ask("sv3d-p"))
    assert report["consistency"]["worst_frame"] == 0, "the others are alike: noise"
    assert any(n.startswith("Your picture does not agree") for n in job.notices)
    assert not any("your own photo" in n for n in job.notices)


def test_a_told_orbit_is_turned_round_only_where_the_outlines_say_so():
    asked = static(20.0, VIEWS)
    for true in (asked, asked.reversed()):
        assert turn._in_its_sense(asked, masks_of(true)) == true
    ball = np.zeros((VIEWS, SIZE, SIZE), np.uint8)
    ball[:, 20:44, 20:44] = 255
    assert turn._in_its_sense(asked, ball) == asked, "what looks alike tells nothing"


@pytest.mark.parametrize("clockwise", [False, True])
def test_views_whose_cameras_nobody_knows_get_elevation_and_sense_from_their_outlines(clockwise):
    true = static(20.0, VIEWS).reversed() if clockwise else static(20.0, VIEWS)
    found = recover_orbit(masks_of(true), static(0.0, VIEWS))
    assert found.sure
    assert found.clockwise is clockwise
    assert abs(found.elevation_deg - 20) <= 4
