"""The refiner goes on where the base stops: held to diffusers' two pipelines at tiny size."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from studio.engines import sdxl, sdxl_weights
from studio.errors import Cancelled
from studio.models.costs import phases_of
from studio.models.costs.sdxl import steps_of
from studio.models.installed import Installed
from studio.models.spec import read_spec
from tests.engines.held import Held
from tests.engines.test_sdxl import PROMPT, Watch, wish
from tests.tiny import DIFFUSERS_WARNS
from tests.tiny_sdxl import (
    tiny_refiner_yaml,
    tiny_sdxl_weights,
    tiny_sdxl_yaml,
    write_tiny_refiner,
    write_tiny_sdxl,
)

HALF = {"steps": 8, "refine_from": 0.5}

pytestmark = pytest.mark.filterwarnings(DIFFUSERS_WARNS)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    home = tmp_path_factory.mktemp("models")
    return write_tiny_sdxl(home / "tiny-sdxl"), write_tiny_refiner(home / "tiny-refiner")


@pytest.fixture(scope="module")
def specs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("specs")
    return read_spec(tiny_sdxl_yaml("tiny-sdxl", folder)), read_spec(tiny_refiner_yaml("tiny-refiner", folder))


@pytest.fixture(scope="module")
def modules(folders, specs):
    found = []
    for folder, spec in zip(folders, specs, strict=True):
        weights = {c: folder / file for c, file in tiny_sdxl_weights().items() if c in spec.component_bytes}
        installed = Installed(spec.id, "diffusers", folder, weights, "fp32")
        found.append({c: sdxl_weights.load(c, installed, "cpu", "fp32", lambda done, total: None) for c in weights})
    return found


@pytest.fixture
def engines(specs, modules):
    return [sdxl.Engine(spec, Held(spec, m)) for spec, m in zip(specs, modules, strict=True)]


def wishes(*seeds, **given):
    seeds = seeds or (0,)
    given = {"steps": 5, "refine_from": 0.8, **given}
    return [wish(seed=seed, candidates=len(seeds), **given) for seed in seeds]


def both(engines, *seeds, ctx=None, **given):
    """The latents where the base stops, those at the end, and the pictures."""
    base, refiner = engines
    asked = wishes(*seeds, **given)
    sketches = base.sketch_all(PROMPT, asked, Watch())
    ctx = ctx or Watch()
    pictures = list(refiner.refine_all(PROMPT, asked, sketches, ctx))
    return torch.from_numpy(sketches["x"]), torch.from_numpy(ctx.states[-1]["x"]), pictures


@pytest.fixture(scope="module")
def theirs(folders):
    """The same by their two pipelines, the picture as an array."""
    from diffusers import StableDiffusionXLImg2ImgPipeline, StableDiffusionXLPipeline

    base = StableDiffusionXLPipeline.from_pretrained(folders[0])
    refiner = StableDiffusionXLImg2ImgPipeline.from_pretrained(folders[1])
    assert refiner.config.requires_aesthetics_score
    for pipe in (base, refiner):
        pipe.set_progress_bar_config(disable=True)

    def run(output_type="latent", **given):
        (r,) = wishes(**given)
        common = {"negative_prompt": r.negative_prompt or None, "num_inference_steps": r.steps,
                  "guidance_scale": r.guidance_scale}  # fmt: skip
        sketch = base(
            PROMPT, height=r.height, width=r.width, denoising_end=r.refine_from, output_type="latent",
            generator=torch.Generator().manual_seed(r.seed), **common,
        ).images  # fmt: skip
        size = dict.fromkeys(("original_size", "target_size"), (r.height, r.width))
        end = refiner(PROMPT, image=sketch, denoising_start=r.refine_from, output_type=output_type, **size, **common)
        return sketch, end.images

    return run


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"steps": 8, "refine_from": 0.6},
        {"negative_prompt": "fog"},
        {"guidance_scale": 1.0},
        {"guidance_scale": 9.0, "width": 64, "height": 192, "refine_from": 0.5},
    ],
    ids=str,
)
def test_both_halves_agree_with_diffusers_two_pipelines(engines, theirs, given):
    for ours, expected in zip(both(engines, **given)[:2], theirs(**given), strict=True):
        assert expected.std() > 0.5
        assert (ours - expected).abs().max() < 1e-4


def test_the_refined_picture_agrees_with_theirs_and_is_another_than_the_bases(engines, theirs):
    (ours,), expected = both(engines, **HALF)[2], (theirs("np", **HALF)[1][0] * 255).round()
    assert np.abs(ours - expected).max() <= 1
    (alone,) = engines[0].paint_all(PROMPT, wishes(**{**HALF, "refine_from": None}), Watch())
    assert np.abs(ours.astype(int) - alone).mean() > 0.5


@pytest.mark.parametrize(
    "facts", [{"aesthetic_scores": [6.0, 6.0]}, {"aesthetic_scores": [5.5, 2.5]}, {"empty_negative": "zeros"}], ids=str
)
def test_a_refiner_that_is_told_something_else_is_caught_by_the_comparison(specs, modules, theirs, facts):
    wrong = specs[1].model_copy(update={"facts": {**specs[1].facts, **facts}})
    engines = [sdxl.Engine(s, Held(s, m)) for s, m in zip((specs[0], wrong), modules, strict=True)]
    assert (both(engines, **HALF)[1] - theirs(**HALF)[1]).abs().max() > 1e-2


@pytest.mark.parametrize("sampler", ["euler", "heun", "euler-ancestral", "dpmpp-2m"])
def test_every_sampler_is_handed_over_so_that_a_refiner_that_is_the_base_paints_what_the_base_alone_does(
    specs, modules, sampler
):
    base, _ = specs
    taking_over = base.model_copy(update={"capabilities": {"refine": base.capabilities["text-to-image"]}})
    engines = [sdxl.Engine(s, Held(s, modules[0])) for s in (base, taking_over)]
    (found,) = both(engines, sampler=sampler, steps=4, width=64)[2]
    (alone,) = engines[0].paint_all(PROMPT, wishes(sampler=sampler, steps=4, width=64, refine_from=None), Watch())
    assert found.tobytes() == alone.tobytes()


@pytest.mark.parametrize("refine_from", [0.5, 0.8, 0.99])
@pytest.mark.parametrize("steps", [1, 2, 4, 7, 30, 200])
def test_between_them_they_do_every_step_once_and_the_refiner_has_the_last(specs, steps, refine_from):
    (asked,) = wishes(steps=steps, refine_from=refine_from)
    first, rest = (steps_of(spec, asked) for spec in specs)
    assert [*first, *rest] == list(range(steps))
    assert len(rest) >= 1
    assert list(steps_of(specs[0], wishes(steps=steps, refine_from=None)[0])) == list(range(steps))


def test_a_base_that_is_left_no_step_hands_on_the_noise(engines, specs):
    sketch, _, pictures = both(engines, steps=1)
    assert list(steps_of(specs[0], wishes(steps=1)[0])) == []
    assert sketch.std() == pytest.approx(1, abs=0.1)
    assert pictures[0].std() > 1


def test_several_pictures_are_those_that_each_seed_gives_alone(engines):
    together = both(engines, 3, 4)[2]
    assert [p.tobytes() for p in together] == [both(engines, seed)[2][0].tobytes() for seed in (3, 4)]


def test_a_refiner_that_died_goes_on_after_its_last_step_and_not_with_other_sketches(engines):
    ctx = Watch()
    whole = both(engines, 3, 4, ctx=ctx, steps=8, refine_from=0.6)[2]
    assert [int(s["done"]) for s in ctx.states] == list(range(1, len(ctx.states) + 1))
    again = Watch(kept=ctx.states[3])
    found = both(engines, 3, 4, ctx=again, steps=8, refine_from=0.6)[2]
    assert [p.tobytes() for p in found] == [p.tobytes() for p in whole]
    assert len(again.states) == len(ctx.states) - 4
    other = Watch(kept=ctx.states[3])
    both(engines, 3, 5, ctx=other, steps=8, refine_from=0.6)
    assert len(other.states) == len(ctx.states)


def test_it_reads_the_prompt_reports_its_own_steps_and_ends_when_it_is_cancelled(engines):
    ctx = Watch()
    both(engines, 3, 4, ctx=ctx)
    assert ctx.steps == [
        ("prompt", 0, 1), ("prompt", 1, 1), ("sample", 0, 2), ("sample", 1, 2), ("sample", 2, 2),
        *[("decode", i, 1) for i in range(2)] * 2,
    ]  # fmt: skip
    for stage, at in (("prompt", 0), ("sample", 1), ("decode", 0)):
        with pytest.raises(Cancelled):
            both(engines, 3, 4, ctx=Watch(stage, at))


def test_its_costs_are_those_of_its_own_share(specs):
    asked = SimpleNamespace(**{**vars(wishes()[0]), "steps": 10})
    found = [{c.phase: c for c in phases_of(s, asked, value_bytes=2, exact_savings=True)} for s in specs]
    assert [list(phases) for phases in found] == [["prompt", "sample"], ["prompt", "sample", "decode"]]
    assert [phases["sample"].ways[0].passes for phases in found] == [8, 2]
    assert found[1]["prompt"].components == ("text_encoder_2",)
    nine = SimpleNamespace(**{**vars(asked), "candidates": 9})
    for spec, phases in zip(specs, found, strict=True):
        many = {c.phase: c for c in phases_of(spec, nine, value_bytes=2, exact_savings=True)}
        for phase in set(phases) - {"prompt"}:
            one, all_ = phases[phase].ways[0], many[phase].ways[0]
            assert all_.flop == pytest.approx(9 * one.flop)
            work = {"flop": 0, "moved_bytes": 0, "passes": 0}
            assert dataclasses.replace(all_, **work) == dataclasses.replace(one, **work)
