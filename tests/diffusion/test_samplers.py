import pytest
import torch

from studio.diffusion.samplers import euler
from studio.diffusion.sigmas import initial_noise, karras


def ignore(done, x, denoised):
    pass


def gaussian(mean, deviation):
    """The exact denoiser of normally distributed data."""

    def denoise(x, sigma):
        return (deviation**2 * x + sigma**2 * mean) / (deviation**2 + sigma**2)

    return denoise


def test_euler_brings_noise_to_the_distribution_of_the_data():
    noise = torch.randn(20000, generator=torch.Generator().manual_seed(0))
    schedule = karras(200, sigma_min=0.002, sigma_max=80.0)
    out = euler(gaussian(2.0, 0.5), initial_noise(noise, schedule[0]), schedule, ignore)
    assert out.mean().item() == pytest.approx(2.0, abs=0.05)
    assert out.std().item() == pytest.approx(0.5, rel=0.05)


def test_the_last_step_lands_on_the_estimate():
    seen = []
    schedule = karras(3, sigma_min=0.1, sigma_max=10.0)
    out = euler(gaussian(1.0, 1.0), torch.full((4,), 10.0), schedule, lambda done, x, d: seen.append((done, x, d)))
    assert [done for done, _, _ in seen] == [1, 2, 3]
    assert torch.allclose(out, seen[-1][2])


@pytest.mark.parametrize("start", [1, 3, 4])
def test_resuming_from_any_step_gives_the_unbroken_result_bit_for_bit(start):
    states = {}
    schedule = karras(5, sigma_min=0.002, sigma_max=700.0)
    x = initial_noise(torch.randn(64, generator=torch.Generator().manual_seed(1)), schedule[0])
    whole = euler(gaussian(0.3, 0.9), x, schedule, lambda done, x, d: states.update({done: x}))
    assert torch.equal(euler(gaussian(0.3, 0.9), states[start], schedule, ignore, start=start), whole)


def test_what_the_callback_raises_ends_the_sampling_there():
    calls = []

    def denoise(x, sigma):
        calls.append(sigma)
        return x * 0

    def stop(done, x, denoised):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        euler(denoise, torch.ones(2), karras(9, sigma_min=0.1, sigma_max=1.0), stop)
    assert len(calls) == 2


def test_half_precision_state_is_refused():
    with pytest.raises(AssertionError):
        euler(gaussian(0, 1), torch.ones(2, dtype=torch.float16), karras(2, sigma_min=0.1, sigma_max=1.0), ignore)
