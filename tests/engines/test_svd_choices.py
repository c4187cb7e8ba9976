"""What a request chooses between: samplers, guidance over time, ways to decode; and what is computed once only."""

import os
from types import SimpleNamespace
from typing import get_args

import numpy as np
import pytest
import torch

from studio.diffusion.guidance import GUIDERS
from studio.diffusion.samplers import SAMPLERS
from studio.engines import svd, svd_weights
from studio.models.catalog import Catalog
from studio.models.decoding import Wished
from studio.models.installed import Installed
from studio.models.manager import ModelManager
from studio.models.memory import Device
from studio.models.sampling import Sample
from studio.models.spec import read_spec
from studio.modes.image_to_video import ImageToVideo
from tests.counting import counting
from tests.engines.held import Held
from tests.engines.test_svd import FRAMES, Watch, latents, wish
from tests.tiny import tiny_spec_yaml, tiny_weights, write_tiny_svd


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    folder = write_tiny_svd(tmp_path_factory.mktemp("models") / "tiny", frames=FRAMES)
    return Installed("tiny", "diffusers", folder, {c: folder / f for c, f in tiny_weights().items()}, "fp32")


@pytest.fixture(scope="module")
def modules(installed):
    return {c: svd_weights.load(c, installed, "cpu", "fp32", lambda done, total: None) for c in svd.COMPONENTS}


@pytest.fixture(scope="module")
def configs(tmp_path_factory):
    return tiny_spec_yaml("tiny", tmp_path_factory.mktemp("specs"), frames=FRAMES).parent


@pytest.fixture(scope="module")
def spec(configs):
    return read_spec(configs / "tiny.yaml")


@pytest.fixture
def engine(spec, modules):
    return svd.Engine(spec, Held(spec, modules))


@pytest.fixture(scope="module")
def picture():
    return (np.random.default_rng(0).random((64, 128, 3)) * 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("field", "there"), [("sampler", SAMPLERS), ("guidance", GUIDERS), ("decode", get_args(Wished))]
)
def test_the_request_offers_exactly_what_there_is(field, there):
    allowed = [v for option in get_args(ImageToVideo.model_fields[field].annotation) for v in get_args(option)]
    assert allowed == list(there)


OF_THIS_UNET = [name for name in SAMPLERS if name != "lcm"]
"""lcm is another UNet's (tests/engines/test_draft_unet.py)."""


@pytest.mark.parametrize(("field", "there"), [("sampler", OF_THIS_UNET), ("guidance", GUIDERS)])
def test_each_choice_is_heard_and_gives_the_same_again(engine, picture, field, there):
    made = {name: latents(engine, picture, **{field: name}) for name in there}
    for name, latent in made.items():
        assert bool(torch.isfinite(latent).all())
        assert torch.equal(latents(engine, picture, **{field: name}), latent)
        assert all((latent - other).abs().max() > 1e-2 for key, other in made.items() if key != name)


def test_the_noise_of_an_ancestral_sampler_is_the_seeds(engine, picture):
    one, other = (latents(engine, picture, sampler="euler-ancestral", seed=s) for s in (1, 2))
    assert not torch.allclose(one, other, atol=1e-2)


def test_many_steps_of_any_sampler_without_noise_end_at_the_same_clip(engine, picture):
    made = [latents(engine, picture, sampler=name, steps=n) for name, n in (("euler", 24), ("heun", 24))]
    few = latents(engine, picture, steps=4)
    assert (made[0] - made[1]).abs().mean() < (few - made[1]).abs().mean() / 2


def test_the_savings_change_nothing_but_rounding_and_can_be_switched_off(spec, modules, picture):
    kept, calls = [], []
    for on in (True, False):
        engine = svd.Engine(spec, Held(spec, modules, exact_savings=on))
        with counting() as count:
            kept.append(latents(engine, picture, steps=2))
        calls.append(count.attention_calls)
    # One call agrees within 5e-6 (test_exact.py); a run starts at values of 2000, where fp32 itself has steps of 1e-4.
    assert ((kept[0] - kept[1]).abs().max() / kept[1].abs().max()) <= 5e-5
    assert not torch.equal(*kept)
    # CLIP attends in 2 layers and the VAE's encoder once; the UNet's 4 transformers attend over space, over time and,
    # unless it is saved, twice to the one token.
    assert calls == [3 + 2 * 4 * 2, 3 + 2 * 4 * 4]


