"""Fast: what is left out, what is kept for it, and what is said, with the real classes at tiny size."""

import copy

import numpy as np
import pytest
import torch

from studio.diffusion.sigmas import karras
from studio.engines import exact, quantised, sv3d, svd, svd_weights
from studio.engines.shortcuts import Shortcuts, Taken
from studio.engines.sv3d_unet import PerFrameUNet
from studio.errors import Cancelled
from studio.jobs.resume import Resume
from studio.jobs.task import Task
from studio.models.installed import Installed
from studio.models.sampling import Approximate, Sample
from studio.models.spec import read_spec
from tests.engines import test_sv3d
from tests.engines.held import Held
from tests.engines.test_exact import inputs, make, off
from tests.engines.test_survives import Trouble
from tests.engines.test_svd import Watch, wish
from tests.sgm import write_tiny_sgm
from tests.tiny import tiny_spec_yaml, tiny_weights, write_tiny_svd

FRAMES, STEPS = 4, 7
"""Of these steps 0, 3 and 6 are whole."""


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    folder = write_tiny_svd(tmp_path_factory.mktemp("models") / "tiny", frames=FRAMES)
    return Installed("tiny", "diffusers", folder, {c: folder / f for c, f in tiny_weights().items()}, "fp32")


@pytest.fixture(scope="module")
def configs(tmp_path_factory):
    return tiny_spec_yaml("tiny", tmp_path_factory.mktemp("specs"), frames=FRAMES).parent


@pytest.fixture(scope="module")
def modules(installed):
    return {c: svd_weights.load(c, installed, "cpu", "fp32", lambda done, total: None) for c in svd.COMPONENTS}


@pytest.fixture
def held(configs, modules):
    return Held(read_spec(configs / "tiny.yaml"), modules)


@pytest.fixture
def engine(held):
    return svd.Engine(held._spec, held)


PICTURE = (np.random.default_rng(0).random((64, 64, 3)) * 255).astype(np.uint8)


def asked(**given):
    return wish(**{"width": 64, "height": 64, "steps": STEPS, "speed": "fast", **given})


def latents(engine, ctx=None, **given):
    ctx = ctx or Watch()
    ctx.cancel = ("decode", 0)
    with pytest.raises(Cancelled):
        engine.animate(PICTURE, asked(**given), ctx)
    assert ctx.state["done"] == given.get("steps", STEPS)
    return torch.from_numpy(ctx.state["x"])


class Evaluations:
    """Notes for each evaluation of the UNet its branches, and whether it was whole."""

    def __init__(self, unet):
        self.seen = []
        self.hooks = [
            unet.register_forward_pre_hook(lambda _, args: self.seen.append((len(args[0]), False))),
            unet.mid_block.register_forward_pre_hook(lambda *_, **__: self.whole(), with_kwargs=True),
        ]

    def whole(self):
        self.seen[-1] = (self.seen[-1][0], True)

    def __enter__(self):
        return self.seen

    def __exit__(self, *_):
        for hook in self.hooks:
            hook.remove()


# --- what a run leaves out ------------------------------------------------------------------------------------


@pytest.mark.parametrize("at_once", [True, False], ids=["both branches", "one by one"])
def test_where_nothing_is_to_be_left_out_it_is_the_exact_run_bit_for_bit(held, engine, at_once):
    held.choose("sample", Sample(at_once))
    expected = latents(engine, speed="exact")
    held.choose("sample", Sample(at_once, approximate=Approximate(cache_every=1, guided_down_to=0)))
    assert torch.equal(latents(engine), expected)
    held.choose("sample", Sample(at_once, approximate=Approximate(cache_every=3, guided_down_to=0)))
    assert not torch.equal(latents(engine), expected)


@pytest.mark.parametrize(
    ("sampler", "steps", "at_once", "whole"),
    [
        ("euler", 7, True, [0, 3, 6]),
        ("euler", 6, False, [0, 3, 5]),
        ("euler", 1, True, [0]),
        ("dpmpp-2m", 7, True, [0, 3, 6]),
        ("euler-ancestral", 8, True, [0, 3, 6, 7]),
        # It asks about levels 3 and 6 at a step's end and at the next one's start.
        ("heun", 7, True, [0, 5, 6, 11, 12]),
    ],
)
def test_every_third_level_is_whole_and_so_is_the_last(held, engine, modules, sampler, steps, at_once, whole):
    held.choose("sample", Sample(at_once, approximate=Approximate(guided_down_to=0)))
    with Evaluations(modules["unet"]) as seen:
        latents(engine, sampler=sampler, steps=steps)
    if not at_once:
        assert seen[::2] == seen[1::2]
        seen = [(2, was_whole) for _, was_whole in seen[::2]]
    evaluations = 2 * steps - 1 if sampler == "heun" else steps
    assert seen == [(2, i in whole) for i in range(evaluations)]


