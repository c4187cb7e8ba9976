"""The pocket family in the studio: real networks at tiny size, where training would have put them."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file

from studio.engines import family_module
from studio.errors import BadInput, StudioError
from studio.jobs.workshop import Workshop
from studio.media.probe import probe
from studio.media.recipe import read_recipe
from studio.models.installed import look
from studio.models.memory import Device
from studio.modes import all_modes
from studio.scene.orbit import sine
from studio.train import export
from tests.bare import Bare
from tests.tiny import UNET, write_tiny_svd
from tests.tiny_sdxl import write_tiny_sdxl

POCKET = ("pocket-svd", "pocket-sv3d", "pocket-sdxl")


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A folder of the whole family, written as training writes it, in shards."""
    root = tmp_path_factory.mktemp("trained")
    svd, sdxl = write_tiny_svd(root / "svd-source", frames=14), write_tiny_sdxl(root / "sdxl-source")
    pocket = root / "pocket"

    def write(stage, source, *components, **others):
        found = {}
        for name in components:
            (weights,) = (source / name).glob("*.safetensors")
            config = json.loads((source / name / "config.json").read_text(encoding="utf-8"))
            found[name] = (load_file(weights), config)
        export.write_stage(pocket, stage, found, {"stage": stage}, **others)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export, "MAX_SHARD_BYTES", 1_500_000)
        write("vae", svd, "vae")
        write("clip", svd, "image_encoder")
        write("svd", svd, "unet")
        tokenizers = {
            f"{folder}/{file.name}": file.read_text(encoding="utf-8")
            for folder in ("tokenizer", "tokenizer_2")
            for file in (sdxl / folder).iterdir()
        }
        write("sdxl", sdxl, "unet", "text_encoder", "text_encoder_2", other_files=tokenizers)
        export.write_stage(pocket, "sv3d", {"unet": _per_frame()}, {"stage": "sv3d"})
    return pocket


def _per_frame():
    import torch

    from studio.engines.networks import build
    from tests.tiny import keep_variance

    config = {**UNET, "_class_name": "PerFrameUNet", "num_frames": 21, "projection_class_embeddings_input_dim": 1280}
    unet = build("unet", config)
    keep_variance(unet, torch.Generator().manual_seed(3))
    return unet.state_dict(), config


@pytest.fixture
def pocket(settings, trained):
    """The family in the models folder of `settings`."""
    settings.models.mkdir(parents=True)
    (settings.models / "pocket").symlink_to(trained)
    return settings.models / "pocket"


def made(studio, request):
    job = studio.wait(studio.submit({"seed": 5, **request}).id)
    assert job.state == "done", job.error
    return job, read_recipe(Path(job.files[0]))


def test_until_it_is_trained_it_is_no_choice_and_no_default_and_the_list_says_what_to_do(studio, photo):
    for variant, stages in zip(POCKET, ("vae, clip and svd", "vae, clip and sv3d", "vae and sdxl"), strict=True):
        status = studio.variant(variant)
        assert not status.usable
        assert f"Not trained yet: {stages}, one after the other" in status.note
        assert status.command == "python -m studio train vae"
        assert variant in {v.spec.id for v in studio.variants()}
    for mode in all_modes().values():
        offered = {v.spec.id for capabilities in mode.roles.values() for v in studio.variants(*capabilities)}
        assert not offered & set(POCKET)
    assert studio.check({"mode": "image-to-video", "image": str(photo)})[0].variant == "parallax"
    with pytest.raises(BadInput, match=r"pocket-svd can't run here\. Not trained yet") as caught:
        studio.submit({"mode": "image-to-video", "image": str(photo), "variant": "pocket-svd"})
    assert caught.value.remedy == "python -m studio train vae"
    with pytest.raises(BadInput, match="has nothing to download") as caught:
        studio.pull("pocket-svd")
    assert caught.value.remedy == "It is trained: python -m studio train vae"


