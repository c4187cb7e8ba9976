"""A UNet for few steps, from its file to the clip: the real classes at tiny size."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from studio.engines import svd_weights
from studio.engines.svd_network import schedule
from studio.errors import BadInput, NotInstalled
from studio.media.decode import read_clip
from studio.models.installed import Installed, find
from studio.models.spec import read_spec
from studio.service import Studio
from tests.sgm import write_tiny_sgm
from tests.tiny import tiny_spec_yaml, tiny_weights, write_tiny_svd

NAME = "Tiny-LCM.safetensors"
SAMPLERS = ["euler", "heun", "euler-ancestral", "dpmpp-2m", "lcm"]


def quiet(done, total):
    pass


def write_spec(id, folder):
    """`tiny_spec_yaml` with a UNet for few steps besides."""
    path = tiny_spec_yaml(id, folder, frames=4)
    spec = yaml.safe_load(path.read_text(encoding="utf-8"))
    able = spec["capabilities"]["image-to-video"]
    able["options"] |= {"sampler": {"default": "euler", "choices": SAMPLERS}, "speed": {"default": "exact"}}
    able["speeds"] = {
        "draft": {"steps": 2},
        "distilled": {"steps": 4, "sampler": "lcm", "guidance_min": 1.0, "guidance_max": 1.0},
    }
    source = {**spec["sources"][0], "weights": {"draft_unet": NAME}, "other": []}
    spec["extras"] = {
        "draft_unet": {
            "title": "Tiny-LCM",
            "purpose": "draft",
            "names": [NAME],
            "source": source,
            "licence": {"name": "made by the tests"},
        }
    }
    spec["facts"]["distilled_levels"] = 40
    spec["component_bytes"]["draft_unet"] = spec["component_bytes"]["unet"]
    path.write_text(yaml.safe_dump(spec), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """A UNet of the same kind with other weights: name -> tensor."""
    folder = write_tiny_svd(tmp_path_factory.mktemp("other") / "other", frames=4, seed=5)
    return load_file(folder / tiny_weights()["unet"])


def state_of(component, installed, **given):
    return svd_weights.load(component, installed, "cpu", "fp32", quiet, **given).state_dict()


def test_under_diffusers_names_it_is_built_like_the_variants_own(tiny_weights_folder, other, tmp_path):
    weights = {c: tiny_weights_folder / f for c, f in tiny_weights().items()}
    weights["draft_unet"] = tmp_path / NAME
    save_file({name: tensor.half() for name, tensor in other.items()}, tmp_path / NAME)
    place = Installed("tiny", "diffusers", tiny_weights_folder, weights, "fp32")
    found = state_of("draft_unet", place)
    assert set(found) == set(other)
    assert all(torch.equal(found[name], tensor.half().float()) for name, tensor in other.items())
    mine, own = (svd_weights.open_weights(component, place, "cpu", "fp32") for component in ("draft_unet", "unet"))
    assert len(mine.units) == len(own.units) > 1


def test_beside_a_single_file_it_is_built_like_the_one_in_there_and_read_from_another_checkpoint_too(tmp_path):
    whole, quick = tmp_path / "tiny.safetensors", tmp_path / "quick.safetensors"
    write_tiny_sgm(whole)
    wanted = write_tiny_sgm(quick, seed=7)["unet"].state_dict()
    save_file({name: tensor.contiguous() for name, tensor in wanted.items()}, tmp_path / NAME)
    unet = {name: tensor for name, tensor in load_file(quick).items() if name.startswith("model.diffusion_model.")}
    save_file(unet, tmp_path / "alone.safetensors")
    for path in (tmp_path / NAME, quick, tmp_path / "alone.safetensors"):
        place = Installed("tiny", "sgm", whole, {"checkpoint": whole, "draft_unet": path}, "fp16")
        found = state_of("draft_unet", place)
        assert all(torch.equal(found[name], tensor) for name, tensor in wanted.items())
        assert not torch.equal(state_of("unet", place)["conv_in.weight"], wanted["conv_in.weight"])


def test_one_of_another_size_is_told_apart_from_the_variants_own(tiny_weights_folder, other, tmp_path):
    weights = {c: tiny_weights_folder / f for c, f in tiny_weights().items()}
    save_file({**other, "conv_in.weight": torch.zeros(64, 8, 3, 3)}, tmp_path / NAME)
    weights["draft_unet"] = tmp_path / NAME
    with pytest.raises(BadInput, match=r"conv_in.weight is \[64, 8, 3, 3\]; its network's config asks for \[32"):
        state_of("draft_unet", Installed("tiny", "diffusers", tiny_weights_folder, weights, "fp32"))


class Wished:
    steps, sampler = 4, "lcm"


def test_more_steps_than_it_was_trained_at_are_refused(tmp_path):
    spec, wish = read_spec(write_spec("tiny-svd", tmp_path)), Wished()
    assert schedule(spec, wish).tolist()[0] == pytest.approx(700.0)
    wish.steps = 41
    with pytest.raises(BadInput, match="41 is more than lcm takes") as told:
        schedule(spec, wish)
    assert told.value.field == "steps"


def test_a_variant_that_has_no_such_unet_says_so(tmp_path):
    with pytest.raises(BadInput, match="tiny-svd has no UNet for lcm") as told:
        schedule(read_spec(tiny_spec_yaml("tiny-svd", tmp_path)), Wished())
    assert told.value.field == "sampler"


@pytest.fixture
def home(settings, tiny_weights_folder):
    """A home with the variant, without its UNet for few steps."""
    write_spec("tiny-svd", settings.home / "configs" / "models")
    settings.models.mkdir(parents=True)
    shutil.copytree(tiny_weights_folder, settings.models / "tiny-svd")
    return settings


def animate(studio, photo, **given):
    """The clip's frames, its recipe, and what was said."""
    job = studio.submit(
        {"mode": "image-to-video", "image": str(photo), "variant": "tiny-svd", "seed": 3, "format": "zip", **given}
    )
    job = studio.wait(job.id)
    assert job.state == "done", job.error
    return read_clip(Path(job.files[0])).frames, studio.recipe(Path(job.files[0]))


