import json
from pathlib import Path

import pytest
import torch

from studio.diffusion.guidance import GUIDERS, constant, guided, linear, trapezoid, triangle

NUMBERS = Path(__file__).resolve().parents[3] / "shared" / "oracles" / "a" / "aux" / "numerics.json"


def test_linear_guidance_rises_evenly_from_the_first_frame_to_the_last():
    assert linear(1.0, 3.0, 5).tolist() == [1.0, 1.5, 2.0, 2.5, 3.0]
    assert linear(1.5, 3.0, 1).tolist() == [1.5]


def test_each_frame_is_guided_by_its_own_weight():
    uncond, cond = torch.zeros(1, 3, 4, 2, 2), torch.ones(1, 3, 4, 2, 2)
    out = guided(uncond, cond, torch.tensor([1.0, 2.0, 0.0]))
    assert out[0, :, 0, 0, 0].tolist() == [1.0, 2.0, 0.0]


def test_swapping_the_branches_gives_another_result():
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 1, 2, 4, 2, 2, generator=generator)
    weight = linear(1.0, 2.0, 2)
    assert (guided(a, b, weight) - guided(b, a, weight)).abs().max().item() == pytest.approx(
        ((2 * weight.view(-1, 1, 1, 1) - 1) * (b - a)).abs().max().item(), rel=1e-5
    )


def test_triangle_guidance_is_least_at_both_ends_and_most_in_the_middle():
    assert triangle(1.0, 2.0, 5).tolist() == pytest.approx([1.0, 1.5, 2.0, 1.5, 1.0])
    assert triangle(1.0, 2.0, 4).tolist() == pytest.approx([1.0, 5 / 3, 5 / 3, 1.0])


@pytest.mark.parametrize(
    ("frames", "weights"),
    [
        (20, [1.0, 2.5, *[2.5] * 16, 2.5, 1.0]),
        (30, [1.0, 1.75, 2.5, *[2.5] * 24, 2.5, 1.75, 1.0]),
        (5, [1.0, 2.5, 2.5, 2.5, 1.0]),
        (2, [1.0, 1.0]),
        (1, [1.0]),
    ],
)
def test_trapezoid_guidance_stays_at_the_most_between_its_ramps(frames, weights):
    assert trapezoid(1.0, 2.5, frames).tolist() == pytest.approx(weights)


def test_constant_guidance_is_the_most_for_every_frame():
    assert constant(1.0, 2.5, 3).tolist() == [2.5] * 3


@pytest.mark.parametrize("name", GUIDERS)
def test_every_guider_gives_one_weight_a_frame_between_the_least_and_the_most(name):
    for frames in (1, 2, 3, 14, 25):
        weight_T = GUIDERS[name](1.5, 3.0, frames)
        assert weight_T.shape == (frames,)
        assert weight_T.dtype == torch.float32
        assert weight_T.min() >= 1.5
        assert weight_T.max() <= 3.0


@pytest.mark.skipif(not NUMBERS.is_file(), reason="../shared/oracles is not there")
def test_guidance_is_the_references_but_for_the_plateau_of_its_trapezoid():
    told = json.loads(NUMBERS.read_text(encoding="utf-8"))
    for case in told["guider_linear"]:
        assert linear(case["min_scale"], case["max_scale"], case["num_frames"]).tolist() == pytest.approx(case["scale"])
    case = told["guider_triangle"][0]
    assert case["period"] == 1.0
    assert triangle(case["min_scale"], case["max_scale"], case["num_frames"]).tolist() == pytest.approx(case["scale"])
    case = told["guider_trapezoid"][0]
    assert case["scale"][2:-2] == [1.0] * 16
    ours = trapezoid(case["min_scale"], case["max_scale"], case["num_frames"], case["edge_perc"]).tolist()
    assert ours[:2] + ours[-2:] == pytest.approx(case["scale"][:2] + case["scale"][-2:])
    assert ours[2:-2] == [2.5] * 16
