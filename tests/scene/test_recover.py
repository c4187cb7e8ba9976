import numpy as np
import pytest

from studio.scene.orbit import sine, static
from studio.scene.recover import recover_orbit
from tests.scene.shapes import jittered, mesh, rendered


def seen(name, orbit):
    return rendered(mesh(name), orbit, 128)


@pytest.mark.parametrize(
    ("name", "elevation_deg", "turned"),
    [
        ("blob", 12, False),
        ("figure", -8, True),
        ("donut", 3, True),
        ("box", 27, False),
        ("chair", 18, True),
        ("mug", -4, False),
    ],
)
def test_elevation_and_sense_are_told_from_silhouettes(name, elevation_deg, turned):
    truth = static(elevation_deg).reversed() if turned else static(elevation_deg)
    found = recover_orbit(seen(name, truth).masks, static(0))
    assert found.elevation_deg == pytest.approx(elevation_deg, abs=2.5)
    assert found.clockwise is turned
    assert found.sure
    assert found.orbit.azimuths_deg == truth.azimuths_deg
    assert found.score > found.assumed_score + 0.005


@pytest.mark.parametrize(("name", "shaken_px"), [("sphere", 0), ("sphere", 1), ("vase", 0)])
def test_of_what_looks_the_same_from_everywhere_nothing_is_told_and_the_orbit_is_left_as_it_was(name, shaken_px):
    masks = jittered(seen(name, static(20).reversed()).masks, shaken_px)
    found = recover_orbit(masks, static(5))
    assert not found.sure
    assert found.orbit == static(5)
    assert (found.elevation_deg, found.clockwise) == (5, False)


def test_shaken_silhouettes_still_tell():
    found = recover_orbit(jittered(seen("figure", static(20)).masks, 1), static(0))
    assert found.elevation_deg == pytest.approx(20, abs=2.5)
    assert found.sure
    assert not found.clockwise


def test_a_moving_orbit_is_raised_as_a_whole():
    found = recover_orbit(seen("figure", sine(15, 10)).masks, sine(0, 10))
    assert np.abs(np.subtract(found.orbit.elevations_deg, sine(15, 10).elevations_deg)).max() <= 2.5


def test_an_orbit_that_was_right_fits_as_well_as_any():
    found = recover_orbit(seen("box", sine(0, 20)).masks, sine(0, 20))
    assert found.score - found.assumed_score < 0.002
    assert found.elevation_deg == pytest.approx(0, abs=1.5)
