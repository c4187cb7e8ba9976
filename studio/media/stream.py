"""`Stream`: a clip that is never in memory as a whole; its frames come one at a time, while its file is written."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar, Protocol

import numpy as np

from studio.errors import Cancelled
from studio.media.clip import Clip
from studio.media.sound import Sound


class Footage(Protocol):
    """What can be written into a file: a `Clip` or a `Stream`."""

    @property
    def width(self) -> int: ...
    @property
    def height(self) -> int: ...
    @property
    def fps(self) -> float | Fraction: ...
    @property
    def alpha(self) -> np.ndarray | None: ...
    @property
    def sound(self) -> Sound | None: ...
    @property
    def duration_s(self) -> float: ...
    def __len__(self) -> int: ...
    def pictures(self) -> Iterator[np.ndarray]: ...


@dataclass(frozen=True, eq=False)
class Stream:
    """Frames to come, with their rate.

    Args:
        frames: uint8 (H, W, 3), sRGB, `count` of them; they come once. Closing it lets go of what makes them.
        count: how many there will be.
        width, height: pixels.
        fps: frames per second at which it is meant to be seen.
        first: the first frame, for a poster.
        sound: what is heard with it.
        kept: hears how many frames there are where the user cancelled and wants those; None: nothing is kept then.
    """

    frames: Generator[np.ndarray, None, None]
    count: int
    width: int
    height: int
    fps: Fraction
    first: np.ndarray
    sound: Sound | None = None
    kept: Callable[[int], None] | None = None

    alpha: ClassVar[None] = None
    closed: ClassVar[bool] = False

    def __len__(self) -> int:
        return self.count

    def __repr__(self) -> str:
        return f"Stream({self.count} frames, {self.width}x{self.height}, {float(self.fps):g} fps)"

    @property
    def duration_s(self) -> float:
        """Seconds for which it is seen once, the last frame included."""
        return float(self.count / self.fps)

    def pictures(self) -> Iterator[np.ndarray]:
        """The frames; once.

        Raises:
            RuntimeError: they could not be made, for a reason that could be taken for one of the file's to be written.
        """
        try:
            yield from self.frames
        except (OSError, ValueError) as e:
            raise RuntimeError("The frames could not be made.") from e

    def in_memory(self) -> Clip:
        """The clip of all its frames; without the sound, for a clip has none."""
        frames = np.empty((self.count, self.height, self.width, 3), np.uint8)
        for index, frame in enumerate(self.frames):
            frames[index] = frame
        return Clip(frames, float(self.fps))


class Ending:
    """A stream that, where the user cancels, ends there instead of being lost.

    Args:
        on_frame: as `studio.media.write.write_clip` takes it; heard through `heard`, until it raises `Cancelled`.
    """

    def __init__(self, stream: Stream, on_frame: Callable[[int, int], None]) -> None:
        self._stream = stream
        self._on_frame = on_frame
        self._given = 0
        self.early = False
        self.width, self.height, self.fps = stream.width, stream.height, stream.fps
        self.alpha = None

    def __len__(self) -> int:
        return self._given if self.early else self._stream.count

    @property
    def sound(self) -> Sound | None:
        """That of the stream, cut to its frames where it ended early."""
        sound = self._stream.sound
        return sound.until(self._given / self.fps) if sound is not None and self.early else sound

    @property
    def duration_s(self) -> float:
        """Seconds, the last frame included."""
        return float(len(self) / self.fps)

    def pictures(self) -> Iterator[np.ndarray]:
        """The frames until the user cancels; one at least.

        Raises:
            Cancelled: before there was one.
        """
        try:
            for frame in self._stream.pictures():
                self._given += 1
                yield frame
                if self.early:
                    break
        except Cancelled:
            if not self._given:
                raise
            self.early = True
        finally:
            self._stream.frames.close()

    def heard(self, done: int, total: int) -> None:
        """Passes it on; `Cancelled` ends the frames."""
        if not self.early:
            try:
                self._on_frame(done, total)
            except Cancelled:
                self.early = True
