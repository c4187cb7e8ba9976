"""The compiled loops of flow against the same in NumPy, to the last bit."""

import numpy as np
import pytest

from studio.engines import flow_loops

HEIGHT, WIDTH = 19, 31


@pytest.fixture
def drawn():
    return np.random.default_rng(3)


def motion(drawn, size=4.0):
    return drawn.normal(0, size, (HEIGHT, WIDTH, 2)).astype(np.float32)


def grid():
    return np.dstack(np.meshgrid(np.arange(WIDTH, dtype=np.float32), np.arange(HEIGHT, dtype=np.float32)))


def test_motion_leads_to_places(drawn):
    moved, places = motion(drawn), np.empty((HEIGHT, WIDTH, 2), np.float32)
    flow_loops.move(moved, np.float32(-0.3), places)
    assert np.array_equal(places, grid() + -0.3 * moved)


def test_what_lands_is_spread_over_four_pixels_and_what_leaves_the_frame_is_lost(drawn):
    moved, weight = motion(drawn), drawn.random((HEIGHT, WIDTH)).astype(np.float32)
    landed = np.empty((HEIGHT, WIDTH, 3), np.float32)
    flow_loops.scatter(moved, weight, np.float32(0.7), np.float32(0.5), np.float32(0.25), landed)
    to = grid() + 0.7 * moved * np.array([0.5, 0.25], np.float32)
    corner = np.floor(to)
    part, sums = to - corner, np.zeros((3, HEIGHT * WIDTH))
    for right in (0, 1):
        for below in (0, 1):
            x, y = (corner + np.array([right, below])).astype(int).transpose(2, 0, 1)
            near = weight * np.abs(1 - right - part[..., 0]) * np.abs(1 - below - part[..., 1])
            there = (x >= 0) & (y >= 0) & (x < WIDTH) & (y < HEIGHT)
            values = (near * moved[..., 0], near * moved[..., 1], near)
            sums += [np.bincount((y * WIDTH + x)[there], value[there], HEIGHT * WIDTH) for value in values]
    assert np.array_equal(landed, sums.T.reshape(HEIGHT, WIDTH, 3).astype(np.float32))


def test_distances_and_differences_are_numpys(drawn):
    first, second = motion(drawn), motion(drawn)
    found = np.empty((HEIGHT, WIDTH), np.float32)
    flow_loops.distance(first, second, np.float32(-0.5), found)
    assert np.array_equal(found, np.float32(-0.5) * np.linalg.norm(first - second, axis=2))
    one, other = drawn.integers(0, 256, (2, HEIGHT, WIDTH, 3), np.uint8)
    flow_loops.differ(one, other, found)
    assert np.array_equal(found, np.abs(one.astype(np.float32) - other).mean(axis=2))


def test_only_what_leads_out_of_the_frame_is_lowered(drawn):
    moved, weight = motion(drawn, 9), np.ones((HEIGHT, WIDTH), np.float32)
    flow_loops.lower_outside(moved, np.float32(0.25), weight)
    x, y = (moved + grid()).transpose(2, 0, 1)
    inside = (x >= 0) & (y >= 0) & (x <= WIDTH - 1) & (y <= HEIGHT - 1)
    assert np.array_equal(weight, np.where(inside, 1, 0.25))


def test_two_pictures_are_mixed_by_share_and_by_what_is_seen_in_each(drawn):
    colours = tuple(drawn.integers(0, 256, (2, HEIGHT, WIDTH, 3), np.uint8))
    kept, seen = (tuple(drawn.random((2, HEIGHT, WIDTH)).astype(np.float32) * most) for most in (1, 2))
    shares, least, made = (np.float32(0.25), np.float32(0.75)), np.float32(1e-3), np.empty_like(colours[0])
    flow_loops.blend(colours, kept, seen, shares, least, made)
    weights = [s * (np.minimum(n, 1) * k + least) for s, n, k in zip(shares, seen, kept, strict=True)]
    mixed = sum(w[..., None] * c.astype(np.float32) for w, c in zip(weights, colours, strict=True))
    assert np.array_equal(made, np.rint(mixed / sum(weights)[..., None]).astype(np.uint8))
