"""A component that a variant has besides those it needs: found by its name, known by its tensors, pulled by purpose."""

import hashlib
import json

import pytest

from studio.errors import BadInput, DownloadFailed, NotInstalled, StudioError
from studio.models import installed, source
from studio.models.catalog import Catalog
from studio.models.checkpoint import read_checkpoint
from studio.models.extra import find_extras
from studio.models.shelf import Shelf
from studio.models.unet_file import unet_bytes, unet_layout
from studio.settings import shipped
from tests.models.hub_server import serving
from tests.models.thing import REVISION, checkpoint_tensors, make_spec, put
from tests.sgm import header_bytes, write_zeros

DIFFUSERS = {
    "conv_in.weight": (32, 8, 3, 3),
    "down_blocks.0.resnets.0.temporal_res_block.conv1.weight": (32, 32, 3, 1, 1),
}
"""The fewest tensors by which a UNet under diffusers' names is known."""

SGM = {name: shape for name, shape in checkpoint_tensors("svd").items() if name.startswith("model.diffusion_model.")}


def extra(**given):
    return {
        "title": "Quick-Thing", "purpose": "draft",
        "names": ["Quick-Thing-xt.safetensors", "Quick-Thing-xt-1.1.safetensors"],
        "source": {
            "kind": "hub", "repo": "maker/quick", "revision": REVISION, "dtype": "fp32",
            "weights": {"draft_unet": "Quick-Thing-xt.safetensors"}, "total_bytes": 1000,
        },
        "licence": {"name": "none"}, **given,
    }  # fmt: skip


@pytest.fixture
def spec():
    return make_spec(extras={"draft_unet": extra()}, component_bytes={"unet": 1, "draft_unet": 1})


@pytest.fixture
def models(tmp_path):
    put(tmp_path / "models" / "thing")
    return tmp_path / "models"


def place(path, shapes=DIFFUSERS, dtype="F32"):
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_zeros(path, shapes, dtype)


def find(spec, models, **given):
    return installed.find(spec, models_dir=models, hub_cache=models / "no-cache", **given)


@pytest.mark.parametrize(
    "below",
    [
        "models/Quick-Thing-xt.safetensors",
        "models/thing/Quick-Thing-xt.safetensors",
        "models/thing/draft_unet/quick_thing_xt.safetensors",
        "comfy/models/diffusion_models/Quick-Thing-xt_fp16.safetensors",
        "comfy/unet/quick-thing-XT_fp16_comfy.safetensors",
        "comfy/models/checkpoints/Quick-Thing-xt-1-1_fp16_comfy.safetensors",
    ],
)
def test_it_is_found_by_its_name_wherever_such_files_lie(spec, models, tmp_path, below):
    found = find(spec, models, comfyui_dir=tmp_path / "comfy")
    assert set(found.weights) == {"image_encoder", "unet", "vae"}
    assert not found.has("draft_unet")
    path = place(tmp_path / below)
    found = find(spec, models, comfyui_dir=tmp_path / "comfy")
    assert found.weights["draft_unet"] == path
    assert found.has("draft_unet")


@pytest.mark.parametrize("name", ["Quick-Thing-xt-2.safetensors", "Quick-Thing.safetensors", "Quick-Thing-xt.ckpt"])
def test_another_name_is_another_model(spec, models, name):
    place(models / name)
    assert not find(spec, models).has("draft_unet")


def test_the_first_name_is_preferred_and_of_copies_the_wanted_precision(spec, models):
    other = place(models / "Quick-Thing-xt-1.1.safetensors", dtype="F16")
    assert find(spec, models).weights["draft_unet"] == other
    single = place(models / "Quick-Thing-xt.safetensors")
    assert find(spec, models).weights["draft_unet"] == single
    half = place(models / "Quick-Thing-xt_fp16.safetensors", dtype="F16")
    assert find(spec, models).weights["draft_unet"] == half
    assert find(spec, models, precision="fp32").weights["draft_unet"] == single


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda p: p.write_bytes(p.read_bytes()[:-1]), "cut short"),
        (lambda p: p.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n"), "git-lfs"),
        (lambda p: write_zeros(p, {"conv_in.weight": (32, 4, 3, 3)}), "holds no UNet of Stable Video Diffusion"),
    ],
    ids=["short", "lfs-pointer", "another-network"],
)
def test_what_is_no_such_unet_is_passed_over(spec, models, spoil, says):
    path = place(models / "Quick-Thing-xt.safetensors")
    spoil(path)
    assert not find(spec, models).has("draft_unet")
    with pytest.raises(BadInput, match=says):
        unet_layout(path)


def test_it_is_known_under_both_publishers_names_alone_and_in_a_checkpoint(tmp_path):
    alone = place(tmp_path / "alone.safetensors", SGM)
    # What ComfyUI saves has both halves of one autoencoder in the first stage, and is no checkpoint as published.
    saved = place(tmp_path / "saved.safetensors", {**SGM, "first_stage_model.encoder.conv_in.weight": (8, 3, 3, 3)})
    assert unet_layout(place(tmp_path / "diffusers.safetensors")) == "diffusers"
    assert unet_layout(alone) == unet_layout(saved) == "sgm"
    assert unet_bytes(alone) == unet_bytes(saved) == (8 + 8 * 768) * 4
    with pytest.raises(BadInput, match="only a part of a checkpoint"):
        read_checkpoint(saved)


def test_its_bytes_and_precision_are_its_own(spec, models):
    place(models / "Quick-Thing-xt.safetensors")
    found = find(spec, models)
    assert (found.dtype, found.stored_in("unet"), found.stored_in("draft_unet")) == ("fp16", "fp16", "fp32")
    assert found.component_bytes("draft_unet") == (32 * 8 * 9 + 32 * 32 * 3) * 4


