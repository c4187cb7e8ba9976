import numpy as np
import pytest

from studio.scene.layers import FAR, Margin, cut_edges, inverse_depth, layered
from tests.scene.planes import BACK, flat, texture, two_planes

NONE = Margin(0, 0, 0, 0)


def test_inverse_depth_goes_from_one_at_the_nearest_to_one_over_far():
    assert (inverse_depth(1.0), inverse_depth(0.0)) == pytest.approx((1.0, 1 / FAR))


def test_a_smooth_map_is_left_as_it_is():
    slope = np.linspace(0.4, 0.8, 200, dtype=np.float32)[None].repeat(50, 0)
    assert np.array_equal(cut_edges(slope, 40), slope)


def test_a_steep_ramp_becomes_a_step():
    row = np.interp(np.arange(200), [97, 103], [0.4, 1.0]).astype(np.float32)
    cut = cut_edges(row[None].repeat(50, 0), 60)[25]
    assert set(np.round(cut, 3)) == {np.float32(0.4), np.float32(1.0)}
    assert np.count_nonzero(np.diff(cut)) == 1


def test_the_plate_behind_an_object_has_the_walls_colour_and_depth():
    picture, disparity, front = two_planes()
    scene = layered(picture, disparity, NONE, reach=12)
    plate, plate_q = scene.colour[120:], scene.inverse_depth[120:]
    band = (slice(50, 70), slice(53, 61))
    assert front[band].all()
    assert np.abs(plate[band].astype(int) - BACK).max() <= 1
    assert np.allclose(plate_q[band], 1 / FAR, atol=1e-5)
    assert np.array_equal(scene.colour[:120], picture)


def test_the_plate_continues_the_walls_grain_and_not_only_its_average():
    picture, disparity, front = two_planes()
    grain = np.random.default_rng(0).integers(-30, 30, picture.shape)
    picture = np.where(front[..., None], picture, np.clip(picture + grain, 0, 255)).astype(np.uint8)
    scene = layered(picture, disparity, NONE, reach=12)
    band = (slice(120 + 45, 120 + 75), slice(53, 61))
    assert scene.colour[band].std(axis=(0, 1)).mean() > 0.5 * picture[45:75, 20:28].std(axis=(0, 1)).mean()


def test_points_are_in_order_from_far_to_near_and_cover_the_whole_canvas():
    picture, disparity, _ = two_planes()
    scene = layered(picture, disparity, Margin(5, 6, 7, 8), reach=12)
    assert (np.diff(scene.points_q) >= 0).all()
    seen = set(zip(scene.points_u.astype(int), scene.points_v.astype(int), strict=True))
    assert seen == {(u, v) for u in range(-5, 167) for v in range(-6, 128)}
    assert scene.canvas_height == 120 + 14


def test_what_lies_behind_an_edge_is_among_the_points_at_the_walls_depth():
    picture, disparity, front = two_planes()
    scene = layered(picture, disparity, NONE, reach=8)
    far = scene.points_q < 0.4
    behind = [front[int(v), int(u)] for u, v in zip(scene.points_u[far], scene.points_v[far], strict=True)]
    ring = front.sum() - front[48:72, 61:98].sum()
    assert sum(behind) == pytest.approx(ring, rel=0.25)


def test_a_plane_has_no_plate_to_draw():
    scene = layered(texture(40, 60), flat(0.5, 40, 60), NONE, reach=30)
    assert len(scene.points_q) == 40 * 60


def test_a_disparity_of_another_size_is_refused():
    with pytest.raises(ValueError, match=r"\[10, 10\]"):
        layered(texture(20, 20), flat(0.5, 10, 10), NONE, reach=5)
