"""Pictures from outside: right when they are sound, one sentence when they are not."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, PngImagePlugin

from studio.errors import BadInput
from studio.media.read import MAX_FILE_BYTES, colour, read_picture


def saved(path: Path, image: Image.Image, kind: str = "PNG", **options: object) -> Path:
    image.save(path, kind, **options)
    return path


def noise(width: int = 64, height: int = 48) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8))


def ramp() -> Image.Image:
    return Image.fromarray(np.tile(np.linspace(0, 255, 64).astype(np.uint8), (48, 1)))


def png(width: int, height: int, depth: int, colour_type: int, rows: bytes = b"") -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")


def refusal(path: Path) -> BadInput:
    with pytest.raises(BadInput) as caught:
        read_picture(path)
    error = caught.value
    assert error.field == "image"
    assert error.message.endswith(".")
    assert not any(word in str(error) for word in ("Pillow", "PIL", "Traceback", "cannot identify", str(path.parent)))
    return error


REFUSED = {
    "empty": (b"", "is empty, so it is not an image"),
    "text": (b"just a text\n" * 50, "is not an image"),
    "junk": (bytes(np.random.default_rng(1).integers(0, 256, 5000, np.uint8)), "is not an image"),
    "svg": (b"<svg xmlns='x'><image href='file:///etc/passwd'/></svg>", "is a SVG file"),
    "heic": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "is a HEIC file"),
    "avif": (b"\0\0\0\x18ftypavif\0\0\0\0mif1avif", "is a AVIF file"),
    "tiff": (b"II*\0\x08\0\0\0", "is a TIFF file"),
    "psd": (b"8BPS\0\1", "is a Photoshop file"),
    "video": (b"\0\0\0\x18ftypisom\0\0\0\0isommp42", "is a MP4 video file"),
    "tiny": (png(1, 1, 8, 2, b"\0\1\2\3"), "1x1; each side needs at least 32 px"),
    "thin": (png(1, 20_000, 8, 0), "1x20000; a side may have 16384 px"),
    "flat": (png(20_000, 1, 8, 0), "20000x1; a side may have 16384 px"),
    "long": (png(320, 33, 8, 0), "320x33; a side may be 8 times the other"),
    "256 MP": (png(16_000, 16_000, 8, 2), "16000x16000, 256 megapixels; a picture may have 40"),
    "no header": (b"\x89PNG\r\n\x1a\n", "is damaged"),
    "no frame": (b"\xff\xd8\xff\xe0\0\x04ab", "is damaged"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_sound_picture_gets_its_sentence(case: str, tmp_path: Path) -> None:
    data, says = REFUSED[case]
    path = tmp_path / "given.png"
    path.write_bytes(data)
    started = time.perf_counter()
    assert says in refusal(path).message
    assert time.perf_counter() - started < 0.2


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF"])
@pytest.mark.parametrize("kept", [0.5, 0.9])
def test_a_truncated_picture_is_called_damaged(kind: str, kept: float, tmp_path: Path) -> None:
    path = saved(tmp_path / "given.png", noise(200, 150), kind)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * kept)])
    assert "is damaged" in refusal(path).message


def test_a_one_bit_bomb_is_refused_by_its_header(tmp_path: Path) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(png(12_000, 12_000, 1, 0, bytes(12_000 * 1501)))
    assert path.stat().st_size < 40_000
    started = time.perf_counter()
    assert "144 megapixels" in refusal(path).message
    assert time.perf_counter() - started < 0.05


PEAK = """
import resource, sys
from pathlib import Path
from studio.errors import BadInput
from studio.media.read import read_picture
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    read_picture(Path(sys.argv[1]))
except BadInput as e:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, e.message)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss has other units elsewhere")
@pytest.mark.parametrize("kind", ["fits", "png"])
def test_a_bomb_costs_no_memory(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "bomb.png"
    cards = [b"SIMPLE  =                    T", b"BITPIX  =                  -64", b"NAXIS   =                    2"]
    cards += [b"NAXIS1  =                 7000", b"NAXIS2  =                 7000", b"END"]
    fits = b"".join(card.ljust(80) for card in cards).ljust(2880) + bytes(400_000)
    path.write_bytes(fits if kind == "fits" else png(12_000, 12_000, 1, 0, bytes(12_000 * 1501)))
    done = subprocess.run([sys.executable, "-c", PEAK, path], capture_output=True, text=True, check=True)
    kilobytes, says = done.stdout.split(maxsplit=1)
    assert int(kilobytes) < 20_000
    assert ("FITS" in says) == (kind == "fits")


@pytest.mark.parametrize(("kind", "suffix"), [("JPEG", ".jpg"), ("WEBP", ".webp"), ("GIF", ".gif"), ("PNG", ".png")])
def test_content_counts_and_not_the_name(kind: str, suffix: str, tmp_path: Path) -> None:
    picture = read_picture(saved(tmp_path / "given.heic", noise(), kind))
    assert picture.suffix == suffix
    assert picture.pixels.shape == (48, 64, 3)
    assert picture.pixels.dtype == np.uint8
    assert picture.pixels.flags.writeable
    assert picture.alpha is None


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_an_animation_gives_its_first_frame_and_a_notice(kind: str, tmp_path: Path) -> None:
    frames = [Image.new("RGB", (64, 48), c) for c in ("#c00000", "#00c000", "#0000c0")]
    options = {"lossless": True} if kind == "WEBP" else {}
    path = saved(tmp_path / "given", frames[0], kind, save_all=True, append_images=frames[1:], duration=100, **options)
    picture = read_picture(path)
    assert picture.notices == ("given is animated; its first frame is used.",)
    assert abs(picture.pixels.astype(int) - [0xC0, 0, 0]).max() <= 1


def test_a_still_has_no_notice(tmp_path: Path) -> None:
    assert read_picture(saved(tmp_path / "given.gif", noise(), "GIF")).notices == ()


def test_sixteen_bit_grey_is_scaled_and_not_clipped(tmp_path: Path) -> None:
    wide = np.tile(np.linspace(0, 65535, 64).astype(np.uint16), (48, 1))
    picture = read_picture(saved(tmp_path / "given.png", Image.fromarray(wide)))
    assert abs(picture.pixels[0, :, 0] - np.linspace(0, 255, 64)).max() < 1


def test_one_bit_becomes_black_and_white(tmp_path: Path) -> None:
    bits = ramp().point(lambda v: 255 * (v > 127)).convert("1")
    picture = read_picture(saved(tmp_path / "given.png", bits))
    assert picture.pixels[0, 0].tolist() == [0, 0, 0]
    assert picture.pixels[0, -1].tolist() == [255, 255, 255]


def test_cmyk_becomes_its_colours(tmp_path: Path) -> None:
    red = Image.new("CMYK", (64, 48), (0, 255, 255, 0))
    picture = read_picture(saved(tmp_path / "given.jpg", red, "JPEG", quality=95))
    assert abs(picture.pixels[24, 32].astype(int) - [255, 0, 0]).max() < 8


def clear_left(mode: str) -> tuple[Image.Image, dict]:
    """Grey 100, the left half clear, as that mode."""
    grey, alpha = Image.new("L", (64, 48), 100), Image.new("L", (64, 48), 255)
    alpha.paste(0, (0, 0, 32, 48))
    if mode == "P":
        image = Image.new("P", (64, 48), 1)
        image.putpalette([9, 9, 9, 100, 100, 100])
        image.paste(0, (0, 0, 32, 48))
        return image, {"transparency": 0}
    if mode == "P half":
        return clear_left("P")[0], {"transparency": bytes([0, 255])}
    if mode == "L key":
        grey.paste(7, (0, 0, 32, 48))
        return grey, {"transparency": 7}
    if mode == "I;16 key":
        wide = np.full((48, 64), 100 * 257, np.uint16)
        wide[:, :32] = 7
        return Image.fromarray(wide), {"transparency": 7}
    base = grey if mode == "LA" else grey.convert("RGB")
    base.putalpha(alpha)
    return base, {}


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "P half", "L key", "I;16 key"])
def test_alpha_lies_on_the_stated_background(mode: str, tmp_path: Path) -> None:
    image, options = clear_left(mode)
    picture = read_picture(saved(tmp_path / "given.png", image, **options), background="#ff8000")
    assert picture.pixels[10, 10].tolist() == [255, 128, 0]
    assert picture.pixels[10, 50].tolist() == [100, 100, 100]
    assert picture.alpha is not None
    assert (picture.alpha[10, 10], picture.alpha[10, 50]) == (0, 255)


