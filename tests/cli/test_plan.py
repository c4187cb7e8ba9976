"""``studio plan``, run as a person runs it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CLIP = ("image-to-video", "--variant", "svd-xt", "--frames", 25)


@pytest.fixture
def plan(tmp_path):
    def plan(*args, code=0, before=()):
        env = {**os.environ, "STUDIO_HOME": str(tmp_path / "home"), "COLUMNS": "200", "CUDA_VISIBLE_DEVICES": ""}
        env |= {"STUDIO_DEVICE": "cpu"}
        command = [sys.executable, "-m", "studio", *map(str, before), "plan", *map(str, args)]
        done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
        assert done.returncode == code, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done

    return plan


def test_a_plan_for_a_variant_that_is_not_installed_says_bytes_by_phase_and_its_neighbours(plan):
    found = json.loads(plan(*CLIP, "--vram-budget", "8GB", "--json").stdout)
    assert not found["usable"]
    assert found["device"] == "assumed"
    assert found["budget_bytes"] == 8 * 10**9
    assert [p["phase"] for p in found["phases"]] == ["encode", "sample", "decode"]
    assert found["peak_bytes"] == max(p["peak_bytes"] for p in found["phases"]) <= 8 * 10**9
    assert found["seconds"] > 0
    assert found["cheaper"]["peak_bytes"] < found["peak_bytes"] < found["dearer"]["peak_bytes"]
    assert "GB instead of" in found["cheaper"]["reason"]
    assert "decode whole, some layers twice" in found["dearer"]["reason"]


def test_for_people_it_is_a_table(plan):
    said = plan(*CLIP, "--vram-budget", "8GB").stdout
    assert said.startswith("svd-xt on an assumed CUDA device: Fits: ")
    assert "whole, kept on the host, in slices" in said
    assert "With less memory: " in said
    assert "With more memory: " in said


@pytest.mark.parametrize("where", ["before", "after"])
def test_a_budget_in_which_nothing_fits_exits_2_with_the_remedy(plan, where):
    given = ("--vram-budget", "2.5GB")
    before, after = (given, ()) if where == "before" else ((), given)
    done = plan(*CLIP, *after, before=before, code=2)
    assert "at least; 2.5 GB may be taken." in done.stderr
    assert "Lower width and height to" in done.stderr
    data = json.loads(plan(*CLIP, *after, "--json", before=before, code=2).stdout)
    assert data["fits"] is False
    assert data["remedy"] in " ".join(done.stderr.split())
    assert data["peak_bytes"] > data["budget_bytes"]


def test_a_policy_bounds_the_plan(plan):
    found = json.loads(plan(*CLIP, "--vram-budget", "24GB", "--vram", "none", "--json").stdout)
    assert found["peak_bytes"] <= 4 * 2**30
    assert found["phases"][1]["resident_bytes"] == {"unet": 0}


def test_without_a_budget_it_is_for_the_device_of_this_machine(plan):
    small = ("image-to-video", "--variant", "svd", "--width", 256, "--height", 256, "--frames", 2, "--steps", 1)
    done = plan(*small, "--json", code=(0 if _room() > 10e9 else 2))
    found = json.loads(done.stdout)
    assert (found["device"], found["dtype"]) == ("cpu", "fp32")


def _room():
    from studio.models.limits import host_memory

    return host_memory().available_bytes


def test_an_embedded_engine_needs_nothing(plan):
    found = json.loads(plan("image-to-video", "--variant", "parallax", "--json").stdout)
    assert found["says"] == "needs no weights and no GPU"
    assert (found["usable"], found["fits"], found["peak_bytes"], found["phases"]) == (True, True, 0, [])
    assert "Needs no weights" in plan("image-to-video", "--variant", "parallax").stdout


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("--vram-budget", "8"), "vram-budget"),
        (("--vram-budget", "0GB"), "no memory at all"),
        (("--vram", "some"), "--vram: 'some'"),
        (("--ram-budget", "lots"), "ram-budget"),
        (("--frames", "1000"), "frames: 1000"),
        (("--variant", "no-such"), "variant: 'no-such'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_the_users_mistake_exits_2_with_one_sentence(plan, args, says):
    assert says in plan(*CLIP, *args, code=2).stderr
