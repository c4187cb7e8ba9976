"""An object out of its picture: whose mask counts, and where it lies on white afterwards."""

import numpy as np
import pytest
from PIL import Image

from studio.errors import BadInput
from studio.media.cutout import frame_object, own_alpha, read_mask
from studio.media.read import Picture, read_picture


def ellipse(width, height, x, y, across, down, fine=4):
    """Share of each pixel that the ellipse covers, in 0..1."""
    rows, columns = np.mgrid[0 : height * fine, 0 : width * fine] / fine + 0.5 / fine
    inside = ((columns - x) / across) ** 2 + ((rows - y) / down) ** 2 <= 1
    return inside.reshape(height, fine, width, fine).mean(axis=(1, 3))


def over(share, colour, behind):
    mixed = share[..., None] * np.array(colour, float) + (1 - share[..., None]) * np.array(behind, float)
    return np.rint(mixed).astype(np.uint8)


def as_alpha(share):
    return np.rint(share * 255).astype(np.uint8)


def box_of(alpha):
    """Centre and sides of what is at least half there, in continuous coordinates, to a fraction of a pixel."""
    sides = []
    for axis in (0, 1):
        most = alpha.max(axis=axis).astype(float) / 255
        inside = np.flatnonzero(most >= 0.5)
        sides.append((inside[0], inside[-1] + 1))
    (left, right), (top, bottom) = sides
    return (left + right) / 2, (top + bottom) / 2, right - left, bottom - top


@pytest.mark.parametrize("shape", [(320, 200), (90, 400), (640, 480)])
@pytest.mark.parametrize(("across", "down"), [(0.3, 0.2), (0.05, 0.3)])
def test_the_object_is_in_the_middle_with_its_longer_side_as_asked_and_its_shape_kept(shape, across, down):
    width, height = shape
    share = ellipse(width, height, width * 0.4, height * 0.55, width * across, height * down)
    framed = frame_object(over(share, (180, 40, 30), (20, 90, 40)), as_alpha(share), size=256, ratio=0.85)
    x, y, wide, high = box_of(framed.alpha)
    assert framed.pixels.shape == (256, 256, 3)
    assert (x, y) == pytest.approx((128, 128), abs=1)
    assert max(wide, high) == pytest.approx(0.85 * 256, rel=0.01)
    assert wide / high == pytest.approx(width * across / (height * down), rel=0.08)
    middle = framed.mapping.to_fitted(width * 0.4, height * 0.55)
    assert middle == pytest.approx((128, 128), abs=1.5)


@pytest.mark.parametrize("colour", [(200, 120, 60), (250, 245, 240)])
@pytest.mark.parametrize("behind", [(0, 0, 0), (255, 255, 255), (0, 200, 0)])
def test_no_colour_of_the_old_background_stays_in_the_edges(behind, colour):
    share = ellipse(300, 240, 140, 120, 90, 70)
    soft = np.asarray(Image.fromarray(as_alpha(share)).resize((75, 60)).resize((300, 240)), float) / 255
    framed = frame_object(over(soft, colour, behind), as_alpha(soft), size=200)
    wanted = over(framed.alpha / 255, colour, (255, 255, 255))
    assert ((framed.alpha > 20) & (framed.alpha < 235)).sum() > 300, "the soft edge became hard"
    assert np.abs(framed.pixels.astype(int) - wanted).max() <= 12


def test_glass_that_was_laid_on_white_already_looks_as_it_did():
    share = ellipse(300, 240, 140, 120, 90, 70) * 0.6
    blocks = np.kron(np.random.default_rng(0).integers(0, 256, (24, 30, 3)), np.ones((10, 10, 1)))
    pixels = over(share, blocks, (255, 255, 255))
    framed = frame_object(pixels, as_alpha(share), size=200, ratio=0.9, flattened=True)
    assert framed.mapping.as_dict() == {"scale": 1, "offset_x": -40, "offset_y": -20, "says": ""}
    assert np.abs(framed.pixels.astype(int) - pixels[20:220, 40:240]).max() <= 1


def test_around_the_object_there_is_nothing_but_white():
    share = ellipse(300, 240, 140, 120, 90, 70)
    pixels = np.random.default_rng(0).integers(0, 256, (240, 300, 3), np.uint8)
    framed = frame_object(pixels, as_alpha(share), size=200)
    assert (framed.pixels[framed.alpha == 0] == 255).all()
    assert framed.alpha[:10].max() == 0


