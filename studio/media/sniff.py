"""What a file is by its content, and how large a picture says it is: from the first bytes, nothing is decoded."""

from __future__ import annotations

import re
import struct
from pathlib import Path

PICTURES = ("png", "jpeg", "webp", "gif")
"""The kinds that `studio.media.read` decodes."""

NAMES = {
    "png": "PNG",
    "jpeg": "JPEG",
    "webp": "WebP",
    "gif": "GIF",
    "heic": "HEIC",
    "avif": "AVIF",
    "svg": "SVG",
    "tiff": "TIFF",
    "psd": "Photoshop",
    "fits": "FITS",
    "bmp": "BMP",
    "ico": "icon",
    "jxl": "JPEG XL",
    "jp2": "JPEG 2000",
    "pdf": "PDF",
    "mp4": "MP4 video",
    "webm": "WebM video",
    "avi": "AVI video",
    "zip": "ZIP",
}
"""Kind -> the word for it in a sentence."""

_HEAD_BYTES = 4096
_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"\xff\xd8\xff", "jpeg"),
    (b"GIF87a", "gif"),
    (b"GIF89a", "gif"),
    (b"II*\0", "tiff"),
    (b"MM\0*", "tiff"),
    (b"II+\0", "tiff"),
    (b"MM\0+", "tiff"),
    (b"8BPS", "psd"),
    (b"SIMPLE  =", "fits"),
    (b"BM", "bmp"),
    (b"\0\0\1\0", "ico"),
    (b"\xff\x0a", "jxl"),
    (b"\0\0\0\x0cJXL ", "jxl"),
    (b"\0\0\0\x0cjP  ", "jp2"),
    (b"%PDF", "pdf"),
    (b"\x1a\x45\xdf\xa3", "webm"),
    (b"PK\3\4", "zip"),
)
_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}
_START_OF_FRAME = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}

_KEPT = re.compile(r"[0-9a-f]{64}")
"""A file whose name is its sha256."""


def sniff(path: Path) -> str:
    """The kind of the file by its first bytes, whatever its name: a key of `NAMES`, ``empty``, or ``""`` if unknown.

    Raises:
        OSError: the file can't be opened.
    """
    with open(path, "rb") as file:
        return sniff_bytes(file.read(_HEAD_BYTES))


def sniff_bytes(head: bytes) -> str:
    """`sniff` for the first bytes themselves."""
    if not head:
        return "empty"
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            return kind
    if head[:4] == b"RIFF":
        return {b"WEBP": "webp", b"AVI ": "avi"}.get(head[8:12], "")
    if head[4:8] == b"ftyp":
        return _iso_kind(head)
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if text.startswith((b"<svg", b"<?xml", b"<!")) and b"<svg" in text:
        return "svg"
    return ""


def _iso_kind(head: bytes) -> str:
    """HEIC, AVIF or a video, by the brands of an ISO base media file."""
    end = min(int.from_bytes(head[:4], "big"), len(head))
    brands = {head[8:12], *(head[i : i + 4] for i in range(16, end - 3, 4))}
    if brands & {b"avif", b"avis"}:
        return "avif"
    return "heic" if brands & _HEIF_BRANDS else "mp4"


def pixel_size(data: bytes, kind: str) -> tuple[int, int] | None:
    """Width and height that the header of a picture states, or None where there is no whole header.

    Args:
        data: the file, or enough of it.
        kind: one of `PICTURES`.
    """
    try:
        return _SIZES[kind](data)
    except (struct.error, IndexError):
        return None


def _png_size(data: bytes) -> tuple[int, int] | None:
    return struct.unpack(">II", data[16:24]) if data[12:16] == b"IHDR" else None


def _gif_size(data: bytes) -> tuple[int, int]:
    return struct.unpack("<HH", data[6:10])


def _webp_size(data: bytes) -> tuple[int, int] | None:
    chunk = data[12:16]
    if chunk == b"VP8X":
        struct.unpack("<10s", data[20:30])
        return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    if chunk == b"VP8L":
        (bits,) = struct.unpack("<I", data[21:25])
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if chunk == b"VP8 " and data[23:26] == b"\x9d\x01\x2a":
        width, height = struct.unpack("<HH", data[26:30])
        return width & 0x3FFF, height & 0x3FFF
    return None


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Walks the segments to the first start of frame (ITU-T T.81, B.1.1.3 and B.2.2)."""
    at = 2
    while True:
        while data[at] == 0xFF and data[at + 1] == 0xFF:
            at += 1
        if data[at] != 0xFF:
            return None
        marker = data[at + 1]
        if marker in _START_OF_FRAME:
            height, width = struct.unpack(">HH", data[at + 5 : at + 9])
            return width, height
        alone = marker == 0x01 or 0xD0 <= marker <= 0xD8
        if not alone:
            (length,) = struct.unpack(">H", data[at + 2 : at + 4])
            at += length
        at += 2


_SIZES = {"png": _png_size, "jpeg": _jpeg_size, "webp": _webp_size, "gif": _gif_size}


def shown_name(path: Path) -> str:
    """The file's name fit for a sentence: control and direction characters escaped, the middle of a long one cut.

    One that the studio keeps by its content has no name.
    """
    if _KEPT.fullmatch(path.stem):
        return "The file"
    name = path.name or str(path)
    name = "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in name)
    return name if len(name) <= 60 else f"{name[:40]}...{name[-15:]}"


def is_cut_off(path: Path) -> bool:
    """True where an MP4 ends before its boxes do (ISO/IEC 14496-12, 4.2): its rest was never written or fetched.

    Raises:
        OSError: the file can't be read.
    """
    end = path.stat().st_size
    at = 0
    with open(path, "rb") as file:
        while at + 8 <= end:
            file.seek(at)
            head = file.read(16)
            size = int.from_bytes(head[:4], "big")
            if size == 1:
                size = int.from_bytes(head[8:16], "big")
            if size == 0:  # to the end of the file, wherever that is
                return False
            at += max(size, 8)
    return at > end
