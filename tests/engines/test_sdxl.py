import copy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from studio.diffusion.samplers import SAMPLERS
from studio.engines import sdxl, sdxl_weights
from studio.errors import Cancelled, StudioError
from studio.models.catalog import Catalog
from studio.models.decoding import Decode
from studio.models.installed import Installed
from studio.models.sampling import Sample
from studio.models.spec import read_spec
from studio.settings import shipped
from tests.engines.held import Held
from tests.tiny import DIFFUSERS_WARNS
from tests.tiny_sdxl import SCHEDULER, tiny_sdxl_weights, tiny_sdxl_yaml, write_tiny_sdxl

pytestmark = pytest.mark.filterwarnings(DIFFUSERS_WARNS)

PROMPT = "a red boat at sunset"


class Watch:
    """A context that notes what it is told and, where asked, cancels at the n-th report of a stage."""

    def __init__(self, cancel_stage=None, cancel_at=0, kept=None):
        self.steps, self.notices, self.shown, self.states = [], [], [], []
        self._cancel, self._kept = (cancel_stage, cancel_at), kept

    def check(self):
        pass

    def step(self, done, total, stage="sample", preview=None):
        if (stage, done) == self._cancel:
            raise Cancelled()
        self.steps.append((stage, done, total))
        if preview is not None:
            self.shown.append(preview())

    def notice(self, sentence):
        self.notices.append(sentence)

    def keep(self, state):
        self.states.append(copy.deepcopy(state))

    def kept(self):
        return self._kept


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_tiny_sdxl(tmp_path_factory.mktemp("models") / "tiny-sdxl")


@pytest.fixture(scope="module")
def modules(folder):
    weights = {c: folder / file for c, file in tiny_sdxl_weights().items()}
    installed = Installed("tiny-sdxl", "diffusers", folder, weights, "fp32")
    return {c: sdxl_weights.load(c, installed, "cpu", "fp32", lambda done, total: None) for c in sdxl.COMPONENTS}


@pytest.fixture(scope="module")
def spec(tmp_path_factory):
    return read_spec(tiny_sdxl_yaml("tiny-sdxl", tmp_path_factory.mktemp("specs")))


@pytest.fixture
def engine(spec, modules):
    return sdxl.Engine(spec, Held(spec, modules))


def wish(**given):
    values = {"negative_prompt": "", "seed": 0, "width": 128, "height": 64, "steps": 3, "sampler": "euler",
              "guidance_scale": 5.0, "loras": (), "candidates": 1, "refine_from": None}  # fmt: skip
    return SimpleNamespace(**{**values, **given})


def paint(engine, ctx=None, prompt=PROMPT, **given):
    (picture,) = engine.paint_all(prompt, [wish(**given)], ctx or Watch())
    return picture


def latent(engine, prompt=PROMPT, **given):
    """What comes out of sampling, before decoding."""
    ctx = Watch()
    paint(engine, ctx, prompt, **given)
    return torch.from_numpy(ctx.states[-1]["x"])


@pytest.fixture(scope="module")
def theirs(folder):
    """Their latent, or picture, for the settings of `wish()`, from the same seed."""
    from diffusers import HeunDiscreteScheduler, StableDiffusionXLPipeline

    pipe = StableDiffusionXLPipeline.from_pretrained(folder)
    pipe.set_progress_bar_config(disable=True)
    euler = pipe.scheduler

    def run(output_type="latent", prompt=PROMPT, **given):
        r = wish(**given)
        pipe.scheduler = HeunDiscreteScheduler.from_config(SCHEDULER) if r.sampler == "heun" else euler
        return pipe(
            prompt, negative_prompt=r.negative_prompt or None, height=r.height, width=r.width,
            num_inference_steps=r.steps, guidance_scale=r.guidance_scale,
            generator=torch.Generator().manual_seed(r.seed), output_type=output_type,
        ).images  # fmt: skip

    return run


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"steps": 7, "seed": 5},
        {"negative_prompt": "fog"},
        {"guidance_scale": 1.0},
        {"guidance_scale": 9.0, "width": 64, "height": 192},
        {"sampler": "heun"},
    ],
    ids=str,
)
def test_latents_agree_with_diffusers_pipeline_from_the_same_seed(engine, theirs, given):
    expected = theirs(**given)
    assert expected.std() > 1
    assert (latent(engine, **given) - expected).abs().max() < 1e-4


@pytest.mark.parametrize(
    "wrong",
    [
        {"seed": 1},
        {"steps": 4},
        {"guidance_scale": 5.1},
        {"guidance_scale": 1.0},
        {"negative_prompt": "fog"},
        {"prompt": "a red boat at sunrise"},
        {"sampler": "heun"},
    ],
    ids=str,
)
def test_a_wrong_setting_is_caught_by_the_comparison(engine, theirs, wrong):
    assert (latent(engine, **wrong) - theirs()).abs().max() > 1e-2


