import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import PchipInterpolator

from studio.errors import BadInput
from studio.scene.orbit import RADIUS, VIEWS, Orbit, dynamic, keyed, orbit_cameras, sine, static

ORBITS = {
    "static": static(10),
    "sine": sine(0, 20),
    "keyed": keyed([(0, 10), (90, 30), (200, -20)]),
    "dynamic": dynamic(10, seed=3),
}


def seen(camera, point):
    """The pixel (x, y) and the depth at which a camera sees a point of the world."""
    at = camera.world_to_camera @ [*point, 1.0]
    x, y, z = camera.intrinsics @ at[:3]
    return x / z, y / z, at[2]


@pytest.mark.parametrize("orbit", ORBITS.values(), ids=ORBITS)
def test_an_orbit_has_21_growing_azimuths_and_ends_on_the_input_view(orbit):
    assert len(orbit) == VIEWS == len(orbit.azimuths_deg) == len(orbit.elevations_deg)
    assert orbit.azimuths_deg[-1] == 0
    assert all(0 < a < b < 360 for a, b in pairwise(orbit.azimuths_deg[:-1]))


@pytest.mark.parametrize("name", ["static", "sine", "keyed"])
def test_the_steps_are_even_unless_the_orbit_is_dynamic(name):
    assert ORBITS[name].azimuths_deg[:-1] == pytest.approx([360 * k / 21 for k in range(1, 21)])


def test_a_static_orbit_keeps_its_elevation():
    assert set(static(12.5).elevations_deg) == {12.5}
    assert static(12.5).is_static
    assert not sine(0, 20).is_static


def test_a_sine_rises_on_the_first_half_and_crosses_its_elevation_at_the_input_view():
    orbit = sine(5, 20, views=4)
    assert orbit.elevations_deg == pytest.approx((25, 5, -15, 5))


def test_keys_are_met_in_whatever_order_and_turn_they_are_given():
    orbit = keyed([(-90, -10), (0, 5), (90, 30), (180, 12)], views=8)
    assert [orbit.elevations_deg[i] for i in (1, 3, 5, 7)] == pytest.approx([30, 12, -10, 5])


def test_one_key_is_a_static_orbit():
    assert keyed([(45, 20)]).elevations_deg == static(20).elevations_deg


KEYS = st.lists(
    st.tuples(st.integers(0, 359), st.integers(-89, 89)), min_size=1, max_size=8, unique_by=lambda key: key[0]
)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(KEYS)
def test_the_curve_through_keys_is_scipys_monotone_one_closed_round_the_circle(keys):
    orbit = keyed(keys, views=30)
    turns = (-720, -360, 0, 360, 720)
    own = sorted((a + t, e) for a, e in keys for t in turns)
    curve = PchipInterpolator([a for a, _ in own], [e for _, e in own])
    at = [*orbit.azimuths_deg[:-1], 360.0]
    assert np.allclose(orbit.elevations_deg, curve(at), atol=1e-9)
    low, high = min(e for _, e in keys), max(e for _, e in keys)
    assert low <= min(orbit.elevations_deg)
    assert max(orbit.elevations_deg) <= high


def test_a_dynamic_orbit_is_its_seeds_and_begins_at_the_elevation_asked_for():
    assert dynamic(10, seed=3) == dynamic(10, seed=3) != dynamic(10, seed=4)
    for seed in range(20):
        orbit = dynamic(10, seed)
        assert orbit.elevations_deg[-1] == 10
        assert max(abs(e) for e in dynamic(80, seed).elevations_deg) <= 89
        assert max(orbit.elevations_deg) - min(orbit.elevations_deg) > 3


def test_a_dynamic_orbit_is_the_same_curve_at_any_number_of_views():
    few, many = dynamic(10, 3, views=21), dynamic(10, 3, views=84)
    assert few.azimuths_deg == pytest.approx(many.azimuths_deg[3::4])
    assert few.elevations_deg == pytest.approx(many.elevations_deg[3::4])


