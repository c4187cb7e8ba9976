import math
from itertools import pairwise

import numpy as np
import pytest

from studio.scene.camera import picture_camera, project
from studio.scene.path import CLOSED, EASINGS, MOVES, camera_path

SIZE = {"width": 160, "height": 96}
HOME = picture_camera(**SIZE)
CENTRE = HOME.intrinsics[:2, 2]


def seen(camera, q, u=CENTRE[0], v=CENTRE[1]):
    return np.array(project(HOME, camera, u, v, q))


@pytest.mark.parametrize("move", MOVES)
def test_every_move_begins_at_the_pictures_own_camera_and_goes_elsewhere(move):
    path = camera_path(move, frames=9, **SIZE)
    assert len(path) == 9
    assert path[0].same_view(HOME)
    assert not any(c.same_view(HOME) for c in path[1:])


@pytest.mark.parametrize("move", MOVES)
def test_amount_zero_stands_still(move):
    assert all(c.same_view(HOME) for c in camera_path(move, frames=5, amount=0, **SIZE))


@pytest.mark.parametrize("move", MOVES)
def test_twice_the_amount_moves_further_and_every_step_is_small(move):
    def travel(amount):
        path = camera_path(move, frames=25, amount=amount, seed=1, **SIZE)
        corners = np.array([seen(c, 0.8, 10, 10) for c in path])
        steps = np.linalg.norm(np.diff(corners, axis=0), axis=1)
        return steps.sum(), steps.max()

    (once, _), (twice, largest) = travel(1), travel(2)
    assert twice > 1.5 * once
    assert largest < 0.25 * twice


@pytest.mark.parametrize("move", MOVES)
def test_every_camera_stays_a_rigid_pose(move):
    for camera in camera_path(move, frames=7, amount=2, **SIZE):
        r = camera.world_to_camera[:3, :3]
        assert np.allclose(r @ r.T, np.eye(3))
        assert np.linalg.det(r) == pytest.approx(1)
        assert camera.position[2] <= 0.5


@pytest.mark.parametrize(
    ("move", "right", "down"),
    [
        ("pan-right", -1, 0),
        ("pan-left", 1, 0),
        ("tilt-up", 0, 1),
        ("tilt-down", 0, -1),
        ("truck-right", -1, 0),
        ("truck-left", 1, 0),
        ("pedestal-up", 0, 1),
        ("pedestal-down", 0, -1),
    ],
)
def test_content_goes_against_the_camera(move, right, down):
    x, y = seen(camera_path(move, frames=5, **SIZE)[-1], 0.7) - CENTRE
    assert (np.sign(round(x, 6)), np.sign(round(y, 6))) == (right, down)


def test_a_pan_moves_near_and_far_alike_and_a_truck_moves_near_things_more():
    pan, truck = (camera_path(m, frames=5, **SIZE)[-1] for m in ("pan-right", "truck-right"))
    assert seen(pan, 0.4) == pytest.approx(seen(pan, 1.0))
    assert seen(truck, 1.0)[0] < seen(truck, 0.4)[0] - 2


@pytest.mark.parametrize(("move", "side"), [("arc-right", 1), ("arc-left", -1)])
def test_an_arc_keeps_the_subject_in_place_while_what_is_behind_it_goes_along_with_the_camera(move, side):
    camera = camera_path(move, frames=5, subject_depth=1.5, **SIZE)[-1]
    assert seen(camera, 1 / 1.5) == pytest.approx(CENTRE)
    assert side * (seen(camera, 1 / 3)[0] - CENTRE[0]) > 2
    assert side * (seen(camera, 1.0)[0] - CENTRE[0]) < -2
    assert np.sign(camera.position[0]) == side


def test_dolly_zoom_keeps_the_subjects_size_while_what_is_behind_it_looms():
    for camera in camera_path("dolly-zoom", frames=7, subject_depth=1.3, **SIZE)[1:]:
        assert seen(camera, 1 / 1.3, CENTRE[0] + 40)[0] - CENTRE[0] == pytest.approx(40)
        assert seen(camera, 1 / 3, CENTRE[0] + 40)[0] - CENTRE[0] > 40


def test_a_push_in_enlarges_the_subject_by_22_percent_and_a_pull_out_shrinks_it():
    into, back = (camera_path(m, frames=5, subject_depth=1.4, **SIZE)[-1] for m in ("push-in", "pull-out"))
    assert seen(into, 1 / 1.4, CENTRE[0] + 40)[0] - CENTRE[0] == pytest.approx(40 * 1.22)
    assert seen(back, 1 / 1.4, CENTRE[0] + 40)[0] - CENTRE[0] == pytest.approx(40 / 1.13)


def test_an_orbit_closes_so_that_the_frame_after_the_last_would_be_the_first():
    assert {"orbit"} == CLOSED
    path = camera_path("orbit", frames=24, easing="linear", **SIZE)
    spots = np.array([c.position for c in path])
    around = np.linalg.norm(np.diff(np.vstack([spots, spots[:1]]), axis=0), axis=1)
    assert around[-1] == pytest.approx(around[0])
    assert around.max() < 2 * around.mean()


def test_a_handheld_camera_sways_smoothly_and_differently_for_another_seed():
    a, again, b = (camera_path("handheld", frames=49, duration_s=2, seed=s, **SIZE) for s in (4, 4, 5))
    ax, bx = (np.array([seen(c, 1.0) for c in path]) for path in (a, b))
    assert all(p.same_view(q) for p, q in zip(a, again, strict=True))
    assert np.abs(ax - bx).max() > 1
    assert np.linalg.norm(np.diff(ax, axis=0), axis=1).max() < 1
    assert np.abs(ax - CENTRE).max() > 1


@pytest.mark.parametrize("name", EASINGS)
def test_an_easing_goes_from_nothing_to_everything_without_turning_back(name):
    done = [EASINGS[name](p) for p in np.linspace(0, 1, 11)]
    assert (done[0], done[-1]) == (0, pytest.approx(1))
    assert all(b > a for a, b in pairwise(done))


def test_ease_in_starts_slower_than_linear_and_ease_out_faster():
    assert EASINGS["ease-in"](0.2) < EASINGS["ease-in-out"](0.2) < 0.2 < EASINGS["ease-out"](0.2)


def test_the_angle_of_a_pan_moves_a_far_point_by_seven_percent_of_the_width():
    camera = camera_path("pan-right", frames=2, **SIZE)[-1]
    yaw = math.atan2(camera.world_to_camera[2, 0], camera.world_to_camera[0, 0])
    assert HOME.intrinsics[0, 0] * math.tan(abs(yaw)) == pytest.approx(0.07 * 160)