def test_wrong_sizes_and_a_negative_prompt_that_is_encoded_though_empty_are_caught_too(engine, theirs, monkeypatch):
    right = sdxl.Engine._conditions

    def swapped(self, *args):
        told = right(self, *args)
        return sdxl.Conditioning(told.hidden_BTC, told.pooled_BC, told.sizes_BN[:, [1, 0, 2, 3, 5, 4]])

    def not_zero(self, *args):
        told = right(self, *args)
        return sdxl.Conditioning(told.hidden_BTC, told.pooled_BC.flip(0), told.sizes_BN)

    for wrong in (swapped, not_zero):
        monkeypatch.setattr(sdxl.Engine, "_conditions", wrong)
        assert (latent(engine) - theirs()).abs().max() > 1e-2


def test_the_picture_agrees_with_diffusers_pipeline(engine, theirs):
    ours, expected = paint(engine), (theirs("np")[0] * 255).round()
    assert ours.shape == (64, 128, 3)
    assert ours.dtype == np.uint8
    assert np.abs(ours - expected).max() <= 1
    assert ours.std() > 20


def test_the_same_request_gives_the_same_bytes(engine):
    assert paint(engine, sampler="euler-ancestral").tobytes() == paint(engine, sampler="euler-ancestral").tobytes()


def test_pictures_that_are_asked_for_together_are_those_that_each_seed_gives_alone(engine):
    ctx = Watch()
    wishes = [wish(seed=seed, candidates=3, sampler="dpmpp-2m") for seed in (4, 5, 6)]
    pictures = list(engine.paint_all(PROMPT, wishes, ctx))
    assert [p.tobytes() for p in pictures] == [paint(engine, seed=s, sampler="dpmpp-2m").tobytes() for s in (4, 5, 6)]
    assert [s for s in ctx.steps if s[0] != "decode"] == [
        *[("prompt", i, 2) for i in range(3)],
        *[("sample", i, 9) for i in range(10)],
    ]
    assert ctx.steps[-6:] == [("decode", i, 1) for i in range(2)] * 3
    assert [clip.width > 2 * clip.height for clip in ctx.shown] == [False] * 3 + [True] * 3 + [False] * 3, (
        "the latents so far as a grid: 1, 2 x 1, 2 x 2"
    )


@pytest.mark.parametrize("at", [2, 3, 7, 8])
def test_what_was_kept_of_several_pictures_goes_on_in_the_one_that_was_under_way(spec, modules, at):
    wishes = [wish(seed=seed, candidates=3) for seed in (4, 5, 6)]
    ctx = Watch()
    whole = [p.tobytes() for p in sdxl.Engine(spec, Held(spec, modules)).paint_all(PROMPT, wishes, ctx)]
    assert [int(state["done"]) for state in ctx.states] == list(range(1, 10))
    again = Watch(kept=ctx.states[at])
    found = sdxl.Engine(spec, Held(spec, modules)).paint_all(PROMPT, wishes, again)
    assert [p.tobytes() for p in found] == whole
    assert len(again.states) == 8 - at


def test_each_network_is_asked_for_once_however_many_pictures_there_are(spec, modules):
    asked = []

    class Listening(Held):
        def use(self, *names, phase):
            asked.extend(names)
            return super().use(*names, phase=phase)

    wishes = [wish(seed=seed, candidates=2, steps=1) for seed in (4, 5)]
    list(sdxl.Engine(spec, Listening(spec, modules)).paint_all(PROMPT, wishes, Watch()))
    assert asked == ["text_encoder", "text_encoder_2", "unet", "vae", "vae"]


def test_one_branch_at_a_time_gives_the_same_but_for_rounding(engine):
    both = latent(engine)
    engine._components.choose("sample", Sample(branches_at_once=False))
    assert (latent(engine) - both).abs().max() < 1e-4


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_what_was_kept_after_any_step_goes_on_to_the_same_bytes_in_a_new_process(spec, modules, sampler):
    ctx = Watch()
    whole = paint(sdxl.Engine(spec, Held(spec, modules)), ctx, sampler=sampler)
    assert [int(state["done"]) for state in ctx.states] == [1, 2, 3]
    for state in ctx.states:
        again = Watch(kept=state)
        assert paint(sdxl.Engine(spec, Held(spec, modules)), again, sampler=sampler).tobytes() == whole.tobytes()
        assert [s for s in again.steps if s[0] == "prompt"] == []


