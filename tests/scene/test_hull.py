import numpy as np
import pytest

from studio.errors import BadInput
from studio.scene import kernel
from studio.scene.camera import Camera
from studio.scene.consistency import reprojection
from studio.scene.hull import Carver, visual_hull
from studio.scene.orbit import orbit_cameras, static
from studio.scene.surface import Surface
from tests.scene.shapes import SHAPES, jittered, mesh, rendered, shifted, turntable

POINTS = np.random.default_rng(0).uniform(-0.56, 0.56, (40000, 3))


def agreement(name: str, masks: np.ndarray, cameras: list[Camera], dissent: int) -> tuple[float, float]:
    """(Intersection over union, recall) of the hull and the true solid."""
    inside = Carver(masks, cameras, dissent=dissent).depths(POINTS) > 0
    truth = SHAPES[name](POINTS) < 0
    both = (inside & truth).sum()
    return both / (inside | truth).sum(), both / truth.sum()


@pytest.mark.parametrize(
    ("name", "least"),
    [("sphere", 0.99), ("blob", 0.99), ("figure", 0.93), ("donut", 0.93), ("box", 0.9), ("chair", 0.6), ("mug", 0.3)],
)
def test_the_hull_of_perfect_silhouettes_is_the_solid_but_for_its_hollows(name, least):
    truth = turntable(name)
    overlap, recall = agreement(name, truth.alpha, truth.cameras, dissent=0)
    assert overlap >= least
    assert recall >= 0.98


@pytest.mark.parametrize("name", ["sphere", "blob", "figure", "box"])
def test_the_mesh_is_closed_lies_where_the_points_say_and_fills_the_silhouettes(name):
    truth = turntable(name)
    hull = visual_hull(truth.alpha, truth.cameras, dissent=0)
    solid = hull.to_trimesh()
    assert solid.is_watertight
    assert solid.body_count == 1
    share = (Carver(truth.alpha, truth.cameras, dissent=0).depths(POINTS) > 0).mean()
    assert solid.volume == pytest.approx(share * 1.12**3, rel=0.06)  # and faces look outwards, else it were negative
    assert np.ptp(hull.vertices, axis=0) == pytest.approx(np.ptp(mesh(name).vertices, axis=0), abs=0.07)
    assert np.mean(reprojection(hull, truth.masks, truth.cameras)) >= 0.985


def test_a_thin_chair_still_fills_its_silhouettes():
    truth = turntable("chair")
    assert np.mean(reprojection(visual_hull(truth.alpha, truth.cameras), truth.masks, truth.cameras)) >= 0.965


def test_the_grid_is_as_fine_as_asked_along_the_longest_side():
    truth = turntable("box")
    lattice = Carver(truth.alpha, truth.cameras).lattice(40)
    assert max(lattice.shape) == 40
    planes = [lattice.plane(x) for x in (0, lattice.shape[0] - 1)]
    assert np.concatenate(planes).min(axis=0) == pytest.approx(lattice.low)
    assert np.ptp(np.concatenate(planes), axis=0) == pytest.approx((np.array(lattice.shape) - 1) * lattice.step)


def test_one_wrong_frame_takes_nothing_away_where_one_may_dissent():
    truth = turntable("figure")
    masks = truth.masks.copy()
    masks[8] = shifted(masks[8], 15, 0)
    assert agreement("figure", masks, truth.cameras, dissent=1)[1] >= 0.97
    assert agreement("figure", masks, truth.cameras, dissent=0)[1] < 0.8


def test_with_shaken_masks_dissent_gives_the_better_hull():
    truth = turntable("figure")
    masks = jittered(truth.masks, 3)
    assert agreement("figure", masks, truth.cameras, 1)[0] > agreement("figure", masks, truth.cameras, 0)[0]


def test_a_solid_in_two_parts_stays_in_two_parts():
    ball = mesh("sphere")
    pair = Surface(
        np.concatenate([ball.vertices * 0.3 - [0.25, 0, 0], ball.vertices * 0.3 + [0.25, 0, 0]]),
        np.concatenate([ball.faces, ball.faces + np.int32(len(ball.vertices))]),
    )
    seen = rendered(pair, static(10), 128)
    assert visual_hull(seen.alpha, seen.cameras, grid=64).to_trimesh().body_count == 2


def test_the_same_masks_give_the_same_bytes_whatever_the_number_of_threads(monkeypatch):
    truth = turntable("figure")
    made = []
    for most in (1, 2, 5):
        monkeypatch.setattr(kernel, "_MOST_WORKERS", most)
        monkeypatch.setattr(kernel, "usable_cpus", lambda: 8)
        hull = visual_hull(truth.alpha, truth.cameras, grid=48)
        made.append(hull.vertices.tobytes() + hull.faces.tobytes())
    assert made[0] == made[1] == made[2]


def test_silhouettes_that_contradict_each_other_leave_nothing():
    masks = np.zeros((6, 64, 64), bool)
    masks[::2, 4:10, 28:36] = True  # high up
    masks[1::2, 54:60, 28:36] = True  # and low down
    with pytest.raises(BadInput, match="no solid in common"):
        visual_hull(masks, orbit_cameras(static(0, 6), 64))


def test_views_from_one_side_do_not_enclose_an_object():
    truth = turntable("sphere")
    with pytest.raises(BadInput, match="do not enclose"):
        visual_hull(truth.masks[-1:].repeat(2, axis=0), [truth.cameras[-1]] * 2, dissent=0)


def test_a_frame_without_an_object_is_named():
    truth = turntable("sphere")
    masks = truth.masks.copy()
    masks[4] = False
    with pytest.raises(BadInput, match="Frame 5 of 21"):
        visual_hull(masks, truth.cameras)
