import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from studio.errors import NotInstalled, StudioError
from studio.models import installed, weights_file
from studio.models.catalog import Catalog
from studio.settings import Settings
from tests.models.thing import COMPONENTS, REVISION, SPEC, checkpoint_tensors, files, put, safetensors
from tests.sgm import write_zeros


@pytest.fixture
def models(tmp_path):
    return tmp_path / "models"


@pytest.fixture
def find(models, tmp_path):
    def run(spec=SPEC, **given):
        return installed.find(spec, **{"models_dir": models, "hub_cache": tmp_path / "no-cache", **given})

    return run


def test_nothing_is_found_where_nothing_is(find):
    assert find() is None


def test_a_diffusers_folder_in_the_models_folder_is_found(find, models):
    put(models / "thing")
    found = find()
    assert (found.layout, found.dtype, found.root) == ("diffusers", "fp16", models / "thing")
    assert set(found.weights) == set(COMPONENTS)
    assert found.total_bytes == sum(len(d) for n, d in files().items() if n.endswith(".safetensors"))


def test_the_files_of_the_wanted_precision_are_preferred(find, models):
    put(models / "thing", "fp32")
    assert find(precision="fp16").dtype == "fp32"
    put(models / "thing", "fp16")
    assert find(precision="fp16").dtype == "fp16"
    assert find(precision="auto").dtype == "fp16"
    assert find(precision="fp32").dtype == "fp32"


def test_the_precision_is_read_from_the_file_not_from_its_name(find, models):
    put(models / "thing", "fp32")
    for name in SPEC.sources[1].weights.values():
        (models / "thing" / name).write_bytes(safetensors(50, "F16"))
    assert find().dtype == "fp16"


def test_the_hub_cache_is_searched_at_the_pinned_revision_only(find, tmp_path):
    snapshots = tmp_path / "cache" / "models--maker--thing" / "snapshots"
    put(snapshots / ("b" * 40))
    assert find(hub_cache=tmp_path / "cache") is None
    put(snapshots / REVISION)
    assert find(hub_cache=tmp_path / "cache").root == snapshots / REVISION


@pytest.mark.parametrize("below", ["diffusers/thing", "models/diffusers/thing"])
def test_comfyuis_diffusers_folder_is_found(find, tmp_path, below):
    put(tmp_path / "comfy" / below)
    assert find(comfyui_dir=tmp_path / "comfy").root == tmp_path / "comfy" / below


@pytest.mark.parametrize("below", ["models/thing.safetensors", "comfy/checkpoints/thing.safetensors"])
def test_a_single_file_is_recognised_by_its_name(find, tmp_path, below):
    path = tmp_path / below
    path.parent.mkdir(parents=True)
    write_zeros(path, checkpoint_tensors("svd"), "F32")
    found = find(comfyui_dir=tmp_path / "comfy")
    assert (found.layout, found.root, found.dtype) == ("sgm", path, "fp32")
    assert found.weights == {"checkpoint": path}
    assert found.total_bytes == path.stat().st_size
    path.write_bytes(b"short")
    assert find(comfyui_dir=tmp_path / "comfy") is None


def test_a_folder_is_preferred_to_a_single_file(find, models):
    put(models / "thing")
    write_zeros(models / "thing.safetensors", checkpoint_tensors("svd"))
    assert find().layout == "diffusers"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda p: p.write_bytes(p.read_bytes()[:-1]),
        lambda p: p.write_bytes(b""),
        lambda p: p.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n"),
        lambda p: p.write_bytes(b"\x80\x04" * 4000),
    ],
    ids=["short", "empty", "lfs-pointer", "pickle"],
)
def test_a_folder_with_a_damaged_file_never_looks_installed(find, models, spoil):
    spoil(put(models / "thing") / "unet" / "model.fp16.safetensors")
    assert find() is None
    assert "damaged or cut short" in installed.look(SPEC, models_dir=models, hub_cache=models).note


@pytest.mark.parametrize("gone", ["unet/model.fp16.safetensors", "vae/config.json"])
def test_a_folder_that_lacks_a_file_is_not_installed(find, models, gone):
    (put(models / "thing") / gone).unlink()
    assert find() is None


def test_a_sharded_component_is_found_by_its_index(find, models):
    folder = put(models / "thing") / "unet"
    first, second = folder / "model-1.safetensors", folder / "model-2.safetensors"
    (folder / "model.fp16.safetensors").rename(first)
    second.write_bytes(safetensors(30))
    index = folder / "model.fp16.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": first.name, "b": second.name}}))
    found = find()
    assert found.weights["unet"] == index
    assert found.files("unet") == (first, second)
    assert found.component_bytes("unet") == first.stat().st_size + second.stat().st_size
    index.write_text(json.dumps({"weight_map": {"a": "../vae/model.fp16.safetensors"}}))
    assert find() is None


