import numpy as np
import pytest
import torch
from diffusers import EulerDiscreteScheduler

from studio.diffusion.precondition import denoise_noise
from studio.diffusion.sigmas import leading, timestep_of, trained_levels
from studio.diffusion.xl_preview import xl_latent_to_rgb
from tests.tiny import DIFFUSERS_WARNS
from tests.tiny_sdxl import SCHEDULER

LEVELS = trained_levels(1000, beta_start=0.00085, beta_end=0.012)


@pytest.mark.filterwarnings(DIFFUSERS_WARNS)
@pytest.mark.parametrize("steps", [1, 2, 3, 25, 30, 50, 500])
def test_levels_and_timesteps_are_those_of_the_published_scheduler(steps):
    scheduler = EulerDiscreteScheduler.from_config(SCHEDULER)
    scheduler.set_timesteps(steps)
    schedule = leading(LEVELS, steps)
    assert torch.equal(schedule, scheduler.sigmas)
    assert [float(timestep_of(LEVELS, sigma)) for sigma in schedule[:-1]] == scheduler.timesteps.tolist()


def test_the_levels_rise_from_almost_nothing_to_the_published_highest():
    assert LEVELS.dtype == torch.float32
    assert bool((LEVELS.diff() > 0).all())
    assert float(LEVELS[0]) == pytest.approx(0.0292, abs=1e-4)
    assert float(LEVELS[-1]) == pytest.approx(14.6146, abs=1e-3)


@pytest.mark.parametrize("steps", [0, 1001])
def test_more_steps_than_levels_are_refused(steps):
    with pytest.raises(ValueError, match="there are 1000 levels"):
        leading(LEVELS, steps)


def test_even_the_most_steps_stay_within_the_levels():
    schedule = leading(LEVELS, 1000)
    assert float(schedule[0]) == float(LEVELS[-1])
    assert bool((schedule.diff() <= 0).all())


def test_a_network_that_knows_the_noise_gives_the_clean_sample():
    generator = torch.Generator().manual_seed(0)
    clean, noise = torch.randn(2, 1, 4, 8, 8, generator=generator)
    sigma, seen = LEVELS[700], []

    def network(scaled, timestep):
        seen.append((float(scaled.std()), float(timestep)))
        return noise

    found = denoise_noise(network, clean + sigma * noise, sigma, LEVELS)
    assert torch.allclose(found, clean, atol=1e-5)
    assert seen[0][1] == 700
    assert 0.8 < seen[0][0] < 1.2


def test_a_preview_shows_rough_colours_and_never_fails():
    latent = torch.zeros(1, 4, 8, 12)
    assert np.all(xl_latent_to_rgb(latent) == [150, 140, 130])
    latent[0, :, 0, 0] = float("nan")
    shown = xl_latent_to_rgb(latent)
    assert (shown.shape, shown.dtype) == ((1, 16, 24, 3), np.uint8)
    latent = torch.zeros(1, 4, 8, 8)
    latent[:, 3] = 3
    assert xl_latent_to_rgb(latent).mean() < 20
