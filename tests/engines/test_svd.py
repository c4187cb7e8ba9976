import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from studio.engines import networks, svd, svd_encode, svd_network, svd_weights
from studio.errors import Cancelled, StudioError
from studio.models.installed import Installed
from studio.models.spec import read_spec
from tests.engines.held import Held
from tests.tiny import DIFFUSERS_WARNS, euler_scheduler, tiny_spec_yaml, tiny_weights, write_tiny_svd

FRAMES = 4


class Watch:
    """A context that notes what it is told and, where asked, cancels at the n-th report of a stage."""

    def __init__(self, cancel_stage=None, cancel_at=0, previews=False, resume_from=None):
        self.state, self.resume_from = None, resume_from
        self.steps, self.notices, self.shown, self.facts = [], [], [], {}
        self.cancel = (cancel_stage, cancel_at)
        self.previews = previews

    def check(self):
        pass

    def step(self, done, total, stage="sample", preview=None):
        if (stage, done) == self.cancel:
            raise Cancelled()
        self.steps.append((stage, done, total))
        if preview is not None and self.previews:
            self.shown.append(preview())

    def notice(self, sentence):
        self.notices.append(sentence)

    def fact(self, name, value):
        self.facts[name] = value

    def keep(self, state):
        self.state = {name: array.copy() for name, array in state.items()}

    def kept(self):
        return self.resume_from


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_tiny_svd(tmp_path_factory.mktemp("models") / "tiny", frames=FRAMES)


@pytest.fixture(scope="module")
def modules(folder):
    weights = {c: folder / file for c, file in tiny_weights().items()}
    installed = Installed("tiny", "diffusers", folder, weights, "fp32")
    return {c: svd_weights.load(c, installed, "cpu", "fp32", lambda done, total: None) for c in svd.COMPONENTS}


@pytest.fixture(scope="module")
def spec(tmp_path_factory):
    return read_spec(tiny_spec_yaml("tiny", tmp_path_factory.mktemp("specs"), frames=FRAMES))


@pytest.fixture
def engine(spec, modules):
    return svd.Engine(spec, Held(spec, modules))


@pytest.fixture(scope="module")
def picture():
    blocks = (np.random.default_rng(0).random((8, 8, 3)) * 255).astype(np.uint8)
    return Image.fromarray(blocks).resize((128, 64), Image.Resampling.BICUBIC)


def wish(**given):
    values = {
        "seed": 0, "width": 128, "height": 64, "frames": FRAMES, "steps": 3, "guidance_min": 1.0, "guidance_max": 2.5,
        "noise_augmentation": 0.02, "motion_bucket": 127, "conditioning_fps": 7, "decode_chunk": FRAMES,
        "export_fps": 7.0, "sampler": "euler", "guidance": "linear", "decode": "auto",
    }  # fmt: skip
    return SimpleNamespace(**{**values, **given})


def animate(engine, picture, ctx=None, **given):
    return engine.animate(np.asarray(picture), wish(**given), ctx or Watch())


def latents(engine, picture, **given):
    """What comes out of sampling, before decoding."""
    ctx = Watch("decode", 0)
    with pytest.raises(Cancelled):
        animate(engine, picture, ctx, **given)
    assert ctx.state["done"] == given.get("steps", 3)
    return torch.from_numpy(ctx.state["x"][0])