def test_verify_reads_the_hash_off_the_hub_caches_names(find, tmp_path):
    cache = tmp_path / "cache"
    folder = put(cache / "models--maker--thing" / "snapshots" / REVISION)
    blobs = cache / "models--maker--thing" / "blobs"
    blobs.mkdir()
    for file in folder.rglob("*.safetensors"):
        blob = blobs / weights_file.file_sha256(file)
        shutil.move(file, blob)
        file.symlink_to(blob)
    assert {c.ok for c in installed.verify(find(hub_cache=cache))} == {True}


def test_a_file_of_a_published_length_must_be_the_published_one(find, models):
    folder = put(models / "thing")
    found = find()
    file = found.weights["unet"]
    published = {file.stat().st_size: weights_file.file_sha256(file)}
    checked = {c.file: c.ok for c in installed.verify(found, published=published)}
    assert checked[file] is True
    damaged = bytearray(file.read_bytes())
    damaged[-1] ^= 1
    file.write_bytes(damaged)
    with pytest.raises(StudioError, match="differs from what was published"):
        installed.verify(find(), published=published)
    assert folder.is_dir()


def test_remove_takes_the_variant_and_its_parts_and_nothing_else(find, models):
    put(models / "thing")
    put(models / "other")
    part = models / ".partial" / "thing" / "x.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"12345")
    assert installed.remove(SPEC, models) == sum(map(len, files().values())) + 5
    assert find() is None
    assert sorted(p.name for p in models.iterdir()) == [".partial", "other"]
    with pytest.raises(NotInstalled):
        installed.remove(SPEC, models)


def test_remove_unlinks_a_link_and_leaves_what_it_points_to(models, tmp_path):
    elsewhere = put(tmp_path / "elsewhere")
    models.mkdir()
    (models / "thing").symlink_to(elsewhere)
    installed.remove(SPEC, models)
    assert (elsewhere / "unet" / "config.json").is_file()
    assert not (models / "thing").exists()


def test_a_hash_is_computed_once_for_a_file_as_it_is(tmp_path, monkeypatch):
    file, cache = tmp_path / "w", tmp_path / "hashes.json"
    file.write_bytes(b"abc")
    os.utime(file, ns=(1, 1))
    first = weights_file.file_sha256(file, cache)
    assert first == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    file.write_bytes(b"abd")
    os.utime(file, ns=(1, 1))
    assert weights_file.file_sha256(file, cache) == first
    os.utime(file, ns=(2, 2))
    assert weights_file.file_sha256(file, cache) != first
    cache.write_text("not json")
    assert weights_file.file_sha256(file, cache) != first
    assert [p.name for p in tmp_path.iterdir() if p.name.endswith(".part")] == []


def test_component_hashes_name_every_component(find, models):
    put(models / "thing")
    hashes = installed.component_hashes(find(), models / "hashes.json")
    assert set(hashes) == set(COMPONENTS)
    assert len(set(hashes.values())) == 3


def test_the_hub_caches_place_follows_its_variables():
    assert installed.default_hub_cache({"HF_HUB_CACHE": "/a"}) == Path("/a")
    assert installed.default_hub_cache({"HF_HOME": "/b"}) == Path("/b/hub")
    assert installed.default_hub_cache({"XDG_CACHE_HOME": "/c"}) == Path("/c/huggingface/hub")


def test_this_layer_loads_neither_torch_nor_the_hub_at_import():
    code = "import sys, studio.models.source; print([m for m in ('torch', 'huggingface_hub') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


@pytest.mark.parametrize(("id", "frames"), [("svd", 14), ("svd-xt", 25), ("svd-xt-1.1", 25)])
def test_the_shipped_variants_name_whole_pinned_sources(id, frames):
    spec = Catalog(Settings().configs / "models").get(id)
    hubs = [s for s in spec.sources if s.kind == "hub"]
    assert {s.dtype for s in hubs} == {"fp16", "fp32"}
    assert all(set(s.weights) == set(COMPONENTS) == set(spec.component_bytes) - set(spec.extras) for s in hubs)
    assert all(f"{c}/config.json" in s.other for s in hubs for c in COMPONENTS)
    assert spec.capabilities["image-to-video"].options["frames"].default == frames
    assert spec.licence.gated == (id == "svd-xt-1.1")
    assert {"sigma_min", "sigma_max", "rho"} <= set(spec.facts)
