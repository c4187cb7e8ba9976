"""Every stage at toy size, one after the other: it learns, what it writes is read by the studio, and it goes on."""

import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from studio.engines import svd_encode
from studio.errors import BadInput
from studio.train import encoding, export, stage_clip, stage_sv3d, stages
from studio.train.loop import Order, train
from studio.train.report import REPORT, check
from studio.train.stages import Clock, Setup

STEPS = {"vae": 24, "clip": 18, "svd": 18, "sv3d": 9}
OF_VIDEO = ("vae", "clip", "svd", "sv3d")


def setup_for(root, **given):
    return Setup(torch.device("cpu"), 0, (root,), toy=True, **given)


def order(root, steps, **given):
    values = {"held_out": 1, "log_s": 0.0, "glances": (), "say": lambda line: None}
    return Order(root, steps=steps, **{**values, **given})


@pytest.fixture(scope="module")
def family(tmp_path_factory):
    """The folder of a family that was trained for a moment, and what each stage's metrics.json says."""
    root = tmp_path_factory.mktemp("pocket")
    told = {name: train(stages.stage(name), setup_for(root), Clock(5), order(root, STEPS[name])) for name in OF_VIDEO}
    return SimpleNamespace(root=root, told=told)


def losses(metrics):
    return [line["loss"] for line in metrics["log"] if "loss" in line]


# --- what all have in common ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OF_VIDEO)
def test_the_loss_falls(family, name):
    said = losses(family.told[name])
    assert len(said) == STEPS[name]
    third = len(said) // 3
    assert np.mean(said[-third:]) < np.mean(said[:third])


@pytest.mark.parametrize("name", OF_VIDEO)
def test_its_folder_says_how_it_was_made(family, name):
    told = json.loads((family.root / name / export.METRICS).read_text())
    (run,) = told["runs"]
    assert run["steps"] == STEPS[name]
    assert {"seed", "minutes", "minutes_spent", "command", "revision", "versions", "device"} <= set(run)
    assert told["toy"] is True
    assert all(math.isfinite(figure["value"]) for figure in told["figures"].values())
    assert all("met" in told["figures"][f] for f in stages.stage(name).bounds if f not in told["left_out"])
    assert (family.root / name / export.SHEET).read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(("name", "component"), [("vae", "vae"), ("clip", "image_encoder"), ("sv3d", "unet")])
def test_the_studio_reads_the_very_numbers_that_were_written(family, name, component):
    module = setup_for(family.root).shipped().module(name, component)
    written = export.read_state(family.root / name / component)
    assert all(torch.equal(t, written[key].float()) for key, t in module.state_dict().items())


def test_stages_come_after_those_they_need():
    names = stages.names()
    assert set(OF_VIDEO) <= set(names)
    for name in names:
        assert set(stages.stage(name).needs) <= set(names[: names.index(name)])


def test_a_stage_whose_need_is_missing_says_so(tmp_path):
    with pytest.raises(BadInput, match="vae: it has not been trained"):
        train(stages.stage("svd"), setup_for(tmp_path), Clock(5), order(tmp_path, 1))


def test_an_unknown_stage_is_named_with_those_there_are():
    with pytest.raises(BadInput, match="no 'vea'; there are clip"):
        stages.stage("vea")


# --- going on -------------------------------------------------------------------------------------------------


def test_a_resumed_run_goes_on_from_the_weights_with_other_data(family, tmp_path):
    before = export.read_state(family.root / "svd" / "unet")
    setup = setup_for(family.root, resume=True, run=1)
    told = train(stages.stage("svd"), setup, Clock(5), order(tmp_path, 2))
    assert [run["run"] for run in told["runs"]] == [0, 1]
    after = export.read_state(tmp_path / "svd" / "unet")
    name = "conv_out.weight"
    assert not torch.equal(after[name], before[name])
    assert torch.allclose(after[name].float(), before[name].float(), atol=2e-3)  # two steps from there
    assert losses(told)[STEPS["svd"] :] != losses(told)[:2]


# --- what goes into the networks is what the engines put in ---------------------------------------------------


def test_the_image_encoder_sees_pictures_as_the_engine_shows_them():
    pixels = torch.rand(2, 3, 300, 260, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.autocast("cpu", torch.bfloat16):
        seen = encoding.clip_pixels(pixels)
    assert torch.allclose(seen, svd_encode.clip_pixels(pixels), atol=1e-5)


def test_a_pocket_orbit_is_told_its_cameras_as_the_engine_tells_them():
    from studio.diffusion.conditioning import view_vectors
    from studio.scene.orbit import sine

    paths = (sine(10.0, 20.0), sine(-5.0, 0.0))
    angles = torch.stack([torch.tensor(np.stack(p.radians(), axis=-1), dtype=torch.float32) for p in paths])
    told = stage_sv3d.view_vectors(angles)
    for i, path in enumerate(paths):
        assert torch.allclose(told[i : i + 1], view_vectors(1e-5, *path.radians()), atol=1e-4)


def test_scaled_latents_have_about_unit_variance(family):
    setup = setup_for(family.root)
    vae = encoding.frozen(setup, "vae", "vae")
    frames = setup.source("other").clips(4, 4).frames.flatten(0, 1)
    latents = encoding.encode(vae, encoding.as_pixels(frames)) * vae.config.scaling_factor
    assert 0.5 < float(latents.square().mean().sqrt()) < 2


def test_sentences_that_say_something_else_are_other_tokens():
    red, blue, zh = stage_clip.tokens(("A red cube.", "A blue cube.", "一个红色方块。"))
    assert len({tuple(t.tolist()) for t in (red, blue, zh)}) == 3
    shared = len(set(red.tolist()) & set(blue.tolist()))
    assert shared > len(set(red.tolist()) & set(zh.tolist()))


# --- the figures ----------------------------------------------------------------------------------------------


def test_check_holds_every_figure_to_what_is_wanted(family, tmp_path):
    lines = []
    good = check(setup_for(family.root), Clock(5), tmp_path, 1, say=lines.append)
    assert not good  # nobody learns that in half a minute
    told = json.loads((tmp_path / REPORT).read_text())["stages"]
    assert set(OF_VIDEO) <= set(told)
    assert told["vae"]["figures"]["clip_psnr_db"]["wanted"] == "at least 28"
    assert any("orbit_psnr_db" in line and "NOT met" in line for line in lines)
    assert all((tmp_path / f"{name}-check.png").is_file() for name in OF_VIDEO)