@pytest.mark.parametrize("at_once", [True, False], ids=["both branches", "one by one"])
def test_below_a_noise_level_only_the_branch_that_is_told_the_picture_runs(held, engine, modules, at_once):
    levels = karras(STEPS, sigma_min=0.002, sigma_max=700)
    approximate = Approximate(cache_every=1, guided_down_to=float(levels[4]))
    held.choose("sample", Sample(at_once, approximate=approximate))
    ctx = Watch()
    with Evaluations(modules["unet"]) as seen:
        less = latents(engine, ctx)
    assert [branches for branches, _ in seen] == ([2] * 5 + [1] * 2 if at_once else [1] * 12)
    assert "the last 2 without guidance" in ctx.notices[-1]
    # From that level on it is what a run without any guidance does.
    plain = Watch("sample", 5)
    with pytest.raises(Cancelled):
        engine.animate(PICTURE, asked(), plain)
    held.choose("sample", Sample(at_once))
    expected = latents(engine, Watch(resume_from=plain.state), guidance_min=1.0, guidance_max=1.0)
    assert torch.allclose(less, expected, atol=1e-5)


def test_without_guidance_there_is_none_to_leave_out(held, engine, modules):
    ctx = Watch()
    with Evaluations(modules["unet"]) as seen:
        latents(engine, ctx, guidance_max=1.0)
    assert {branches for branches, _ in seen} == {1}
    assert "guidance" not in ctx.notices[-1]


# --- what is kept ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["of a clip", "per frame"])
@torch.no_grad()
def test_a_step_that_is_not_whole_runs_the_last_layer_on_what_the_whole_one_gave_it(kind):
    x, context, told = inputs()
    unet = make()
    if kind == "per frame":
        unet = make(PerFrameUNet, projection_class_embeddings_input_dim=64)
        told = torch.randn(2, 4, 64, generator=torch.Generator().manual_seed(2))
    exact.rewrite(unet)
    prepared = exact.prepare(unet, context, told, 4)
    kept, far, near = exact.Kept(), torch.tensor(0.4), torch.tensor(0.3)
    last, stale = unet.up_blocks[-1].resnets[-1], []
    hook = last.register_forward_pre_hook(lambda _, args: stale.append(args[0].clone()))
    whole = unet(x, far, exact.Reusing(prepared, kept, whole=True), return_dict=False)[0]
    hook.remove()
    assert torch.equal(whole, unet(x, far, prepared, return_dict=False)[0])
    given = unet(x * 1.1, near, exact.Reusing(prepared, kept, whole=False), return_dict=False)[0]

    def replace(_, args):
        fresh, old = args[0].clone(), stale[0]
        channels = fresh.shape[1] - unet.conv_in.out_channels
        fresh[:, :channels] = old[:, :channels]
        return (fresh, *args[1:])

    hook = last.register_forward_pre_hook(replace)
    expected = unet(x * 1.1, near, prepared, return_dict=False)[0]
    hook.remove()
    assert torch.equal(given, expected)
    assert off(given, unet(x * 1.1, near, prepared, return_dict=False)[0]) > 1e-3


@torch.no_grad()
def test_how_far_it_moved_is_the_relative_change_of_what_is_kept():
    x, context, told = inputs()
    unet = exact.rewrite(make())
    prepared = exact.prepare(unet, context, told, 4)
    kept, seen = exact.Kept(), []
    hook = unet.up_blocks[-1].resnets[-1].register_forward_pre_hook(lambda _, args: seen.append(args[0].clone()))
    assert kept.take(1) is None
    for scale, some in ((1.0, slice(None)), (1.2, slice(None)), (1.3, slice(1, 2))):
        unet(x[some] * scale, torch.tensor(0.3), exact.Reusing(prepared[some], kept, whole=True), return_dict=False)
    hook.remove()
    a, b, c = (t[:, : t.shape[1] - unet.conv_in.out_channels] for t in seen)
    expected = [((b - a).norm() / b.norm()).item(), ((c - b[4:]).norm() / c.norm()).item()]
    assert kept.moved == pytest.approx(expected, rel=1e-4)
    assert torch.equal(kept.take(2), c[-2:])


def test_where_nothing_is_kept_yet_the_evaluation_is_whole():
    x, context, told = inputs()
    unet = exact.rewrite(make())
    prepared = exact.prepare(unet, context, told, 4)
    level, kept = torch.tensor(0.3), exact.Kept()
    first = unet(x, level, exact.Reusing(prepared, kept, whole=False), return_dict=False)[0]
    assert torch.equal(first, unet(x, level, prepared, return_dict=False)[0])
    assert kept.take(1) is not None