@pytest.mark.parametrize("other", [{"seed": 1}, {"prompt": "fog"}, {"steps": 4}, {"negative_prompt": "fog"}], ids=str)
def test_what_was_kept_of_another_picture_is_not_gone_on_with(engine, other):
    before = Watch()
    paint(engine, before)
    assert paint(engine, Watch(kept=before.states[0]), **other).tobytes() == paint(engine, **other).tobytes()
    assert paint(engine, Watch(kept={"embedding": np.zeros(3)})).tobytes() == paint(engine).tobytes()


def test_memory_that_runs_out_while_sampling_costs_no_finished_step(spec, modules):
    class Retrying(Held):
        def phase(self, name, work, *, whole=True):
            try:
                return super().phase(name, work)
            except torch.OutOfMemoryError:
                return super().phase(name, work)

    calls = []

    def full(module, args, kwargs):
        calls.append(1)
        if len(calls) == 2:
            raise torch.OutOfMemoryError("CUDA out of memory")

    expected = paint(sdxl.Engine(spec, Held(spec, modules)))
    hook = modules["unet"].register_forward_pre_hook(full, with_kwargs=True)
    try:
        found = paint(sdxl.Engine(spec, Retrying(spec, modules)))
    finally:
        hook.remove()
    assert len(calls) == 4
    assert found.tobytes() == expected.tobytes()


def test_progress_counts_every_stage_to_its_end_and_shows_the_picture_as_it_comes(engine):
    ctx = Watch()
    paint(engine, ctx)
    assert ctx.steps == [
        *[("prompt", i, 2) for i in range(3)],
        *[("sample", i, 3) for i in range(4)],
        *[("decode", i, 1) for i in range(2)],
    ]
    assert [clip.frames.shape for clip in ctx.shown] == [(1, 16, 32, 3)] * 3
    assert ctx.notices == []


@pytest.mark.parametrize(
    ("stage", "at", "unet_calls"), [("prompt", 0, 0), ("prompt", 1, 0), ("sample", 0, 0), ("sample", 1, 1)]
)
def test_cancel_takes_effect_before_another_step(engine, modules, stage, at, unet_calls):
    calls = []
    hook = modules["unet"].register_forward_hook(lambda *args: calls.append(1))
    try:
        with pytest.raises(Cancelled):
            paint(engine, Watch(stage, at))
    finally:
        hook.remove()
    assert len(calls) == unet_calls


def test_numbers_that_are_not_finite_stop_the_sampling_with_a_sentence(engine, modules):
    hook = modules["unet"].register_forward_hook(lambda module, args, output: (output[0] * float("nan"),))
    try:
        with pytest.raises(StudioError, match="not finite at step 1"):
            paint(engine)
    finally:
        hook.remove()


def half(modules):
    return {name: copy.deepcopy(module).half() for name, module in modules.items()}


def test_half_precision_modules_give_nearly_the_same_picture(spec, modules, engine):
    found = sdxl.Engine(spec, Held(spec, half(modules), dtype="fp16"))
    assert (latent(found) - latent(engine)).abs().mean() < 0.02


def test_a_decoder_whose_config_says_that_half_precision_overflows_runs_in_full_and_a_fixed_one_in_half(spec, modules):
    halves = half(modules)
    seen = []
    fixed = copy.deepcopy(halves["vae"])
    fixed.register_to_config(force_upcast=False)
    hook = torch.nn.modules.module.register_module_forward_pre_hook(
        lambda module, args: seen.append(args[0].dtype) if type(module).__name__ == "Decoder" else None
    )
    try:
        pictures = [
            paint(sdxl.Engine(spec, Held(spec, {**halves, "vae": v})), width=64, steps=1)
            for v in (halves["vae"], fixed)
        ]
    finally:
        hook.remove()
    assert seen == [torch.float32, torch.float16]
    assert {p.dtype for p in halves["vae"].parameters()} == {torch.float16}
    assert np.abs(pictures[0].astype(int) - pictures[1]).max() <= 8


def test_tiled_decoding_is_close_to_the_whole(engine):
    whole = paint(engine, width=256, height=256)
    engine._components.choose("decode", Decode("tiled", 1, tile=(24, 24)))
    tiled = paint(engine, width=256, height=256)
    assert 0 < np.abs(tiled.astype(int) - whole).mean() < 10


def test_the_size_to_paint_at_is_the_trained_one_of_the_nearest_shape():
    shipped_spec = Catalog(Path(shipped("configs")) / "models").get("sdxl")
    size_for = sdxl.Engine(shipped_spec, None).size_for
    assert size_for(1024, 576) == (1344, 768)
    assert size_for(576, 1024) == (768, 1344)
    assert size_for(576, 576) == (1024, 1024)
    assert size_for(4000, 100) == (2048, 512)
    sizes = [tuple(size) for size in shipped_spec.facts["buckets"]]
    assert len(set(sizes)) == len(sizes)
    assert all(w % 64 == h % 64 == 0 and 0.85 < w * h / 1024**2 <= 1.05 for w, h in sizes)
