import cv2
import numpy as np
import pytest

from studio.scene.camera import moved, picture_camera, project, view_change
from studio.scene.layers import FAR
from studio.scene.path import MOVES, camera_path
from studio.scene.render import margin_for, render, scene_for
from tests.scene.planes import BACK, box, depth_of, flat, redness, texture, two_planes

HOME = picture_camera(160, 120)


def view(picture, disparity, camera):
    return render(scene_for(picture, disparity, [camera]), camera)


def test_the_pictures_own_camera_sees_the_picture():
    picture, disparity, _ = two_planes()
    cameras = camera_path("arc-right", width=160, height=120, frames=3)
    assert np.array_equal(render(scene_for(picture, disparity, cameras), cameras[0]), picture)


@pytest.mark.parametrize("disparity", [0.0, 0.5, 1.0])
def test_a_plane_moves_by_focal_times_step_over_its_depth(disparity):
    picture = texture(120, 160)
    pixel = depth_of(disparity) / 160
    seen = view(picture, flat(disparity), moved(HOME, position=(6 * pixel, -3 * pixel, 0)))
    assert np.abs(seen[3:, :-6].astype(int) - picture[:-3, 6:]).max() <= 1


@pytest.mark.parametrize("step", [0.05, -0.05])
def test_the_near_plane_moves_as_geometry_says_and_covers_the_far_one(step):
    picture, disparity, front = two_planes()
    left, top, right, bottom = box(front)
    seen = redness(view(picture, disparity, moved(HOME, position=(step, 0, 0)))) > 0.5
    assert box(seen) == (left - 160 * step, top, right - 160 * step, bottom)
    assert seen.sum() == front.sum()


@pytest.mark.parametrize("step", [0.05, -0.05])
def test_what_comes_out_from_behind_has_the_walls_colour(step):
    picture, disparity, front = two_planes()
    seen = view(picture, disparity, moved(HOME, position=(step, 0, 0)))
    left, top, right, bottom = box(redness(seen) > 0.5)
    outside = np.ones(front.shape, bool)
    outside[top - 1 : bottom + 2, left - 1 : right + 2] = False
    assert np.abs(seen[outside].astype(int) - BACK).max() <= 2


def test_the_bottom_row_sees_nothing_of_the_top_one():
    picture = np.full((120, 160, 3), 200, np.uint8)
    picture[:60] = 0
    seen = view(picture, flat(0.5), moved(HOME, position=(0.01, 0, 0.1)))
    assert (seen[80:] == 200).all()
    assert (seen[:40] == 0).all()


def test_no_pixel_between_near_and_far_is_stretched_out_of_their_edge():
    picture, disparity, _ = two_planes()
    red = redness(view(picture, disparity, moved(HOME, position=(0.1, 0, 0))))
    assert np.count_nonzero((red > 0.1) & (red < 0.9)) == 0


@pytest.mark.parametrize("move", ["push-in", "pull-out"])
def test_a_dolly_magnifies_the_subject_about_the_principal_point_as_predicted(move):
    picture, disparity, front = two_planes()
    camera = camera_path(move, width=160, height=120, frames=3, subject_depth=1.0)[-1]
    scale = 1 / (1 - camera.position[2])
    seen = redness(view(picture, disparity, camera)) > 0.5
    left, top, right, bottom = box(seen)
    assert (right - left + 1) / 53 == pytest.approx(scale, abs=0.03)
    assert (bottom - top + 1) / 40 == pytest.approx(scale, abs=0.03)
    before = np.array(box(front), float)
    middle = np.array([(before[0] + before[2]) / 2, (before[1] + before[3]) / 2])
    centre = HOME.intrinsics[:2, 2]
    wanted = centre + scale * (middle - centre)
    assert np.allclose([(left + right) / 2, (top + bottom) / 2], wanted, atol=1)


def test_a_pan_is_the_homography_K_R_Kinv_of_the_picture():
    picture = texture(120, 160)
    camera = moved(HOME, yaw=0.08, pitch=0.04, roll=0.05)
    k, r = HOME.intrinsics, camera.world_to_camera[:3, :3]
    wanted = cv2.warpPerspective(picture, k @ r @ np.linalg.inv(k), (160, 120), flags=cv2.INTER_CUBIC)
    slanted = np.linspace(0, 1, 120, dtype=np.float32)[:, None].repeat(160, 1)
    inside = cv2.warpPerspective(np.ones((120, 160), np.uint8), k @ r @ np.linalg.inv(k), (160, 120)) > 0
    inside = cv2.erode(inside.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    difference = np.abs(view(picture, slanted, camera).astype(int) - wanted)[inside]
    assert difference.mean() < 0.5
    assert np.quantile(difference, 0.999) <= 4


def test_a_slanted_plane_is_seen_through_its_own_homography():
    picture = texture(120, 160)
    q = np.linspace(0.6, 0.9, 120)
    disparity = ((q - 1 / FAR) / (1 - 1 / FAR)).astype(np.float32)[:, None].repeat(160, 1)
    camera = moved(HOME, position=(0.25, -0.1, 0.1))
    h, b = view_change(HOME, camera)
    plane = h + np.outer(b, [0, (q[-1] - q[0]) / 119, q[0]])  # inverse depth is linear in the row
    wanted = cv2.warpPerspective(picture, plane, (160, 120), flags=cv2.INTER_CUBIC)
    inside = cv2.erode(cv2.warpPerspective(np.ones((120, 160), np.uint8), plane, (160, 120)), np.ones((7, 7), np.uint8))
    difference = np.abs(view(picture, disparity, camera).astype(int) - wanted)[inside > 0]
    assert inside.sum() > 5000
    assert difference.mean() < 0.05
    assert np.quantile(difference, 0.99) <= 1


def test_dolly_zoom_keeps_the_size_of_the_subject_in_the_picture():
    picture, disparity, front = two_planes()
    for camera in camera_path("dolly-zoom", width=160, height=120, frames=4, subject_depth=1.0)[1:]:
        seen = redness(view(picture, disparity, camera)) > 0.5
        assert np.abs(np.array(box(seen)) - box(front)).max() <= 1


@pytest.mark.parametrize("move", MOVES)
def test_a_uniform_picture_stays_uniform_under_every_move_so_no_black_and_no_hole_is_shown(move):
    _, disparity, _ = two_planes()
    picture = np.full((120, 160, 3), 200, np.uint8)
    cameras = camera_path(move, width=160, height=120, frames=4, amount=2)
    scene = scene_for(picture, disparity, cameras)
    assert all((render(scene, c) == 200).all() for c in cameras)


def test_a_strong_push_in_leaves_no_cracks_in_the_near_plane():
    picture, disparity, _ = two_planes()
    camera = moved(HOME, position=(0, 0, 0.5))
    red = redness(view(picture, disparity, camera)) > 0.5
    left, top, right, bottom = box(red)
    assert red[top : bottom + 1, left : right + 1].all()
    assert (right - left + 1) == pytest.approx(106, abs=3)


def test_the_margin_holds_all_that_any_camera_sees():
    cameras = camera_path("pull-out", width=160, height=120, frames=5, amount=2)
    margin = margin_for(160, 120, cameras, 1 / 3, 1.0)
    for u, v in ((-margin.left, -margin.top), (159 + margin.right, 119 + margin.bottom)):
        for q in (1 / 3, 1.0):
            x, y = project(HOME, cameras[-1], u, v, q)
            assert not (0 <= x <= 159)
            assert not (0 <= y <= 119)
