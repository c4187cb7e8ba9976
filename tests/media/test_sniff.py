"""What a file is, by its first bytes."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image

from studio.media.sniff import is_cut_off, pixel_size, shown_name, sniff_bytes


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"", "empty"),
        (b"hello, world", ""),
        (b"\x89PNG\r\n\x1a\n", "png"),
        (b"\xff\xd8\xff\xe0", "jpeg"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "webp"),
        (b"RIFF\0\0\0\0AVI LIST", "avi"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "heic"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1avif", "avif"),
        (b"\0\0\0\x18ftypisom\0\0\0\0isommp42", "mp4"),
        (b"\xef\xbb\xbf <?xml version='1.0'?>\n<svg/>", "svg"),
        (b"<?xml version='1.0'?><html/>", ""),
        (b"SIMPLE  =                    T", "fits"),
        (b"8BPS\0\1", "psd"),
        (b"II*\0", "tiff"),
    ],
)
def test_kind_is_told_by_content(head: bytes, kind: str) -> None:
    assert sniff_bytes(head) == kind


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("png", {}),
        ("gif", {}),
        ("jpeg", {}),
        ("jpeg", {"progressive": True, "exif": b"Exif\0\0" + b"\xff\xc0" * 500, "icc_profile": b"x" * 70_000}),
        ("webp", {}),
        ("webp", {"lossless": True}),
        ("webp", {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\0"}),
    ],
)
def test_size_is_read_from_the_header_alone(kind: str, options: dict) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (321, 123)).save(buffer, kind, **options)
    assert pixel_size(buffer.getvalue(), kind) == (321, 123)
    assert pixel_size(buffer.getvalue()[:14], kind) in (None, (321, 123) if kind == "gif" else None)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("cat.png", "cat.png"),
        ("../../x", "x"),
        ("a\0b.png", "a\\u0000b.png"),
        ("gpj.\u202epng", "gpj.\\u202epng"),
        ("🎬.png", "🎬.png"),
        ("CON", "CON"),
        ("-rf", "-rf"),
    ],
)
def test_a_name_is_shown_without_tricks(name: str, shown: str) -> None:
    assert shown_name(Path(name)) == shown


def test_a_long_name_is_shown_short() -> None:
    assert len(shown_name(Path("x" * 400 + ".png"))) < 61
    assert shown_name(Path("x" * 400 + ".png")).endswith(".png")


@pytest.mark.parametrize(
    ("data", "cut"),
    [
        (b"\0\0\0\x10ftypisom\0\0\0\0" + b"\0\0\0\x0cmdatabcd", False),
        (b"\0\0\0\x10ftypisom\0\0\0\0" + b"\0\0\0\x0cmdatabc", True),
        (b"\0\0\0\x10ftypisom\0\0\0\0" + b"\0\0\0\x01mdat\0\0\0\0\0\0\0\x14abcd", False),
        (b"\0\0\0\x10ftypisom\0\0\0\0" + b"\0\0\0\x01mdat\0\0\0\1\0\0\0\x14abcd", True),
        (b"\0\0\0\x10ftypisom\0\0\0\0" + b"\0\0\0\0mdatabcdef", False),
        (b"", False),
    ],
)
def test_an_mp4_that_ends_before_its_boxes_do_was_cut_off(data: bytes, cut: bool, tmp_path: Path) -> None:
    (tmp_path / "x.mp4").write_bytes(data)
    assert is_cut_off(tmp_path / "x.mp4") is cut