def test_half_clear_pixels_are_mixed(tmp_path: Path) -> None:
    image = Image.new("RGBA", (64, 48), (200, 0, 0, 128))
    picture = read_picture(saved(tmp_path / "given.png", image), background="#0000ff")
    assert picture.pixels[0, 0].tolist() == [100, 0, 127]


@pytest.mark.parametrize("orientation", range(2, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_exif_orientation_is_applied(orientation: int, kind: str, tmp_path: Path) -> None:
    upright = np.zeros((48, 64, 3), np.uint8)
    upright[:24, :32] = [255, 0, 0]
    upright[:24, 32:] = [0, 255, 0]
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path / "given", Image.fromarray(upright).transpose(undo), kind, exif=exif, quality=95)
    picture = read_picture(path)
    assert picture.pixels.shape == upright.shape
    assert abs(picture.pixels.astype(int) - upright)[4:20, 4:28].mean() < 4
    assert abs(picture.pixels.astype(int) - upright)[4:20, 36:60].mean() < 4


def test_a_broken_exif_block_does_not_refuse_the_picture(tmp_path: Path) -> None:
    path = saved(tmp_path / "given.jpg", noise(), "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")
    assert read_picture(path).pixels.shape == (48, 64, 3)


def test_an_embedded_profile_is_brought_to_srgb(tmp_path: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for old, new in (
        (b"rXYZ", b"????"),
        (b"bXYZ", b"rXYZ"),
        (b"????", b"bXYZ"),
        ("sRGB".encode("utf-16-be"), b"\0x" * 4),
    ):
        profile = profile.replace(old, new)
    red = Image.new("RGB", (64, 48), (250, 20, 10))
    picture = read_picture(saved(tmp_path / "given.png", red, icc_profile=profile))
    assert picture.notices == ()
    assert abs(picture.pixels[0, 0].astype(int) - [10, 20, 250]).max() <= 2


def test_an_srgb_profile_changes_nothing(tmp_path: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    given = noise()
    assert (read_picture(saved(tmp_path / "given.png", given, icc_profile=profile)).pixels == np.asarray(given)).all()


def test_a_broken_profile_gives_a_notice(tmp_path: Path) -> None:
    picture = read_picture(saved(tmp_path / "given.png", noise(), icc_profile=b"not a profile"))
    assert picture.notices == ("The colour profile in given.png can't be used; its colours are taken as sRGB.",)
    assert (picture.pixels == np.asarray(noise())).all()


def test_a_text_bomb_in_a_png_is_no_way_in(tmp_path: Path) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("bomb", "x" * 70_000_000, zip=True)
    assert "is damaged" in refusal(saved(tmp_path / "given.png", noise(), pnginfo=info)).message


def test_a_gif_whose_frame_outgrows_its_screen_is_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    noise().save(buffer, "GIF")
    data = bytearray(buffer.getvalue())
    frame = data.index(b"\x2c", 13 + 768)
    data[frame + 5 : frame + 9] = struct.pack("<HH", 16_000, 16_000)
    path = tmp_path / "given.gif"
    path.write_bytes(data)
    refusal(path)


def test_a_file_over_the_cap_names_the_cap(tmp_path: Path) -> None:
    path = tmp_path / "given.png"
    with open(path, "wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        file.truncate(MAX_FILE_BYTES + 5 * 2**20)
    assert refusal(path).message == "given.png has 25 MB; a picture may have 20."


def test_a_missing_file_and_a_folder_get_their_sentences(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none.png").message == "none.png does not exist."
    assert "is a folder" in refusal(tmp_path).message


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_named_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    assert "is not a file" in refusal(tmp_path / "pipe.png").message


@pytest.mark.parametrize("name", ["a\0b.png", "x" * 400 + ".png", "\ud800.png"])
def test_a_name_that_no_file_can_have_gets_a_sentence(name: str, tmp_path: Path) -> None:
    refusal(tmp_path / name)


@pytest.mark.parametrize("name", ["\u202egnp.png", "🎬 clip.png", "CON", "-rf.png", "%s{0}.png"])
def test_an_odd_name_is_read_like_any_other(name: str, tmp_path: Path) -> None:
    assert read_picture(saved(tmp_path / name, noise())).pixels.shape == (48, 64, 3)


def test_a_colour_is_read_and_a_word_refused() -> None:
    assert colour("#0A10ff") == (10, 16, 255)
    with pytest.raises(BadInput, match="background: 'red' is not a colour"):
        colour("red")


HARDENED = """
import io
from PIL import Image
from studio.media.read import harden_pillow
buffer = io.BytesIO()
Image.new("RGB", (9, 9)).save(buffer, "TIFF")
harden_pillow()
Image.new("RGB", (9, 9)).save(io.BytesIO(), "WEBP")
try:
    Image.open(buffer)
except OSError:
    print("refused")
"""


def test_hardening_leaves_pillow_few_decoders() -> None:
    done = subprocess.run([sys.executable, "-c", HARDENED], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "refused"
