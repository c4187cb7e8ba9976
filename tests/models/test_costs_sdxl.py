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
from studio.models.costs import phases_of
from studio.models.costs.sdxl_unets import BASE, REFINER
from studio.models.header import Stored
from studio.settings import shipped
from tests.counting import counting
from tests.engines.convert.oracles import full_size_keys

SIZES = [(1024, 1024), (1344, 768), (512, 512), (1536, 1536)]


def full_size(name):
    tensors = {n: Stored("F16", s, 2 * math.prod(s)) for n, s in full_size_keys(name).items()}
    checkpoint = sort_tensors(Path(f"{name}.safetensors"), tensors)
    with torch.device("meta"):
        found = {c: read_part(checkpoint, c).plan()[0] for c in checkpoint.components}
    return {c: module.half().eval().to("meta").requires_grad_(False) for c, module in found.items()}


@pytest.fixture(scope="module")
def modules():
    return full_size("sdxl")


@pytest.fixture(scope="module")
def unets(modules):
    """Each UNet with its formulas."""
    return {"base": (modules["unet"], BASE), "refiner": (full_size("sdxl_refiner")["unet"], REFINER)}


def costs(value_bytes=2, variant="sdxl", **given):
    fields = {"width": 1024, "height": 1024, "steps": 1, "sampler": "euler", "guidance_scale": 5.0, "loras": (),
              "candidates": 1, "refine_from": None}  # fmt: skip
    spec = Catalog(shipped("configs") / "models").get(variant)
    found = phases_of(spec, SimpleNamespace(**{**fields, **given}), value_bytes=value_bytes, exact_savings=True)
    return {cost.phase: cost for cost in found}


@torch.no_grad()
def step(unet, size, branches):
    def empty(*shape):
        return torch.empty(*shape, dtype=torch.half, device="meta")

    numbers = (unet.config.projection_class_embeddings_input_dim - 1280) // 256
    added = {"text_embeds": empty(branches, 1280), "time_ids": empty(branches, numbers)}
    hidden = empty(branches, 77, unet.config.cross_attention_dim)
    x = empty(branches, 4, size[1] // 8, size[0] // 8)
    with counting() as count:
        unet(x, torch.empty((), device="meta"), hidden, added_cond_kwargs=added, return_dict=False)
    return count


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("branches", [1, 2])
@pytest.mark.parametrize("which", ["base", "refiner"])
def test_a_step_takes_what_the_formula_says(unets, which, size, branches):
    unet, formulas = unets[which]
    count = step(unet, size, branches)
    cells = size[0] * size[1] // 64
    assert formulas.bytes(cells, branches, 2) == pytest.approx(count.peak_bytes, rel=0.01)
    assert formulas.flop(cells, branches) == pytest.approx(count.flop, rel=0.01)
    assert formulas.moved(cells, branches, 2) == pytest.approx(count.moved_bytes, rel=0.03)


def test_the_prompts_longest_takes_what_the_formula_says(modules):
    way = costs()["prompt"].ways[0]
    with torch.no_grad(), counting() as longest:
        modules["text_encoder_2"](torch.empty(10, 77, dtype=torch.long, device="meta"))
    assert way.working_bytes == pytest.approx(longest.peak_bytes, rel=0.03)
    found = {}
    for name in ("text_encoder", "text_encoder_2"):
        with torch.no_grad(), counting() as count:
            modules[name](torch.empty(2, 77, dtype=torch.long, device="meta"))
        found[name] = count
    assert way.flop == pytest.approx(sum(count.flop for count in found.values()), rel=0.03)
    refining = costs(variant="sdxl-refiner", refine_from=0.8)["prompt"].ways[0]
    assert refining.flop == pytest.approx(found["text_encoder_2"].flop, rel=0.03)
    assert refining.moved_bytes == pytest.approx(found["text_encoder_2"].moved_bytes, rel=0.03)


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


@pytest.mark.parametrize(("which", "largest", "share"), [("base", 0.02, 0.988), ("refiner", 0.032, 0.981)])
def test_the_units_are_those_that_are_streamed_in_their_order_with_their_shares(unets, which, largest, share):
    unet, formulas = unets[which]
    total = sum(p.numel() for p in unet.parameters())
    units = list(unet_units(unet))
    assert [unit.name for unit in units] == [unit.name for unit in formulas.units]
    assert all(unet.get_submodule(unit.name) is unit.module for unit in units)
    work = [unit.flop_share / unit.share for unit in formulas.units]
    assert [work[i] for i in stay_first(units)] == sorted(work)
    for unit, cost in zip(units, formulas.units, strict=True):
        assert cost.share == pytest.approx(sum(p.numel() for p in unit.module.parameters()) / total, abs=1e-5)
    assert max(unit.share for unit in formulas.units) < largest
    assert sum(unit.share for unit in formulas.units) == pytest.approx(share, abs=0.002)
    assert 0.9 < sum(unit.flop_share for unit in formulas.units) <= 1


def test_base_and_refiner_share_the_steps_and_only_the_last_to_work_decodes():
    base = costs(steps=30, refine_from=0.8, candidates=2)
    refiner = costs(variant="sdxl-refiner", steps=30, refine_from=0.8, candidates=2)
    assert (base["sample"].ways[0].passes, refiner["sample"].ways[0].passes) == (46, 14)
    assert ("decode" in base, "decode" in refiner) == (False, True)
    assert refiner["decode"].ways[0].flop == 2 * costs()["decode"].ways[0].flop
    heun = {v: costs(variant=v, steps=10, sampler="heun", refine_from=0.5)["sample"].ways[0].passes
            for v in ("sdxl", "sdxl-refiner")}  # fmt: skip
    assert sum(heun.values()) == costs(steps=10, sampler="heun")["sample"].ways[0].passes == 19


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