@pytest.fixture(scope="module")
def pipeline(modules):
    """diffusers' own pipeline around the very modules that our loader made (so the eps of the norms agree)."""
    from diffusers import StableVideoDiffusionPipeline
    from transformers import CLIPImageProcessorPil

    pipe = StableVideoDiffusionPipeline(
        **modules, scheduler=euler_scheduler(), feature_extractor=CLIPImageProcessorPil()
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture
def theirs(pipeline, picture):
    """Their latents (T, C, h, w), or frames, for the settings of `wish()`, from the same seed."""

    def run(output_type="latent", **given):
        r = wish(**given)
        out = pipeline(
            picture, r.height, r.width, num_frames=r.frames, num_inference_steps=r.steps,
            min_guidance_scale=r.guidance_min, max_guidance_scale=r.guidance_max, fps=r.conditioning_fps,
            motion_bucket_id=r.motion_bucket, noise_aug_strength=r.noise_augmentation,
            decode_chunk_size=r.decode_chunk, generator=torch.Generator().manual_seed(r.seed),
            output_type=output_type,
        ).frames  # fmt: skip
        return out[0]

    return run


@pytest.mark.filterwarnings(DIFFUSERS_WARNS)
@pytest.mark.parametrize(
    "given",
    [{}, {"steps": 6, "seed": 5}, {"guidance_max": 1.0}, {"frames": 3, "guidance_min": 1.5, "guidance_max": 3.0}],
)
def test_latents_agree_with_diffusers_pipeline_from_the_same_seed(engine, picture, theirs, given):
    assert (latents(engine, picture, **given) - theirs(**given)).abs().max() < 1e-3


@pytest.mark.filterwarnings(DIFFUSERS_WARNS)
@pytest.mark.parametrize(
    "wrong",
    [
        {"conditioning_fps": 8},
        {"conditioning_fps": 6},
        {"motion_bucket": 128},
        {"conditioning_fps": 128, "motion_bucket": 6},
        {"guidance_max": 2.6},
        {"guidance_min": 2.5, "guidance_max": 2.5},
        {"guidance_min": 2.5, "guidance_max": 1.01},
        {"noise_augmentation": 0.03},
        {"seed": 1},
        {"steps": 4},
    ],
    ids=str,
)
def test_a_wrong_setting_is_caught_by_the_comparison(engine, picture, theirs, wrong):
    assert (latents(engine, picture, **wrong) - theirs()).abs().max() > 2e-2


@pytest.mark.filterwarnings(DIFFUSERS_WARNS)
def test_swapped_branches_or_scaled_conditioning_are_caught_too(engine, picture, theirs, monkeypatch):
    right = svd_network.guidance.guided
    monkeypatch.setattr(svd_network.guidance, "guided", lambda a, b, weight: right(b, a, weight))
    assert (latents(engine, picture) - theirs()).abs().max() > 2e-2
    monkeypatch.undo()
    encode = svd_encode.encode_mean
    monkeypatch.setattr(svd_encode, "encode_mean", lambda vae, pixels: encode(vae, pixels) * 0.18215)
    assert (latents(engine, picture) - theirs()).abs().max() > 2e-2


@pytest.mark.filterwarnings(DIFFUSERS_WARNS)
def test_frames_agree_with_diffusers_pipeline_in_the_same_chunks(engine, picture, theirs):
    ours = animate(engine, picture, decode="chunked", decode_chunk=3).frames
    whole = animate(engine, picture, decode="chunked", decode_chunk=4).frames
    expected = (theirs("np", decode_chunk=3) * 255).round()
    assert np.abs(ours - expected).max() <= 1
    assert np.abs(whole - expected).max() > 1


@pytest.mark.filterwarnings(DIFFUSERS_WARNS)
def test_without_the_trained_eps_the_unet_differs(modules, engine, picture):
    from diffusers import UNetSpatioTemporalConditionModel

    unet = UNetSpatioTemporalConditionModel.from_config(modules["unet"].config)
    unet.load_state_dict(modules["unet"].state_dict())
    names = [n for n, m in unet.named_modules() if isinstance(m, torch.nn.GroupNorm) and "res_block.norm" in n]
    before = {unet.get_submodule(n).eps for n in names}
    networks.set_trained_eps(unet)
    assert before == {1e-5, 1e-6}
    assert {unet.get_submodule(n).eps for n in names} == {1e-5}
    entries = [m.eps for n, m in unet.named_modules() if n.endswith("attentions.0.norm")]
    assert set(entries) == {1e-6}


def test_the_same_request_gives_the_same_bytes(engine, picture):
    first, second = animate(engine, picture), animate(engine, picture)
    assert first.frames.tobytes() == second.frames.tobytes()
    assert repr(first) == "Clip(4 frames, 128x64, 7 fps)"


def test_noise_augmentation_draws_from_the_seed(engine, picture):
    def told(seed, strength):
        ctx = Watch("decode", 0)
        with pytest.raises(Cancelled):
            animate(engine, picture, ctx, steps=1, seed=seed, noise_augmentation=strength)
        return ctx.state["latent"]

    assert (told(1, 0.02) == told(1, 0.02)).all()
    assert not np.allclose(told(1, 0.02), told(2, 0.02), atol=1e-3)
    assert (told(1, 0.0) == told(2, 0.0)).all()


def test_the_picture_must_have_the_size_of_the_clip(engine, picture):
    with pytest.raises(AssertionError):
        animate(engine, picture, width=64)


def test_progress_counts_every_stage_to_its_end(engine, picture):
    ctx = Watch(previews=True)
    animate(engine, picture, ctx, decode="chunked", decode_chunk=3)
    assert ctx.steps == [
        *[("encode", i, 2) for i in range(3)],
        *[("sample", i, 3) for i in range(4)],
        *[("decode", i, 4) for i in (0, 3, 4)],
    ]
    assert [(len(c), c.width, c.height) for c in ctx.shown] == [(4, 32, 16)] * 3
    assert (ctx.shown[0].frames != ctx.shown[-1].frames).any()


@pytest.mark.parametrize(
    ("stage", "at", "unet_calls", "decoder_calls"),
    [("encode", 0, 0, 0), ("encode", 1, 0, 0), ("sample", 0, 0, 0), ("sample", 1, 1, 0), ("decode", 1, 3, 1)],
)
def test_cancel_takes_effect_before_another_step(engine, modules, picture, stage, at, unet_calls, decoder_calls):
    calls = {"unet": 0, "decoder": 0}

    def count(name):
        def hook(module, args, output):
            calls[name] += 1

        return hook

    hooks = [
        modules["unet"].register_forward_hook(count("unet")),
        modules["vae"].decoder.register_forward_hook(count("decoder")),
    ]
    try:
        with pytest.raises(Cancelled):
            animate(engine, picture, Watch(stage, at), decode="chunked", decode_chunk=1)
    finally:
        for hook in hooks:
            hook.remove()
    assert calls == {"unet": unet_calls, "decoder": decoder_calls}


def test_without_guidance_there_is_no_unconditional_branch(engine, modules, picture):
    batches = []
    hook = modules["unet"].register_forward_hook(lambda module, args, output: batches.append(len(args[0])))
    try:
        animate(engine, picture, guidance_max=1.0)
        animate(engine, picture, guidance_max=1.1)
    finally:
        hook.remove()
    assert batches == [1] * 3 + [2] * 3


def test_numbers_that_are_not_finite_stop_the_sampling_with_a_sentence(engine, modules, picture):
    hook = modules["unet"].register_forward_hook(lambda module, args, output: (output[0] * float("nan"),))
    try:
        with pytest.raises(StudioError, match="not finite at step 1"):
            animate(engine, picture)
    finally:
        hook.remove()


def test_a_decoder_that_overflows_in_half_precision_is_run_again_in_full(spec, modules, picture):
    vae = copy.deepcopy(modules["vae"]).half()
    held = {name: p.clone() for name, p in vae.named_parameters()}
    half = svd.Engine(spec, Held(spec, {**modules, "vae": vae}))

    def overflow(module, args, output):
        return output * float("inf") if output.dtype == torch.float16 else output

    vae.decoder.register_forward_hook(overflow)
    ctx = Watch()
    clip = animate(half, picture, ctx, decode="chunked", decode_chunk=2)
    assert [n for n in ctx.notices if "full precision" in n] == ctx.notices
    assert len(ctx.notices) == 1
    assert len(clip) == FRAMES
    assert clip.frames.std() > 5
    assert all(torch.equal(p, held[name]) for name, p in vae.named_parameters())


def test_half_precision_modules_give_nearly_the_same_clip(spec, modules, picture):
    half = {name: copy.deepcopy(module).half() for name, module in modules.items()}
    full = latents(svd.Engine(spec, Held(spec, modules)), picture)
    assert (latents(svd.Engine(spec, Held(spec, half)), picture) - full).abs().max() < 0.2
    assert (latents(svd.Engine(spec, Held(spec, half)), picture) - full).abs().mean() < 0.02


@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("DefaultCPUAllocator: can't allocate memory")],
    ids=lambda e: type(e).__name__,
)
def test_running_out_of_memory_reaches_the_run_as_it_is(engine, modules, picture, error):
    def fail(module, args):
        raise error

    hook = modules["unet"].register_forward_pre_hook(fail)
    try:
        with pytest.raises(type(error)) as caught:
            animate(engine, picture)
    finally:
        hook.remove()
    assert caught.value is error
