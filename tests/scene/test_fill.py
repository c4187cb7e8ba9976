import numpy as np
import pytest

from studio.scene.fill import pull_push


def test_what_is_known_is_kept_and_the_rest_is_between_the_known_values():
    values = np.random.default_rng(0).random((33, 50, 4)).astype(np.float32)
    known = np.zeros((33, 50), np.float32)
    known[:, :9] = known[:, -4:] = 1
    full = pull_push(values, known)
    inside = known > 0
    assert np.allclose(full[inside], values[inside])
    assert full.min() >= values[inside].min() - 1e-6
    assert full.max() <= values[inside].max() + 1e-6


def test_a_hole_takes_the_colour_that_is_nearer():
    values = np.zeros((16, 64, 1), np.float32)
    values[:, 32:] = 1
    known = np.ones((16, 64), np.float32)
    known[:, 12:52] = 0
    full = pull_push(values, known)[8, :, 0]
    assert full[14] < 0.3
    assert full[49] > 0.7


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1), (7, 3)])
def test_any_shape_is_filled(shape):
    values, known = np.full((*shape, 2), 0.5, np.float32), np.zeros(shape, np.float32)
    known[0, 0] = 1
    assert np.allclose(pull_push(values, known)[0, 0], 0.5)
    assert np.isfinite(pull_push(values, known)).all()