def test_a_large_photo_gives_the_same_frame_as_a_small_one():
    def framed(k):
        share = ellipse(300 * k, 240 * k, 140 * k, 120 * k, 90 * k, 70 * k, fine=4 // k)
        return frame_object(over(share, (30, 60, 90), (90, 200, 90)), as_alpha(share), size=50)

    small, large = framed(1), framed(4)
    assert np.abs(small.pixels.astype(int) - large.pixels).max() <= 24
    assert large.mapping.to_fitted(560, 480) == pytest.approx((25, 25), abs=0.3)
    assert large.mapping.scale * 4 == pytest.approx(small.mapping.scale, rel=0.01)


def test_a_stray_pixel_of_a_large_photo_does_not_blur_its_small_object():
    share = ellipse(2000, 1500, 300, 300, 50, 40, fine=1)
    alpha = as_alpha(share)
    pixels = np.random.default_rng(0).integers(0, 256, (1500, 2000, 3), np.uint8)
    clean = frame_object(pixels, alpha, size=64)
    alpha[1490:1493, 1990:1993] = 255
    assert np.array_equal(frame_object(pixels, alpha, size=64).pixels, clean.pixels)


def test_stray_pixels_neither_move_the_object_nor_stay():
    share = ellipse(300, 240, 140, 120, 60, 50)
    alpha = as_alpha(share)
    alpha[3:5, 290:292] = 255
    framed = frame_object(over(share, (30, 60, 90), (90, 90, 90)), alpha, size=200)
    assert (
        framed.alpha.tobytes()
        == frame_object(over(share, (30, 60, 90), (90, 90, 90)), as_alpha(share), size=200).alpha.tobytes()
    )


def said(share, **given):
    alpha = as_alpha(share)
    return frame_object(np.full((*alpha.shape, 3), 90, np.uint8), alpha, **{"size": 256, **given}).warnings


def test_an_object_that_stands_free_gives_no_warning():
    assert said(ellipse(400, 300, 200, 150, 90, 110)) == ()
    assert said(ellipse(400, 300, 200, 110, 90, 110)) == (), "grazing the border is no fault"


def test_each_thing_that_will_hardly_go_well_is_one_sentence():
    assert said(ellipse(400, 300, 200, 290, 90, 110)) == (
        "The object touches the picture's bottom border; what lies beyond is missing.",
    )
    assert said(ellipse(400, 300, 120, 290, 320, 110)) == (
        "The object touches the picture's left, right and bottom borders; what lies beyond is missing.",
    )
    two = ellipse(400, 300, 100, 150, 60, 60) + ellipse(400, 300, 300, 150, 60, 40)
    assert said(two) == ("The object is in 2 large parts; they turn together, as one object.",)
    assert said(ellipse(400, 300, 200, 150, 40, 30)) == (
        "The object is only 3 % of the picture; crop closer for more detail.",
        "The object has only 80x60 px and was enlarged 2.7 times, so it will look soft.",
    )
    assert said(np.ones((300, 400)))[-1] == (
        "The object is 100 % of the picture; is that all of it and nothing behind it?"
    )


@pytest.mark.parametrize("share", [np.zeros((60, 60)), np.full((60, 60), 0.4)], ids=["empty", "faint"])
def test_no_object_is_one_sentence(share):
    with pytest.raises(BadInput, match="No object was found in the picture") as caught:
        said(share)
    assert caught.value.field == "image"


def test_a_single_pixel_is_no_object():
    with pytest.raises(BadInput, match="The object is only 1x1 px; it needs at least 8"):
        said(np.ones((1, 1)))


def test_a_wide_panorama_becomes_a_band_in_the_middle():
    share = ellipse(800, 100, 400, 50, 380, 45)
    framed = frame_object(over(share, (30, 60, 90), (200, 200, 200)), as_alpha(share), size=256)
    assert box_of(framed.alpha)[2:] == pytest.approx((0.85 * 256, 0.85 * 256 * 90 / 760), abs=1)


def picture(alpha):
    return Picture(np.zeros((*alpha.shape, 3), np.uint8), alpha)


def test_an_alpha_that_cuts_something_out_is_trusted_and_one_that_rounds_corners_is_not():
    cut = as_alpha(ellipse(100, 80, 50, 40, 30, 30))
    assert own_alpha(picture(cut)) is cut
    corners = np.full((80, 100), 255, np.uint8)
    corners[:3, :3] = corners[-3:, -3:] = 0
    assert own_alpha(picture(corners)) is None
    assert own_alpha(Picture(np.zeros((8, 8, 3), np.uint8))) is None
    assert own_alpha(picture(np.full((8, 8), 200, np.uint8))) is None


def test_a_transparent_picture_is_one_sentence(tmp_path):
    Image.new("RGBA", (64, 64), (9, 9, 9, 0)).save(tmp_path / "clear.png")
    with pytest.raises(BadInput, match="transparent all over"):
        own_alpha(read_picture(tmp_path / "clear.png"))


@pytest.mark.parametrize("size", [(120, 90), (240, 180)])
@pytest.mark.parametrize("kind", ["white.png", "white.jpg", "clear.png"])
def test_a_drawn_mask_is_read_whether_white_or_opaque_and_scaled(tmp_path, size, kind):
    drawn = as_alpha(ellipse(120, 90, 60, 45, 30, 25))
    if kind == "clear.png":
        Image.merge("RGBA", [Image.fromarray(255 - drawn)] * 3 + [Image.fromarray(drawn)]).save(tmp_path / kind)
    else:
        Image.fromarray(drawn).save(tmp_path / kind)
    alpha = read_mask(tmp_path / kind, *size)
    assert alpha.shape == (size[1], size[0])
    k = size[0] / 120
    wanted = ellipse(*size, 60 * k, 45 * k, 30 * k, 25 * k)
    assert ((alpha >= 128) != (wanted >= 0.5)).mean() < 0.005
    assert alpha[0, 0] == 0
    assert alpha[size[1] // 2, size[0] // 2] == 255


def test_a_mask_of_another_shape_or_with_nothing_white_is_one_sentence(tmp_path):
    Image.new("L", (100, 100), 255).save(tmp_path / "square.png")
    Image.new("L", (120, 90), 0).save(tmp_path / "black.png")
    with pytest.raises(BadInput, match="mask: the mask is 100x100, the picture 120x90") as caught:
        read_mask(tmp_path / "square.png", 120, 90)
    assert caught.value.field == "mask"
    with pytest.raises(BadInput, match="nothing in the mask is white"):
        read_mask(tmp_path / "black.png", 120, 90)
