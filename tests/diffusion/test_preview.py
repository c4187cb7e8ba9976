import numpy as np
import torch

from studio.diffusion.preview import latent_to_rgb


def test_a_preview_has_all_frames_twice_as_large_as_the_latent():
    out = latent_to_rgb(torch.zeros(5, 4, 3, 6))
    assert out.shape == (5, 6, 12, 3)
    assert out.dtype == np.uint8
    assert abs(int(out.mean()) - 128) <= 1


def test_the_first_channel_brightens_and_the_last_darkens():
    bright, dark = torch.zeros(1, 4, 2, 2), torch.zeros(1, 4, 2, 2)
    bright[:, 0], dark[:, 3] = 2.0, 2.0
    assert latent_to_rgb(bright).mean() > 180
    assert latent_to_rgb(dark).mean() < 80


def test_values_that_are_no_numbers_show_as_black():
    assert latent_to_rgb(torch.full((1, 4, 2, 2), float("nan"))).max() == 0
