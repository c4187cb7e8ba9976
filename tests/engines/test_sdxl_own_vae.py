"""A VAE in a file of its own stands in the place of the one that came with the model."""

import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from studio.engines import sdxl
from studio.models.installed import find, verify
from studio.models.spec import read_spec
from studio.settings import shipped
from tests.tiny_sdxl import tiny_bare_vae, tiny_sdxl_weights, tiny_sdxl_yaml, write_tiny_sdxl, write_tiny_sdxl_file

SDXL = shipped("configs") / "models" / "sdxl.yaml"


def quiet(done, total):
    pass


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A models folder with a tiny SDXL as a diffusers folder, and another's VAE as a file of its own beside it."""
    models = tmp_path_factory.mktemp("models")
    write_tiny_sdxl(models / "tiny", seed=0)
    other = write_tiny_sdxl(models / "other", seed=9)
    (models / "vae").mkdir()
    tensors = load_file(other / tiny_sdxl_weights()["vae"])
    save_file(tiny_bare_vae(tensors), models / "vae" / "sdxl_vae.safetensors")
    (models / "vae" / "sdxl_vae_fp16_fix.safetensors").write_bytes(b"no such thing")
    return models, tensors


def spec_of(models, **change):
    spec = read_spec(tiny_sdxl_yaml("tiny", models))
    own = {"vae": ("sdxl_vae_fp16_fix.safetensors", "sdxl_vae.safetensors")}
    return spec.model_copy(update={"own_files": own, **change})


def test_the_first_that_is_whole_is_taken_and_its_tensors_are_the_ones_placed(place):
    models, tensors = place
    installed = find(spec_of(models), models_dir=models, hub_cache=models)
    assert installed.weights["vae"].name == "sdxl_vae.safetensors"
    assert installed.files("unet")[0].parent.name == "unet"
    vae = sdxl.open_weights("vae", installed, "cpu", "fp32").place(quiet)
    name = "decoder.conv_in.weight"
    assert torch.equal(vae.state_dict()[name], tensors[name])
    assert {checked.ok for checked in verify(installed)} == {None}


def test_without_the_field_nothing_is_looked_for(place):
    models, _ = place
    installed = find(spec_of(models, own_files={}), models_dir=models, hub_cache=models)
    assert installed.weights["vae"].parent.name == "vae"
    assert installed.weights["vae"].is_relative_to(models / "tiny")


def test_a_single_file_keeps_its_other_components(place, tmp_path):
    models, tensors = place
    write_tiny_sdxl_file(tmp_path / "sd_xl_base_1.0.safetensors", seed=0)
    shutil.copytree(models / "vae", tmp_path / "vae")
    spec = read_spec(SDXL)
    installed = find(spec, models_dir=tmp_path, hub_cache=tmp_path)
    assert installed.layout == "sgm"
    assert installed.files("unet") == (tmp_path / "sd_xl_base_1.0.safetensors",)
    assert installed.files("vae") == (tmp_path / "vae" / "sdxl_vae.safetensors",)
    assert installed.component_bytes("vae") == sum(t.numel() * t.element_size() for t in tensors.values())
