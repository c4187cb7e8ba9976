"""What lies behind an object, told by its colour alone."""

import cv2
import numpy as np
import pytest

from studio.media.backdrop import guess_object, plain_background, white_alpha

WIDTH, HEIGHT = 240, 200
COLOURS = [(200, 40, 30), (230, 220, 120), (40, 40, 60)]


def shape(kind, fine=6):
    """Share of each pixel that the shape covers."""
    y, x = np.mgrid[0 : HEIGHT * fine, 0 : WIDTH * fine] / fine + 0.5 / fine
    far = np.hypot(x - 120, y - 100)
    inside = {
        "star": far < 60 + 14 * np.sin(5 * np.arctan2(y - 100, x - 120)),
        "ring": (far < 65) & (far > 28),
        "at the border": np.hypot(x - 120, y - 190) < 70,
    }[kind]
    return inside.reshape(HEIGHT, fine, WIDTH, fine).mean(axis=(1, 3))


def painted(share, colour, behind, noise=2.0):
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    object_ = (np.array(colour) + 12 * np.sin(x / 9 + y / 13)[..., None]).clip(0, 255)
    mixed = share[..., None] * object_ + (1 - share[..., None]) * behind
    return np.rint(mixed + np.random.default_rng(0).normal(0, noise, mixed.shape)).clip(0, 255).astype(np.uint8)


def gradient():
    y, x = np.mgrid[:HEIGHT, :WIDTH] / HEIGHT
    return np.stack([140 + 50 * x, 165 + 40 * y, 190 + 20 * x * y], axis=2)


def agreement(alpha, share):
    """Intersection over union of what is at least half there."""
    a, b = alpha >= 128, share >= 0.5
    return (a & b).sum() / max(1, (a | b).sum())


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("kind", ["star", "ring", "at the border"])
def test_an_object_before_an_even_backdrop_is_cut_out_with_its_soft_edge(kind, colour):
    share = shape(kind)
    alpha = plain_background(painted(share, colour, gradient()))
    assert agreement(alpha, share) > 0.99
    edge = (share > 0) & (share < 1)
    assert np.abs(alpha / 255 - share)[edge].mean() < 0.08


def test_a_backdrop_alone_has_no_object_and_a_scene_is_no_backdrop():
    nothing = plain_background(painted(np.zeros((HEIGHT, WIDTH)), (0, 0, 0), gradient()))
    assert nothing.max() == 0
    assert plain_background(np.full((1, 1, 3), 90, np.uint8)).max() == 0
    scene = np.random.default_rng(1).integers(0, 256, (10, 12, 3)).astype(np.uint8)
    assert plain_background(cv2.resize(scene, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)) is None
    split = np.full((HEIGHT, WIDTH, 3), 230, np.uint8)
    split[HEIGHT // 2 :] = (90, 60, 40)
    assert plain_background(split) is None


def test_a_large_picture_is_cut_out_at_its_own_size():
    share = shape("star")
    large = cv2.resize(painted(share, COLOURS[0], gradient()), (WIDTH * 7, HEIGHT * 7), interpolation=cv2.INTER_CUBIC)
    alpha = plain_background(large)
    assert alpha.shape == (HEIGHT * 7, WIDTH * 7)
    assert agreement(alpha, cv2.resize(share, (WIDTH * 7, HEIGHT * 7))) > 0.985


def test_a_guess_finds_the_object_before_stripes_and_is_the_same_twice():
    share = shape("star")
    stripes = np.where((np.arange(WIDTH) // 12 % 2)[None, :, None], [90, 130, 90], [150, 160, 120.0])
    pixels = painted(share, (200, 40, 30), np.broadcast_to(stripes, (HEIGHT, WIDTH, 3)), noise=6)
    assert plain_background(pixels) is None
    alpha = guess_object(pixels)
    assert agreement(alpha, share) > 0.93
    cv2.setRNGSeed(77)
    assert np.array_equal(alpha, guess_object(pixels))


@pytest.mark.parametrize("shape", [(1, 1), (40, 900), (64, 64)])
def test_a_guess_about_nothing_is_nothing(shape):
    assert guess_object(np.full((*shape, 3), 120, np.uint8)).shape == shape
    assert guess_object(np.full((*shape, 3), 120, np.uint8)).max() == 0


def jpeg(frame):
    _, data = cv2.imencode(".jpg", frame[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])
    return cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1]


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("kind", ["star", "ring"])
def test_views_on_white_give_their_mask_through_noise_and_jpeg_with_holes_open(kind, colour):
    share = shape(kind)
    clean = painted(share, colour, 255.0)
    made = white_alpha(np.stack([clean, jpeg(clean)]))
    assert made.shape == (2, HEIGHT, WIDTH)
    assert min(agreement(alpha, share) for alpha in made) > 0.985
    edge = (share > 0) & (share < 1)
    assert np.abs(made[0] / 255 - share)[edge].mean() < 0.05


def test_a_light_shadow_is_background_and_a_white_highlight_is_object():
    share = shape("star")
    frame = painted(share, (60, 120, 180), 255.0, noise=1)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    shadow = 8 * np.exp(-(((x - 120) / 60) ** 2 + ((y - 175) / 10) ** 2)) * (1 - share)
    frame = (frame - shadow[..., None]).clip(0, 255).astype(np.uint8)
    frame[95:99, 110:114] = 255
    alpha = white_alpha(frame)
    assert agreement(alpha, share) > 0.99
    assert alpha[93:101, 108:116].min() == 255
    assert alpha[185:].max() == 0
