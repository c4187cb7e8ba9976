"""Transparency: what integer tricks and tables give is what the formulas say."""

import numpy as np
import pytest

from studio.media.alpha import over, straight

ALPHA, SEEN = np.meshgrid(np.arange(256, dtype=np.uint8), np.arange(256, dtype=np.uint8))
PIXELS = np.stack([SEEN] * 3, axis=-1)
"""Every value under every alpha."""


@pytest.mark.parametrize("behind", [(255, 255, 255), (0, 128, 31)])
def test_every_value_over_every_alpha_is_rounded_to_the_nearest(behind):
    a = ALPHA[..., None] / 255
    assert np.array_equal(over(PIXELS, ALPHA, behind), np.floor(PIXELS * a + np.array(behind) * (1 - a) + 0.5 - 1e-9))


@pytest.mark.parametrize("behind", [(255, 255, 255), (0, 128, 31)])
def test_what_lies_over_a_colour_is_got_back_as_well_as_its_alpha_tells_it(behind):
    found = straight(over(PIXELS, ALPHA, behind), ALPHA, behind).astype(int)
    clear = ALPHA == 0
    assert (found[clear] == behind).all()
    worst = np.abs(found - PIXELS).max(axis=2)[~clear]
    assert (worst <= np.ceil(0.5 * 255 / ALPHA[~clear])).all()


def test_many_pictures_are_each_as_alone():
    drawn = np.random.default_rng(0)
    pixels, alpha = drawn.integers(0, 256, (2, 3, 8, 9, 3), np.uint8), drawn.integers(0, 256, (2, 3, 8, 9), np.uint8)
    for done in (lambda p, a: over(p, a, (1, 2, 3)), straight):
        together = done(pixels, alpha)
        assert together.shape == pixels.shape
        assert np.array_equal(together[1, 2], done(pixels[1, 2], alpha[1, 2]))