def test_the_first_stage_that_is_missing_is_the_one_to_train(studio, settings, trained):
    shutil.copytree(trained, settings.models / "pocket")
    shutil.rmtree(settings.models / "pocket" / "sdxl")
    assert studio.variant("pocket-svd").usable
    status = studio.variant("pocket-sdxl")
    assert (status.command, status.usable) == ("python -m studio train sdxl", False)
    assert "Not trained yet: sdxl in some minutes" in status.note


def test_a_picture_becomes_a_clip_by_pocket_svd_where_no_real_weights_are(studio, pocket, photo):
    request = {"mode": "image-to-video", "image": str(photo)}
    complete, notices = studio.check(request)
    assert (complete.variant, complete.width, complete.height, complete.frames) == ("pocket-svd", 256, 256, 14)
    assert notices == []
    draft, _ = studio.check({**request, "speed": "draft"})
    assert (draft.steps, draft.width) == (8, 256)
    job, recipe = made(
        studio,
        {**request, "frames": 2, "steps": 4, "width": 128, "height": 128, "speed": "fast", "finish": ["upscale:2"],
         "format": "zip"},
    )  # fmt: skip
    assert job.request["variant"] == "pocket-svd"
    assert set(recipe["components"]) == {"image_encoder", "unet", "vae"}
    assert probe(Path(job.files[0])).width == 256


def test_a_sentence_becomes_a_picture_by_pocket_sdxl_and_a_clip_by_pocket_svd(studio, pocket):
    request = {"mode": "text-to-video", "prompt": "a red ball, 红球"}
    complete, notices = studio.check(request)
    assert (complete.painter, complete.variant, notices) == ("pocket-sdxl", "pocket-svd", [])
    job, recipe = made(studio, {**request, "make": "keyframes", "paint_steps": 4})
    assert job.request["painter"] == "pocket-sdxl"
    assert set(recipe["components"]) == {"text_encoder", "text_encoder_2", "unet", "vae"}
    assert probe(Path(job.files[0])).width == 256


def test_an_object_is_turned_by_pocket_sv3d(studio, pocket, tmp_path):
    from PIL import Image, ImageDraw

    picture = Image.new("RGBA", (100, 100), (0, 0, 0, 0))
    ImageDraw.Draw(picture).ellipse((30, 10, 70, 90), fill=(220, 60, 50, 255))
    picture.save(tmp_path / "cup.png")
    complete, notices = studio.check({"mode": "multiview", "image": str(tmp_path / "cup.png"), "orbit": "sine"})
    assert (complete.variant, complete.size, complete.frames, notices) == ("pocket-sv3d", 256, 21, [])
    shop = cpu_shop(studio.settings)
    wish = complete.model_copy(update={"size": 64, "steps": 1})
    with shop.manager.lease("pocket-sv3d", lambda *told: None) as engine:
        views = engine.orbit(*_square(), sine(0.0, 20.0, 21), wish, Bare())
    assert views.frames.shape == (21, 64, 64, 3)
    assert (views.frames[-1] == _square()[0]).all()
    assert np.ptp(views.frames[0].astype(int), axis=(0, 1)).min() > 20


def _square():
    picture = np.full((64, 64, 3), 255, np.uint8)
    picture[16:48, 20:40] = (220, 60, 50)
    return picture, (picture[..., 1] < 200).astype(np.uint8) * 255


def cpu_shop(settings):
    shop = Workshop(settings)
    shop.manager._look_for_device = lambda: Device("cpu", "CPU", "fp32")
    return shop


def test_the_three_models_hold_one_autoencoder(settings, pocket):
    shop = cpu_shop(settings)
    keys = set()
    for variant in POCKET:
        spec = shop.catalog.get(variant)
        installed = shop.installed(spec)
        assert set(installed.weights) == set(spec.component_bytes)
        assert callable(family_module(spec.family).Engine)
        keys.add(shop.manager.key(spec, installed, "vae", lambda *told: None))
    assert len(keys) == 1


