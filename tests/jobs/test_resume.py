import errno

import numpy as np
import pytest

from studio.jobs import resume
from studio.jobs.resume import Resume, resume_file
from studio.jobs.task import Task

STATE = {"x": np.arange(6, dtype=np.float32).reshape(2, 3).T, "done": np.array(4)}


@pytest.fixture
def task(tmp_path):
    request = {"mode": "image-to-video", "seed": 7, "image": "a.png"}
    return Task(job_id="job", mode="image-to-video", request=request, target=tmp_path / "a.mp4", poster=tmp_path / "p")


def test_what_was_kept_is_there_for_the_next_process(tmp_path, task):
    assert Resume(tmp_path, task).kept() is None
    Resume(tmp_path, task).keep(STATE)
    kept = Resume(tmp_path, task).kept()
    assert kept.keys() == STATE.keys()
    assert all((kept[name] == STATE[name]).all() and kept[name].shape == STATE[name].shape for name in STATE)
    assert all(array.flags.writeable for array in kept.values())
    assert [p.name for p in (tmp_path / "resume").iterdir()] == ["job.safetensors"]


@pytest.mark.parametrize("other", ["seed", "mode", "version"])
def test_what_another_request_or_version_left_is_not_taken(tmp_path, task, monkeypatch, other):
    Resume(tmp_path, task).keep(STATE)
    if other == "seed":
        task = task.model_copy(update={"request": {**task.request, "seed": 8}})
    elif other == "mode":
        task = task.model_copy(update={"mode": "multiview"})
    else:
        monkeypatch.setattr(resume, "__version__", "0.0")
    assert Resume(tmp_path, task).kept() is None


@pytest.mark.parametrize("damage", [b"", b"\xff" * 40, None])
def test_a_damaged_file_is_not_taken(tmp_path, task, damage):
    Resume(tmp_path, task).keep(STATE)
    path = resume_file(tmp_path, "job")
    path.write_bytes(path.read_bytes()[:-3] if damage is None else damage)
    assert Resume(tmp_path, task).kept() is None


def test_what_was_made_once_is_not_made_again_for_the_same_request_and_goes_with_the_rest(tmp_path, task):
    made = []

    def make(value):
        made.append(value)
        return {"x": np.full((2, 3), value, np.uint8)}

    for value in (1, 2):
        found = Resume(tmp_path, task).once("keyframes", lambda value=value: make(value))
        assert (found["x"] == 1).all()
    other = task.model_copy(update={"request": {**task.request, "seed": 8}})
    assert (Resume(tmp_path, other).once("keyframes", lambda: make(3))["x"] == 3).all()
    assert (Resume(tmp_path, other).once("sketches", lambda: make(4))["x"] == 4).all()
    assert made == [1, 3, 4]
    Resume(tmp_path, other).keep(STATE)
    Resume(tmp_path, other.model_copy(update={"job_id": "jobs"})).keep(STATE)
    Resume(tmp_path, other).forget()
    assert [p.name for p in (tmp_path / "resume").iterdir()] == ["jobs.safetensors"], "another job's stays"


def test_where_nothing_can_be_written_it_is_made_all_the_same(tmp_path, task):
    (tmp_path / "resume").write_text("a file where the folder would be")
    assert Resume(tmp_path, task).once("keyframes", lambda: {"x": np.ones(2)})["x"].sum() == 2


def test_it_is_written_at_most_once_in_its_time_and_always_without_one(tmp_path, task):
    seldom, always = Resume(tmp_path / "a", task, every_s=60), Resume(tmp_path / "b", task, every_s=0)
    for done in (1, 2):
        for kept in (seldom, always):
            kept.keep({"done": np.array(done)})
    assert (seldom.kept()["done"], always.kept()["done"]) == (1, 2)


def test_a_disk_that_takes_nothing_fails_no_job_and_leaves_no_part(tmp_path, task, monkeypatch, caplog):
    kept = Resume(tmp_path, task, every_s=0)
    kept.keep({"done": np.array(1)})

    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(resume.os, "replace", full)
    kept.keep({"done": np.array(2)})
    kept.keep({"done": np.array(3)})
    monkeypatch.undo()
    assert [r.getMessage() for r in caplog.records] == [
        "the state of job can't be kept: [Errno 28] No space left on device"
    ]
    assert kept.kept()["done"] == 1
    assert len(list((tmp_path / "resume").iterdir())) == 1


def test_forgetting_leaves_nothing(tmp_path, task):
    kept = Resume(tmp_path, task)
    kept.forget()
    kept.keep(STATE)
    kept.forget()
    assert kept.kept() is None
    assert list((tmp_path / "resume").iterdir()) == []
