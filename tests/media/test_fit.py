"""A picture of another shape: never stretched, and the mapping tells the truth."""

from __future__ import annotations

import numpy as np
import pytest

from studio.errors import BadInput
from studio.media.fit import Mapping, fit_picture


def disc(width: int, height: int, x: float, y: float, radius: float) -> np.ndarray:
    across, down = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    inside = (across - x) ** 2 + (down - y) ** 2 < radius**2
    return np.where(inside[..., None], np.uint8(255), np.uint8(0)).repeat(3, axis=2)


def centre_and_spread(pixels: np.ndarray) -> tuple[float, float, float, float]:
    weight = pixels[..., 0].astype(float)
    weight[weight < 60] = 0
    across, down = np.meshgrid(np.arange(weight.shape[1]) + 0.5, np.arange(weight.shape[0]) + 0.5)
    x, y = (across * weight).sum() / weight.sum(), (down * weight).sum() / weight.sum()
    spread_x = np.sqrt(((across - x) ** 2 * weight).sum() / weight.sum())
    spread_y = np.sqrt(((down - y) ** 2 * weight).sum() / weight.sum())
    return x, y, spread_x, spread_y


@pytest.mark.parametrize("fit", ["crop", "pad"])
@pytest.mark.parametrize("size", [(640, 480), (300, 500), (1023, 577), (90, 60), (333, 777)])
def test_a_disc_stays_a_disc_and_lies_where_the_mapping_says(fit: str, size: tuple[int, int]) -> None:
    width, height = size
    x, y, radius = width * 0.45, height * 0.52, min(size) / 8
    given = disc(width, height, x, y, radius)
    fitted = fit_picture(given, 256, 144, fit, "#000000")
    found_x, found_y, spread_x, spread_y = centre_and_spread(fitted.pixels)
    meant_x, meant_y = fitted.mapping.to_fitted(*centre_and_spread(given)[:2])
    assert fitted.pixels.shape == (144, 256, 3)
    assert fitted.pixels.dtype == np.uint8
    assert found_x == pytest.approx(meant_x, abs=0.25)
    assert found_y == pytest.approx(meant_y, abs=0.25)
    assert spread_x == pytest.approx(spread_y, rel=0.05)
    assert spread_x == pytest.approx(radius / 2 * fitted.mapping.scale, rel=0.08)


def test_points_go_there_and_back() -> None:
    mapping = Mapping(0.37, -12.5, 3.25)
    assert mapping.to_source(*mapping.to_fitted(101.0, 57.0)) == pytest.approx((101.0, 57.0))
    assert mapping.as_dict() == {"scale": 0.37, "offset_x": -12.5, "offset_y": 3.25, "says": ""}


def test_the_right_size_is_left_as_it_is() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (72, 128, 3), np.uint8)
    for fit in ("crop", "pad", "blur-pad"):
        fitted = fit_picture(pixels, 128, 72, fit)
        assert (fitted.pixels == pixels).all()
        assert fitted.mapping == Mapping(1.0, 0.0, 0.0, "")


def test_bars_have_the_background_colour() -> None:
    fitted = fit_picture(np.full((100, 100, 3), 9, np.uint8), 320, 160, "pad", "#102030")
    assert fitted.pixels[80, 10].tolist() == [0x10, 0x20, 0x30]
    assert fitted.pixels[80, 79].tolist() == [0x10, 0x20, 0x30]
    assert fitted.pixels[80, 80].tolist() == [9, 9, 9]
    assert fitted.pixels[80, 310].tolist() == [0x10, 0x20, 0x30]


def test_a_blurred_copy_fills_the_bars_smoothly() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (400, 200, 3), np.uint8)
    pixels[..., 0] //= 4
    bars = fit_picture(pixels, 320, 160, "blur-pad").pixels[:, :110].astype(int)
    assert bars[..., 1].mean() > 2 * bars[..., 0].mean() > 10
    assert abs(np.diff(bars, axis=1)).max() < 8


SAID = [
    ((1920, 1080), "crop", ""),
    ((1023, 577), "crop", "The picture (1023x577) was cropped to 1024x576: 2 px are cut at the top and bottom."),
    ((1025, 576), "crop", "The picture (1025x576) was cropped to 1024x576: 1 px is cut at the left and right."),
    (
        (1600, 1200),
        "crop",
        "The picture (1600x1200) was cropped to 1024x576: 300 px are cut at the top and bottom (25 % of it).",
    ),
    ((512, 288), "crop", "The picture (512x288) was enlarged 2 times, so it may look soft."),
    ((600, 576), "pad", "The picture (600x576) was padded to 1024x576: 424 px of bars at the left and right."),
    (
        (512, 512),
        "blur-pad",
        "The picture (512x512) was padded to 1024x576: 448 px of a blurred copy at the left and right. "
        "It was enlarged 1.1 times, so it may look soft.",
    ),
]


@pytest.mark.parametrize(("size", "fit", "says"), SAID)
def test_the_user_is_told_what_was_done(size: tuple[int, int], fit: str, says: str) -> None:
    assert fit_picture(np.zeros((size[1], size[0], 3), np.uint8), 1024, 576, fit).mapping.says == says


def test_fine_stripes_become_grey_and_not_moire() -> None:
    stripes = np.zeros((900, 1600, 3), np.uint8)
    stripes[:, ::2] = 255
    small = fit_picture(stripes, 320, 180, "crop").pixels
    assert abs(small[:, 2:-2].astype(int) - 127).max() <= 3


def test_what_is_no_fit_or_size_is_refused() -> None:
    pixels = np.zeros((40, 40, 3), np.uint8)
    with pytest.raises(BadInput, match="fit: 'stretch' is not one of crop, pad, blur-pad"):
        fit_picture(pixels, 64, 64, "stretch")
    with pytest.raises(BadInput, match="0x64 is not a size"):
        fit_picture(pixels, 0, 64, "crop")