def test_real_weights_come_before_the_small_ones_and_a_small_keyframe_is_none_for_a_large_model(studio, pocket):
    def defaults(*there, **given):
        return all_modes()["text-to-video"].favourites(given, lambda v: v in {"toybox", "parallax", *there}, catalog)

    catalog = studio.catalog
    assert defaults() == {"painter": "toybox", "variant": "toybox"}
    assert defaults(*POCKET) == {"painter": "pocket-sdxl", "variant": "pocket-svd"}
    assert defaults("sdxl", *POCKET) == {"painter": "sdxl", "variant": "parallax"}
    assert defaults("sdxl", "svd", *POCKET) == {"painter": "sdxl", "variant": "svd"}
    assert defaults("svd-xt") == {"painter": "toybox", "variant": "svd-xt"}
    assert defaults("pocket-svd") == {"painter": "toybox", "variant": "toybox"}
    assert defaults("svd-xt", *POCKET, variant="svd-xt") == {"painter": "toybox"}
    assert defaults(*POCKET, variant="toybox") == {"painter": "toybox"}
    assert defaults(*POCKET, painter="toybox") == {"variant": "toybox"}
    assert defaults(*POCKET, variant="nothing", make=5) == {"painter": "pocket-sdxl"}
    animates = all_modes()["image-to-video"]
    assert animates.favourites({}, lambda v: v in ("svd", *POCKET), catalog) == {"variant": "svd"}


def test_presets_and_examples_need_no_change_where_it_is_in_place(studio, pocket, photo):
    from studio.jobs.intake import read_presets
    from studio.settings import shipped

    for mode in all_modes().values():
        needed = {name: "a cup" for name, field in mode.request.model_fields.items() if field.is_required()}
        files = dict.fromkeys(mode.inputs, str(photo))
        for preset in read_presets(mode.id, shipped("configs")):
            words = {k: v for k, v in needed.items() if k not in studio.presets(mode.id)[preset]}
            assert studio.check({"mode": mode.id, **words, **files, "preset": preset})[1] == [], preset
        for example in studio.examples(mode.id).values():
            assert studio.check(example)[1] == []


def test_it_is_what_a_form_begins_with(studio, pocket):
    first = {
        mode.id: {role: studio.default_variant(mode, role) for role in mode.roles} for mode in all_modes().values()
    }
    assert first["image-to-video"] == {"variant": "pocket-svd"}
    assert first["multiview"]["variant"] == "pocket-sv3d"
    assert first["text-to-video"] == {"variant": "pocket-svd", "painter": "pocket-sdxl", "refiner": None}
    assert "pocket-svd" in {status.spec.id for status in studio.variants("image-to-video")}


def test_a_shard_that_changed_or_is_cut_short_is_told(studio, settings, trained):
    folder = settings.models / "pocket"
    shutil.copytree(trained, folder)
    assert studio.verify("pocket-svd").usable
    shard = sorted((folder / "svd" / "unet").glob("*.safetensors"))[1]
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(StudioError, match=f"{shard.name}.*differs from what was published") as caught:
        studio.verify("pocket-svd")
    assert caught.value.remedy == "Train it again: python -m studio train svd"
    shard.write_bytes(whole[:-1])
    status = studio.variant("pocket-svd")
    assert (status.usable, "damaged or cut short" in status.note) == (False, True)


def test_the_packages_weights_are_taken_where_the_models_folder_has_not_all_of_them(studio, settings, trained):
    spec = studio.catalog.get("pocket-svd")
    given = {"models_dir": settings.models, "package": trained.parent}
    assert look(spec, **given).installed.root == trained
    (settings.models / "pocket").mkdir(parents=True)
    shutil.copytree(trained / "svd", settings.models / "pocket" / "svd")
    assert look(spec, **given).installed.root == trained, "a decoder goes with the latents that it was trained on"
    shutil.copytree(trained, settings.models / "pocket", dirs_exist_ok=True)
    assert look(spec, **given).installed.root == settings.models / "pocket"


def test_a_plan_counts_the_small_networks_as_small(studio, pocket, photo):
    told = studio.plan({"mode": "image-to-video", "image": str(photo)}).public()
    assert 4e7 < told["weights_bytes"] < 1.2e8
    assert told["peak_bytes"] < 1e9
