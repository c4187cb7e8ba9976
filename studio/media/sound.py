"""A clip's sound on its way from one file into another: its packets as they are where they may be, else coded anew."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import av
import av.error
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.filter import Graph

from studio.media.decode import damaged

_CARRIES = {
    "mp4": frozenset({"aac", "mp3", "ac3", "eac3", "alac", "flac", "opus"}),
    "webm": frozenset({"opus", "vorbis"}),
}
"""Container -> codecs whose packets it takes as they are."""

_CODES = {"mp4": ("aac", 192_000, None), "webm": ("libopus", 128_000, 48_000)}
"""Container -> what other sound is coded with: codec, bits per second, and the one sample rate that it takes."""

_SLOWEST = Fraction(1, 2)
"""The least speed that FFmpeg's atempo takes; slower goes by several of them."""


@dataclass(frozen=True)
class Sound:
    """The sound of a file, to be heard with frames that were made from that file's.

    Args:
        path, kind: the file, and what it is (`studio.media.decode.clip_kind`); it has sound.
        codec: what its sound is coded with, by FFmpeg's name.
        start: seconds of the file at which the frames begin.
        speed: 1, or less where it is to be heard slower; its pitch stays.
        end: seconds of the frames after which nothing is heard; None: as long as it lasts.
    """

    path: Path
    kind: str
    codec: str
    start: Fraction = Fraction(0)
    speed: Fraction = Fraction(1)
    end: Fraction | None = None

    def until(self, end: Fraction) -> Sound:
        """The same, heard no longer than the frames."""
        return replace(self, end=end)

    def slowed(self, speed: Fraction) -> Sound:
        """The same, heard at that speed."""
        return replace(self, speed=speed)


def copied(codec: str, container: str, speed: Fraction = Fraction(1)) -> bool:
    """True where sound of that codec goes into that container as it is."""
    return speed == 1 and codec in _CARRIES[container]


class SoundTrack:
    """A track in an open file that is being made, and its packets to come."""

    def __init__(self, sound: Sound, source: InputContainer, made: OutputContainer, container: str) -> None:
        self._sound = sound
        self._source = source
        given = source.streams.audio[0]
        self._copies = copied(sound.codec, container, sound.speed)
        self._given = given
        if self._copies:
            self._track = made.add_stream_from_template(given, opaque=True)
        else:
            codec, bit_rate, sample_rate = _CODES[container]
            rate = sample_rate or min(given.codec_context.sample_rate, 48_000)
            self._track = made.add_stream(codec, rate=rate)
            assert isinstance(self._track, AudioStream)
            self._track.bit_rate = bit_rate
            self._track.codec_context.layout = "mono" if given.codec_context.channels == 1 else "stereo"

    def packets(self) -> Iterator[tuple[float, av.Packet]]:
        """Each packet for the file with the time, in seconds of the frames, at which it begins; in order.

        Raises:
            BadInput: the sound is damaged.
        """
        try:
            yield from self._copied() if self._copies else self._coded()
        except (av.error.FFmpegError, EOFError) as e:
            raise damaged(self._sound.path) from e

    def _copied(self) -> Iterator[tuple[float, av.Packet]]:
        unit = self._given.time_base
        shift = round(self._sound.start / unit)
        for packet in self._source.demux(self._given):
            if packet.pts is None or packet.dts is None:
                continue
            packet.pts -= shift
            packet.dts -= shift
            begins = packet.pts * unit
            if begins + (packet.duration or 0) * unit <= 0 and packet.pts + shift >= 0:
                continue  # before the frames begin; what is negative in the file itself only starts the decoder
            if self._sound.end is not None and begins >= self._sound.end:
                return
            packet.stream = self._track
            yield float(begins), packet

    def _coded(self) -> Iterator[tuple[float, av.Packet]]:
        graph: Graph | None = None
        for frame in self._source.decode(self._given):
            if frame.pts is None:
                continue
            frame.pts -= round(self._sound.start / frame.time_base)
            if graph is None:
                graph = self._graph(frame)
            if not _taken(graph, frame):
                break
            yield from self._drained(graph)
        if graph is not None:
            _taken(graph, None)
            yield from self._drained(graph)
        yield from self._encoded(None)

    def _graph(self, frame: av.AudioFrame) -> Graph:
        """From the file's frames to those that the encoder takes: cut to where the pictures are seen, slowed."""
        context = self._track.codec_context
        graph = Graph()
        length = "" if self._sound.end is None else f":end={float(self._sound.end * self._sound.speed):.6f}"
        steps = [("atrim", f"start=0{length}"), ("aresample", f"{context.sample_rate}:async=1:first_pts=0")]
        steps += [("atempo", f"{float(speed):.9f}") for speed in _tempos(self._sound.speed)]
        layout, form = context.layout.name, context.format.name
        steps.append(("aformat", f"sample_fmts={form}:sample_rates={context.sample_rate}:channel_layouts={layout}"))
        last = graph.add_abuffer(
            format=frame.format.name, sample_rate=frame.sample_rate, layout=frame.layout.name, time_base=frame.time_base
        )
        for name, arguments in [*steps, ("abuffersink", None)]:
            following = graph.add(name, arguments)
            last.link_to(following)
            last = following
        graph.configure()
        return graph

    def _drained(self, graph: Graph) -> Iterator[tuple[float, av.Packet]]:
        while True:
            try:
                frame = graph.pull()
            except (av.error.BlockingIOError, av.error.EOFError):
                return
            yield from self._encoded(frame)

    def _encoded(self, frame: av.AudioFrame | None) -> Iterator[tuple[float, av.Packet]]:
        for packet in self._track.encode(frame):
            yield float((packet.pts or 0) * packet.time_base), packet


def _taken(graph: Graph, frame: av.AudioFrame | None) -> bool:
    """False where the graph wants no more: its cut has been reached."""
    try:
        graph.push(frame)
    except av.error.EOFError:
        return False
    return True


def _tempos(speed: Fraction) -> list[Fraction]:
    """Speeds that atempo takes and whose product is this one."""
    found = []
    while speed < _SLOWEST:
        found.append(_SLOWEST)
        speed /= _SLOWEST
    return [*found, speed] if speed != 1 else found
