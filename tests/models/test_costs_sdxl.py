"""The formulas of `studio.models.costs.sdxl` against counts of the real modules at full size."""

import math
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from studio.engines.convert.parts import read_part
from studio.engines.sdxl_weights import stay_first, unet_units
from studio.models.catalog import Catalog
from studio.models.checkpoint import sort_tensors
from studio.models.costs import phases_of, sdxl
from studio.models.header import Stored
from studio.settings import shipped
from tests.counting import counting
from tests.engines.convert.oracles import full_size_keys

SIZES = [(1024, 1024), (1344, 768), (512, 512), (1536, 1536)]


@pytest.fixture(scope="module")
def modules():
    tensors = {n: Stored("F16", s, 2 * math.prod(s)) for n, s in full_size_keys("sdxl").items()}
    checkpoint = sort_tensors(Path("sdxl.safetensors"), tensors)
    with torch.device("meta"):
        found = {c: read_part(checkpoint, c).plan()[0] for c in checkpoint.components}
    return {c: module.half().eval().to("meta").requires_grad_(False) for c, module in found.items()}


def costs(value_bytes=2, **given):
    fields = {"width": 1024, "height": 1024, "steps": 1, "sampler": "euler", "guidance_scale": 5.0, "loras": ()}
    spec = Catalog(shipped("configs") / "models").get("sdxl")
    found = phases_of(spec, SimpleNamespace(**{**fields, **given}), value_bytes=value_bytes, exact_savings=True)
    return {cost.phase: cost for cost in found}


@torch.no_grad()
def step(unet, size, branches):
    def empty(*shape):
        return torch.empty(*shape, dtype=torch.half, device="meta")

    added = {"text_embeds": empty(branches, 1280), "time_ids": empty(branches, 6)}
    x = empty(branches, 4, size[1] // 8, size[0] // 8)
    with counting() as count:
        unet(x, torch.empty((), device="meta"), empty(branches, 77, 2048), added_cond_kwargs=added, return_dict=False)
    return count


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("branches", [1, 2])
def test_a_step_takes_what_the_formula_says(modules, size, branches):
    count = step(modules["unet"], size, branches)
    cells = size[0] * size[1] // 64
    assert sdxl.unet_bytes(cells, branches, 2) == pytest.approx(count.peak_bytes, rel=0.01)
    assert sdxl.unet_flop(cells, branches) == pytest.approx(count.flop, rel=0.01)
    assert sdxl.unet_moved(cells, branches, 2) == pytest.approx(count.moved_bytes, rel=0.03)


def test_the_prompts_longest_takes_what_the_formula_says(modules):
    way = costs()["prompt"].ways[0]
    with torch.no_grad(), counting() as longest:
        modules["text_encoder_2"](torch.empty(10, 77, dtype=torch.long, device="meta"))
    assert way.working_bytes == pytest.approx(longest.peak_bytes, rel=0.03)
    flop = 0
    for name in ("text_encoder", "text_encoder_2"):
        with torch.no_grad(), counting() as count:
            modules[name](torch.empty(2, 77, dtype=torch.long, device="meta"))
        flop += count.flop
    assert way.flop == pytest.approx(flop, rel=0.03)


@pytest.mark.parametrize("size", [(1024, 1024), (512, 512), (1536, 640)], ids=str)
def test_decoding_takes_what_the_formula_says(modules, size):
    vae = modules["vae"]
    decoder = torch.nn.Sequential(vae.post_quant_conv, vae.decoder).float()
    way = costs(width=size[0], height=size[1], value_bytes=4)["decode"].ways[0]
    with torch.no_grad(), counting() as count:
        decoder(torch.empty(1, 4, size[1] // 8, size[0] // 8, device="meta"))
    assert way.working_bytes == pytest.approx(count.peak_bytes, rel=0.01)
    assert way.flop == pytest.approx(count.flop, rel=0.01)
    assert way.moved_bytes == pytest.approx(count.moved_bytes, rel=0.02)
    copied = 4 * sum(p.numel() for p in decoder.parameters())
    half = costs(width=size[0], height=size[1])["decode"].ways[0]
    assert half.working_bytes - way.working_bytes == copied


def test_the_units_are_those_that_are_streamed_in_their_order_with_their_shares(modules):
    unet = modules["unet"]
    total = sum(p.numel() for p in unet.parameters())
    units = list(unet_units(unet))
    assert [unit.name for unit in units] == [unit.name for unit in sdxl.UNET_UNITS]
    assert all(unet.get_submodule(unit.name) is unit.module for unit in units)
    work = [unit.flop_share / unit.share for unit in sdxl.UNET_UNITS]
    assert [work[i] for i in stay_first(units)] == sorted(work)
    for unit, cost in zip(units, sdxl.UNET_UNITS, strict=True):
        assert cost.share == pytest.approx(sum(p.numel() for p in unit.module.parameters()) / total, abs=1e-5)
    assert max(unit.share for unit in sdxl.UNET_UNITS) < 0.02
    assert sum(unit.share for unit in sdxl.UNET_UNITS) == pytest.approx(0.988, abs=0.002)
    assert 0.9 < sum(unit.flop_share for unit in sdxl.UNET_UNITS) <= 1


def test_the_ways_of_sampling_follow_guidance_and_sampler():
    both, one = costs()["sample"].ways
    (alone,) = costs(guidance_scale=1.0)["sample"].ways
    assert (both.passes, one.passes, alone.passes) == (1, 2, 1)
    assert one.working_bytes < 0.55 * both.working_bytes
    assert both.choice.branches_at_once
    assert not one.choice.branches_at_once
    assert costs(steps=10, sampler="heun")["sample"].ways[0].passes == 19


def test_leaner_ways_of_decoding_are_tiles_which_are_said_to_be_an_approximation():
    whole, *tiled = costs()["decode"].ways
    assert whole.exact
    assert [way.name for way in tiled] == ["tiled, 512x512", "tiled, 256x256"]
    assert all(not way.exact and "approximation" in way.notice for way in tiled)
    sizes = [way.working_bytes for way in (whole, *tiled)]
    assert sizes == sorted(sizes, reverse=True)
    assert [way.name for way in costs(width=512, height=512)["decode"].ways] == ["whole", "tiled, 256x256"]
