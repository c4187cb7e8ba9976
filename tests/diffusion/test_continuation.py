import pytest
import torch

from studio.diffusion.continuation import Look, matched, pinned
from studio.diffusion.samplers import SAMPLERS, seeded_noise
from studio.diffusion.sigmas import karras


def latents(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_brings_the_pinned_frames_to_what_is_known(sampler):
    known = latents(1, 1, 2, 4, 3, 3)
    x = latents(0, 1, 5, 4, 3, 3) * 700
    asked = []

    def denoise(x, sigma):
        asked.append(x.shape)
        return torch.full_like(x, 9.0)

    sigmas = karras(6, sigma_min=0.002, sigma_max=700.0)
    made = SAMPLERS[sampler](
        pinned(denoise, known), x, sigmas, lambda done, x, denoised: None, noise=seeded_noise(0, x)
    )
    assert torch.allclose(made[:, :2], known, atol=1e-4)
    assert torch.allclose(made[:, 2:], torch.full_like(made[:, 2:], 9.0), atol=1e-4)
    assert set(asked) == {x.shape}, "the network sees the known frames too"


def test_frames_that_left_the_look_come_back_to_it_without_a_jump():
    look = Look.of(latents(0, 40, 4, 16, 16))
    known = latents(1, 3, 4, 16, 16)
    faded = latents(2, 30, 4, 16, 16) * 0.5 + 2
    clip = matched(torch.cat([known, faded]), look, 3)
    assert torch.equal(clip[:3], known)
    means = clip.mean(dim=(1, 2, 3))
    assert means[3:6].tolist() == pytest.approx([4 / 3, 2 / 3, 0], abs=0.1)
    rest = Look.of(clip[5:])
    assert torch.allclose(rest.mean_C, look.mean_C, atol=0.05)
    assert torch.allclose(rest.std_C, look.std_C, atol=0.05)


def test_each_channel_is_matched_by_itself():
    gains = torch.tensor([0.2, 1.0, 3.0, 5.0]).view(-1, 1, 1)
    frames = latents(0, 9, 4, 16, 16)
    clip = matched(torch.cat([frames[:1], frames[1:] * gains]), Look.of(frames), 1)
    assert torch.allclose(Look.of(clip[1:]).std_C, Look.of(frames).std_C, atol=1e-3)


def test_flat_frames_stay_finite():
    clip = matched(torch.zeros(4, 4, 2, 2), Look.of(latents(0, 3, 4, 2, 2)), 1)
    assert bool(torch.isfinite(clip).all())
