"""A mode with a folder of its own, and with a role that has favourites, through the studio."""

from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from studio.errors import BadInput
from studio.modes import all_modes
from studio.service import NO_FILE
from tests.test_service import files_under, sha


@pytest.fixture
def cup(tmp_path):
    """A request for a folder that is made in a moment."""
    picture = Image.new("RGBA", (100, 100), (0, 0, 0, 0))
    ImageDraw.Draw(picture).ellipse((30, 10, 70, 90), fill=(220, 60, 50, 255))
    picture.save(tmp_path / "cup.png")
    return {"mode": "multiview", "image": str(tmp_path / "cup.png"), "size": 128, "frames": 8, "mesh_grid": 32,
            "seed": 3}  # fmt: skip


def test_a_form_is_checked_while_its_files_are_still_missing_but_not_submitted(studio, cup):
    del cup["image"]
    complete, _ = studio.check(cup, files=False)
    assert (complete.image, complete.frames) == (NO_FILE, 8)
    assert studio.check({**cup, "image": None}, files=False)[0] == complete
    for change, field in (({"image": ""}, "image"), ({"frames": 5}, "frames"), ({"mode": "none"}, "mode")):
        with pytest.raises(BadInput) as caught:
            studio.check({**cup, **change}, files=False)
        assert caught.value.field == field
    for ask in (studio.check, studio.submit):
        with pytest.raises(BadInput, match="image: it is missing"):
            ask(cup)


def test_the_favourite_that_is_installed_does_it_where_none_is_named(studio, cup):
    mode = all_modes()["multiview"]
    assert studio.default_variant(mode, "matting") == studio.check(cup)[0].matting == "backdrop"
    weights = studio.settings.models / "u2netp" / "network.onnx"
    weights.parent.mkdir(parents=True)
    with weights.open("wb") as file:
        file.truncate(studio.catalog.get("u2netp").component_bytes["network"])
    assert studio.default_variant(mode, "matting") == studio.check(cup)[0].matting == "u2netp"
    assert studio.check({**cup, "matting": None})[0].matting == "u2netp"
    assert studio.check({**cup, "matting": "backdrop"})[0].matting == "backdrop"
    assert studio.check({**cup, "mask": cup["image"]})[0].matting is None, "there is nothing to cut out"
    assert studio.default_variant(mode, "variant") == "inflate", "no other is here"


def test_a_folder_job_is_done_again_only_where_its_clip_is_gone(studio, cup, tmp_path):
    output = tmp_path / "orbit"
    assert studio.done_with(cup, output) is None
    job = studio.wait(studio.submit(cup, output=output).id)
    assert job.state == "done", job.error
    assert job.files[0] == str(output / "turntable.mp4")
    assert {str(output / name) for name in files_under(output)} == set(job.files)
    assert studio.done_with(cup, output).id == job.id
    assert studio.done_with(cup, tmp_path / "other") is None
    assert studio.done_with({**cup, "seed": 4}, output) is None
    assert studio.done_with({**cup, "format": "gif"}, output) is None
    again = studio.wait(studio.rerun(job.id).id)
    assert again.request == job.request
    assert Path(again.files[0]).parent.name == again.id, "a folder of its own in the studio's outputs"
    assert sha(again.files[0]) == sha(job.files[0])
    Path(job.files[0]).unlink()
    assert studio.done_with(cup, output) is None


def test_deleting_a_folder_job_removes_its_own_folder_and_leaves_what_others_put_there(studio, cup, tmp_path):
    jobs = [studio.submit(cup), studio.submit(cup), studio.submit(cup, output=tmp_path / "orbit")]
    gone, shared, elsewhere = (studio.wait(job.id) for job in jobs)
    foreign = Path(shared.files[0]).parent / "images" / "notes.txt"
    foreign.write_text("mine")
    for job in (gone, shared, elsewhere):
        studio.delete(job.id)
    assert studio.history() == []
    assert not Path(gone.files[0]).parent.exists()
    assert files_under(studio.settings.outputs) == {str(foreign.relative_to(studio.settings.outputs))}
    assert {str(tmp_path / "orbit" / name) for name in files_under(tmp_path / "orbit")} == set(elsewhere.files)
