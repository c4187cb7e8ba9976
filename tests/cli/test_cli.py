"""The command line, run as a person runs it: a process, its output, its exit code."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def run(tmp_path):
    def run(*args, code=0, **more):
        env = {**os.environ, "STUDIO_HOME": str(tmp_path / "home"), "STUDIO_DEVICE": "cpu", "COLUMNS": "200"}
        done = subprocess.run(
            [sys.executable, "-m", "studio", *map(str, args)], cwd=ROOT, env=env, capture_output=True, text=True, **more
        )
        assert done.returncode == code, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done

    return run


SMALL = ("--width", 96, "--height", 64, "--frames", 4, "--seed", 7)


def test_one_command_makes_a_clip(run, photo, tmp_path):
    done = run("image-to-video", "--image", photo, *SMALL, "--output", tmp_path / "clip.mp4")
    assert done.stdout.strip() == str(tmp_path / "clip.mp4")
    assert (tmp_path / "clip.mp4").stat().st_size > 1000


def test_one_command_makes_a_clip_from_a_sentence_with_the_keyframe_beside_it(run, tmp_path):
    said = ("--prompt", "两个红色的球 beside a zeppelin", "--candidates", 2)
    done = run("text-to-video", *said, *SMALL, "--output", tmp_path / "clip.mp4")
    assert done.stdout.split() == [str(tmp_path / name) for name in
                                   ("clip.mp4", "clip-keyframe-1.png", "clip-keyframe-2.png")]  # fmt: skip
    assert "doesn't know: zeppelin" in done.stderr
    run("rerun", tmp_path / "clip-keyframe-2.png", "--output", tmp_path / "again.zip")
    with Image.open(tmp_path / "clip-keyframe-2.png") as one, Image.open(tmp_path / "again-keyframe-1.png") as two:
        assert one.tobytes() == two.tobytes()
    done = run("text-to-video", *said, "--painter", "sdxl", "--variant", "parallax", "--output", "x.mp4", code=2)
    assert "models pull sdxl" in done.stderr


def test_json_is_all_that_stdout_holds(run, photo, tmp_path):
    done = run("image-to-video", "--image", photo, *SMALL, "--output", tmp_path / "clip.gif", "--json")
    job = json.loads(done.stdout)
    assert job["state"] == "done"
    assert job["request"]["seed"] == 7
    assert json.loads(run("history", "--json").stdout)[0]["id"] == job["id"]
    assert json.loads(run("jobs", "--json").stdout) == []
    assert json.loads(run("recipe", tmp_path / "clip.gif", "--json").stdout)["request"] == job["request"]


def test_rerun_makes_the_same_bytes(run, photo, tmp_path):
    run("image-to-video", "--image", photo, *SMALL, "--output", tmp_path / "a.mp4")
    run("rerun", tmp_path / "a.mp4", "--output", tmp_path / "b.mp4")
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("--frames", "1000"), "frames: 1000"),
        (("--frames", "some"), "some"),
        (("--camera-move", "teleport"), "camera_move: 'teleport'"),
        (("--variant", "svd-xt"), "models pull svd-xt"),
        (("--image", "nowhere.png"), "image: there is no file"),
        (("--no-such-option", "1"), "no-such-option"),
        (("--preset", "no-such-preset"), "preset:"),
    ],
)
def test_the_users_mistake_exits_2_with_one_sentence(run, photo, tmp_path, args, says):
    given = () if "--image" in args else ("--image", photo)
    done = run("image-to-video", *given, *args, "--output", tmp_path / "clip.mp4", code=2)
    assert says in done.stderr
    assert done.stdout == ""
    assert not (tmp_path / "clip.mp4").exists()


def test_a_failure_exits_1(run, photo, tmp_path):
    (tmp_path / "blocked").write_text("a file where a folder should be")
    done = run("image-to-video", "--image", photo, *SMALL, "--output", tmp_path / "blocked" / "clip.mp4", code=1)
    assert "is not a folder" in done.stderr.strip().splitlines()[-1]


@pytest.mark.parametrize(
    "variable", [{"STUDIO_PORT": "many"}, {"STUDIO_DEVICE": "toaster"}, {"STUDIO_PRECISION": "int2"}]
)
def test_a_bad_variable_is_named(run, variable, tmp_path, monkeypatch):
    env = {**os.environ, "STUDIO_HOME": str(tmp_path), **variable}
    done = subprocess.run(
        [sys.executable, "-m", "studio", "history"], cwd=ROOT, env=env, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert next(iter(variable)) in done.stderr
    assert "Traceback" not in done.stderr


def test_models_are_listed_with_what_to_do(run):
    listed = json.loads(run("models", "list", "--json").stdout)
    usable = [v["usable"] for v in listed]
    assert usable == sorted(usable, reverse=True), "what can run comes first"
    assert "parallax" in {v["id"] for v in listed if v["usable"]}
    assert {v["id"]: v["command"] for v in listed}["svd-xt-1.1"] == "python -m studio models pull svd-xt-1.1"
    shown = run("models", "list").stdout
    assert "svd-xt" in shown
    assert "GB to fetch" in shown
    assert json.loads(run("models", "show", "svd", "--json").stdout)["spec"]["family"] == "svd"
    run("models", "show", "nothing", code=2)
    run("models", "verify", "svd", code=2)


def test_ctrl_c_cancels_and_leaves_nothing(photo, tmp_path):
    env = {**os.environ, "STUDIO_HOME": str(tmp_path / "home"), "STUDIO_DEVICE": "cpu"}
    args = ["image-to-video", "--image", photo, "--frames", 240, "--width", 960, "--height", 960, "--output"]
    with subprocess.Popen(
        [sys.executable, "-m", "studio", *map(str, args), str(tmp_path / "clip.mp4")],
        cwd=ROOT,
        env=env,
        stderr=subprocess.PIPE,
        text=True,
    ) as child:
        scratch = tmp_path / "home" / "scratch"
        deadline = time.monotonic() + 20
        while not (scratch.is_dir() and any(scratch.rglob("preview.webp"))) and time.monotonic() < deadline:
            time.sleep(0.05)
        child.send_signal(signal.SIGINT)
        says = child.stderr.read()
        assert child.wait(timeout=10) == 1
    assert "cancelled" in says
    assert "Traceback" not in says
    assert not list(tmp_path.glob("*.mp4")) + list(tmp_path.glob(".*part*"))


def test_a_batch_runs_what_is_not_done_yet_and_goes_on_after_a_bad_row(run, photo, tmp_path):
    rows = tmp_path / "rows.csv"
    rows.write_text(
        "image,frames,width,height,seed,camera_move,output\n"
        f"{photo.name},4,96,64,1,arc-left,a.mp4\n"
        f"{photo.name},4,96,64,1,teleport,b.mp4\n"
        f"{photo.name},4,96,64,2,,c.gif\n"
    )
    first = json.loads(run("batch", rows, "--json", code=2).stdout)
    assert [r["state"] for r in first] == ["done", "refused", "done"]
    assert "teleport" in first[1]["says"]
    rows.write_text(rows.read_text().replace("teleport", "orbit"))
    second = json.loads(run("batch", rows, "--json").stdout)
    assert [r["state"] for r in second] == ["skipped", "done", "skipped"]
    assert {p.name for p in tmp_path.iterdir() if p.suffix in (".mp4", ".gif")} == {"a.mp4", "b.mp4", "c.gif"}


def test_a_batch_in_yaml_takes_complete_requests(run, photo, tmp_path):
    rows = tmp_path / "rows.yaml"
    rows.write_text(
        f"- {{mode: image-to-video, image: {photo.name}, frames: 4, width: 96, height: 64, seed: 3, "
        "finish: [boomerang], output: out.webp}\n"
    )
    assert json.loads(run("batch", rows, "--json").stdout)[0]["state"] == "done"


@pytest.mark.parametrize("text", ["just words", "- 3\n- 4\n", "{a: 1}", "- {image: x.png}\n", "- {output: [\n"])
def test_a_file_that_is_no_batch_is_refused(run, tmp_path, text):
    rows = tmp_path / "rows.yaml"
    rows.write_text(text)
    assert len(run("batch", rows, code=2).stderr.strip().splitlines()) == 1
