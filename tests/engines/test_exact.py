import copy
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from diffusers import UNetSpatioTemporalConditionModel
from diffusers.models.transformers.transformer_temporal import TransformerSpatioTemporalModel

from studio.engines import exact, exact_blocks, networks
from studio.engines.block_functions import add_feed_forward
from studio.engines.sv3d_unet import PerFrameUNet
from studio.models.sampling import FF_ROWS
from tests import tiny
from tests.counting import counting

NOISE_LEVEL = torch.tensor(0.3)
SAME_IDS = [[6.0, 127.0, 0.02], [6.0, 127.0, 0.02]]
OTHER_IDS = [[6.0, 127.0, 0.02], [9.0, 40.0, 0.2]]

FULL = {
    **{k: v for k, v in tiny.UNET.items() if k in ("sample_size", "in_channels", "out_channels")},
    "block_out_channels": [320, 640, 1280, 1280],
    "layers_per_block": 2,
    "cross_attention_dim": 1024,
    "num_attention_heads": [5, 10, 20, 20],
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 768,
    "num_frames": 25,
}
"""SVD-XT's UNet: 1,524,623,082 weights."""


def make(cls=UNetSpatioTemporalConditionModel, **changes):
    unet = cls.from_config({**tiny.UNET, **changes}).eval().requires_grad_(False)
    tiny.keep_variance(unet, torch.Generator().manual_seed(0))
    networks.set_trained_eps(unet)
    return unet


@pytest.fixture(scope="module")
def plain():
    return make()


@pytest.fixture(scope="module")
def rewritten(plain):
    return exact.rewrite(copy.deepcopy(plain))


def inputs(branches=2, frames=4, height=8, width=16, ids=SAME_IDS, seed=1):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(branches, frames, 8, height, width, generator=generator)
    context = torch.randn(branches, 1, 32, generator=generator)
    if branches == 2:
        context[0] = 0
    return x, context, torch.tensor(ids[:branches])


def saved(unet, x, context, told):
    return unet(x, NOISE_LEVEL, exact.prepare(unet, context, told, x.shape[1]), return_dict=False)[0]


def off(a, b):
    """The largest difference, relative to the largest value."""
    return ((a - b).abs().max() / b.abs().max()).item()


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"branches": 1, "frames": 3, "height": 8, "width": 8},
        {"frames": 5, "height": 9, "width": 7},
        {"frames": 1},
        {"ids": OTHER_IDS},
    ],
    ids=str,
)
def test_the_savings_change_nothing_but_rounding(plain, rewritten, given):
    x, context, ids = inputs(**given)
    expected = plain(x, NOISE_LEVEL, context, ids, return_dict=False)[0]
    assert off(saved(rewritten, x, context, ids), expected) <= 5e-6


def test_two_transformers_a_block_are_saved_each(plain):
    deep = make(transformer_layers_per_block=2)
    x, context, ids = inputs()
    expected = deep(x, NOISE_LEVEL, context, ids, return_dict=False)[0]
    assert off(saved(exact.rewrite(deep), x, context, ids), expected) <= 5e-6


def test_a_unet_that_is_told_something_else_of_each_frame_is_saved_too():
    unet = make(PerFrameUNet, projection_class_embeddings_input_dim=64)
    x, context, _ = inputs()
    vector = torch.randn(2, 4, 64, generator=torch.Generator().manual_seed(2))
    expected = unet(x, NOISE_LEVEL, context, vector)[0]
    exact.rewrite(unet)
    assert off(saved(unet, x, context, vector), expected) <= 5e-6
    assert torch.equal(unet(x, NOISE_LEVEL, context, vector)[0], expected)
    still = vector[:1, :1].expand(2, 4, 64)
    assert off(saved(unet, x, context, still), unet(x, NOISE_LEVEL, context, still)[0]) <= 5e-6


