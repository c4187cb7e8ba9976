import hashlib
import math

import cv2
import numpy as np
import pytest

from studio.errors import BadInput
from studio.scene.inflate import inflated
from studio.scene.orbit import FOV_DEG, RADIUS, orbit_cameras, static
from studio.scene.raster import rasterise
from tests.scene.cutouts import disc, figure, pair, ring

SIZE = 192
DRAWN = {"disc": disc, "ring": ring, "pair": pair, "figure": figure}


def front(elevation_deg=0.0, size=SIZE):
    return orbit_cameras(static(elevation_deg), size)[-1]


def side(elevation_deg=0.0, size=SIZE):
    return orbit_cameras(static(elevation_deg, views=4), size)[0]


def back(elevation_deg=0.0, size=SIZE):
    return orbit_cameras(static(elevation_deg, views=4), size)[1]


def psnr(a, b):
    return 10 * math.log10(255**2 / np.mean((a.astype(float) - b) ** 2))


@pytest.fixture(scope="module")
def ball():
    return inflated(*disc(), front())


@pytest.mark.parametrize("elevation_deg", [0, -25, 60])
@pytest.mark.parametrize("name", DRAWN)
def test_the_input_view_shows_the_picture(name, elevation_deg):
    picture, alpha = DRAWN[name]()
    camera = front(elevation_deg)
    got = rasterise(inflated(picture, alpha, camera), camera, SIZE, SIZE, supersample=3)
    assert psnr(got.over(255)[alpha >= 128], picture[alpha >= 128]) >= 30
    assert np.abs(got.alpha.astype(int) - alpha).mean() < 1
    assert np.count_nonzero(got.mask != (alpha >= 128)) < 0.01 * np.count_nonzero(alpha >= 128)


@pytest.mark.parametrize(
    ("name", "bodies", "holes"), [("disc", 1, 0), ("ring", 1, 1), ("pair", 2, 1), ("figure", 1, 0)]
)
def test_a_silhouette_becomes_closed_bodies_with_its_holes(name, bodies, holes):
    mesh = inflated(*DRAWN[name](), front()).to_trimesh()
    assert mesh.is_watertight
    assert mesh.is_winding_consistent
    assert mesh.volume > 0
    assert mesh.body_count == bodies
    assert mesh.euler_number == 2 * bodies - 2 * holes


def test_a_disc_becomes_nearly_a_ball_about_the_origin(ball):
    low, high = ball.vertices.min(axis=0), ball.vertices.max(axis=0)
    radius = 0.4 * 2 * RADIUS * math.tan(math.radians(FOV_DEG / 2))
    assert np.abs(low + high).max() < 0.03
    assert (high - low)[::2] == pytest.approx([2 * radius] * 2, rel=0.03)
    assert (high - low)[1] == pytest.approx(2 * radius - radius**2 / RADIUS, rel=0.005)  # its front is bent flatter
    assert ball.to_trimesh().volume == pytest.approx(4 / 3 * math.pi * radius**3, rel=0.2)


def test_thickness_scales_the_depth_alone():
    flat, thick = (inflated(*disc(), front(), thickness=t).vertices for t in (0.4, 1.2))
    depth = [np.ptp(v[:, 1]) for v in (flat, thick)]
    assert 2.6 < depth[1] / depth[0] < 3.1
    assert np.ptp(flat[:, 0]) == pytest.approx(np.ptp(thick[:, 0]), rel=0.15)


@pytest.mark.parametrize("width", [5, 6, 8])
def test_a_thin_strip_is_as_thick_as_the_formula_says_wherever_it_falls_between_the_nodes(width):
    mask = np.zeros((SIZE, SIZE), np.uint8)
    mask[16:-16, 80 : 80 + width] = 255
    v = inflated(np.full((SIZE, SIZE, 3), 99, np.uint8), mask, front()).vertices
    assert np.ptp(v[:, 1]) == pytest.approx(math.sqrt(2) * np.ptp(v[:, 0]), rel=0.03)


