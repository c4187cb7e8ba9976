import errno

import numpy as np
import pytest

from studio.errors import BadInput, Cancelled
from studio.jobs import deliver as module
from studio.jobs.deliver import deliver, unfinished_folders
from studio.jobs.dispatcher import sweep
from studio.jobs.outputs import format_of, layout_of, layout_of_task, target_of
from studio.jobs.task import Task
from studio.media.clip import Clip
from studio.media.recipe import make_recipe, read_recipe
from studio.modes import Result, all_modes
from studio.modes.mode import Still
from studio.settings import Settings

RECIPE = make_recipe({"mode": "m"}, "v", components={}, versions={}, facts={})
CLIP = Clip(np.zeros((3, 32, 32, 3), np.uint8), 6.0)


@pytest.fixture
def result(tmp_path):
    scratch = tmp_path / "scratch"
    (scratch / "images").mkdir(parents=True)
    (scratch / "images" / "000.png").write_text("view")
    (scratch / "mesh.glb").write_text("mesh")
    stills = {"one.png": Still(CLIP.frames[0], {"mode": "m", "seed": 1})}
    return Result(
        CLIP,
        artifacts={"images/000.png": scratch / "images" / "000.png", "mesh.glb": scratch / "mesh.glb"},
        stills=stills,
    )


def task(target, output=""):
    return Task(job_id="a", mode="m", request={}, target=target, output=output, poster=target)


def names(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def silent(done, total):
    pass


def test_a_folder_of_its_own_holds_the_clip_and_all_that_goes_with_it_under_plain_names(tmp_path, result):
    target = tmp_path / "out" / "cup" / "turntable.mp4"
    files = deliver(result, task(target), "folder", RECIPE, silent)
    assert files[0] == target
    assert names(target.parent) == ["images/000.png", "mesh.glb", "one.png", "turntable.mp4"]
    assert sorted(files) == sorted(target.parent / n for n in names(target.parent))
    assert [p.name for p in target.parent.parent.iterdir()] == ["cup"]
    assert read_recipe(target.parent / "one.png")["request"] == {"mode": "m", "seed": 1}


def test_a_folder_that_is_there_keeps_what_else_is_in_it(tmp_path, result):
    target = tmp_path / "cup" / "turntable.mp4"
    target.parent.mkdir()
    (target.parent / "mine.txt").write_text("mine")
    (target.parent / "mesh.glb").write_text("old")
    files = deliver(result, task(target), "folder", RECIPE, silent)
    assert names(target.parent) == ["images/000.png", "mesh.glb", "mine.txt", "one.png", "turntable.mp4"]
    assert (target.parent / "mesh.glb").read_text() == "mesh"
    assert files[0] == target
    assert all(f.is_file() for f in files)


def test_beside_the_clip_what_goes_with_it_bears_the_clips_name_and_alone_it_is_left_out(tmp_path, result):
    result = Result(result.clip, artifacts={"mesh.glb": result.artifacts["mesh.glb"]}, stills=result.stills)
    deliver(result, task(tmp_path / "out" / "a.mp4"), "beside", RECIPE, silent)
    assert names(tmp_path / "out") == ["a-mesh.glb", "a-one.png", "a.mp4"]
    deliver(result, task(tmp_path / "bare" / "a.mp4"), "alone", RECIPE, silent)
    assert names(tmp_path / "bare") == ["a.mp4"]


def test_a_cancel_while_the_clip_is_written_leaves_neither_folder_nor_part_of_it(tmp_path, result):
    def cancel(done, total):
        raise Cancelled()

    target = tmp_path / "out" / "cup" / "turntable.mp4"
    with pytest.raises(Cancelled):
        deliver(result, task(target), "folder", RECIPE, cancel)
    assert list(target.parent.parent.iterdir()) == []


def test_a_disk_that_fills_up_leaves_nothing(tmp_path, result, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "write_still", full)
    target = tmp_path / "out" / "cup" / "turntable.mp4"
    with pytest.raises(OSError, match="No space"):
        deliver(result, task(target), "folder", RECIPE, silent)
    assert list(target.parent.parent.iterdir()) == []


def test_what_a_killed_process_left_of_a_folder_is_found_and_nothing_else(tmp_path):
    (tmp_path / ".cup.folder-1234").mkdir()
    (tmp_path / ".cups.folder-1").mkdir()
    (tmp_path / "cup").mkdir()
    assert unfinished_folders(tmp_path / "cup") == [tmp_path / ".cup.folder-1234"]
    assert unfinished_folders(tmp_path / "nowhere" / "cup") == []


def test_the_sweep_after_a_killed_process_takes_its_half_written_folder_and_leaves_whole_ones(tmp_path):
    for name in ("cup", ".cup.folder-0a1b", ".cups.folder-1"):
        (tmp_path / name / "images").mkdir(parents=True)
        (tmp_path / name / "images" / "000.png").write_text("view")
    sweep(Settings(home=tmp_path / "home"), "a", tmp_path / "cup" / "turntable.mp4")
    assert names(tmp_path) == [".cups.folder-1/images/000.png", "cup/images/000.png"]
    assert not (tmp_path / ".cup.folder-0a1b").exists()


def test_an_artifact_on_another_disk_is_copied_whole(tmp_path, result, monkeypatch):
    real = module.os.replace

    def replace(source, target):
        if "scratch" in str(source):
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        real(source, target)

    monkeypatch.setattr(module.os, "replace", replace)
    target = tmp_path / "out" / "cup" / "turntable.mp4"
    deliver(result, task(target), "folder", RECIPE, silent)
    assert (target.parent / "mesh.glb").read_text() == "mesh"
    assert not [n for n in names(target.parent) if "part" in n]


def test_an_output_names_a_folder_or_a_file_and_anything_else_is_one_sentence(tmp_path):
    multiview, text = all_modes()["multiview"], all_modes()["text-to-video"]
    assert layout_of(multiview, None) == layout_of(multiview, tmp_path / "cup") == "folder"
    (tmp_path / "orbit.v2").mkdir()
    assert layout_of(multiview, tmp_path / "orbit.v2") == "folder"
    assert layout_of(multiview, tmp_path / "cup.webm") == "alone"
    assert layout_of(text, tmp_path / "cup.webm") == "beside"
    assert target_of(multiview, tmp_path / "cup", "gif") == tmp_path / "cup" / "turntable.gif"
    assert target_of(multiview, tmp_path / "cup.gif", "gif") == tmp_path / "cup.gif"
    assert format_of(multiview, tmp_path / "cup", "webm") == format_of(multiview, tmp_path / "cup", None) == {}
    assert format_of(multiview, tmp_path / "cup.gif", None) == {"format": "gif"}
    with pytest.raises(BadInput, match=r"'cup\.avi' doesn't end in one of .*, nor a folder"):
        format_of(multiview, tmp_path / "cup.avi", None)
    with pytest.raises(BadInput, match="disagree"):
        format_of(multiview, tmp_path / "cup.gif", "mp4")


def test_a_task_knows_its_layout_from_what_was_asked_for(tmp_path):
    multiview = all_modes()["multiview"]
    target = tmp_path / "turntable.mp4"
    assert layout_of_task(multiview, task(target)) == "folder"
    assert layout_of_task(multiview, task(target, str(tmp_path))) == "folder"
    assert layout_of_task(multiview, task(target, str(target))) == "alone"
    assert layout_of_task(all_modes()["image-to-video"], task(target, str(target))) == "beside"