def test_a_draft_runs_on_it_where_it_is_installed_and_on_the_variants_own_where_not(home, photo, other):
    with Studio(home) as studio:
        rough, recipe = animate(studio, photo, speed="draft")
        assert (recipe["request"]["steps"], recipe["request"]["sampler"]) == (2, "euler")
        assert set(recipe["components"]) == {"image_encoder", "unet", "vae"}
        with pytest.raises(NotInstalled) as told:
            studio.submit({"mode": "image-to-video", "image": str(photo), "variant": "tiny-svd", "sampler": "lcm"})
        assert told.value.field == "sampler"
    save_file(other, home.models / NAME)
    with Studio(home) as studio:
        quick, recipe = animate(studio, photo, speed="draft")
        wished = recipe["request"]
        assert (wished["steps"], wished["sampler"], wished["guidance_max"]) == (4, "lcm", 1.0)
        assert set(recipe["components"]) == {"image_encoder", "draft_unet", "vae"}
        again, _ = animate(studio, photo, speed="draft")
        exact, recipe = animate(studio, photo)
        assert set(recipe["components"]) == {"image_encoder", "unet", "vae"}
    assert np.array_equal(quick, again)
    assert quick.std() > 5
    assert not np.array_equal(quick, rough)
    assert not np.array_equal(quick, exact)


def test_the_plan_counts_the_unet_that_samples_and_no_other(home, other):
    save_file({name: tensor.half() for name, tensor in other.items()}, home.models / NAME)
    with Studio(home) as studio:
        given = {"mode": "image-to-video", "variant": "tiny-svd"}
        exact, draft = (studio.plan({**given, "speed": speed}).public() for speed in ("exact", "draft"))
    phases = {p["phase"]: p["components"] for p in draft["phases"]}
    assert phases["sample"] == ["draft_unet"]
    spec = read_spec(home.home / "configs" / "models" / "tiny-svd.yaml")
    needed = sum(spec.component_bytes[c] for c in ("image_encoder", "unet", "vae"))
    assert draft["weights_bytes"] == exact["weights_bytes"] == needed
    installed = find(spec, models_dir=home.models, hub_cache=home.models)
    assert installed.component_bytes("draft_unet") * 2 == sum(t.nbytes for t in other.values())


def test_streamed_layer_by_layer_it_makes_the_same_clip(home, photo, other):
    save_file(other, home.models / NAME)
    with Studio(home) as studio:
        whole, _ = animate(studio, photo, speed="draft")
    with Studio(home.model_copy(update={"vram": "none"})) as studio:
        streamed, _ = animate(studio, photo, speed="draft")
    assert np.array_equal(whole, streamed)
