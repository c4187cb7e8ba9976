import math

import pytest
import torch

from studio.diffusion.sigmas import every_so_many, initial_noise, karras
from tests.tiny import DIFFUSERS_WARNS, euler_scheduler


def test_the_schedule_falls_from_max_to_min_and_ends_at_zero():
    s = karras(25, sigma_min=0.002, sigma_max=700.0)
    assert s.shape == (26,)
    assert s.dtype == torch.float32
    assert s[0].item() == pytest.approx(700.0, rel=1e-6)
    assert s[-2].item() == pytest.approx(0.002, rel=1e-5)
    assert s[-1].item() == 0
    assert bool((s[1:] < s[:-1]).all())


def test_rho_root_of_the_sigmas_is_evenly_spaced():
    s = karras(9, sigma_min=0.01, sigma_max=80.0, rho=5.0)[:-1].double() ** (1 / 5)
    gaps = s[1:] - s[:-1]
    assert torch.allclose(gaps, gaps.mean().expand_as(gaps), rtol=1e-4)


def test_one_step_starts_at_the_largest_sigma():
    assert karras(1, sigma_min=0.002, sigma_max=700.0).tolist() == pytest.approx([700.0, 0.0])


@pytest.mark.parametrize(("steps", "low", "high"), [(0, 0.002, 700.0), (5, 0.0, 700.0), (5, 2.0, 1.0)])
def test_a_schedule_that_cannot_be_is_refused(steps, low, high):
    with pytest.raises(ValueError, match="steps from"):
        karras(steps, sigma_min=low, sigma_max=high)


def test_a_consistency_model_sees_only_levels_that_it_was_trained_at_from_the_highest_on():
    trained = karras(40, sigma_min=0.002, sigma_max=700.0)
    s = every_so_many(4, trained=40, sigma_min=0.002, sigma_max=700.0)
    assert torch.equal(s, torch.stack([trained[0], trained[10], trained[20], trained[30], torch.zeros(())]))
    assert every_so_many(1, trained=40, sigma_min=0.002, sigma_max=700.0).tolist() == pytest.approx([700.0, 0.0])
    assert torch.equal(every_so_many(40, trained=40, sigma_min=0.002, sigma_max=700.0), trained)
    assert len(every_so_many(7, trained=40, sigma_min=0.002, sigma_max=700.0).unique()) == 8


@pytest.mark.parametrize("steps", [0, 41])
def test_more_steps_than_a_consistency_model_was_trained_at_are_refused(steps):
    with pytest.raises(ValueError, match="trained at 40 levels"):
        every_so_many(steps, trained=40, sigma_min=0.002, sigma_max=700.0)


@pytest.mark.filterwarnings(DIFFUSERS_WARNS)
def test_the_schedule_agrees_with_diffusers():
    scheduler = euler_scheduler()
    scheduler.set_timesteps(25)
    ours = karras(25, sigma_min=0.002, sigma_max=700.0)
    assert torch.allclose(ours, scheduler.sigmas, rtol=1e-5)
    assert float(scheduler.init_noise_sigma) == pytest.approx(math.sqrt(1 + 700.0**2))


def test_initial_noise_has_the_deviation_of_the_first_sigma():
    noise = torch.randn(20000, generator=torch.Generator().manual_seed(0))
    assert initial_noise(noise, torch.tensor(3.0)).std().item() == pytest.approx(math.sqrt(10), rel=0.03)
