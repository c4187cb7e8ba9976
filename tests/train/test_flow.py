"""Flow that is known by making, against what the pictures show."""

import numpy as np
import pytest
import torch

from studio.scene.toybox.composition import compose
from studio.scene.toybox.render import look_at, scene_camera
from studio.scene.toybox.words import parse
from studio.train.fields import Fields
from studio.train.flow import flows, mean_motion
from studio.train.render import render
from studio.train.scores import measured_flow
from studio.train.takes import Take

SIZE = 96


@pytest.fixture(scope="module")
def fields() -> Fields:
    return Fields("cpu", 64)


def take(prompt: str, *, camera: float = 0.0, slide: float = 0.0, turn: float = 0.0) -> Take:
    """Two moments; between them the camera goes aside, and the first solid slides to the right or turns."""
    scene = compose(parse(prompt), 2)
    home = scene_camera(scene, SIZE, SIZE)
    aside = home.world_to_camera[0, :3] * camera
    target = home.position + home.world_to_camera[2, :3] * 3
    cameras = [look_at(home.position + t * aside, target, home.intrinsics).world_to_camera for t in (0, 1)]
    still = Take.still(scene, np.stack(cameras), home.intrinsics[0, 0] / SIZE)
    feet, turns = still.feet.copy(), still.turns_deg.copy()
    feet[1, 0] += slide * home.world_to_camera[0, :3]
    turns[1, 0] += turn
    return Take(scene, still.world_to_camera, still.focal, feet, turns)


@pytest.mark.parametrize(
    ("prompt", "moves"),
    [
        ("a checkered cube and a spotted ball on a wooden floor", {"camera": 0.25}),
        ("a checkered cube and a spotted ball on tiles", {"slide": 0.2}),
        ("a matte spotted ball on grass in fog", {"turn": 12}),
        ("a striped star on marble", {"camera": -0.2, "turn": 8, "slide": 0.1}),
    ],
    ids=["camera", "slide", "turn", "all"],
)
def test_the_next_frame_taken_back_along_the_flow_is_this_one_where_it_is_still_seen(prompt, moves, fields):
    moved = take(prompt, **moves)
    seen = render([moved], SIZE, fields)
    flow, visible = flows([moved], seen)
    here, after = seen.rgb[0:1].float(), seen.rgb[1:2].float()
    grid = torch.stack(torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="xy")) + flow
    grid = (2 * grid.permute(0, 2, 3, 1) + 1) / SIZE - 1
    back = torch.nn.functional.grid_sample(after, grid, align_corners=False, padding_mode="border")
    moving = visible & (flow.norm(dim=1) > 0.5)
    assert moving.sum() > 100
    error, unmoved = ((x - here).abs().mean(1)[moving].mean() for x in (back, after))
    assert error < 6
    assert error < 0.5 * unmoved


def test_flow_is_that_of_each_take_however_many_are_looked_at_together(fields):
    takes = [take("a cube", camera=0.2), take("a red ball and a blue cone", slide=0.1)]
    both, each = render(takes, 32, fields), [render([t], 32, fields) for t in takes]
    flow, visible = flows(takes, both)
    alone = [flows([t], s) for t, s in zip(takes, each, strict=True)]
    assert torch.allclose(flow, torch.cat([f for f, _ in alone]))
    assert torch.equal(visible, torch.cat([v for _, v in alone]))


def test_motion_is_the_mean_length_of_the_flow_and_the_same_at_every_size(fields):
    moved = take("a checkered cube on a wooden floor", camera=0.1)
    small, large = (float(mean_motion([moved], render([moved], size, fields))) for size in (32, 96))
    assert small == pytest.approx(large, rel=0.12)
    assert large > 1
    assert float(mean_motion([take("a cube")], render([take("a cube")], 32, fields))) == pytest.approx(0, abs=1e-3)


def test_where_everything_has_texture_the_flow_that_is_measured_is_the_one_that_is_known(fields):
    moved = take("a checkered cube on grass by day", camera=0.06)
    seen = render([moved], 128, fields)
    known, measured = float(mean_motion([moved], seen)), measured_flow(seen.rgb.permute(0, 2, 3, 1).numpy())
    assert measured == pytest.approx(known, rel=0.15)
