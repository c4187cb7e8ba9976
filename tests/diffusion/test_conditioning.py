import pytest
import torch

from studio.diffusion.conditioning import added_ids, clip_resize


@pytest.mark.parametrize(("height", "width"), [(576, 1024), (64, 128), (224, 224), (100, 500), (1000, 230)])
def test_clip_sees_the_picture_as_diffusers_shows_it(height, width):
    from diffusers.pipelines.stable_video_diffusion.pipeline_stable_video_diffusion import _resize_with_antialiasing

    picture = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0)) * 2 - 1
    assert (clip_resize(picture) - _resize_with_antialiasing(picture, (224, 224))).abs().max() < 2e-6


def test_shrinking_blurs_first_so_that_a_checkerboard_turns_grey():
    board = (torch.arange(1024)[None] + torch.arange(576)[:, None]) % 2 * 2.0 - 1
    out = clip_resize(board.expand(1, 3, -1, -1))
    assert out.shape == (1, 3, 224, 224)
    assert out.abs().max() < 0.05


def test_ids_are_one_less_than_the_fps_then_motion_then_noise():
    assert added_ids(7, 127, 0.02).tolist() == [[6.0, 127.0, pytest.approx(0.02)]]
