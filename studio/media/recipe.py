"""The recipe inside a finished file: what it was made from, in the file's own metadata.

| file | place |
|---|---|
| mp4, webm | comment tag |
| gif | comment extension before the trailer |
| webp | EXIF, ImageDescription |
| png | text chunk ``svd-studio`` |
| zip | ``recipe.json``, and in each PNG |

Everywhere it is the same JSON, in ASCII: GIF comments and EXIF text are ASCII by their standards.
"""

from __future__ import annotations

import heapq
import json
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO

import av
from av.container import InputContainer
from av.video.stream import VideoStream
from PIL import Image, PngImagePlugin
from pydantic import BaseModel, ConfigDict, Field, ValidationError

import studio
from studio.errors import BadInput
from studio.media.decode import open_media
from studio.media.sniff import shown_name, sniff
from studio.media.sound import Sound, SoundTrack
from studio.media.webp import walk

SCHEMA = 1
"""Version of the layout of `Recipe`; a newer one is refused with a sentence."""

MAX_BYTES = 2**19
"""Longest recipe that is written or read."""

ZIP_MEMBER = "recipe.json"
_PNG_KEY = "svd-studio"
_IMAGE_DESCRIPTION = 0x010E
_MALFORMED = (ValueError, SyntaxError, LookupError, RuntimeError, struct.error, zlib.error)
_REMEDY = "Choose a file that this studio made."


class Recipe(BaseModel):
    """All that is needed to make the same bytes again. Keys of `components` are names, values content hashes."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    studio: str
    schema_version: int = Field(default=SCHEMA, alias="schema")
    request: dict[str, Any]
    variant: str
    components: dict[str, str] = Field(default_factory=dict)
    versions: dict[str, str] = Field(default_factory=dict)
    facts: dict[str, Any] = Field(default_factory=dict)


def make_recipe(
    request: Mapping[str, Any],
    variant: str,
    *,
    components: Mapping[str, str] | None = None,
    versions: Mapping[str, str] | None = None,
    facts: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The recipe of this version of the studio, as plain JSON data; every value must be JSON already."""
    made = Recipe(
        studio=studio.__version__,
        request=dict(request),
        variant=variant,
        components=dict(components or {}),
        versions=dict(versions or {}),
        facts=dict(facts or {}),
    )
    return json.loads(recipe_text(made.model_dump(by_alias=True)))


def recipe_text(recipe: Mapping[str, Any]) -> str:
    """The one JSON line that goes into a file: ASCII, sorted, at most `MAX_BYTES`.

    Raises:
        ValueError: not a recipe, not JSON, or longer: the caller's mistake.
    """
    data = Recipe.model_validate(dict(recipe)).model_dump(by_alias=True)
    text = json.dumps(data, ensure_ascii=True, sort_keys=True, separators=(",", ":"), allow_nan=False)
    if len(text) > MAX_BYTES:
        raise ValueError(f"recipe: {len(text)} bytes are more than {MAX_BYTES}.")
    return text


def read_recipe(path: Path) -> dict[str, Any]:
    """The recipe in a file that the studio wrote; from anyone else's file, a sentence.

    Raises:
        BadInput: no such file, no recipe in it, or one that is malformed or from a newer studio.
    """
    name = shown_name(path)
    try:
        if not path.is_file():
            raise BadInput(f"{name} does not exist.", "Check the path.")
        read = _READERS.get(sniff(path))
        text = read(path) if read else None
    except (OSError, EOFError, zipfile.BadZipFile, *_MALFORMED) as e:
        raise BadInput(f"{name} can't be read: it is damaged, or not open to this user.", _REMEDY) from e
    if not text:
        raise BadInput(f"{name} carries no recipe of this studio.", _REMEDY)
    return _parse(text, name)


def _parse(text: str, name: str) -> dict[str, Any]:
    none = BadInput(f"{name} carries no recipe of this studio.", _REMEDY)
    if len(text) > MAX_BYTES:
        raise none
    try:
        data = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError) as e:
        raise none from e
    if not isinstance(data, dict) or "studio" not in data or "schema" not in data:
        raise none
    if data["schema"] != SCHEMA:
        raise BadInput(
            f"{name} has a recipe of schema {str(data['schema'])[:20]}; this studio reads {SCHEMA}.",
            "Update the studio.",
        )
    try:
        return Recipe.model_validate(data).model_dump(by_alias=True)
    except ValidationError as e:
        where = ".".join(str(part) for part in e.errors()[0]["loc"])
        raise BadInput(f"{name} has a malformed recipe, at {where[:60]!r}.", _REMEDY) from e


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON.")


# mp4 and webm


