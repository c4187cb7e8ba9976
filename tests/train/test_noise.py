"""The noise that the pocket UNets are trained with."""

import math

import pytest
import torch

from studio.diffusion.precondition import denoise_v
from studio.train import networks, noise


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


def test_a_network_that_says_what_it_should_gives_the_clean_sample_back(generator):
    clean_BTCHW = torch.randn(3, 4, 4, 2, 2, generator=generator)
    sigma_B = torch.tensor([0.05, 1.0, 40.0])
    scaled_BTCHW, c_noise_B, v_BTCHW = noise.noised(clean_BTCHW, sigma_B, generator)
    for i, sigma in enumerate(sigma_B):
        x_TCHW = scaled_BTCHW[i] * torch.sqrt(sigma**2 + 1)
        assert torch.equal(c_noise_B[i], torch.log(sigma) / 4)
        denoised = denoise_v(lambda x, c_noise, v=v_BTCHW[i]: v, x_TCHW, sigma)
        assert torch.allclose(denoised, clean_BTCHW[i], atol=1e-4 * float(sigma))


def test_what_goes_into_the_network_and_what_should_come_out_have_unit_variance(generator):
    clean_BTCHW = torch.randn(4, 8, 4, 16, 16, generator=generator)
    for sigma in (0.1, 1.0, 30.0):
        scaled, _, v = noise.noised(clean_BTCHW, torch.full((4,), sigma), generator)
        assert float(scaled.std()) == pytest.approx(1, abs=0.02)
        assert float(v.std()) == pytest.approx(1, abs=0.02)


def test_levels_rise_through_the_batch_and_have_the_distribution_that_is_told(generator):
    drawn = torch.stack([noise.levels(16, generator) for _ in range(400)])
    assert bool((drawn.diff(dim=1) > 0).all())
    logs = drawn.log()
    assert float(logs.mean()) == pytest.approx(noise.LOG_MEAN, abs=0.02)
    assert float(logs.std()) == pytest.approx(noise.LOG_DEVIATION, abs=0.02)


def test_sampling_begins_within_what_was_trained():
    deviations = (math.log(networks.SIGMA_MAX) - noise.LOG_MEAN) / noise.LOG_DEVIATION
    assert 2 < deviations < 3
    assert (noise.LOG_MEAN - math.log(networks.SIGMA_MIN)) / noise.LOG_DEVIATION < 3


def test_a_tenth_lacks_both_conditions_and_a_twentieth_one_of_them(generator):
    latent_B, embedding_B = noise.kept(40_000, generator)
    assert float(((latent_B + embedding_B) == 0).float().mean()) == pytest.approx(0.1, abs=0.005)
    for has, lacks in ((latent_B, embedding_B), (embedding_B, latent_B)):
        assert float(((has == 1) & (lacks == 0)).float().mean()) == pytest.approx(0.025, abs=0.003)


def test_the_picture_is_noised_as_sampling_noises_it_too(generator):
    amounts = noise.augmentations(20_000, generator)
    assert float(amounts.median()) == pytest.approx(math.exp(-3), rel=0.02)
    assert float((amounts < 0.02).float().mean()) > 0.02  # what the studio gives is no outlier