# --- what may happen meanwhile --------------------------------------------------------------------------------


@pytest.mark.parametrize("sampler", ["heun", "dpmpp-2m"])
def test_a_new_process_goes_on_before_a_whole_step_and_makes_the_same_clip(engine, tmp_path, sampler):
    given = asked(sampler=sampler)
    task = Task(job_id="job", mode="m", request=vars(given), target=tmp_path / "c.mp4", poster=tmp_path / "c.webp")
    frames = engine.animate(PICTURE, given, Watch()).frames
    for since, whole in ((1, 0), (5, 3)):
        dies = Watch("sample", since)
        dies.keep = Resume(tmp_path, task, every_s=0).keep
        with pytest.raises(Cancelled):
            engine.animate(PICTURE, given, dies)
        goes_on = Watch(resume_from=Resume(tmp_path, task).kept())
        assert (engine.animate(PICTURE, given, goes_on).frames == frames).all()
        assert [d for stage, d, _ in goes_on.steps if stage == "sample"] == list(range(whole, STEPS + 1))
        Resume(tmp_path, task).forget()


def test_memory_that_runs_out_once_changes_no_bit_of_the_clip(configs, installed, engine):
    made = Trouble(configs, installed, lambda what, n, args: (what, n) == ("unet", 4))
    frames = made.animate(PICTURE, steps=STEPS, speed="fast")
    assert made.failed == [("unet", 4)]
    assert (frames == engine.animate(PICTURE, asked(), Watch()).frames).all()


def test_where_both_branches_do_not_fit_it_goes_on_with_one_by_one(configs, installed, held, engine):
    made, ctx = Trouble(configs, installed, lambda what, n, args: what == "unet" and len(args[0]) == 2), Watch()
    frames = made.animate(PICTURE, ctx, steps=STEPS, speed="fast")
    held.choose("sample", Sample(branches_at_once=False, approximate=Approximate()))
    assert (frames == engine.animate(PICTURE, asked(), Watch()).frames).all()
    assert any("emory ran out" in n for n in ctx.notices)


def test_streamed_weights_make_the_same_clip_and_a_step_that_reuses_brings_few_of_them(installed, held):
    weights = svd_weights.open_weights("unet", installed, "cpu", "fp32")
    unet = weights.stream(0, lambda done, total: None)
    streamed = Held(held._spec, {**held.modules, "unet": unet})
    brought, passes = [], []
    bring = weights._stream._bring
    weights._stream._bring = lambda extent, buffer: brought.append(extent.nbytes) or bring(extent, buffer)
    unet.register_forward_hook(lambda *_: passes.append(sum(brought)) or brought.clear())
    given = asked(guidance_max=1.0)
    frames = svd.Engine(held._spec, streamed).animate(PICTURE, given, Watch()).frames
    assert (frames == svd.Engine(held._spec, held).animate(PICTURE, given, Watch()).frames).all()
    assert len(passes) == STEPS
    assert max(passes[i] for i in (1, 2, 4, 5)) < 0.4 * min(passes[i] for i in (3, 6))


def test_without_the_exact_savings_only_guidance_is_left_out(configs, modules):
    spec = read_spec(configs / "tiny.yaml")
    there, ctx = Held(spec, copy.deepcopy(modules), exact_savings=False), Watch()
    with Evaluations(there.modules["unet"]) as seen:
        latents(svd.Engine(spec, there), ctx)
    assert all(whole for _, whole in seen)
    assert seen[-1][0] == 1
    assert ctx.notices[-1].startswith("Fast: 7 of 7 steps in full")
    assert "moved" not in ctx.notices[-1]


# --- the other roads ------------------------------------------------------------------------------------------

OTHER = (255 - PICTURE[::-1]).copy()


def asked_between(**given):
    return asked(**{"between_prior": "vibid", "overlap": 1, "windows": 2, "decode": "chunked", **given})


@pytest.mark.parametrize("prior", ["vibid", "mpd"])
def test_between_two_pictures_each_end_reuses_its_own_and_is_always_guided(held, engine, modules, prior):
    ctx = Watch()
    with Evaluations(modules["unet"]) as seen:
        frames = engine.bridge(PICTURE, OTHER, asked_between(between_prior=prior), ctx).frames
    whole = [i in (0, 3, 6) for i in range(STEPS) for _ in range(2)]
    if prior == "mpd":  # of the first four steps both halves go forwards; then the other end begins, in a whole one
        whole[9] = True
    assert seen == [(2, was_whole) for was_whole in whole]
    assert [n.partition(";")[0] for n in ctx.notices] == ["Fast: 3 of 7 steps in full"]
    dies = Watch("sample", 5)
    with pytest.raises(Cancelled):
        engine.bridge(PICTURE, OTHER, asked_between(between_prior=prior), dies)
    assert dies.state["done"] == 3
    again = engine.bridge(PICTURE, OTHER, asked_between(between_prior=prior), Watch(resume_from=dies.state)).frames
    assert (again == frames).all()


