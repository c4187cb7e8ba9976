"""`Film`: a video from outside that is read frame by frame, however long it is.

It is looked at once from end to end: when each frame is shown, how much changes from one to the next, and whether all
of it can be decoded. After that nothing about it is a surprise. Then its frames come once more, upright, in square
pixels, as sRGB.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import cv2
import numpy as np
from av.video.reformatter import Colorspace, Interpolation

from studio.errors import BadInput
from studio.media.changes import Change, Changes
from studio.media.decode import (
    EXACT,
    check_side,
    clip_kind,
    damaged,
    iter_frames,
    open_video,
    stated_rate,
)
from studio.media.sniff import is_cut_off, shown_name
from studio.media.sound import Sound
from studio.media.timing import exact_rate

MAX_PIXELS = 4096 * 2304
"""Of a frame: 4K."""

MAX_FRAMES = 1_000_000
"""Nine hours at 30 frames a second; beyond it a file is taken for a trap."""

_SMALL = (128, 72)
"""Pixels in which changes are looked for."""

_CUT_OFF_S = 0.5
"""A file that ends so much earlier than it says was cut off."""

_ROUNDED_S = Fraction(1, 900)
"""By so much the times of a steady film may be off, for some formats count in milliseconds."""

_NEAR = 0.005
"""A stated rate may differ by so much of itself from the mean."""

_HD_HEIGHT = 720
"""From here on colours that are not tagged are BT.709, as players have it."""

_HDR = (16, 18)
"""Transfer functions PQ and HLG (ITU-T H.273)."""

_UNTAGGED = 2

OnFrame = Callable[[int, int], None]
"""Takes (frames so far, how many there may be)."""


@dataclass(frozen=True, eq=False)
class Film:
    """What one look found.

    Args:
        path, kind: the file, and what it is (`studio.media.decode.clip_kind`).
        width, height: pixels, upright and square.
        times: when each frame is shown, seconds from the first.
        end: when the last one is over.
        rate: frames per second; the mean where they are not shown equally long.
        first: the first frame.
        changes: from each frame to the next.
        sound: what is heard with it.
        notices: sentences for the user.
    """

    path: Path
    kind: str
    width: int
    height: int
    times: tuple[Fraction, ...]
    end: Fraction
    rate: Fraction
    first: np.ndarray
    changes: tuple[Change, ...]
    sound: Sound | None
    notices: tuple[str, ...] = field(default=())

    def __len__(self) -> int:
        return len(self.times)

    def frames(self) -> Iterator[np.ndarray]:
        """Each frame, uint8 (H, W, 3); as many as there are times.

        Raises:
            BadInput: the file is another one by now.
        """
        given = 0
        for moment in _moments(self.path, self.kind):
            frame = moment.pixels()
            if frame.shape[:2] != (self.height, self.width):
                break
            yield frame
            given += 1
        if given != len(self):
            raise damaged(self.path)


def look(path: Path, on_frame: OnFrame = lambda done, total: None) -> Film:
    """The film in a file, every frame of it decoded.

    Args:
        on_frame: called for each frame; may raise `Cancelled`.

    Raises:
        BadInput: no clip that is known here, damaged or cut off, frames too large or of different sizes, or only one.
    """
    kind = clip_kind(path)
    expected = _expected(path, kind)
    times: list[Fraction] = []
    changes = Changes()
    notices: list[str] = []
    first: np.ndarray | None = None
    last_s = Fraction(0)
    size = (0, 0)
    for moment in _moments(path, kind):
        if first is None:
            _check_frame(path, *moment.size)
            size, first, notices = moment.size, moment.pixels(), moment.notices(path)
        elif moment.size != size:
            raise BadInput(
                f"{shown_name(path)} changes from {size[0]}x{size[1]} to {moment.size[0]}x{moment.size[1]}.",
                "Make its frames of one size first.",
            )
        times.append(moment.at)
        last_s = moment.lasts
        changes.add(moment.small())
        if len(times) > MAX_FRAMES:
            raise BadInput(f"{shown_name(path)} has more than {MAX_FRAMES} frames.", "Cut it shorter.")
        on_frame(len(times), max(expected, len(times)))
    if first is None:
        raise damaged(path)
    if len(times) == 1:
        raise BadInput(f"{shown_name(path)} has one frame; there is nothing between.", "Choose a clip that moves.")
    zero = times[0]
    usual = (times[-1] - zero) / (len(times) - 1)
    shown, end = tuple(t - zero for t in times), times[-1] - zero + (last_s or usual)
    rate = _rate(len(shown) / end, stated_rate(path, kind))
    if all(abs(t - i / rate) <= _ROUNDED_S for i, t in enumerate([*shown, end])):
        shown, end = tuple(i / rate for i in range(len(shown))), len(shown) / rate
    return Film(
        path=path,
        kind=kind,
        width=first.shape[1],
        height=first.shape[0],
        times=shown,
        end=end,
        rate=rate,
        first=first,
        changes=changes.found(),
        sound=_sound(path, kind, zero),
        notices=tuple(notices),
    )


def _rate(mean: Fraction, stated: Fraction | None) -> Fraction:
    """What the file states where that is near what it shows."""
    return Fraction(stated) if stated and abs(stated / mean - 1) < _NEAR else exact_rate(float(mean))


def check_film(path: Path) -> str:
    """The suffix by content, such as ``.mp4``, of a file whose first frames are those of a film; the rest is not read.

    Raises:
        BadInput: as `look`, as far as that can be told so soon.
    """
    kind = clip_kind(path)
    moments = _moments(path, kind)
    found = list(islice(moments, 2))
    moments.close()
    for moment in found:
        _check_frame(path, *moment.size)
    if len(found) == 1:
        raise BadInput(f"{shown_name(path)} has one frame; there is nothing between.", "Choose a clip that moves.")
    return f".{kind}"


def _check_frame(path: Path, width: int, height: int) -> None:
    check_side(path, width, height)
    if width * height > MAX_PIXELS:
        raise BadInput(
            f"{shown_name(path)} is {width}x{height}; frames may have {MAX_PIXELS / 1e6:.1f} megapixels, as in 4K.",
            "Scale it down.",
        )


def _expected(path: Path, kind: str) -> int:
    """How many frames there may be, as the file has it; 0 where it does not say."""
    if kind not in ("mp4", "webm", "gif"):
        return 0
    with open_video(path, kind) as (container, stream):
        length_s = container.duration / av.time_base if container.duration else 0
        return stream.frames or round(length_s * (stream.average_rate or 0))


def _sound(path: Path, kind: str, start: Fraction) -> Sound | None:
    if kind not in ("mp4", "webm"):
        return None
    with open_video(path, kind) as (container, _):
        heard = container.streams.audio
        if not heard or heard[0].codec_context is None:
            return None
        return Sound(path, kind, heard[0].codec_context.codec.canonical_name, start)


# --- frames with their times ------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Moment(ABC):
    """A decoded picture, when it is shown and for how long, in seconds; 0 where the file does not say."""

    at: Fraction
    lasts: Fraction

    @property
    @abstractmethod
    def size(self) -> tuple[int, int]:
        """Width and height as it is shown, pixels."""

    @abstractmethod
    def pixels(self) -> np.ndarray:
        """uint8 (H, W, 3), sRGB, upright."""

    @abstractmethod
    def small(self) -> np.ndarray:
        """Luma, uint8 (h, w) of `_SMALL`."""

    @abstractmethod
    def notices(self, path: Path) -> list[str]:
        """What the user should know of how it was read."""


@dataclass(frozen=True, eq=False)
class _Still(_Moment):
    """Of a format whose frames Pillow decodes."""

    picture: np.ndarray

    @property
    def size(self) -> tuple[int, int]:
        return self.picture.shape[1], self.picture.shape[0]

    def pixels(self) -> np.ndarray:
        return np.ascontiguousarray(self.picture[..., :3])

    def small(self) -> np.ndarray:
        return cv2.cvtColor(cv2.resize(self.pixels(), _SMALL, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)

    def notices(self, path: Path) -> list[str]:
        return _transparent(path) if self.picture.shape[2] == 4 and self.picture[..., 3].min() < 255 else []


@dataclass(frozen=True, eq=False)
class _Decoded(_Moment):
    """Of a video, with how much wider than high its pixels are."""

    frame: av.VideoFrame
    pixel_shape: Fraction

    @property
    def _turns(self) -> int:
        """Quarter turns counter-clockwise that put it upright."""
        return round(self.frame.rotation / 90) % 4

    @property
    def _square(self) -> tuple[int, int]:
        """Width and height in square pixels, as it lies in the file; nothing is thrown away."""
        width, height, shape = self.frame.width, self.frame.height, self.pixel_shape
        return (round(width * shape), height) if shape >= 1 else (width, round(height / shape))

    @property
    def size(self) -> tuple[int, int]:
        width, height = self._square
        return (height, width) if self._turns % 2 else (width, height)

    def pixels(self) -> np.ndarray:
        width, height = self._square
        tagged = self.frame.colorspace != _UNTAGGED or min(width, height) < _HD_HEIGHT
        rgb = self.frame.reformat(
            width, height, "rgb24", src_colorspace=None if tagged else Colorspace.ITU709, interpolation=EXACT
        ).to_ndarray()
        return np.ascontiguousarray(np.rot90(rgb, self._turns))

    def small(self) -> np.ndarray:
        return self.frame.reformat(*_SMALL, "gray", interpolation=Interpolation.AREA).to_ndarray()

    def notices(self, path: Path) -> list[str]:
        found = []
        if self.frame.format.name.startswith(("yuva", "bgra", "rgba", "argb", "abgr", "gbrap")):
            found += _transparent(path)
        if self.frame.color_trc in _HDR:
            found.append(f"{shown_name(path)} is HDR; its colours are taken as they are and look pale.")
        if self.frame.interlaced_frame:
            found.append(f"{shown_name(path)} is interlaced; its lines are left as they are.")
        return found


def _transparent(path: Path) -> list[str]:
    return [f"{shown_name(path)} may be transparent in places; that is left out."]


def _moments(path: Path, kind: str) -> Generator[_Moment, None, None]:
    """Each frame in order, its time later than that of the one before."""
    return _stills(path, kind) if kind in ("webp", "zip") else _decoded(path, kind)


def _stills(path: Path, kind: str) -> Generator[_Moment, None, None]:
    rate = stated_rate(path, kind)
    at = Fraction(0)
    for picture, duration_s in iter_frames(path, kind, for_memory=False):
        lasts = 1 / rate if rate else Fraction(round(duration_s * 1000) or 100, 1000)
        yield _Still(at, lasts, picture)
        at += lasts


def _decoded(path: Path, kind: str) -> Generator[_Moment, None, None]:
    with open_video(path, kind) as (container, stream):
        usual = 1 / Fraction(stream.average_rate or stream.guessed_rate or 25)
        shape = Fraction(stream.sample_aspect_ratio or 1)
        shape = shape if Fraction(1, 4) <= shape <= 4 else Fraction(1)
        says_s = Fraction(container.duration, av.time_base) if container.duration else Fraction(0)
        heard = [s for s in container.streams.audio if s.codec_context is not None]
        before: Fraction | None = None
        begins = over = Fraction(0)
        for packet in container.demux(stream, *heard[:1]):
            if packet.stream_index != stream.index:
                if packet.pts is not None:
                    over = max(over, (packet.pts + (packet.duration or 0)) * packet.time_base)
                continue
            for frame in packet.decode():
                check_side(path, frame.width, frame.height)
                unit = frame.time_base or stream.time_base
                at = frame.pts * unit if frame.pts is not None else (before + usual if before is not None else begins)
                lasts = (frame.duration or 0) * unit
                over = max(over, at + (lasts or usual))
                if before is not None and at <= before:
                    continue  # shown for no time at all
                before = at
                yield _Decoded(at, lasts, frame, shape)
        if before is None:
            raise damaged(path)
        # What was cut off in the middle of a frame mostly fails to decode; between two frames it only stops early.
        if says_s - over > max(Fraction(_CUT_OFF_S), 2 * usual) or (kind == "mp4" and is_cut_off(path)):
            raise damaged(path)
