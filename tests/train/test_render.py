"""The renderer of training against the toybox's own, which is exact and slow."""

import numpy as np
import pytest
import torch

from studio.scene.toybox.composition import compose
from studio.scene.toybox.render import render_view, scene_camera
from studio.scene.toybox.words import parse
from studio.train import render as rendering
from studio.train.fields import Fields
from studio.train.render import render
from studio.train.takes import Take

SIZE = 96
PROMPTS = (
    "a red sphere and a striped blue cube in a studio",
    "a castle beside a pine on grass by day",
    "a gold trophy on a wooden table at sunset",
    "a brick cylinder beside a spotted pink heart on tiles at night",
    "a white bowl on marble in fog",
)
"""Floors, lights, patterns, metal, cuts, smooth seams and things of many parts."""


@pytest.fixture(scope="module")
def fields() -> Fields:
    return Fields("cpu")


def still(prompt: str, seed: int = 3) -> Take:
    scene = compose(parse(prompt), seed)
    camera = scene_camera(scene, SIZE, SIZE)
    return Take.still(scene, camera.world_to_camera[None], camera.intrinsics[0, 0] / SIZE)


@pytest.mark.parametrize("prompt", PROMPTS)
def test_a_view_is_that_of_the_toybox_but_for_glass_and_mirrored_solids(prompt, fields):
    take = still(prompt)
    seen = render([take], SIZE, fields)
    truth = render_view(take.scene, scene_camera(take.scene, SIZE, SIZE), SIZE, SIZE)
    ids, depth = seen.ids[0].numpy(), seen.depth[0].numpy()
    assert (ids == truth.ids).mean() >= 0.985
    both = (ids == truth.ids) & (ids >= -1)
    assert np.quantile(np.abs(depth[both] - truth.depth[both]) / truth.depth[both], 0.99) <= 0.01
    assert np.isinf(depth[ids == -2]).all()
    apart = np.abs(seen.rgb[0].permute(1, 2, 0).numpy().astype(int) - truth.rgb)
    assert apart.mean() <= 3
    assert apart[both & (ids >= 0)].mean() <= 9


def test_views_of_many_scenes_at_once_are_those_of_each_alone_whatever_the_number_of_rays_at_once(fields, monkeypatch):
    takes = [still(PROMPTS[0]), still(PROMPTS[4]), still("a cat")]
    alone = torch.cat([render([take], 32, fields).rgb for take in takes])
    together = render(takes, 32, fields)
    assert together.rgb.shape == (3, 3, 32, 32)
    assert torch.equal(together.rgb, alone)
    monkeypatch.setitem(rendering._RAYS_AT_ONCE, "cpu", 1000)
    assert (render(takes, 32, fields).rgb.int() - alone).abs().max() <= 1


def test_on_white_nothing_but_the_solids_is_seen(fields):
    seen = render([still("a red cube")], SIZE, fields, white=True)
    outside = seen.ids[0] == -2
    assert set(seen.ids.unique().tolist()) == {-2, 0}
    beside = torch.nn.functional.max_pool2d((~outside)[None].float(), 3, 1, 1)[0] > 0
    assert (seen.rgb[0][:, ~beside] == 255).all()
    assert (seen.rgb[0].float().mean(0)[~outside] < 250).float().mean() > 0.9


def test_edges_are_softer_than_one_ray_makes_them(fields):
    take = still("a black sphere on a plain white floor")
    soft, hard = (render([take], SIZE, fields, soft=s).rgb[0].float().mean(0) for s in (True, False))
    assert (soft[:, 1:] - soft[:, :-1]).abs().max() < (hard[:, 1:] - hard[:, :-1]).abs().max()


def test_a_solid_that_has_turned_takes_its_pattern_along(fields):
    scene = compose(parse("a checkered red cylinder"), 1)
    camera = scene_camera(scene, SIZE, SIZE)
    here = Take.still(scene, camera.world_to_camera[None], camera.intrinsics[0, 0] / SIZE)
    turned = Take(scene, here.world_to_camera, here.focal, here.feet, here.turns_deg + 30.0)
    seen = render([here, turned], SIZE, fields)
    on = (seen.ids[0] == 0) & (seen.ids[1] == 0)
    apart = (seen.rgb[0].float() - seen.rgb[1].float()).abs().mean(0)
    assert on.float().mean() > 0.1
    assert apart[on].mean() > 15
    assert apart[~on].mean() < 3


def test_a_thing_is_sampled_once_and_stays_what_it_is_as_others_come():
    fields = Fields("cpu", 25)
    fields.bake(["sphere"])
    place = torch.tensor([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
    slot = torch.zeros(2, dtype=torch.long)
    before = fields.distance(slot, place)
    fields.bake(["cube", "sphere", "torus"])
    assert [fields.slot(k) for k in ("sphere", "cube", "torus")] == [0, 1, 2]
    assert torch.allclose(fields.distance(slot, place), before, atol=1e-4)
    assert before[0] == pytest.approx(-0.45, abs=0.03)
    assert before[1] == pytest.approx(0.027, abs=0.01)
