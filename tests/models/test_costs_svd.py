"""The formulas of `studio.models.costs.svd` against counts of the real modules at full size."""

import copy
from collections import Counter
from types import SimpleNamespace

import pytest
import torch
from diffusers import AutoencoderKL, AutoencoderKLTemporalDecoder, UNetSpatioTemporalConditionModel
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from studio.diffusion.samplers import SAMPLERS
from studio.engines import exact
from studio.engines.shortcuts import Shortcuts
from studio.engines.svd_network import schedule
from studio.engines.whole_decode import decode_whole
from studio.models.catalog import Catalog
from studio.models.costs import phases_of, svd, svd_units
from studio.models.costs.svd_decoding import ClipSize
from studio.models.sampling import FF_ROWS, Approximate
from studio.settings import shipped
from tests.counting import counting
from tests.engines.test_exact import FULL as UNET
from tests.engines.test_whole_decode import FULL as VAE

FULL = (25, 1024, 576)
CLIP = CLIPVisionConfig(
    hidden_size=1280,
    intermediate_size=5120,
    projection_dim=1024,
    num_hidden_layers=32,
    num_attention_heads=16,
    image_size=224,
    patch_size=14,
    hidden_act="gelu",
)


def meta(make):
    """The module in fp16 on the meta device, with the shares of time on the CPU, where their numbers can be read."""
    with torch.device("meta"):
        return make().half().eval().to("meta").requires_grad_(False)


def readable(module):
    for part in module.modules():
        if getattr(part, "mix_factor", None) is not None:
            part.mix_factor = torch.nn.Parameter(torch.zeros(1), requires_grad=False)
    return module


@pytest.fixture(scope="module")
def plain():
    return meta(lambda: UNetSpatioTemporalConditionModel.from_config(UNET))


@pytest.fixture(scope="module")
def saving(plain):
    return exact.rewrite(readable(copy.deepcopy(plain)))


@pytest.fixture(scope="module")
def vae():
    return meta(lambda: AutoencoderKLTemporalDecoder.from_config(VAE))


def wish(frames=25, width=1024, height=576, **changed):
    given = {"steps": 1, "sampler": "euler", "guidance_max": 3.0, "decode": "auto", "decode_chunk": 14}
    return SimpleNamespace(frames=frames, width=width, height=height, **{**given, **changed})


def costs(variant="svd-xt", value_bytes=2, exact_savings=True, **given):
    spec = Catalog(shipped("configs") / "models").get(variant)
    found = phases_of(spec, wish(**given), value_bytes=value_bytes, exact_savings=exact_savings)
    return {cost.phase: cost for cost in found}


