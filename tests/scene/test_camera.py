import math

import numpy as np
import pytest

from studio.scene.camera import Camera, moved, picture_camera, project, unproject, view_change


def test_a_step_to_the_right_moves_content_left_by_focal_times_step_over_depth():
    home = picture_camera(160, 120)
    x, y = project(home, moved(home, position=(0.1, 0, 0)), np.array(100.0), np.array(40.0), 1 / 2.0)
    assert (x, y) == pytest.approx((100 - 160 * 0.1 / 2, 40))


def test_a_pure_turn_is_the_homography_K_R_Kinv_at_any_depth():
    home = picture_camera(160, 120)
    turned = moved(home, yaw=0.1, pitch=-0.05, roll=0.2)
    h, b = view_change(home, turned)
    k, r = home.intrinsics, turned.world_to_camera[:3, :3]
    assert np.allclose(h, k @ r @ np.linalg.inv(k))
    assert np.allclose(b, 0)


@pytest.mark.parametrize(
    ("turn", "right", "down"),
    [({"yaw": 0.1}, -1, 0), ({"yaw": -0.1}, 1, 0), ({"pitch": 0.1}, 0, 1), ({"pitch": -0.1}, 0, -1)],
)
def test_content_goes_against_the_turn(turn, right, down):
    home = picture_camera(160, 120)
    u, v = home.intrinsics[:2, 2]
    x, y = project(home, moved(home, **turn), u, v, 0.5)
    assert (np.sign(round(x - u, 6)), np.sign(round(y - v, 6))) == (right, down)
    assert max(abs(x - u), abs(y - v)) == pytest.approx(160 * math.tan(0.1))


def test_a_clockwise_roll_turns_the_picture_counter_clockwise():
    home = picture_camera(160, 120)
    u, v = home.intrinsics[:2, 2]
    x, y = project(home, moved(home, roll=0.1), u + 50, v, 1.0)
    assert (x - u, y - v) == pytest.approx((50 * math.cos(0.1), -50 * math.sin(0.1)))


def test_unproject_undoes_project():
    home = picture_camera(160, 120)
    away = moved(home, position=(0.1, -0.2, 0.3), yaw=0.1, pitch=0.05, roll=-0.1, zoom=1.2)
    u, v, q = np.array([3.0, 80.0, 150.0]), np.array([100.0, 60.0, 5.0]), np.array([0.3, 0.6, 1.0])
    x, y = project(home, away, u, v, q)
    assert np.allclose(unproject(home, away, x, y, q), (u, v))


def test_position_is_where_the_camera_was_put():
    assert moved(picture_camera(64, 64), position=(1, 2, 3), yaw=0.3, roll=0.1).position == pytest.approx([1, 2, 3])


def test_a_camera_refuses_arrays_of_another_shape():
    with pytest.raises(ValueError, match=r"\[4, 3\].*\(4, 4\)"):
        Camera(np.eye(3), np.eye(4)[:, :3])
