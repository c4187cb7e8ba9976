"""In-betweening, loops and continuation with the real classes at tiny size, against plain loops written out here."""

import itertools
import math

import numpy as np
import pytest
import torch
from PIL import Image

from studio.diffusion import continuation
from studio.diffusion.samplers import seeded_noise
from studio.diffusion.sigmas import karras
from studio.engines import svd, svd_continue, svd_weights
from studio.engines.svd_encode import clip_pixels
from studio.errors import BadInput, Cancelled
from studio.jobs.resume import Resume
from studio.jobs.task import Task
from studio.media.seam import seam
from studio.models.installed import Installed
from studio.models.sampling import Sample
from studio.models.spec import read_spec
from tests.engines.held import Held
from tests.engines.test_survives import Trouble
from tests.engines.test_svd import Watch
from tests.engines.test_svd import wish as svd_wish
from tests.tiny import tiny_spec_yaml, tiny_weights, write_tiny_svd

FRAMES, STEPS, SIDE = 5, 3, 64
SCALING = 0.18215


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    folder = write_tiny_svd(tmp_path_factory.mktemp("models") / "tiny", frames=FRAMES)
    return Installed("tiny", "diffusers", folder, {c: folder / f for c, f in tiny_weights().items()}, "fp32")


@pytest.fixture(scope="module")
def modules(installed):
    return {c: svd_weights.load(c, installed, "cpu", "fp32", lambda done, total: None) for c in svd.COMPONENTS}


@pytest.fixture(scope="module")
def spec(tmp_path_factory):
    return read_spec(tiny_spec_yaml("tiny", tmp_path_factory.mktemp("specs"), frames=FRAMES))


@pytest.fixture
def held(spec, modules):
    return Held(spec, modules)


@pytest.fixture
def engine(spec, held):
    return svd.Engine(spec, held)


def picture(seed):
    blocks = (np.random.default_rng(seed).random((8, 8, 3)) * 255).astype(np.uint8)
    return np.asarray(Image.fromarray(blocks).resize((SIDE, SIDE), Image.Resampling.BICUBIC))


FIRST, LAST = picture(0), picture(1)
GIVEN = np.stack([picture(i) for i in range(4)])


def wish(**given):
    values = {"width": SIDE, "height": SIDE, "frames": FRAMES, "steps": STEPS, "decode": "chunked", "decode_chunk": 1}
    more = {"between_prior": "vibid", "overlap": 2, "windows": 2}
    return svd_wish(**{**values, **more, **given})


MAKE = {
    "bridge": lambda engine, request, ctx: engine.bridge(FIRST, LAST, request, ctx),
    "loop": lambda engine, request, ctx: engine.loop(FIRST, request, ctx),
    "extend": lambda engine, request, ctx: engine.extend(GIVEN, request, ctx),
}


def stopped(make, engine, stage, at, **given):
    """The state that was kept when the user stopped it there."""
    ctx = Watch(stage, at)
    with pytest.raises(Cancelled):
        MAKE[make](engine, wish(**given), ctx)
    return ctx.state


def tensor(frames):
    return torch.tensor(frames).permute(0, 3, 1, 2).float() / 127.5 - 1


@torch.no_grad()
def encoded(vae, frames):
    """Their latents as the sampler has them, (T, C, h, w)."""
    return vae.encode(tensor(frames)).latent_dist.mode() * SCALING


