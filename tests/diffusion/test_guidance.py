import pytest
import torch

from studio.diffusion.guidance import guided, linear


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
