"""SV3D through its engine: the reference's whole run, and what the engine promises, with real classes at tiny size."""

import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from studio.diffusion.guidance import GUIDERS
from studio.engines import sv3d, svd_decode
from studio.errors import BadInput, Cancelled, StudioError
from studio.models.catalog import Catalog
from studio.models.sampling import Sample
from studio.scene.orbit import Orbit, sine, static
from studio.settings import shipped
from tests.engines.convert.oracles import Case, cases
from tests.engines.held import Held
from tests.engines.test_svd import Watch
from tests.sgm import write_tiny_sgm

FRAMES, SIZE = 5, 64
SPECS = {id: Catalog(shipped("configs") / "models").get(id) for id in ("sv3d-u", "sv3d-p")}


def wish(**given):
    values = {
        "seed": 3, "size": SIZE, "frames": FRAMES, "steps": 3, "sampler": "euler", "guidance": "triangle",
        "guidance_min": 1.0, "guidance_max": 2.5, "noise_augmentation": 1e-5, "decode": "auto", "decode_chunk": 2,
        "export_fps": 10.0,
    }  # fmt: skip
    return SimpleNamespace(**{**values, **given})


@pytest.fixture(scope="module")
def modules(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    return {kind: write_tiny_sgm(folder / f"{kind}.safetensors", kind) for kind in SPECS}


@pytest.fixture(scope="module")
def picture():
    """Something on white."""
    pixels = np.full((SIZE, SIZE, 3), 255, np.uint8)
    pixels[16:48, 20:44] = (np.random.default_rng(0).random((32, 24, 3)) * 200).astype(np.uint8)
    return pixels


@pytest.fixture(params=SPECS)
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def engine(modules):
    return sv3d.Engine(SPECS["sv3d-p"], Held(SPECS["sv3d-p"], modules["sv3d-p"]))


@pytest.fixture(scope="module")
def views(engine, picture):
    return go_round(engine, picture)


def go_round(engine, picture, ctx=None, orbit=None, **given):
    return engine.orbit(
        picture, picture[..., 0], orbit or static(10.0, FRAMES), wish(**given), ctx or Watch()
    )  # the alpha is not looked at


def latents(engine, picture, orbit=None, **given):
    """What comes out of sampling, before decoding."""
    ctx = Watch("decode", 0)
    with pytest.raises(Cancelled):
        go_round(engine, picture, ctx, orbit, **given)
    return torch.from_numpy(ctx.state["x"][0])


# --- the reference --------------------------------------------------------------------------------------------


class Traced(Watch):
    """Keeps the state after each step."""

    def __init__(self, **given):
        super().__init__(**given)
        self.states = []

    def keep(self, state):
        super().keep(state)
        self.states.append(self.state)


def reference(case):
    """An engine with the case's networks, its request and its orbit."""
    cond, sampler = case.meta["cond"], case.meta["sampler"]
    spec = SPECS[case.kind]
    own = Case(case.folder)  # the engine may rewrite the UNet
    engine = sv3d.Engine(spec, Held(spec, {name: own.module(name) for name in sv3d.COMPONENTS}))
    orbit = static(0.0, case.frames)
    if case.kind == "sv3d-p":
        orbit = Orbit(tuple(cond["azimuths_deg"]), tuple(cond["elevations_deg"]))
    return engine, orbit, wish(
        size=case.meta["image_hw"][0], frames=case.frames, steps=sampler["num_steps"], guidance=sampler["guider"],
        guidance_min=sampler["min_scale"], guidance_max=sampler["max_scale"], noise_augmentation=cond["cond_aug"],
    )  # fmt: skip


def follows(states, trace):
    """Each state is the reference's after that step."""
    for i, state in enumerate(states):
        # After the first step x reaches 540, where a millionth is what fp32 keeps over a network's sums.
        wanted = trace[f"step{i}_x_out"]
        assert off(state["x"], wanted) < max(2e-4, 1e-6 * wanted.abs().max().item()), i
        assert off(state["denoised"], trace[f"step{i}_denoised_guided"]) < 2e-4, i
    assert len(states) == len(trace["sigmas"]) - 1
    assert off(states[-1]["x"], trace["final_latents"]) < 2e-4


def off(given, wanted):
    return np.abs(given[0] - wanted.numpy()).max()


@pytest.mark.parametrize("case", [c for c in cases("conditioner_io") if "sv3d" in c.id])
def test_from_the_picture_to_the_frames_it_is_the_references_run(case, monkeypatch):
    io, trace = case.tensors("conditioner_io"), case.tensors("sampler_trace")
    engine, orbit, request = reference(case)
    drawn = [io["cond_noise"], trace["noise"][None]]  # the picture's first
    monkeypatch.setattr(torch, "randn", lambda *shape, generator: drawn.pop(0))
    ctx, picture = Traced(), io["image_u8_hwc"].numpy()
    views = engine.orbit(picture, picture[..., 0], orbit, request, ctx)
    assert drawn == []
    assert np.abs(ctx.state["embedding"] - io["clip_embed"][:, None].numpy()).max() < 1e-5
    assert np.abs(ctx.state["latent"] - io["c_concat"].numpy()).max() < 1e-5
    follows(ctx.states, trace)
    wanted = svd_decode.to_uint8(trace["final_video_01"] * 2 - 1).astype(int)
    assert np.abs(views.frames - wanted).max() <= 1
    assert (views.frames[-1] == picture).all()


@pytest.mark.parametrize("case", [c for c in cases("sampler_trace") if c.id == "shipped-sv3d_p"])
def test_from_the_references_noise_the_engines_loop_takes_its_steps(case):
    trace = case.tensors("sampler_trace")
    engine, orbit, request = reference(case)
    x = (trace["noise"] * torch.sqrt(1 + trace["sigmas"][0] ** 2)).numpy()[None]
    start = {
        "x": x, "denoised": x, "done": np.array(0), "embedding": trace["c_crossattn"][:1].numpy(),
        "latent": trace["c_concat"][:1].numpy(), "added_ids": engine._told(orbit, request.noise_augmentation).numpy(),
    }  # fmt: skip
    ctx = Traced(resume_from=start)
    engine.orbit(np.zeros((request.size, request.size, 3), np.uint8), None, orbit, request, ctx)
    follows(ctx.states, trace)


def test_by_default_the_view_from_behind_is_pushed_most_and_that_of_the_picture_not_at_all():
    for spec in SPECS.values():
        told = {name: option.default for name, option in spec.options_for("multiview").items()}
        weights = GUIDERS[told["guidance"]](told["guidance_min"], told["guidance_max"], told["frames"])
        assert [round(float(weights[i]), 6) for i in (0, 5, 10, 15, 20)] == [1, 1.75, 2.5, 1.75, 1]
        assert (told["steps"], told["noise_augmentation"], spec.facts["sigma_max"]) == (50, 1e-5, 700)


# --- what it is told ------------------------------------------------------------------------------------------


def test_a_camera_that_is_told_moves_its_own_view_most(engine, picture):
    level = static(10.0, FRAMES)
    higher = Orbit(level.azimuths_deg, (10.0, 10.0, 40.0, 10.0, 10.0))
    change = (latents(engine, picture, higher) - latents(engine, picture, level)).abs().mean(dim=(1, 2, 3))
    assert change[2] > 2 * max(change[[0, 1, 3, 4]])


def test_a_variant_that_chooses_its_cameras_refuses_an_orbit_that_rises_before_anything_is_loaded(picture):
    engine = sv3d.Engine(SPECS["sv3d-u"], None)
    with pytest.raises(BadInput, match="orbit: sv3d-u goes round at one elevation only") as caught:
        go_round(engine, picture, orbit=sine(0.0, 20.0, FRAMES))
    assert caught.value.field == "orbit"
    assert "sv3d-p" in caught.value.remedy


def test_a_variant_that_chooses_its_cameras_hears_no_elevation(modules, picture):
    engine = sv3d.Engine(SPECS["sv3d-u"], Held(SPECS["sv3d-u"], modules["sv3d-u"]))
    assert torch.equal(*(latents(engine, picture, static(e, FRAMES)) for e in (0.0, 30.0)))


def test_it_says_how_well_the_cameras_are_known(modules, picture, views):
    engine = sv3d.Engine(SPECS["sv3d-u"], Held(SPECS["sv3d-u"], modules["sv3d-u"]))
    assert go_round(engine, picture, steps=1).posed == "unknown"
    assert views.posed == "told"


# --- what comes out -------------------------------------------------------------------------------------------


def test_the_last_view_is_the_picture_and_the_others_are_not(picture, views):
    assert views.frames.shape == (FRAMES, SIZE, SIZE, 3)
    assert (views.frames[-1] == picture).all()
    assert all((frame != picture).any() for frame in views.frames[:-1])
    assert views.alpha is None
    assert views.surface is None


def test_the_same_request_gives_the_same_bytes_and_another_seed_others(engine, picture, views):
    again, other = (go_round(engine, picture, seed=seed).frames for seed in (3, 4))
    assert again.tobytes() == views.frames.tobytes()
    assert (other[:-1] != again[:-1]).any()


def test_picture_orbit_and_request_must_agree(engine, picture):
    with pytest.raises(AssertionError):
        go_round(engine, picture, size=128)
    with pytest.raises(AssertionError):
        go_round(engine, picture, orbit=static(10.0, FRAMES + 1))


@pytest.mark.parametrize("how", [Sample(True, 7), Sample(False), Sample(False, 7)], ids=str)
def test_every_way_to_sample_gives_the_same_latents_but_for_rounding(kind, modules, picture, how):
    orbit = static(0.0, FRAMES) if kind == "sv3d-u" else sine(0.0, 20.0, FRAMES)
    held = Held(SPECS[kind], modules[kind])
    expected = latents(sv3d.Engine(SPECS[kind], held), picture, orbit, steps=2)
    held.choose("sample", how)
    made = latents(sv3d.Engine(SPECS[kind], held), picture, orbit, steps=2)
    assert ((made - expected).abs().max() / expected.abs().max()) <= 5e-5


@pytest.mark.parametrize("how", [Sample(), Sample(False)], ids=str)
def test_the_savings_change_nothing_but_rounding(kind, modules, picture, how):
    orbit = static(0.0, FRAMES) if kind == "sv3d-u" else sine(0.0, 20.0, FRAMES)
    made = []
    for on in (True, False):
        held = Held(SPECS[kind], modules[kind], exact_savings=on)
        held.choose("sample", how)
        made.append(latents(sv3d.Engine(SPECS[kind], held), picture, orbit, steps=2))
    assert ((made[0] - made[1]).abs().max() / made[1].abs().max()) <= 5e-5
    assert not torch.equal(*made)


def test_weights_in_half_precision_are_decoded_in_full_and_stay_as_they_are(modules, picture, views):
    half = copy.deepcopy(modules["sv3d-p"]["vae"]).half()  # its weights are fp16 numbers in any case
    before, seen = copy.deepcopy(half.state_dict()), []
    half.decoder.register_forward_hook(lambda module, args, out: seen.append((out.dtype, len(out))))
    ctx = Watch()
    engine = sv3d.Engine(SPECS["sv3d-p"], Held(SPECS["sv3d-p"], {**modules["sv3d-p"], "vae": half}))
    made = go_round(engine, picture, ctx)
    assert seen == [(torch.float32, n) for n in (2, 2, 1)]
    assert (made.frames == views.frames).all()
    assert ctx.notices == []
    assert all(torch.equal(tensor, before[name]) for name, tensor in half.state_dict().items())


@pytest.mark.parametrize("given", [{"decode_chunk": 1}, {"decode_chunk": 5}, {"decode": "tiled"}], ids=str)
def test_each_frame_is_decoded_by_itself(engine, picture, views, given):
    assert np.abs(go_round(engine, picture, **given).frames.astype(int) - views.frames).max() <= 1


# --- on the way -----------------------------------------------------------------------------------------------


def test_progress_counts_every_stage_to_its_end_and_shows_all_views(engine, picture):
    ctx = Watch(previews=True)
    go_round(engine, picture, ctx)
    assert ctx.steps == [
        *[("encode", i, 2) for i in range(3)],
        *[("sample", i, 3) for i in range(4)],
        *[("decode", i, FRAMES) for i in (0, 2, 4, 5)],
    ]
    assert [(len(c), c.width, c.height, c.fps) for c in ctx.shown] == [(FRAMES, 16, 16, 10)] * 3


@pytest.mark.parametrize(("stage", "at", "calls"), [("encode", 1, 0), ("sample", 0, 0), ("sample", 2, 2)])
def test_cancel_takes_effect_before_another_step(engine, modules, picture, stage, at, calls):
    seen = []
    hook = modules["sv3d-p"]["unet"].register_forward_hook(lambda *_: seen.append(1))
    try:
        with pytest.raises(Cancelled):
            go_round(engine, picture, Watch(stage, at))
    finally:
        hook.remove()
    assert len(seen) == calls


@pytest.mark.parametrize("sampler", ["dpmpp-2m", "euler-ancestral"])
def test_a_run_that_was_cut_off_goes_on_to_the_same_bytes(engine, picture, sampler):
    whole = go_round(engine, picture, sampler=sampler)
    cut = Watch("sample", 2)
    with pytest.raises(Cancelled):
        go_round(engine, picture, cut, sampler=sampler)
    goes_on = Watch(resume_from=cut.state)
    assert (go_round(engine, picture, goes_on, sampler=sampler).frames == whole.frames).all()
    assert goes_on.steps[0] == ("sample", 2, 3)


def test_numbers_that_are_not_finite_stop_the_sampling_with_a_sentence(engine, modules, picture):
    hook = modules["sv3d-p"]["unet"].register_forward_hook(lambda module, args, output: (output[0] * float("nan"),))
    try:
        with pytest.raises(StudioError, match="sv3d-p gave numbers that are not finite at step 1"):
            go_round(engine, picture)
    finally:
        hook.remove()