@pytest.mark.parametrize("way", ["auto", "whole", "tiled"])
def test_by_default_the_clip_is_decoded_as_a_whole(engine, picture, way):
    expected = engine.animate(picture, wish(decode="chunked", decode_chunk=FRAMES), Watch())
    clip = engine.animate(picture, wish(decode=way, decode_chunk=1), Watch())
    assert np.abs(clip.frames.astype(int) - expected.frames).max() <= 1


@pytest.mark.parametrize("guidance_max", [1.0, 2.5])
@pytest.mark.parametrize("how", [Sample(True, 7), Sample(False), Sample(False, 7)], ids=str)
def test_every_way_to_sample_gives_the_same_latents_but_for_rounding(spec, modules, picture, how, guidance_max):
    held, batches = Held(spec, modules), []
    expected = latents(svd.Engine(spec, held), picture, steps=2, guidance_max=guidance_max)
    held.choose("sample", how)
    hook = modules["unet"].register_forward_hook(lambda module, args, output: batches.append(len(args[0])))
    try:
        made = latents(svd.Engine(spec, held), picture, steps=2, guidance_max=guidance_max)
    finally:
        hook.remove()
    assert ((made - expected).abs().max() / expected.abs().max()) <= 5e-5
    assert batches == ([1] * 2 if guidance_max == 1 else [2] * 2 if how.branches_at_once else [1] * 4)


def test_without_the_savings_one_branch_at_a_time_is_the_same_too(spec, modules, picture):
    held = Held(spec, modules, exact_savings=False)
    expected = latents(svd.Engine(spec, held), picture, steps=2)
    held.choose("sample", Sample(False))
    made = latents(svd.Engine(spec, held), picture, steps=2)
    assert ((made - expected).abs().max() / expected.abs().max()) <= 5e-5
    held.choose("sample", Sample(True, 7))
    with pytest.raises(AssertionError, match="rows at a time"):
        latents(svd.Engine(spec, held), picture, steps=2)


@pytest.fixture
def leased(configs, installed):
    """Runs a request on an engine of a real manager; says which components it used."""
    used = []

    def watched(component, *args):
        weights = svd_weights.open_weights(component, *args)
        place = weights.place

        def placed(report):
            module = place(report)
            name, part = ("encoder", module.encoder) if component == "vae" else (component, module)
            part.register_forward_pre_hook(lambda *_: used.append(name))
            return module

        weights.place = placed
        return weights

    def manager(exact_savings=True):
        family = SimpleNamespace(open_weights=watched, Engine=svd.Engine)
        return ModelManager(
            Catalog(configs),
            lambda: Device("cpu", "CPU", "fp32"),
            find=lambda spec: installed,
            family=lambda name: family,
            exact_savings=exact_savings,
        )

    def run(manager, picture, **given):
        used.clear()
        with manager.lease("tiny", lambda component, done, total: None) as engine:
            out = latents(engine, picture, steps=1, **given)
        return out, [name for name in used if name != "unet"]

    return manager, run


def test_a_picture_is_encoded_once_while_it_stays_the_same(leased, picture):
    make, run = leased
    manager = make()
    first, used = run(manager, picture)
    assert used == ["image_encoder", "encoder"]
    again, used = run(manager, picture, motion_bucket=127)
    assert used == []
    assert torch.equal(again, first)
    _, used = run(manager, picture, seed=9)
    assert used == ["encoder"]  # another noise on the same picture
    _, used = run(manager, 255 - picture)
    assert used == ["image_encoder", "encoder"]
    assert 0 < manager.encodings.held_bytes < 100_000


def test_without_the_savings_every_picture_is_encoded_anew(leased, picture):
    make, run = leased
    manager = make(exact_savings=False)
    for _ in range(2):
        _, used = run(manager, picture)
        assert used == ["image_encoder", "encoder"]
    assert manager.encodings.held_bytes == 0


def test_what_was_encoded_by_other_weights_is_not_taken(leased, picture, installed):
    make, run = leased
    manager = make()
    run(manager, picture)
    path = installed.weights["image_encoder"]
    stat, right = path.stat(), path.read_bytes()
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1_000_000))
    _, used = run(manager, picture)
    assert used == []  # the same bytes
    try:
        replace_bytes(path, right[:-4] + bytes([right[-4] ^ 1]) + right[-3:])
        _, used = run(manager, picture)
    finally:
        replace_bytes(path, right)
    assert used == ["image_encoder"]


def replace_bytes(path, content):
    """A new file in the place of the old one, which may still be mapped."""
    part = path.with_suffix(".part")
    part.write_bytes(content)
    os.replace(part, path)