def test_a_loop_reuses_for_each_way_what_that_way_kept(held, engine, modules):
    with Evaluations(modules["unet"]) as seen:
        engine.loop(PICTURE, asked_between(), Watch())
    assert [whole for _, whole in seen] == [i in (0, 3, 6) for i in range(STEPS) for _ in range(2)]
    held.choose("sample", Sample(approximate=Approximate()))
    clip = engine.loop(PICTURE, asked_between(), Watch())
    bridge = engine.bridge(PICTURE, PICTURE.copy(), asked_between(), Watch())
    assert (clip.frames == bridge.frames[:-1]).all()


def test_every_window_of_a_clip_that_goes_on_begins_whole_and_it_is_said_once(engine, modules):
    ctx = Watch()
    with Evaluations(modules["unet"]) as seen:
        engine.extend(np.stack([PICTURE, OTHER]), asked_between(), ctx)
    assert [whole for _, whole in seen] == 2 * [i in (0, 3, 6) for i in range(STEPS)]
    assert len([n for n in ctx.notices if n.startswith("Fast: 3 of 7 steps in full")]) == 1


@pytest.mark.parametrize("kind", ["sv3d-u", "sv3d-p"])
def test_an_orbit_reuses_too(tmp_path, kind):
    modules, spec = write_tiny_sgm(tmp_path / "sv3d.safetensors", kind), test_sv3d.SPECS[kind]
    engine, ctx = sv3d.Engine(spec, Held(spec, modules)), Watch()
    with Evaluations(modules["unet"]) as seen:
        test_sv3d.go_round(engine, PICTURE, ctx, steps=STEPS, speed="fast")
    assert seen == [(2, True), (2, False), (2, False), (2, True), (2, False), (1, False), (1, True)]
    assert ctx.notices[-1].startswith("Fast: 3 of 7 steps in full, the last 2 without guidance; what was reused had")


@pytest.mark.parametrize("road", ["animate", "bridge", "extend"])
def test_weights_that_can_not_be_held_in_8_bits_are_used_as_they_are(held, engine, monkeypatch, road):
    held.choose("sample", Sample(approximate=Approximate(quantise="int8")))
    monkeypatch.setattr(quantised, "why_not", lambda kind, unet: f"No {kind} here.")
    given, ctx = asked_between(steps=1), Watch()
    if road == "animate":
        engine.animate(PICTURE, given, ctx)
    elif road == "bridge":
        engine.bridge(PICTURE, OTHER, given, ctx)
    else:
        engine.extend(np.stack([PICTURE, OTHER]), given, ctx)
    assert "fast: the weights are used as they are. No int8 here." in ctx.notices


# --- what is said ---------------------------------------------------------------------------------------------


def test_the_job_says_once_what_was_left_out_and_how_far_it_had_moved(engine):
    ctx = Watch()
    engine.animate(PICTURE, asked(), ctx)
    (says,) = ctx.notices
    assert says.startswith("Fast: 3 of 7 steps in full, the last 2 without guidance; what was reused had moved by ")
    assert {k: ctx.facts["fast"][k] for k in ("steps", "whole", "unguided")} == {"steps": 7, "whole": 3, "unguided": 2}
    assert f"{100 * ctx.facts['fast']['moved_most']:.0f} % at most" in says
    exactly = Watch()
    engine.animate(PICTURE, asked(speed="exact"), exactly)
    assert exactly.notices == []
    assert exactly.facts == {}


def test_it_is_said_in_words_that_fit():
    assert Taken(4, 2, 0, None).says == "Fast: 2 of 4 steps in full."
    assert Taken(25, 9, 5, 0.1234).says == (
        "Fast: 9 of 25 steps in full, the last 5 without guidance; what was reused had moved by 12 % at most."
    )
    assert Taken(25, 9, 1, 0.1234).says.startswith("Fast: 9 of 25 steps in full, the last one without guidance;")
    assert Taken(25, 9, 5, 0.12345).public() == {"steps": 25, "whole": 9, "unguided": 5, "moved_most": 0.1235}


def test_a_level_is_told_by_its_number_however_it_was_rounded():
    levels = karras(25, sigma_min=0.002, sigma_max=700)
    shortcuts = Shortcuts(Approximate(), levels)
    for i, level in enumerate(levels[:-1]):
        for off_by in (0.99999, 1.00001):
            c_noise = torch.log(level * off_by) / 4
            assert shortcuts.whole(c_noise) == (i % 3 == 0)
            assert shortcuts.guided(c_noise) == (level >= 0.3)
