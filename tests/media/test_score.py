"""What makes a picture score more than another."""

import cv2
import numpy as np
import pytest

from studio.media.score import score


def noise(low=0, high=256, shape=(96, 128, 3)):
    return np.random.default_rng(0).integers(low, high, shape).astype(np.uint8)


def test_a_flat_picture_scores_nothing():
    for value in (0, 128, 255):
        found = score(np.full((64, 64, 3), value, np.uint8))
        assert (found.sharpness, found.contrast, found.filled, found.total) == (0, 0, 0, 0)


def test_a_blurred_picture_is_less_sharp_and_scores_less():
    sharp = noise()
    sizes = (3, 9, 31)
    found = [score(sharp), *(score(cv2.GaussianBlur(sharp, (n, n), 0)) for n in sizes)]
    assert [s.sharpness for s in found] == sorted((s.sharpness for s in found), reverse=True)
    assert [s.total for s in found] == sorted((s.total for s in found), reverse=True)
    assert found[-1].total < 0.1 < found[0].total


def test_a_picture_of_few_greys_has_less_contrast():
    assert score(noise(118, 138)).contrast < 0.2 < score(noise()).contrast


def test_an_empty_half_takes_half_of_what_is_filled():
    half = noise()
    half[:, :64] = 90
    assert score(half).filled == pytest.approx(0.5)
    assert score(noise()).filled == 1


def test_shares_are_never_more_than_one_and_the_total_is_their_product():
    checks = np.kron(np.indices((8, 8)).sum(0) % 2, np.ones((8, 8))).astype(np.uint8)[..., None] * np.full(
        3, 255, np.uint8
    )
    for picture in (noise(), checks):
        found = score(picture)
        assert all(0 <= share <= 1 for share in (found.sharpness, found.contrast, found.filled))
        assert found.total == found.sharpness * found.contrast * found.filled
    assert score(checks).contrast == 1


def test_rows_and_columns_that_fill_no_block_do_not_matter_to_what_is_filled():
    assert score(noise(shape=(33, 47, 3))).filled == 1
    assert score(noise(shape=(16, 16, 3))).filled == 1


def test_what_is_told_is_plain_and_rounded():
    told = score(noise()).public()
    assert set(told) == {"sharpness", "contrast", "filled", "total"}
    assert all(type(value) is float and value == round(value, 3) for value in told.values())
