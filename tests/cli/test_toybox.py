import json

import cv2
import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from studio.cli.toybox import toybox
from studio.errors import BadInput, WriteFailed

app = typer.Typer()
app.command()(toybox)
SMALL = ["--width", "96", "--height", "64"]


def run(*args, check=True):
    result = CliRunner().invoke(app, [*args, *SMALL], catch_exceptions=True)
    if check:
        assert result.exit_code == 0, result.output
    return result


def test_an_orbit_is_written_with_depth_masks_and_cameras(tmp_path):
    folder = tmp_path / "out"
    run("--prompt", "a red cube beside a zorble", "--orbit", "3", "--depth", "--masks", "--output", str(folder))
    facts = json.loads((folder / "scene.json").read_text(encoding="utf-8"))
    assert facts["unknown"] == ["zorble"]
    assert facts["things"] == ["cube"]
    assert len(facts["views"]) == 3
    for view in facts["views"]:
        picture = cv2.imread(str(folder / view["picture"]))
        depth = np.load(folder / view["depth"])
        mask = cv2.imread(str(folder / view["mask"]), cv2.IMREAD_UNCHANGED)
        assert picture.shape == (64, 96, 3)
        assert set(np.unique(mask)) == {0, 1}
        assert np.isfinite(depth[mask == 1]).all()
        pose, k = np.array(view["camera_to_world"]), np.array(view["intrinsics"])
        y, x = np.argwhere(mask == 1).mean(axis=0)
        centre = pose @ [*(np.linalg.inv(k) @ [x, y, 1] * np.median(depth[mask == 1])), 1]
        assert np.abs(centre[:3] - [0, 0.4, 0]).max() < 0.7


def test_without_an_orbit_it_is_one_picture_and_the_facts_are_printed(tmp_path):
    result = run("--prompt", "两棵树", "--output", str(tmp_path / "out"), "--json")
    facts = json.loads(result.stdout)
    assert facts["things"] == ["tree", "tree"]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["scene.json", "view_000.png"]


@pytest.mark.parametrize("args", [["--elevation", "10"]])
def test_an_elevation_without_an_orbit_is_refused_in_a_sentence(tmp_path, args):
    result = run("--prompt", "a cup", "--output", str(tmp_path / "out"), *args, check=False)
    assert isinstance(result.exception, BadInput)
    assert "--orbit" in str(result.exception)


def test_a_folder_that_cannot_be_written_is_said_in_a_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    result = run("--prompt", "a cup", "--output", str(tmp_path / "file" / "out"), check=False)
    assert isinstance(result.exception, WriteFailed)