@pytest.mark.parametrize("ff_rows", [1, 7, 128, 10_000])
def test_feed_forwards_may_take_some_rows_at_a_time(plain, rewritten, ff_rows):
    x, context, ids = inputs()
    expected = plain(x, NOISE_LEVEL, context, ids, return_dict=False)[0]
    prepared = exact.prepare(rewritten, context, ids, 4, ff_rows=ff_rows)
    most = []

    def counting_rows(x_MC, *given, **fixed):
        most.append(len(x_MC))
        return add_feed_forward(x_MC, *given, **fixed)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exact_blocks, "add_feed_forward", counting_rows)
        v = rewritten(x, NOISE_LEVEL, prepared, return_dict=False)[0]
    assert off(v, expected) <= 5e-6
    assert max(most) == min(ff_rows, 2 * 4 * 8 * 16)


@pytest.mark.parametrize("ids", [SAME_IDS, OTHER_IDS], ids=["same", "other"])
def test_one_branch_at_a_time_is_the_same(rewritten, ids):
    x, context, told = inputs(ids=ids)
    prepared = exact.prepare(rewritten, context, told, 4)
    both = rewritten(x, NOISE_LEVEL, prepared, return_dict=False)[0]
    for i in range(2):
        some = slice(i, i + 1)
        alone = rewritten(x[some], NOISE_LEVEL, prepared[some], return_dict=False)[0]
        assert off(alone, both[some]) <= 5e-6
        again = exact.prepare(rewritten, context[some], told[some], 4)
        assert off(rewritten(x[some], NOISE_LEVEL, again, return_dict=False)[0], alone) <= 5e-6


def test_a_unet_whose_blocks_are_streamed_is_saved_too(plain):
    x, context, ids = inputs()
    whole = exact.rewrite(copy.deepcopy(plain))
    expected = saved(whole, x, context, ids)
    unit = next(m for m in whole.modules() if isinstance(m, TransformerSpatioTemporalModel))
    there = {name: p.data for name, p in unit.named_parameters()}

    @contextmanager
    def present(module):
        for name, p in unit.named_parameters():
            p.data = there[name] if module is unit else torch.empty_like(there[name]).fill_(torch.nan)
        yield

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exact_blocks, "present", present)
        prepared = exact.prepare(whole, context, ids, 4)
    for name, p in unit.named_parameters():
        p.data = there[name]
    assert torch.equal(whole(x, NOISE_LEVEL, prepared, return_dict=False)[0], expected)


@pytest.mark.parametrize("wrong", ["context", "ids", "frames"])
def test_the_constants_are_those_of_what_was_given(plain, rewritten, wrong):
    x, context, ids = inputs()
    expected = plain(x, NOISE_LEVEL, context, ids, return_dict=False)[0]
    if wrong == "frames":
        with pytest.raises(AssertionError):
            rewritten(x, NOISE_LEVEL, exact.prepare(rewritten, context, ids, 5))
        return
    context, ids = (context.flip(0), ids) if wrong == "context" else (context, torch.tensor(OTHER_IDS))
    assert off(saved(rewritten, x, context, ids), expected) > 1e-3


def test_with_a_tensor_diffusers_own_code_runs_bit_for_bit(plain, rewritten):
    x, context, ids = inputs()
    assert torch.equal(rewritten(x, NOISE_LEVEL, context, ids).sample, plain(x, NOISE_LEVEL, context, ids).sample)
    three = torch.randn(2, 3, 32, generator=torch.Generator().manual_seed(3))
    assert torch.equal(rewritten(x, NOISE_LEVEL, three, ids).sample, plain(x, NOISE_LEVEL, three, ids).sample)
    with pytest.raises(AssertionError, match="more than one token"):
        exact.prepare(rewritten, three, ids, 4)