@torch.no_grad()
def decoded(vae, latent_TCHW):
    """Each frame by itself, uint8 (T, H, W, 3)."""
    rgb = torch.cat([vae.decode(one / SCALING, num_frames=1).sample for one in latent_TCHW.split(1)])
    return ((rgb + 1) * 127.5).clamp(0, 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()


def psnr(a, b):
    return 10 * math.log10(255**2 / max(1e-9, np.mean((a.astype(float) - b) ** 2)))


class Plain:
    """The UNet as diffusers calls it, two branches, told one picture."""

    def __init__(self, modules, shown, latent_1CHW, aug):
        self.unet = modules["unet"]
        embedding = modules["image_encoder"](pixel_values=shown).image_embeds[:, None]
        self.context = torch.cat([embedding * 0, embedding])
        self.latent = torch.cat([latent_1CHW * 0, latent_1CHW])[:, None].expand(-1, FRAMES, -1, -1, -1)
        self.ids = torch.tensor([[6.0, 127.0, aug]] * 2)

    def __call__(self, x, sigma):
        """(2, T, C, h, w): the clean sample, untold and told."""
        scaled = torch.cat([x / (sigma**2 + 1) ** 0.5] * 2)
        inputs = torch.cat([scaled, self.latent], dim=2)
        v = self.unet(inputs, sigma.log() / 4, self.context, self.ids, return_dict=False)[0]
        return x / (sigma**2 + 1) - sigma / (sigma**2 + 1) ** 0.5 * v


@torch.no_grad()
def plain_bridge(modules, fault="", seed=0):
    """ViBiDSampler as its paper has it, step by step; `fault` leaves something out."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(1, 3, SIDE, SIDE, generator=generator)
    x = torch.randn(1, FRAMES, 4, SIDE // 8, SIDE // 8, generator=generator) * (700.0**2 + 1) ** 0.5
    tell = []
    for shown in (FIRST, LAST if fault != "last picture not told" else FIRST):
        pixels = tensor(shown[None])
        noisy = modules["vae"].encode(pixels + 0.02 * noise).latent_dist.mode()
        tell.append(Plain(modules, clip_pixels(pixels), noisy, 0.02))
    first, last = encoded(modules["vae"], np.stack([FIRST, LAST]))
    sigmas = karras(STEPS, sigma_min=0.002, sigma_max=700.0)
    again = seeded_noise(seed, x)
    for i in range(STEPS):
        s, t = sigmas[i], sigmas[i + 1]
        untold, told = tell[0](x, s)
        if fault != "last frame not set":
            told[-1] = last
        x = (told + (x - untold) / s * t).view(x.shape)
        if fault != "no noise":
            x = x + (s**2 - t**2).sqrt() * again(i)
        if fault != "time not turned":
            x = x.flip(1)
        untold, told = tell[1](x, s)
        if fault != "first frame not set":
            told[-1] = first
        x = (told + (x - untold) / s * t).view(x.shape)
        if fault not in ("time not turned", "time not turned back"):
            x = x.flip(1)
    return x[0]


def test_the_bridge_is_vibidsampler_on_diffusers_own_unet(engine, modules):
    state = stopped("bridge", engine, "decode", 0)
    assert (torch.from_numpy(state["x"][0]) - plain_bridge(modules)).abs().max() < 1e-3


@pytest.mark.parametrize(
    "fault",
    [
        "last picture not told",
        "last frame not set",
        "first frame not set",
        "no noise",
        "time not turned",
        "time not turned back",
    ],
)
def test_a_fault_in_the_bridge_is_caught_by_the_comparison(engine, modules, fault):
    state = stopped("bridge", engine, "decode", 0)
    assert (torch.from_numpy(state["x"][0]) - plain_bridge(modules, fault)).abs().max() > 2e-2


@pytest.mark.parametrize("prior", ["vibid", "mpd"])
def test_the_bridge_begins_and_ends_with_what_the_vae_makes_of_the_pictures(engine, modules, prior):
    clip = engine.bridge(FIRST, LAST, wish(between_prior=prior), Watch())
    round_trip = decoded(modules["vae"], encoded(modules["vae"], np.stack([FIRST, LAST])))
    for made, back, given in zip(clip.frames[[0, -1]], round_trip, (FIRST, LAST), strict=True):
        assert psnr(made, given) > psnr(back, given) - 1
        assert psnr(made, back) > 40
    assert all(psnr(middle, back) < 30 for middle in clip.frames[1:-1] for back in round_trip)
    assert repr(clip) == f"Clip({FRAMES} frames, {SIDE}x{SIDE}, 7 fps)"


def test_the_two_priors_differ_and_only_the_early_steps_of_one_are_untold_of_the_end(engine, modules):
    told = []
    hook = modules["unet"].register_forward_hook(lambda module, args, output: told.append(args[0][1, 0, 4:].clone()))
    try:
        states = [stopped("bridge", engine, "decode", 0, between_prior=p, steps=4) for p in ("vibid", "mpd")]
    finally:
        hook.remove()
    first, last = told[:2]
    assert not torch.equal(first, last)
    assert [torch.equal(t, first) for t in told[:8]] == [True, False] * 4
    assert [torch.equal(t, first) for t in told[8:]] == [True] * 4 + [True, False] * 2
    assert np.abs(states[0]["x"] - states[1]["x"]).max() > 1e-3


def test_a_loop_is_closed_and_its_last_frame_is_not_its_first(engine, modules):
    clip = engine.loop(FIRST, wish(), Watch())
    assert (len(clip), clip.closed) == (FRAMES - 1, True)
    (back,) = decoded(modules["vae"], encoded(modules["vae"], FIRST[None]))
    assert psnr(clip.frames[0], back) > 40
    assert psnr(clip.frames[-1], back) < 30
    bridge = engine.bridge(FIRST, FIRST, wish(), Watch())
    assert np.array_equal(clip.frames, bridge.frames[:-1])
    # With random weights any two frames are about as far apart; only the one that is the first again is near.
    assert 0.8 <= seam(clip.frames).pixels <= 1.25
    assert seam(bridge.frames).pixels < 0.2


def test_a_loop_of_two_frames_is_refused_in_a_sentence(engine):
    with pytest.raises(BadInput, match="2 is too few for a loop") as refused:
        engine.loop(FIRST, wish(frames=2), Watch())
    assert refused.value.field == "frames"


@torch.no_grad()
def plain_window(modules, known_TCHW, noise, fault=""):
    """One window by plain Euler steps with the first frames set, and linear guidance from 1 to 2.5."""
    count = len(known_TCHW)
    tell = Plain(modules, clip_pixels(tensor(GIVEN[:1])), known_TCHW[:1] / SCALING, 0.0)
    sigmas = karras(STEPS, sigma_min=0.002, sigma_max=700.0)
    weight = torch.linspace(1, 2.5, FRAMES).view(-1, 1, 1, 1)
    x = noise * (700.0**2 + 1) ** 0.5
    for s, t in itertools.pairwise(sigmas):
        untold, told = tell(x, s)
        clean = untold + weight * (told - untold)
        if fault != "not pinned":
            clean[:count] = known_TCHW
        x = x + (x - clean[None]) / s * (t - s)
    return x[0]


@pytest.mark.parametrize("fault", ["", "not pinned"])
def test_a_window_is_sampled_after_the_pinned_latents_of_the_one_before(engine, modules, monkeypatch, fault):
    monkeypatch.setattr(svd_continue, "matched", lambda latent, look, known: latent)
    made = torch.from_numpy(stopped("extend", engine, "decode", 0)["made"])
    new = FRAMES - 2
    assert len(made) == 2 + 2 * new
    assert torch.allclose(made[:2], encoded(modules["vae"], GIVEN)[-2:], atol=1e-5)
    noise = seeded_noise(0, torch.empty(1, FRAMES, *made.shape[1:]))
    for window in range(2):
        known = made[window * new : window * new + 2]
        wanted = plain_window(modules, known, noise(-1 - window), fault)[2:]
        off = (made[window * new + 2 : (window + 1) * new + 2] - wanted).abs().max()
        assert off > 2e-2 if fault else off < 1e-3


def test_the_new_frames_have_the_look_of_the_given_ones(engine, modules):
    made = torch.from_numpy(stopped("extend", engine, "decode", 0, windows=3, frames=14)["made"])
    given = continuation.Look.of(encoded(modules["vae"], GIVEN))
    for window in range(3):
        # The correction has set in fully after as many frames as are pinned.
        own = continuation.Look.of(made[window * 12 + 4 : window * 12 + 14])
        assert torch.allclose(own.mean_C, given.mean_C, atol=0.3 * float(given.std_C.max()))
        assert torch.allclose(own.std_C, given.std_C, rtol=0.3)


def test_a_continued_clip_is_the_given_one_then_the_decoded_latents(engine, modules):
    state = stopped("extend", engine, "decode", 0)
    clip = engine.extend(GIVEN, wish(), Watch())
    frames = decoded(modules["vae"], torch.from_numpy(state["made"]))
    assert len(clip) == len(GIVEN) + 2 * (FRAMES - 2)
    assert np.array_equal(clip.frames[:2], GIVEN[:2])
    for i, share in ((0, 1 / 3), (1, 2 / 3)):
        faded = GIVEN[2 + i] + share * (frames[i].astype(float) - GIVEN[2 + i])
        assert np.abs(clip.frames[2 + i] - faded).max() <= 1
    assert np.abs(clip.frames[4:].astype(int) - frames[2:]).max() <= 1


def test_nothing_that_was_decoded_is_encoded_again(engine, modules):
    seen = []
    hook = modules["vae"].encoder.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    shown = modules["image_encoder"].register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(kwargs["pixel_values"]), with_kwargs=True
    )
    try:
        engine.extend(GIVEN, wish(windows=3), Watch())
    finally:
        hook.remove()
        shown.remove()
    assert torch.equal(seen[0], clip_pixels(tensor(GIVEN[:1]))), "what CLIP is shown is where it all began"
    assert torch.equal(torch.cat(seen[1:]), tensor(GIVEN))


@pytest.mark.parametrize(("count", "length"), [(1, 1 + 2 * 4), (2, 2 + 2 * 3)])
def test_a_clip_of_fewer_frames_than_the_overlap_is_gone_on_with_too(engine, count, length):
    assert len(engine.extend(GIVEN[:count], wish(overlap=3 if count == 1 else 2), Watch())) == length


def test_an_overlap_that_leaves_no_new_frame_is_refused_in_a_sentence(engine):
    with pytest.raises(BadInput, match="5 of a window's 5 frames leave none") as refused:
        engine.extend(GIVEN, wish(overlap=5), Watch())
    assert refused.value.field == "overlap"


@pytest.mark.parametrize("make", MAKE)
def test_the_same_seed_gives_the_same_bytes_and_another_one_others(engine, make):
    one, again, other = (stopped(make, engine, "decode", 0, seed=seed) for seed in (3, 3, 4))
    assert all(one[name].tobytes() == again[name].tobytes() for name in one)
    assert np.abs(one[made_in(one)] - other[made_in(one)]).max() > 0.1


def made_in(state):
    """The name of what is decoded."""
    return "made" if "made" in state else "x"


@pytest.mark.parametrize(
    ("make", "given"),
    [("bridge", {}), ("bridge", {"between_prior": "mpd"}), ("loop", {}), ("extend", {"sampler": "euler-ancestral"})],
)
def test_a_new_process_goes_on_from_what_the_last_one_kept(spec, modules, tmp_path, make, given):
    request = wish(**given)
    task = Task(job_id="job", mode="m", request=vars(request), target=tmp_path / "c.mp4", poster=tmp_path / "c.webp")
    whole = Watch("decode", 0)
    with pytest.raises(Cancelled):
        MAKE[make](svd.Engine(spec, Held(spec, modules)), request, whole)
    total = STEPS * (request.windows if make == "extend" else 1)
    assert [(done, of) for stage, done, of in whole.steps if stage == "sample"] == [
        (i, total) for i in range(total + 1)
    ]
    for since in range(1, total + 1):
        dies = Watch("sample", since)
        dies.keep = Resume(tmp_path, task, every_s=0).keep
        with pytest.raises(Cancelled):
            MAKE[make](svd.Engine(spec, Held(spec, modules)), request, dies)
        goes_on = Watch("decode", 0, resume_from=Resume(tmp_path, task).kept())
        with pytest.raises(Cancelled):
            MAKE[make](svd.Engine(spec, Held(spec, modules)), request, goes_on)
        state = goes_on.state or goes_on.resume_from
        assert np.array_equal(state[made_in(state)], whole.state[made_in(state)])
        assert not [s for s in goes_on.steps if s[0] == "encode"]
        assert len([s for s in goes_on.steps if s[0] == "sample"]) <= total - since + 1


def test_a_process_that_died_while_decoding_left_all_of_the_sampling_behind(spec, modules):
    frames = svd.Engine(spec, Held(spec, modules)).extend(GIVEN, wish(), Watch()).frames
    goes_on = Watch(resume_from=stopped("extend", svd.Engine(spec, Held(spec, modules)), "decode", 7))
    assert np.array_equal(svd.Engine(spec, Held(spec, modules)).extend(GIVEN, wish(), goes_on).frames, frames)
    assert {stage for stage, _, _ in goes_on.steps} == {"decode"}


def test_progress_counts_every_stage_to_its_end_and_shows_the_clip(engine):
    for make, encodes in (("bridge", 6), ("loop", 3), ("extend", 5)):
        ctx = Watch(previews=True)
        MAKE[make](engine, wish(), ctx)
        for stage, total in (("encode", encodes), ("decode", FRAMES * (2 if make == "extend" else 1))):
            told = [(done, of) for name, done, of in ctx.steps if name == stage]
            assert [done for done, _ in told] == sorted(done for done, _ in told)
            assert (told[0][0], told[-1]) == (0, (total, total))
        assert {len(shown) for shown in ctx.shown} == {FRAMES}


@pytest.mark.parametrize("make", MAKE)
@pytest.mark.parametrize("what", ["unet", *(pytest.param(w, marks=pytest.mark.slow) for w in ("encoder", "decoder"))])
def test_memory_that_runs_out_once_changes_no_bit_of_the_clip(spec, installed, modules, tmp_path, make, what):
    # The UNet's fourth call is the second half of a bridge's second step, which is then done anew.
    at = 3 if what == "unet" else 1
    configs = tiny_spec_yaml("tiny", tmp_path, frames=FRAMES).parent
    trouble = Trouble(configs, installed, lambda failing, n, args: (failing, n) == (what, at))
    request, ctx = wish(seed=2), Watch()
    with trouble.manager.lease("tiny", lambda component, done, total: None) as engine:
        frames = MAKE[make](engine, request, ctx).frames
    assert trouble.failed == [(what, at)]
    assert [n for n in ctx.notices if "emory ran out" in n]
    assert np.array_equal(frames, MAKE[make](svd.Engine(spec, Held(spec, modules)), request, Watch()).frames)


@pytest.mark.parametrize("make", MAKE)
def test_one_branch_at_a_time_and_feed_forwards_in_slices_give_the_same_numbers(engine, held, make):
    usual = stopped(make, engine, "decode", 0)["x"]
    held.choose("sample", Sample(branches_at_once=False, ff_rows=64))
    assert np.abs(stopped(make, engine, "decode", 0)["x"] - usual).max() < 1e-3
    held.choose("sample", Sample())
    held.exact_savings = False
    assert np.abs(stopped(make, engine, "decode", 0)["x"] - usual).max() < 1e-3


@pytest.mark.parametrize("make", MAKE)
def test_the_planner_counts_the_passes_that_are_made(engine, held, modules, make):
    ran = []
    hook = modules["unet"].register_forward_hook(lambda module, args, output: ran.append(len(args[0])))
    try:
        MAKE[make](engine, wish(), Watch())
    finally:
        hook.remove()
    assert ran == [2] * 2 * STEPS
    way, once = held._ways["sample"], Held(held._spec, modules).start(wish(windows=1), None)._ways["sample"]
    assert (way.passes, way.flop) == (2 * STEPS, pytest.approx(2 * once.flop))
