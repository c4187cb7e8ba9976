import math

import pytest
import torch
from diffusers.models.embeddings import Timesteps

from studio.diffusion.conditioning import added_ids, clip_resize, sinusoid, view_vectors
from studio.scene.orbit import static
from tests.engines.convert.oracles import SHIPPED, Case


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


@pytest.mark.parametrize("width", [256, 512])
def test_numbers_are_embedded_as_diffusers_embeds_them(width):
    numbers = torch.tensor([0.0, 1e-5, 1.4, 6.2])
    assert (sinusoid(numbers, width) - Timesteps(width, True, 0)(numbers)).abs().max() < 1e-6


def test_a_view_is_told_as_the_reference_tells_it():
    case = Case(SHIPPED / "a" / "sv3d_p")
    vectors = view_vectors(case.meta["cond"]["cond_aug"], *static(10.0, case.frames).radians())
    assert vectors.shape == (1, case.frames, 1280)
    assert (vectors[0] - case.tensors("sampler_trace")["c_vector"]).abs().max() < 1e-6


def test_a_whole_turn_is_told_apart_from_none():
    none, turn = view_vectors(1e-5, [1.4, 1.4], [0.0, 2 * math.pi])[0]
    assert (none - turn)[:768].abs().max() == 0
    assert (none - turn).norm() > 10