def test_a_standing_thing_leans_back_by_half_of_the_elevation():
    mask = np.zeros((SIZE, SIZE), np.uint8)
    mask[16:-16, 92:100] = 255
    v = inflated(np.full((SIZE, SIZE, 3), 99, np.uint8), mask, front(20)).vertices
    top, bottom = v[v[:, 2] > 0.35].mean(axis=0), v[v[:, 2] < -0.35].mean(axis=0)
    lean = math.degrees(math.atan2(top[1] - bottom[1], top[2] - bottom[2]))
    assert lean == pytest.approx(10, abs=1)


def test_the_back_is_the_picture_mirrored_and_softened(ball):
    picture, _ = disc()
    seen = rasterise(ball, back(), SIZE, SIZE)
    red = seen.rgb[96, :, 0].astype(int)
    assert red[50] > red[142] + 60  # red grows to the right in the picture
    assert picture[96, 50, 0] < picture[96, 142, 0]


def test_the_back_of_a_figure_has_no_sharp_stripes():
    surface = inflated(*figure(), front())
    ahead, behind = (rasterise(surface, c, SIZE, SIZE).rgb[64:112, 96].astype(int) for c in (front(), back()))
    assert np.abs(np.diff(ahead, axis=0)).max() > 60
    assert np.abs(np.diff(behind, axis=0)).max() < 20


def test_no_white_of_the_background_comes_along_at_the_rim():
    picture, alpha = disc()
    dark = (picture * (alpha[..., None] < 128) + 20 * (alpha[..., None] >= 128)).astype(np.uint8)
    edge = (alpha > 0) & (alpha < 250)
    dark[edge] = (20 * (alpha[edge] / 255) + 255 * (1 - alpha[edge] / 255))[:, None].astype(np.uint8)
    surface = inflated(dark, alpha, front())
    for camera in (side(), back(), front()):
        got = rasterise(surface, camera, SIZE, SIZE)
        assert got.rgb[got.alpha > 0].max() <= 22


def test_a_mask_without_soft_edges_is_as_smooth():
    picture, alpha = disc()
    hard = np.where(alpha >= 128, 255, 0).astype(np.uint8)
    soft, stepped = (inflated(picture, a, front()).to_trimesh() for a in (alpha, hard))
    assert stepped.area == pytest.approx(soft.area, rel=0.01)


def test_a_thing_cut_off_by_the_border_is_closed_there():
    picture, alpha = disc(radius=0.7)
    assert alpha[0].any()
    mesh = inflated(picture, alpha, front()).to_trimesh()
    assert mesh.is_watertight
    assert mesh.body_count == 1


@pytest.mark.parametrize("box", [(90, 93, 90, 92), (20, 170, 96, 98), (0, 192, 0, 192)])
def test_the_smallest_and_the_largest_mask_work(box):
    top, bottom, left, right = box
    mask = np.zeros((SIZE, SIZE), np.uint8)
    mask[top:bottom, left:right] = 255
    mesh = inflated(np.full((SIZE, SIZE, 3), 99, np.uint8), mask, front()).to_trimesh()
    assert mesh.is_watertight
    assert mesh.volume > 0


def test_dust_beside_the_object_is_left_out():
    picture, alpha = disc()
    alpha[5:7, 5:7] = 255
    assert inflated(picture, alpha, front()).to_trimesh().body_count == 1


@pytest.mark.parametrize(("value", "pixels"), [(0, 192), (100, 192), (255, 1)])
def test_a_picture_that_is_all_background_but_for_a_speck_is_refused(value, pixels):
    mask = np.zeros((SIZE, SIZE), np.uint8)
    mask[:pixels, :pixels] = value
    with pytest.raises(BadInput) as e:
        inflated(disc()[0], mask, front())
    assert e.value.field == "image"


def test_the_number_of_threads_changes_no_byte():
    threads = cv2.getNumThreads()
    digests = set()
    try:
        for n in (1, 3):
            cv2.setNumThreads(n)
            s = inflated(*figure(), front(10))
            digests.add(hashlib.sha256(s.vertices.tobytes() + s.faces.tobytes() + s.uv.tobytes() + s.texture.tobytes()))
    finally:
        cv2.setNumThreads(threads)
    assert len({d.hexdigest() for d in digests}) == 1
