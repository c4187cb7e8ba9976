"""A cut-out, an orbit, its cameras and its mesh: through the whole studio with the embedded engines, small."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image, ImageDraw

from studio.errors import BadInput
from studio.media.decode import read_clip
from studio.media.recipe import read_recipe
from studio.modes.multiview import MODE, Multiview, orbit_of

SIZE = 128
SMALL = {"mode": "multiview", "size": SIZE, "frames": 8, "seed": 1, "elevation_deg": 0.0, "mesh_grid": 32}


def draw(path, *, mode="RGBA", back=(0, 0, 0, 0), size=(200, 150), shape="figure"):
    picture = Image.new(mode, size, back)
    pen = ImageDraw.Draw(picture)
    if shape == "figure":
        pen.ellipse((70, 10, 130, 70), fill=(220, 60, 50, 255)[: len(back)])
        pen.rectangle((85, 65, 115, 140), fill=(40, 110, 200, 255)[: len(back)])
    elif shape == "edge":
        pen.rectangle((0, 40, 80, 149), fill=(40, 110, 200, 255)[: len(back)])
    picture.save(path)
    return str(path)


@pytest.fixture
def figure(tmp_path):
    return draw(tmp_path / "figure.png")


@pytest.fixture
def make(studio, tmp_path):
    """Runs a request to its end, which has to be a good one; its folder with it."""

    def make(request, output=None):
        job = studio.wait(studio.submit(request, output=output).id)
        assert job.state == "done", job.error
        return job, Path(job.files[0]).parent

    return make


def refused(studio, request):
    job = None
    try:
        job = studio.wait(studio.submit(request).id)
    except BadInput as e:
        return e.message
    assert job.state == "failed", job.state
    assert job.error.error == "bad-input", job.error
    assert not job.files
    return job.error.message


def test_a_folder_with_the_turntable_the_views_their_cameras_and_the_mesh(make, figure, tmp_path):
    job, folder = make({**SMALL, "image": figure}, tmp_path / "cup")
    assert folder == tmp_path / "cup"
    assert sorted(str(p) for p in folder.rglob("*") if p.is_file()) == sorted(job.files)
    clip = read_clip(folder / "turntable.mp4")
    assert clip.frames.shape == (8, SIZE, SIZE, 3)
    report = json.loads((folder / "report.json").read_text())
    assert [v["azimuth_deg"] for v in report["views"]] == [45.0 * i for i in range(8)]
    views = [np.asarray(Image.open(folder / v["image"])) for v in report["views"]]
    assert all(v.shape == (SIZE, SIZE, 4) for v in views)
    transforms = json.loads((folder / "transforms.json").read_text())
    assert [f["file_path"] for f in transforms["frames"]] == [v["image"] for v in report["views"]]
    mesh = trimesh.load(folder / "mesh.stl")
    assert mesh.is_watertight
    assert read_recipe(folder / "turntable.mp4")["facts"]["multiview"]["consistency"]["mean"] > 0.9
    assert max(v["score"] for v in report["views"]) <= 1


def test_the_clip_begins_with_the_picture_and_goes_on_without_repeating_it(make, figure):
    _, folder = make({**SMALL, "image": figure, "format": "zip"})
    clip = read_clip(folder / "turntable.zip")
    assert clip.alpha is not None, "a ZIP keeps the transparency"
    first = np.asarray(Image.open(folder / "images" / "000.png"))
    assert np.array_equal(clip.frames[0][first[..., 3] == 255], first[first[..., 3] == 255][:, :3])
    red = (first[..., 0] > 180) & (first[..., 3] > 200)
    blue = (first[..., 2] > 150) & (first[..., 3] > 200)
    assert red.sum() > 1000
    assert np.nonzero(red)[0].mean() < np.nonzero(blue)[0].mean(), "the head is above"
    steps = [np.abs(clip.frames[i].astype(int) - clip.frames[i - 1]).mean() for i in range(len(clip))]
    assert min(steps) > 0, "no pose comes twice in a row, not even from the last to the first"


def test_the_same_request_gives_the_same_bytes(make, figure, tmp_path):
    _, one = make({**SMALL, "image": figure}, tmp_path / "one")
    _, two = make({**SMALL, "image": figure}, tmp_path / "two")
    for path in one.rglob("*"):
        if path.is_file():
            assert path.read_bytes() == (two / path.relative_to(one)).read_bytes(), path.name


def test_a_file_as_output_gets_the_clip_alone(make, figure, tmp_path):
    job, _ = make({**SMALL, "image": figure}, tmp_path / "cup.gif")
    assert job.files == (str(tmp_path / "cup.gif"),)


def test_a_turntable_of_the_mesh_has_as_many_frames_and_pixels_as_asked_for(make, figure):
    _, folder = make(
        {**SMALL, "image": figure, "turntable": "mesh", "turntable_frames": 12, "turntable_size": 64,
         "background": "#102030", "format": "zip"}
    )  # fmt: skip
    clip = read_clip(folder / "turntable.zip")
    assert clip.frames.shape == (12, 64, 64, 3)
    assert tuple(clip.frames[0, 0, 0]) == (0x10, 0x20, 0x30)
    views = read_clip(folder / "turntable.zip").frames.astype(int)
    assert np.abs(views[0] - views[6]).mean() > 1, "the back is another view"


def test_an_orbit_that_is_there_gives_its_mesh_without_any_model_and_a_photo_takes_the_place_of_a_view(
    make, studio, figure, tmp_path
):
    _, made = make({**SMALL, "image": figure, "elevation_deg": 10.0, "frames": 16, "format": "zip"})
    given = {**SMALL, "image": figure, "views": str(made / "turntable.zip"), "texture": "sheet"}
    complete, _ = studio.check(given)
    assert MODE.used_roles(complete, studio.catalog) == ()
    assert studio.plan(given).says
    _, folder = make(given)
    report = json.loads((folder / "report.json").read_text())
    assert report["cameras"]["known"] == "unknown"
    assert abs(report["cameras"]["elevation_deg"] - 10) <= 6
    assert report["mesh"]["rendered"] is False
    assert len(report["views"]) == 16
    photo = draw(tmp_path / "photo.png", size=(150, 150))
    job, folder = make({**given, "photo": photo, "photo_azimuth_deg": 178.0})
    assert "The view at 180 degrees is your photo." in job.notices
    back = np.asarray(Image.open(folder / "images" / "008.png"))
    front = np.asarray(Image.open(folder / "images" / "000.png"))
    assert np.abs(back.astype(int) - front).mean() < 12, "it is the same drawing"


def test_a_photo_of_another_thing_is_told_of_as_the_photo_that_it_is(make, figure, tmp_path):
    plank = tmp_path / "plank.png"
    picture = Image.new("RGBA", (100, 100), (0, 0, 0, 0))
    ImageDraw.Draw(picture).rectangle((5, 40, 95, 60), fill=(0, 160, 0, 255))
    picture.save(plank)
    job, _ = make({**SMALL, "image": figure, "photo": str(plank), "photo_azimuth_deg": 90.0}, tmp_path / "a.gif")
    (told,) = (n for n in job.notices if "does not agree" in n)
    assert told.startswith("Your photo")
    assert "90 degrees" in told


def test_only_the_cut_out_to_look_at_and_its_mask_to_correct(make, studio, tmp_path):
    opaque = draw(tmp_path / "opaque.png", mode="RGB", back=(240, 240, 235))
    _, folder = make({**SMALL, "image": opaque, "make": "cut-out", "format": "webp"})
    cut = np.asarray(Image.open(folder / "cut-out.png"))
    with Image.open(folder / "mask.png") as opened:
        mask = opened.copy()
    assert cut.shape == (576, 576, 4)
    assert mask.size == (200, 150)
    assert not (folder / "mesh.glb").exists()
    corrected = tmp_path / "corrected.png"
    ImageDraw.Draw(mask).rectangle((60, 100, 140, 140), fill="white")
    mask.save(corrected)
    _, again = make({**SMALL, "image": opaque, "mask": str(corrected), "make": "cut-out", "format": "webp"})
    assert np.asarray(Image.open(again / "cut-out.png"))[..., 3].mean() > cut[..., 3].mean() * 1.1
    complete, _ = studio.check({**SMALL, "image": opaque, "mask": str(corrected)})
    assert MODE.used_roles(complete, studio.catalog) == ("variant",)


def test_what_will_not_do_is_one_sentence(studio, tmp_path):
    empty = draw(tmp_path / "empty.png", shape="none")
    assert "transparent" in refused(studio, {**SMALL, "image": empty})
    dot = tmp_path / "dot.png"
    Image.new("RGB", (1, 1)).save(dot)
    assert "1x1" in refused(studio, {**SMALL, "image": str(dot)})
    wide = tmp_path / "wide.png"
    Image.new("RGB", (3000, 100)).save(wide)
    assert "8" in refused(studio, {**SMALL, "image": str(wide)})
    plain = draw(tmp_path / "plain.png", mode="RGB", back=(250, 250, 250), shape="none")
    assert "object" in refused(studio, {**SMALL, "image": plain}).lower()


def test_an_object_that_touches_the_border_is_turned_with_a_notice(make, tmp_path):
    job, _ = make({**SMALL, "image": draw(tmp_path / "edge.png", shape="edge")}, tmp_path / "edge.gif")
    assert any("border" in n or "edge" in n for n in job.notices)


def test_a_steep_orbit_is_warned_of_and_one_that_is_too_steep_refused(make, studio, figure, tmp_path):
    job, _ = make({**SMALL, "image": figure, "orbit": "sine", "amplitude_deg": 40.0}, tmp_path / "a.gif")
    assert any("30" in n for n in job.notices)
    asked = {**SMALL, "image": figure, "orbit": "sine", "elevation_deg": 70.0, "amplitude_deg": 60.0}
    assert "amplitude_deg" in refused(studio, asked)
    for keys, says in ((["0"], "90:20"), (["0:10", "360:5"], "two keys"), (["0:95"], "95")):
        with pytest.raises(BadInput) as caught:
            studio.check({**SMALL, "image": figure, "orbit": "keyed", "keys": keys})
        assert caught.value.field == "keys"
        assert says in f"{caught.value.message} {caught.value.remedy}"


def test_orbits_by_name_are_what_they_say():
    assert set(orbit_of("static", 7, 20, (), 1, 8).elevations_deg) == {7.0}
    assert math.isclose(max(orbit_of("sine", 5, 20, (), 1, 8).elevations_deg), 25.0)
    assert orbit_of("keyed", 0, 0, ("0:0", "180:20"), 1, 8).elevations_deg[3] == pytest.approx(20.0)
    assert orbit_of("dynamic", 0, 0, (), 1, 8) == orbit_of("dynamic", 0, 0, (), 1, 8)
    assert orbit_of("dynamic", 0, 0, (), 1, 8) != orbit_of("dynamic", 0, 0, (), 2, 8)
    assert Multiview.model_fields["variant"].default == "inflate"