def test_weights_names_inputs_and_constants_stay_as_they_are(plain, rewritten):
    x, context, ids = inputs()
    kept = [t.clone() for t in (x, context, ids)]
    prepared = exact.prepare(rewritten, context, ids, 4)
    first = rewritten(x, NOISE_LEVEL, prepared).sample
    assert torch.equal(rewritten(x, NOISE_LEVEL, prepared).sample, first)
    assert all(torch.equal(a, b) for a, b in zip((x, context, ids), kept, strict=True))
    before, after = plain.state_dict(), rewritten.state_dict()
    assert list(before) == list(after)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert isinstance(rewritten, UNetSpatioTemporalConditionModel)
    assert exact.rewrite(rewritten) is rewritten


def test_what_is_no_unet_is_left_alone():
    module = torch.nn.Linear(2, 2)
    assert type(exact.rewrite(module)) is torch.nn.Linear


def test_half_precision_is_no_further_from_full_than_diffusers_own(plain, rewritten):
    x, context, ids = inputs()
    full = plain(x, NOISE_LEVEL, context, ids, return_dict=False)[0]
    halves = [copy.deepcopy(unet).half() for unet in (plain, rewritten)]
    theirs = halves[0](x.half(), NOISE_LEVEL, context.half(), ids, return_dict=False)[0]
    ours = saved(halves[1], x.half(), context.half(), ids)
    assert (ours - full).norm() <= 1.1 * (theirs - full).norm()


@pytest.fixture(scope="module")
def counts():
    """Counts of one guided step at full size, 25 frames of 1024x576: diffusers' own way, saved, and the lean ways."""
    with torch.device("meta"):
        unet = UNetSpatioTemporalConditionModel.from_config(FULL).half().eval().to("meta")
        x = torch.empty(2, 25, 8, 72, 128, dtype=torch.half)
        context = torch.empty(2, 1, 1024, dtype=torch.half)
        level = torch.empty(())
    with torch.no_grad(), counting() as before:
        unet(x, level, context, torch.zeros(2, 3, device="meta"), return_dict=False)
    exact.rewrite(unet)
    for module in unet.modules():
        if hasattr(module, "mix_factor"):
            module.mix_factor = torch.nn.Parameter(torch.zeros(1), requires_grad=False)
    prepared = exact.prepare(unet, context, torch.zeros(2, 3), 25)
    with counting() as after:
        unet(x, level, prepared, return_dict=False)
    lean = {}
    for branches, ff_rows in ((2, FF_ROWS), (1, None), (1, FF_ROWS)):
        some = replace(prepared[:branches], ff_rows=ff_rows)
        with counting() as lean[branches, ff_rows is not None]:
            unet(x[:branches], level, some, return_dict=False)
    return before, after, lean


def test_the_published_counts_are_met_before(counts):
    before, *_ = counts
    assert before.flop / 1e12 == pytest.approx(159.90, abs=0.005)
    assert before.launches == 2146
    assert before.moved_bytes / 1e9 == pytest.approx(697, abs=0.5)
    assert before.attention_calls == 64
    assert before.peak_bytes / 2**30 == pytest.approx(7.73, abs=0.005)


def test_a_full_size_step_takes_less_of_everything(counts):
    _, after, _ = counts
    assert after.flop / 1e12 <= 153.95
    assert after.launches <= 1200
    assert after.moved_bytes / 1e9 <= 570
    assert after.attention_calls == 32  # self-attention alone: over space and over time, in 16 transformers
    assert after.peak_bytes / 2**30 <= 6.1


@pytest.mark.parametrize(
    ("branches", "in_rows", "gib"), [(2, True, 2.70), (1, False, 3.05), (1, True, 1.42)], ids=lambda v: str(v)
)
def test_a_full_size_step_may_take_less_memory_for_the_same_work(counts, branches, in_rows, gib):
    _, after, lean = counts
    count = lean[branches, in_rows]
    assert count.peak_bytes / 2**30 <= gib
    assert count.flop * 2 / branches == pytest.approx(after.flop, rel=1e-3)
    # Weights are read once more for each branch, and for each slice.
    assert count.moved_bytes * 2 / branches <= after.moved_bytes * 1.008