def embed_in_video(
    source: Path, target: Path, text: str, check: Callable[[], None] = lambda: None, sound: Sound | None = None
) -> None:
    """Copies the coded frames of an mp4 or webm into `target` with the recipe as its comment; no frame is re-encoded.

    Through the library rather than FFmpeg's command line: nothing needs escaping, and no length limit applies.

    Args:
        sound: what goes beside them.
    """
    kind = "webm" if target.suffix == ".webm" else "mp4"
    options = {"fflags": "+bitexact"} if kind == "webm" else {"fflags": "+bitexact", "movflags": "+faststart"}
    with ExitStack() as opened:
        given = opened.enter_context(open_media(source, kind))
        made = opened.enter_context(av.open(str(target), "w", format=kind, options=options))
        made.metadata["comment"] = text
        stream = given.streams.video[0]
        # rate, because a template does not bring it along (PyAV 18), and WebM then has no frame duration.
        copy = made.add_stream_from_template(stream, opaque=True, rate=stream.average_rate)
        tracks = [_packets(given, stream, copy)]
        if sound is not None:
            heard = opened.enter_context(open_media(sound.path, sound.kind))
            tracks.append(SoundTrack(sound, heard, made, kind).packets())
        # By time, so that the muxer never has to hold much of one track while it waits for the other.
        for count, (_, packet) in enumerate(heapq.merge(*tracks, key=lambda timed: timed[0])):
            if count % 64 == 0:
                check()
            made.mux(packet)


def _packets(given: InputContainer, stream: VideoStream, copy: VideoStream) -> Iterator[tuple[float, av.Packet]]:
    """Each coded frame with its time in seconds, in order of decoding."""
    for packet in given.demux(stream):
        if packet.dts is not None:
            at = float(packet.dts * packet.time_base)
            packet.stream = copy
            yield at, packet


def _read_video(path: Path, kind: str) -> str | None:
    with open_media(path, kind) as container:
        return next((value for key, value in container.metadata.items() if key.lower() == "comment"), None)


# gif


def embed_in_gif(path: Path, text: str) -> None:
    """Puts the recipe into a GIF that has none: a comment extension in place of the trailer, then the trailer."""
    data = text.encode("ascii")
    blocks = [data[i : i + 255] for i in range(0, len(data), 255)]
    with open(path, "r+b") as file:
        file.seek(-1, 2)
        assert file.read(1) == b";", "a whole GIF ends with its trailer"
        file.seek(-1, 2)
        file.write(b"\x21\xfe" + b"".join(bytes([len(b)]) + b for b in blocks) + b"\0;")


def _read_gif(path: Path) -> str | None:
    """The last comment, by walking the blocks (GIF89a, 15 to 27); nothing is decoded."""
    found = None
    with open(path, "rb") as file:
        head = file.read(13)
        if head[10] & 0x80:
            file.seek(3 << ((head[10] & 7) + 1), 1)
        while start := file.read(1):
            if start == b"\x21":
                label = file.read(1)
                data = _sub_blocks(file, keep=label == b"\xfe")
                found = data if label == b"\xfe" else found
            elif start == b"\x2c":
                flags = file.read(9)[8]
                file.seek((3 << ((flags & 7) + 1) if flags & 0x80 else 0) + 1, 1)
                _sub_blocks(file, keep=False)
            else:
                break
    return found.decode("ascii", "replace") if found else None


def _sub_blocks(file: BinaryIO, *, keep: bool) -> bytes:
    kept = bytearray()
    while (size := file.read(1)) not in (b"", b"\0"):
        block = file.read(size[0])
        if keep and len(kept) <= MAX_BYTES:
            kept += block
    return bytes(kept)


# webp, png, zip


def exif_block(text: str) -> bytes:
    """An EXIF block whose image description is the recipe."""
    exif = Image.Exif()
    exif[_IMAGE_DESCRIPTION] = text
    return exif.tobytes()


def _read_webp(path: Path) -> str | None:
    with open(path, "rb") as file:
        for name, size in walk(file):
            if name == b"EXIF" and size <= 2 * MAX_BYTES:
                exif = Image.Exif()
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # Pillow warns of what is damaged, and reads what is there
                    exif.load(file.read(size))
                    value = exif.get(_IMAGE_DESCRIPTION)
                return value if isinstance(value, str) else None
    return None


def png_text(text: str) -> PngImagePlugin.PngInfo:
    """What `Image.save` takes as `pnginfo` to write the recipe."""
    info = PngImagePlugin.PngInfo()
    info.add_text(_PNG_KEY, text, zip=len(text) > 1000)
    return info


def _read_png(path: Path) -> str | None:
    with Image.open(path, formats=("PNG",)) as image:
        value = image.info.get(_PNG_KEY)
    return value if isinstance(value, str) else None


def _read_zip(path: Path) -> str | None:
    with zipfile.ZipFile(path) as archive:
        if ZIP_MEMBER not in archive.namelist():
            return None
        with archive.open(ZIP_MEMBER) as member:
            return member.read(MAX_BYTES + 1).decode("utf-8")


_READERS: dict[str, Callable[[Path], str | None]] = {
    "mp4": lambda path: _read_video(path, "mp4"),
    "webm": lambda path: _read_video(path, "webm"),
    "gif": _read_gif,
    "webp": _read_webp,
    "png": _read_png,
    "zip": _read_zip,
}