def latent(frames, width, height, branches=None, channels=4):
    shape = (frames, channels, height // 8, width // 8)
    return torch.empty(*shape if branches is None else (branches, *shape), dtype=torch.half, device="meta")


@torch.no_grad()
def counted_step(unet, size, branches, exact_savings, ff_rows):
    x, level = latent(*size, branches=branches, channels=8), torch.empty((), device="meta")
    context = torch.zeros(branches, 1, 1024, dtype=torch.half, device="meta")
    told = context
    if exact_savings:
        told = exact.prepare(unet, context, torch.zeros(branches, 3), size[0], ff_rows=ff_rows)
    with counting() as count:
        unet(x, level, told, *(() if exact_savings else (torch.empty(branches, 3, device="meta"),)), return_dict=False)
    return count


@pytest.mark.parametrize(
    ("size", "branches", "ff_rows"),
    [
        (FULL, 2, None),
        (FULL, 2, FF_ROWS),
        (FULL, 1, FF_ROWS),
        ((14, 1024, 576), 1, FF_ROWS),
        ((25, 576, 320), 2, FF_ROWS),
        ((21, 576, 576), 1, None),
        ((14, 1024, 1024), 2, FF_ROWS),
    ],
    ids=str,
)
def test_a_step_with_the_savings_takes_what_the_formulas_say(saving, size, branches, ff_rows):
    count = counted_step(saving, size, branches, True, ff_rows)
    frames, width, height = size
    expected = svd.unet_bytes(frames, width * height // 64, branches, 2, True, ff_rows)
    assert expected == pytest.approx(count.peak_bytes, rel=0.02)
    given = {} if branches == 2 else {"guidance_max": 1.0}
    way = costs(frames=frames, width=width, height=height, **given)["sample"].ways[0 if ff_rows is None else 1]
    assert way.choice.ff_rows == ff_rows
    assert way.flop == pytest.approx(count.flop, rel=0.01)
    assert way.moved_bytes == pytest.approx(count.moved_bytes, rel=0.03)
    assert 0 < way.working_bytes - expected < 0.05 * expected


@pytest.mark.parametrize(("size", "branches"), [(FULL, 2), ((14, 1024, 576), 1)], ids=str)
def test_a_step_as_published_takes_what_the_formulas_say(plain, size, branches):
    count = counted_step(plain, size, branches, False, None)
    frames, width, height = size
    assert svd.unet_bytes(frames, width * height // 64, branches, 2, False, None) == pytest.approx(
        count.peak_bytes, rel=0.02
    )
    given = {} if branches == 2 else {"guidance_max": 1.0}
    way = costs(exact_savings=False, frames=frames, width=width, height=height, **given)["sample"].ways[0]
    assert way.flop == pytest.approx(count.flop, rel=0.01)
    assert way.moved_bytes == pytest.approx(count.moved_bytes, rel=0.05)


def test_the_units_are_those_of_the_unet_in_order_of_execution(saving):
    total = sum(p.numel() for p in saving.parameters())
    kinds = ("SavingResBlock", "SavingTransformer", "Downsample2D", "Upsample2D")
    parts = {module: name for name, module in saving.named_modules() if type(module).__name__ in kinds}
    ran, began = [], {}
    handles = []
    with counting() as count:
        for module in parts:
            handles.append(module.register_forward_pre_hook(lambda m, _: began.update({m: count.flop})))
            handles.append(module.register_forward_hook(lambda m, *_: ran.append((m, count.flop - began[m]))))
        prepared = exact.prepare(
            saving, torch.zeros(2, 1, 1024, dtype=torch.half, device="meta"), torch.zeros(2, 3), 25
        )
        saving(latent(25, 1024, 576, branches=2, channels=8), torch.empty((), device="meta"), prepared)
    for handle in handles:
        handle.remove()
    assert [parts[module] for module, _ in ran] == [unit.name for unit in svd_units.UNET_UNITS]
    for (module, flop), unit in zip(ran, svd_units.UNET_UNITS, strict=True):
        assert unit.share == pytest.approx(sum(p.numel() for p in module.parameters()) / total, abs=1e-6)
        assert unit.flop_share == pytest.approx(flop / count.flop, abs=1e-5)


@pytest.mark.parametrize(("width", "height"), [(1024, 576), (576, 320)])
def test_encoding_takes_what_the_formulas_say(vae, width, height):
    encoder = copy.deepcopy(vae.encoder).float()
    clip = meta(lambda: CLIPVisionModelWithProjection(CLIP))
    with torch.no_grad(), counting() as seen:
        clip(pixel_values=torch.empty(1, 3, 224, 224, dtype=torch.half, device="meta"))
    with torch.no_grad(), counting() as encoded:
        encoder(torch.empty(1, 3, height, width, device="meta"))
    copied = 4 * sum(p.numel() for part in (vae.encoder, vae.quant_conv) for p in part.parameters())
    (way,) = costs(width=width, height=height)["encode"].ways
    assert way.working_bytes == pytest.approx(encoded.peak_bytes + copied, rel=0.01)
    assert way.flop == pytest.approx(seen.flop + encoded.flop, rel=0.01)
    assert way.moved_bytes == pytest.approx(seen.moved_bytes + encoded.moved_bytes, rel=0.03)


@pytest.mark.parametrize("size", [(14, 1024, 576), (8, 576, 320)], ids=str)
def test_the_image_decoder_takes_what_the_formulas_say(size):
    config = {**VAE, "up_block_types": ["UpDecoderBlock2D"] * 4}
    vae = meta(lambda: AutoencoderKL.from_config(config))
    with torch.no_grad(), counting() as count:
        vae.decoder(vae.post_quant_conv(latent(*size)))
    frames, width, height = size
    ways = costs("svd-image-decoder", frames=frames, width=width, height=height)["decode"].ways
    assert ways[0].working_bytes == pytest.approx(count.peak_bytes, rel=0.02)
    assert ways[0].flop == pytest.approx(count.flop, rel=0.01)
    assert all(way.exact and not way.notice for way in ways)
    assert ways[-1].choice.chunk == 1


def test_decoding_takes_what_the_formulas_say(vae):
    size = frames, width, height = 14, 1024, 576
    whole, twice, *_ = costs(frames=frames, width=width, height=height)["decode"].ways
    decoder = readable(copy.deepcopy(vae.decoder))
    for way in (whole, twice):
        with counting() as count:
            decode_whole(decoder, latent(*size), lambda done, total: None, recompute=way.choice.recompute)
        assert 0.98 <= way.working_bytes / count.peak_bytes <= 1.2
        assert way.flop == pytest.approx(count.flop, rel=0.01)
        assert way.moved_bytes == pytest.approx(count.moved_bytes, rel=0.05)
    chunked = next(way for way in costs(frames=frames, width=width, height=height)["decode"].ways if not way.exact)
    with torch.no_grad(), counting() as count:
        vae.decode(latent(7, width, height), num_frames=7)
    assert chunked.choice.chunk == 7
    assert chunked.working_bytes == pytest.approx(count.peak_bytes, rel=0.02)


def names(**given):
    return [(way.name, way.exact) for way in costs(**given)["decode"].ways]


def test_the_exact_ways_to_decode_come_first_and_need_less_and_less():
    ways = costs()["decode"].ways
    exact_ways = [way for way in ways if way.exact]
    assert list(ways[: len(exact_ways)]) == exact_ways
    assert [(w.choice.way, w.choice.recompute, w.choice.keep) for w in exact_ways] == [
        ("whole", False, "device"),
        ("whole", True, "device"),
        ("whole", True, "host"),
        ("whole", True, "host"),
    ]
    for some in (exact_ways, [w for w in ways if w.choice.way == "chunked"], [w for w in ways if "tiled" in w.name]):
        needs = [way.working_bytes for way in some]
        assert needs == sorted(needs, reverse=True)
    assert all(bool(way.notice) is not way.exact for way in ways)


@pytest.mark.parametrize("wished", ["whole", "chunked", "tiled"])
@pytest.mark.parametrize("variant", ["svd-xt", "svd-image-decoder"])
def test_what_is_wished_for_by_name_is_done_in_its_own_forms_only(variant, wished):
    ways = costs(variant, frames=14, decode=wished, decode_chunk=8)["decode"].ways
    expected = "chunked" if variant == "svd-image-decoder" and wished == "whole" else wished
    assert {way.choice.way for way in ways} == {expected}
    assert ways[0].exact
    if wished == "chunked":
        assert [way.choice.chunk for way in ways] == [8, 4, 2, 1]


def test_a_chunk_is_no_longer_than_the_clip_and_a_whole_clip_is_no_chunk():
    assert costs(frames=8, decode="chunked")["decode"].ways[0].choice.chunk == 8
    chunks = [way.choice.chunk for way in costs(frames=8)["decode"].ways if way.choice.way == "chunked"]
    assert chunks == [4, 2, 1]
    assert "4 frames at a time, which can flicker" in costs(frames=8)["decode"].ways[4].notice


def test_tiles_shrink_but_not_below_what_is_of_use():
    tiles = [way.choice.tile for way in costs(decode="tiled")["decode"].ways]
    assert tiles == [(72, 128), (72, 64), (36, 64), (36, 32)]
    ways = costs(decode="tiled", width=1920, height=1088)["decode"].ways
    assert all("approximation" in way.notice for way in ways)
    assert costs(decode="tiled")["decode"].ways[0].notice == ""


def test_full_precision_takes_twice_the_memory_of_half():
    half, full = costs(value_bytes=2), costs(value_bytes=4)
    for a, b in zip(half["decode"].ways, full["decode"].ways, strict=True):
        assert b.working_bytes == 2 * a.working_bytes
    assert 1.9 < full["sample"].ways[0].working_bytes / half["sample"].ways[0].working_bytes <= 2


@pytest.mark.parametrize(
    ("given", "passes"),
    [
        ({"steps": 25}, [25, 25, 50, 50]),
        ({"steps": 25, "sampler": "heun"}, [49, 49, 98, 98]),
        ({"steps": 25, "guidance_max": 1.0}, [25, 25]),
    ],
    ids=str,
)
def test_every_evaluation_is_a_pass_of_the_network(given, passes):
    ways = costs(**given)["sample"].ways
    assert [way.passes for way in ways] == passes
    assert len({round(way.flop / 1e12) for way in ways}) == 1  # what is done is the same in all of them


@pytest.mark.parametrize("branches", [2, 1])
def test_fast_takes_what_the_formulas_say(saving, branches):
    context, level = torch.zeros(branches, 1, 1024, dtype=torch.half, device="meta"), torch.empty((), device="meta")
    prepared = exact.prepare(saving, context, torch.zeros(branches, 3), 25)
    x, kept, counts = latent(*FULL, branches=branches, channels=8), exact.Kept(), {}
    with counting() as loop:
        for whole in (True, False, True):  # the last one with what the first one kept beside it
            with counting() as counts[whole]:
                saving(x, level, exact.Reusing(prepared, kept, whole), return_dict=False)
    assert (9 * counts[True].flop + 16 * counts[False].flop) / (25 * counts[True].flop) <= 0.47
    assert counts[False].launches <= 90
    way = costs(steps=25, speed="fast", guidance_max=3.0 if branches == 2 else 1.0)["sample"].ways[0]
    assert way.working_bytes == pytest.approx(loop.peak_bytes, rel=0.05)
    assert way.working_bytes >= loop.peak_bytes
    # Steps 20 to 24 are guided no more; of these 21 and 24 are whole.
    whole, reusing = (9, 16) if branches == 1 else (7 + 2 / 2, 13 + 3 / 2)
    assert way.flop == pytest.approx(whole * counts[True].flop + reusing * counts[False].flop, rel=0.01)
    assert way.moved_bytes == pytest.approx(
        whole * counts[True].moved_bytes + reusing * counts[False].moved_bytes, rel=0.03
    )


def test_fast_is_said_to_be_no_exact_way_and_needs_its_own_memory():
    exactly, fast = costs(steps=25), costs(steps=25, speed="fast")
    assert [way.exact for way in exactly["sample"].ways] == [True] * 4
    assert [(way.exact, way.notice) for way in fast["sample"].ways] == [(False, "")] * 4
    assert [way.name for way in fast["sample"].ways] == [f"{way.name}, fast" for way in exactly["sample"].ways]
    assert [way.passes for way in fast["sample"].ways] == [9, 9, 16, 16]
    for a, b in zip(exactly["sample"].ways, fast["sample"].ways, strict=True):
        assert b.working_bytes - a.working_bytes == 2 * 25 * 72 * 128 * 320 * 2
        assert b.flop < 0.47 * a.flop
    assert fast["decode"] == exactly["decode"]
    assert fast["encode"] == exactly["encode"]


def test_between_two_pictures_each_end_keeps_its_own_and_nothing_is_unguided():
    exactly, fast = (costs(steps=25, both_ways=True, speed=speed)["sample"].ways for speed in ("exact", "fast"))
    assert [way.passes for way in fast] == [18, 18, 36, 36]
    assert fast[0].working_bytes - exactly[0].working_bytes == 2 * (2 * 25 * 72 * 128 * 320 * 2)
    assert fast[0].choice.approximate == Approximate()


@pytest.mark.parametrize("steps", [1, 2, 7, 25, 50])
@pytest.mark.parametrize("sampler", ["euler", "heun"])
def test_the_plan_counts_the_evaluations_that_the_engine_makes(steps, sampler):
    spec = Catalog(shipped("configs") / "models").get("svd-xt")
    levels = schedule(spec, wish(steps=steps))
    shortcuts, asked = Shortcuts(Approximate(), levels), []

    def denoise(x, sigma):
        asked.append(torch.log(sigma) / 4)
        return x

    SAMPLERS[sampler](denoise, torch.ones(1), levels, lambda *_: None)
    found = Counter((shortcuts.whole(c), 2 if shortcuts.guided(c) else 1) for c in asked)
    given = {"guided": True, "both_ways": False}
    assert svd._evaluations(wish(steps=steps, sampler=sampler), spec.facts, Approximate(), **given) == found


def test_the_numbers_of_fast_are_the_variants_own_where_it_has_some():
    assert svd.approximate_of(wish(speed="fast"), {"fast": {"cache_every": 2}}, True) == Approximate(cache_every=2)
    assert svd.approximate_of(wish(speed="fast"), {}, False) == Approximate(cache_every=1)
    assert svd.approximate_of(wish(speed="draft"), {}, True) is None


def test_weights_in_8_bits_are_planned_beside_the_others():
    facts = {"sigma_min": 0.002, "sigma_max": 700.0, "rho": 7.0}
    plain, quantised = (
        svd._sample_ways(ClipSize(*FULL), wish(speed="fast"), {**facts, "fast": {"quantise": kind}}, 2, True)[0]
        for kind in ("", "int8")
    )
    assert quantised.working_bytes - plain.working_bytes == 571_805_440
    assert (plain.choice.quantise, quantised.choice.quantise) == ("", "int8")


def test_the_sampler_for_few_steps_runs_the_unet_for_few_steps():
    cost = costs(steps=4, sampler="lcm", guidance_max=1.0)["sample"]
    assert (cost.components, cost.streamed) == (("draft_unet",), "draft_unet")
    assert costs(steps=4)["sample"].components == ("unet",)


def test_without_the_savings_feed_forwards_are_not_sliced():
    ways = costs(exact_savings=False)["sample"].ways
    assert [(way.choice.branches_at_once, way.choice.ff_rows) for way in ways] == [(True, None), (False, None)]


def test_an_embedded_engine_costs_nothing_that_a_plan_is_needed_for():
    spec = Catalog(shipped("configs") / "models").get("parallax")
    assert phases_of(spec, wish(), value_bytes=2, exact_savings=True) == ()
