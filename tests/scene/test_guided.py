import numpy as np

from studio.scene.guided import guided_filter


def test_a_constant_stays_constant():
    guide = np.random.default_rng(0).random((40, 60)).astype(np.float32)
    assert np.allclose(guided_filter(guide, np.full((40, 60), 0.3, np.float32), 4, 1e-3), 0.3, atol=1e-5)


def test_a_misplaced_soft_edge_settles_on_the_guides_edge():
    guide = np.zeros((40, 60), np.float32)
    guide[:, 30:] = 1
    soft = np.clip((np.arange(60, dtype=np.float32) - 20) / 16, 0, 1)[None].repeat(40, 0)
    out = guided_filter(guide, soft, 8, 1e-4)[20]
    assert np.argmax(np.diff(out)) == 29
    assert np.diff(out).max() > 4 * np.diff(soft[20]).max()


def test_noise_is_smoothed_where_the_guide_is_flat():
    noise = np.random.default_rng(0).random((40, 60)).astype(np.float32)
    assert guided_filter(np.zeros_like(noise), noise, 6, 1e-3).std() < 0.15 * noise.std()


def test_a_small_map_comes_back_at_the_size_of_its_guide_with_the_guides_edge():
    guide = np.zeros((80, 120), np.float32)
    guide[:, 61:] = 1
    small = np.zeros((40, 60), np.float32)
    small[:, 30:] = 1
    out = guided_filter(guide, small, 3, 1e-4)
    assert out.shape == guide.shape
    assert np.argmax(np.diff(out[40])) == 60