def test_radians_are_polar_angles_and_azimuths_whose_last_is_0_and_not_2_pi():
    polar, azimuth = static(10).radians()
    assert polar == pytest.approx([math.radians(80)] * 21)
    assert azimuth[-1] == 0
    assert azimuth[0] == pytest.approx(2 * math.pi / 21)


def test_the_other_sense_keeps_the_frames_and_mirrors_where_they_stand():
    orbit = sine(0, 20, views=4)
    other = orbit.reversed()
    assert other.azimuths_deg == (270, 180, 90, 0)
    assert other.elevations_deg == orbit.elevations_deg
    assert other.reversed() == orbit


def test_only_orbits_beyond_30_degrees_warn():
    assert static(30).warnings() == static(-30).warnings() == ()
    assert "-45 degrees" in sine(-20, 25, views=4).warnings()[0]


@pytest.mark.parametrize(
    ("azimuths", "elevations"),
    [
        ((120.0, 240.0, 360.0), (0.0,) * 3),
        ((120.0, 240.0, 0.0), (0.0,) * 2),
        ((240.0, 120.0, 300.0, 0.0), (0.0,) * 4),
        ((120.0, 120.0, 0.0), (0.0,) * 3),
        ((120.0, 240.0, 0.0), (0.0, 90.0, 0.0)),
        ((120.0, 240.0, 0.0), (0.0, math.nan, 0.0)),
        ((0.0,), (0.0,)),
    ],
)
def test_what_is_no_orbit_is_refused(azimuths, elevations):
    with pytest.raises(ValueError, match="orbit: "):
        Orbit(azimuths, elevations)


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: static(95), "elevation_deg"),
        (lambda: static(math.nan), "elevation_deg"),
        (lambda: dynamic(-95, 0), "elevation_deg"),
        (lambda: sine(70, 25), "amplitude_deg"),
        (lambda: sine(-70, -25), "amplitude_deg"),
        (lambda: keyed([]), "keys"),
        (lambda: keyed([(10, 95)]), "keys"),
        (lambda: keyed([(10, 5), (370, 6)]), "keys"),
        (lambda: keyed([(math.inf, 5)]), "keys"),
    ],
)
def test_a_wish_that_cannot_be_had_names_its_field(make, field):
    with pytest.raises(BadInput) as e:
        make()
    assert e.value.field == field
    assert str(e.value).startswith(field)


@pytest.mark.parametrize("orbit", ORBITS.values(), ids=ORBITS)
def test_every_camera_stands_where_the_world_says_and_looks_at_the_origin_with_z_up(orbit):
    cameras = orbit_cameras(orbit, 64)
    assert len(cameras) == len(orbit)
    for camera, azimuth, elevation in zip(cameras, orbit.azimuths_deg, orbit.elevations_deg, strict=True):
        a, e = math.radians(azimuth), math.radians(elevation)
        expected = RADIUS * np.array([math.cos(e) * math.sin(a), -math.cos(e) * math.cos(a), math.sin(e)])
        assert camera.position == pytest.approx(expected)
        rotation = camera.world_to_camera[:3, :3]
        assert np.allclose(rotation @ rotation.T, np.eye(3))
        assert np.linalg.det(rotation) == pytest.approx(1)
        assert seen(camera, (0, 0, 0)) == pytest.approx((31.5, 31.5, RADIUS))
        x, y, _ = seen(camera, (0, 0, 0.1))
        assert x == pytest.approx(31.5)
        assert y < 31.5


def test_the_input_view_sees_x_to_the_right_and_the_next_one_stands_more_to_the_right():
    cameras = orbit_cameras(static(0), 64)
    assert cameras[-1].position == pytest.approx([0, -RADIUS, 0])
    assert seen(cameras[-1], (0.1, 0, 0))[0] > 31.5
    assert cameras[0].position[0] > 0


def test_a_frame_is_33_8_degrees_wide_from_edge_to_edge():
    camera = orbit_cameras(static(0), 576)[-1]
    assert camera.intrinsics[0, 0] == pytest.approx(947.9, abs=0.05)
    half = RADIUS * math.tan(math.radians(33.8 / 2))
    assert seen(camera, (half, 0, 0))[0] == pytest.approx(575.5)
