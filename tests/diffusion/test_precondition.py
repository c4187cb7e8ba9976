import pytest
import torch

from studio.diffusion.precondition import denoise_v, v_scalings


@pytest.mark.parametrize("sigma", [0.002, 0.5, 1.0, 700.0])
def test_a_network_that_knows_v_is_turned_into_a_perfect_denoiser(sigma):
    generator = torch.Generator().manual_seed(0)
    clean = torch.randn(64, generator=generator, dtype=torch.float64)
    noise = torch.randn(64, generator=generator, dtype=torch.float64)
    s = torch.tensor(sigma, dtype=torch.float64)
    # v = alpha noise - sigma clean, in the variance-preserving frame where alpha = 1 / sqrt(1 + s^2).
    v = (noise - s * clean) / torch.sqrt(1 + s**2)
    seen = denoise_v(lambda x, c: v, clean + s * noise, s)
    assert torch.allclose(seen, clean, atol=1e-6)


def test_the_network_is_fed_unit_variance_and_a_quarter_of_the_log():
    c = v_scalings(torch.tensor(700.0))
    assert c.c_in.item() * (1 + 700.0**2) ** 0.5 == pytest.approx(1.0)
    assert c.c_noise.item() == pytest.approx(1.6377, abs=1e-4)
    assert v_scalings(torch.tensor(0.002)).c_noise.item() == pytest.approx(-1.5537, abs=1e-4)