def test_of_two_unets_only_the_one_that_samples_counts_as_used(spec, models):
    place(models / "Quick-Thing-xt.safetensors")
    found = find(spec, models)
    assert set(found.sampling_with("draft_unet").weights) == {"image_encoder", "vae", "draft_unet"}
    assert set(found.sampling_with("unet").weights) == {"image_encoder", "vae", "unet"}


def test_where_it_is_not_here_that_is_said_of_the_sampler(spec, models):
    with pytest.raises(NotInstalled, match="lcm is for a UNet that thing has not here") as told:
        find(spec, models).files("draft_unet")
    assert told.value.field == "sampler"


def test_verify_holds_it_to_its_own_publishers_hashes_alone(spec, models):
    path = place(models / "Quick-Thing-xt.safetensors")
    size, digest = path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest()
    found = find(spec, models)

    def checked(**published):
        extras = make_spec(extras={"draft_unet": extra(**published)}).extras
        told = installed.verify(found, published={size: "0" * 64}, extras=extras)
        return next(c.ok for c in told if c.file == path)

    assert checked() is None
    assert checked(published={size: ["1" * 64, digest]}) is True
    with pytest.raises(StudioError, match="differs from what was published"):
        checked(published={size: ["1" * 64]})


@pytest.fixture
def hub():
    data = header_bytes(DIFFUSERS, "F32") + bytes((32 * 8 * 9 + 32 * 32 * 3) * 4)
    with serving({f"maker/quick/resolve/{REVISION}/Quick-Thing-xt.safetensors": data}) as hub:
        yield hub


def test_it_is_pulled_beside_the_variant_and_leaves_its_manifest_alone(spec, models, hub):
    (models / "thing" / installed.MANIFEST).write_text(json.dumps({"files": {}}))
    path = source.pull_extra(spec, "draft_unet", models_dir=models, environ={"HF_ENDPOINT": hub.endpoint})
    assert path == models / "thing" / "draft_unet" / "Quick-Thing-xt.safetensors"
    assert find(spec, models).weights["draft_unet"] == path
    assert json.loads((models / "thing" / installed.MANIFEST).read_text()) == {"files": {}}
    installed.remove(spec, models)
    assert not path.exists()


def test_what_can_not_be_pulled_is_told_by_its_own_name(spec, models, hub):
    hub.status = 401
    with pytest.raises(DownloadFailed, match=r"^Quick-Thing is for those who accepted its licence"):
        source.pull_extra(spec, "draft_unet", models_dir=models, environ={"HF_ENDPOINT": hub.endpoint})


@pytest.fixture
def shelf(tmp_path):
    return Shelf(Catalog(shipped("configs") / "models"), tmp_path / "models", None, "fp16")


def test_a_listing_says_whether_it_is_here_and_how_to_get_it(shelf):
    (told,) = shelf.status("svd-xt", {}).public()["extras"]
    assert told["where"] == ""
    assert told["says"] == (
        "For draft: AnimateLCM-SVD-xt is not here; 6.1 GB to fetch (python -m studio models pull svd-xt --with draft)."
    )
    xt, svd = shelf.catalog.get("svd-xt"), shelf.catalog.get("svd")
    assert not shelf.distilled(xt)
    path = place(shelf.models_dir / "AnimateLCM-SVD-xt.safetensors")
    (told,) = shelf.status("svd-xt", {}).public()["extras"]
    assert (told["where"], told["says"]) == (str(path), f"For draft: {path}.")
    assert shelf.distilled(xt)
    assert shelf.distilled(shelf.catalog.get("svd-xt-1.1"))
    assert not shelf.distilled(svd)
    assert shelf.status("svd", {}).public()["extras"] == []


def test_asked_for_what_a_variant_has_not_it_says_what_it_has(shelf):
    with pytest.raises(BadInput, match="svd-xt has nothing for speed; it has only for draft"):
        shelf.pull_extra("svd-xt", "speed", lambda *_: None)
    with pytest.raises(BadInput, match="svd has nothing for draft; it has nothing besides its own components"):
        shelf.pull_extra("svd", "draft", lambda *_: None)


def test_added_as_a_variant_it_is_refused_with_where_it_belongs(shelf, tmp_path):
    path = place(tmp_path / "animatelcm_svd_xt_fp16.safetensors")
    with pytest.raises(BadInput, match="is no variant: it goes with svd-xt, for draft") as told:
        shelf.add(path, None)
    assert str(shelf.models_dir) in told.value.remedy


@pytest.mark.parametrize("variant", ["svd-xt", "svd-xt-1.1"])
def test_each_xt_prefers_the_unet_that_was_made_from_it(variant, shelf):
    spec = shelf.catalog.get(variant)
    mine = {"svd-xt": "AnimateLCM-SVD-xt", "svd-xt-1.1": "AnimateLCM-SVD-xt-1.1"}[variant]
    assert spec.extras["draft_unet"].source.weights["draft_unet"] == f"{mine}.safetensors"
    for name in ("AnimateLCM-SVD-xt", "AnimateLCM-SVD-xt-1.1"):
        place(shelf.models_dir / f"{name}.safetensors")
    assert find_extras(spec, models_dir=shelf.models_dir)["draft_unet"].stem == mine
    assert spec.component_bytes["draft_unet"] == spec.component_bytes["unet"]
    assert "lcm" in spec.options_for("image-to-video")["sampler"].choices
    assert spec.capabilities["image-to-video"].speeds["distilled"]["sampler"] == "lcm"
