"""`python -m studio multiview`: a folder, the clip alone, an orbit that is there, and what won't do."""

import json

import pytest
from PIL import Image, ImageDraw

from tests.cli.test_cli import run as run

SMALL = ("--size", 128, "--frames", 8, "--mesh-grid", 32, "--seed", 1)


@pytest.fixture
def figure(tmp_path):
    picture = Image.new("RGBA", (120, 150), (0, 0, 0, 0))
    ImageDraw.Draw(picture).ellipse((30, 10, 90, 140), fill=(220, 60, 50, 255))
    picture.save(tmp_path / "figure.png")
    return tmp_path / "figure.png"


@pytest.mark.slow
def test_one_command_makes_a_folder_and_its_views_with_a_photo_another_mesh(run, figure, tmp_path):
    cup = tmp_path / "cup.v1"
    cup.mkdir()
    (cup / "mine.txt").write_text("mine")
    done = run("multiview", "--image", figure, *SMALL, "--format", "zip", "--output", cup)
    printed = done.stdout.split()
    assert printed[0] == str(cup / "turntable.zip")
    assert {str(p) for p in cup.rglob("*") if p.is_file()} == {*printed, str(cup / "mine.txt")}
    assert "toy relief" in done.stderr
    photo = ("--photo", figure, "--photo-azimuth-deg", 91)
    done = run(
        "multiview", "--image", figure, "--views", cup / "turntable.zip", *photo, *SMALL, "--output", tmp_path / "new"
    )
    assert "The view at 90 degrees is your photo." in done.stderr
    report = json.loads((tmp_path / "new" / "report.json").read_text(encoding="utf-8"))
    assert report["mesh"]["rendered"] is False
    done = run("rerun", cup / "turntable.zip", "--output", tmp_path / "again")
    assert (tmp_path / "again" / "mesh.glb").read_bytes() == (cup / "mesh.glb").read_bytes()


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("--orbit", "keyed", "--keys", "90"), "keys: '90' is no azimuth"),
        (("--variant", "sv3d-p"), "models add FILE --as sv3d-p"),
        (("--output", "cup.avi"), "nor a folder"),
    ],
)
def test_what_wont_do_exits_2_with_one_sentence(run, figure, tmp_path, args, says):
    where = () if "--output" in args else ("--output", tmp_path / "cup")
    done = run("multiview", "--image", figure, *args, *where, code=2)
    assert says in done.stderr
    assert done.stdout == ""
    assert not (tmp_path / "cup").exists()
