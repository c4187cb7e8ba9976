"""Interpolate: frames between frames. A clip gets smoother or slower, two pictures become a clip, a clip goes on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import chain, pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, model_validator

from studio.context import Context
from studio.engines.smooth import smooth
from studio.errors import BadInput
from studio.media.changes import find_cuts, find_repeats, stands_still
from studio.media.clip import Clip
from studio.media.drift import drift
from studio.media.film import MAX_PIXELS, Film, check_film
from studio.media.fit import Fit, fit_picture
from studio.media.read import read_picture
from studio.media.seam import seam
from studio.media.sound import copied
from studio.media.stream import Stream
from studio.media.timing import Span, exact_rate, frame_count, spans
from studio.models.catalog import Catalog
from studio.modes.filling import at_once, grouped, look_at, scale_of, stream_of
from studio.modes.mode import Mode, Result
from studio.modes.motion import FilmedFields
from studio.modes.request import HEX_COLOUR, PicturePath, form

MOST_FRAMES = 1_000_000
"""In a finished file; nine hours at 30 frames a second."""

_FACTOR, _FRAMES, _FPS = 2, 25, 24.0
"""What is made where nothing is said: a clip twice as smooth; a second between two pictures."""

_LOOP_S = Fraction(1, 2)
"""What is put between the end of a clip and its beginning."""

_CONTINUED_BYTES = 2**30
"""Of the frames of a clip that is to go on; they are all held."""

_TAKES = {"smooth": ("clip",), "between": ("start", "end"), "loop": ("clip", "start"), "continue": ("clip",)}
"""What is made -> the files that it may be made of."""

_DOES = {
    "smooth": ("interpolate",),
    "between": ("interpolate", "in-between"),
    "loop": ("interpolate", "in-between"),
    "continue": ("in-between",),
}
"""What is made -> what its model must be able to do."""


def _for(*makes: str) -> dict[str, Any]:
    """Metadata of a field that matters where one of those is made, and else is not shown."""
    return {"when": {"make": list(makes)}}


def _takers(name: str) -> dict[str, Any]:
    return _for(*(make for make, files in _TAKES.items() if name in files))


class Interpolate(FilmedFields):
    """Frames between frames.

    Files that `make` does not take are None, as is what the model does not listen to.
    """

    mode: Literal["interpolate"] = "interpolate"
    make: Literal["smooth", "between", "loop", "continue"] = Field(
        default="smooth",
        description="A smoother or slower clip; a clip between two pictures; a clip, or a picture, that repeats "
        "without a jolt; or a clip that goes on.",
        json_schema_extra=form(control="choice"),
    )
    clip: PicturePath | None = Field(
        default=None,
        description="MP4, WebM, GIF, animated WebP or ZIP of PNG; any length.",
        json_schema_extra=form(control="clip") | _takers("clip"),
    )
    start: PicturePath | None = Field(
        default=None,
        description="The first picture, or the one that comes round again where no clip is given.",
        json_schema_extra=form(control="picture") | _takers("start"),
    )
    end: PicturePath | None = Field(
        default=None,
        description="The last picture.",
        json_schema_extra=form(control="picture") | _takers("end"),
    )
    variant: str = Field(
        default="flow",
        description="What makes the frames: optical flow or RIFE between frames that are near; SVD between pictures "
        "that are not.",
        json_schema_extra=form(control="variant", title="Model"),
    )
    factor: Annotated[int, Field(ge=2, le=16)] | None = Field(
        default=None,
        description="How many times as many frames a second; empty where export fps says it, else 2.",
        json_schema_extra=form(control="blank", title="Times as smooth") | _for("smooth"),
    )
    export_fps: Annotated[float, Field(ge=1, le=240)] | None = Field(
        default=None,
        description="Frames per second of the finished file, any rate; 23.976 is 24000/1001.",
        json_schema_extra=form(unit="fps", title="Export fps"),
    )
    slow_motion: Annotated[float, Field(ge=1, le=16)] = Field(
        default=1.0,
        description="How many times as long it lasts, its sound with it.",
        json_schema_extra=form(control="slider", step=0.5, title="Slow motion") | _for("smooth"),
    )
    cut_guard: bool = Field(
        default=True,
        description="Nothing is made across a cut: the nearer frame is shown.",
        json_schema_extra=form(group="motion", title="Mind cuts") | _for("smooth"),
    )
    repair_duplicates: bool = Field(
        default=False,
        description="Frames that only repeat the one before, as in animation on twos, are made anew.",
        json_schema_extra=form(group="motion", title="Make repeated frames anew") | _for("smooth"),
    )
    scale: Literal["auto", "1", "0.5", "0.25"] = Field(
        default="auto",
        description="The size in which motion is looked for: less for large frames and fast motion.",
        json_schema_extra=form(group="motion", control="choice", title="Motion at scale")
        | _for("smooth", "between", "loop"),
    )
    frames: Annotated[int, Field(ge=2, le=240)] | None = Field(
        default=None,
        description="Number of frames: of the clip between pictures, or of those that lead back or go on.",
        json_schema_extra=form(group="motion", control="slider", step=1, unit="frames")
        | _for("between", "loop", "continue"),
    )
    between_prior: Literal["vibid", "mpd"] | None = Field(
        default=None,
        description="How SVD's sampling meets both pictures: in turns from the first step, or by the first picture "
        "alone until the motion is laid out.",
        json_schema_extra=form(group="sampling", control="choice", title="Both ends") | _for("between", "loop"),
    )
    overlap: Annotated[int, Field(ge=1, le=8)] | None = Field(
        default=None,
        description="Frames of the clip that SVD is held to where the clip goes on.",
        json_schema_extra=form(group="motion", control="slider", step=1, unit="frames") | _for("continue"),
    )
    windows: Annotated[int, Field(ge=1, le=8)] | None = Field(
        default=None,
        description="How often the clip goes on, each time from where it was.",
        json_schema_extra=form(group="motion", control="slider", step=1, title="Times it goes on") | _for("continue"),
    )
    sound: Literal["keep", "drop"] = Field(
        default="keep",
        description="Whether the clip's sound goes into the finished file.",
        json_schema_extra=form(group="output", control="choice") | _for("smooth", "loop"),
    )
    on_cancel: Literal["nothing", "keep"] = Field(
        default="nothing",
        description="What is left where you cancel: nothing, or the frames so far as a shorter file (mp4, webm).",
        json_schema_extra=form(group="output", control="choice", title="On cancel") | _for("smooth", "loop"),
    )
    fit: Fit = Field(
        default="crop",
        description="How a picture of another shape meets the clip's: cut its edges, or keep all of it with bars "
        "of the background colour, or with a blurred copy behind.",
        json_schema_extra=form(group="output", control="choice") | _for("between", "loop", "continue"),
    )
    background: Annotated[str, Field(pattern=HEX_COLOUR)] = Field(
        default="#ffffff",
        description="Colour behind transparent pixels and in bars, #rrggbb.",
        json_schema_extra=form(group="output", control="text") | _for("between", "loop", "continue"),
    )

    @model_validator(mode="before")
    @classmethod
    def _only_what_counts(cls, given: Any) -> Any:
        if isinstance(given, dict):
            make = given.get("make") or "smooth"
            unused = {"clip", "start", "end"} - set(_TAKES.get(make, ("clip", "start", "end")))
            unused |= {"start"} if make == "loop" and given.get("clip") else set()
            unused |= {"windows", "overlap"} if make != "continue" else set()
            unused |= {"factor"} if make != "smooth" else set()
            given = {**given, **dict.fromkeys(unused & given.keys())}
        return given

    @model_validator(mode="after")
    def _has_what_it_takes(self) -> Interpolate:
        if self.make == "loop" and self.clip is None and self.start is None:
            raise BadInput("clip: it is missing.", "Give a clip to close, or start, a picture.", field="clip")
        for name in _TAKES[self.make] if self.make != "loop" else ():
            if getattr(self, name) is None:
                raise BadInput(f"{name}: it is missing.", f"Give {_in_words(self.make)}.", field=name)
        if self.factor is not None and self.export_fps is not None:
            raise BadInput(
                f"factor: {self.factor} and export_fps {self.export_fps:g} both say how smooth.",
                "Leave one out.",
                field="factor",
            )
        if self.on_cancel == "keep" and self.format not in ("mp4", "webm"):
            raise BadInput(
                f"on_cancel: a {self.format} can't be kept half done.", "Choose mp4 or webm.", field="on_cancel"
            )
        return self

    @property
    def both_ways(self) -> bool:
        """Whether each of SVD's steps is two, for the planner."""
        return self.make in ("between", "loop")


def _in_words(make: str) -> str:
    return " and ".join({"clip": "a clip", "start": "a start", "end": "an end picture"}[n] for n in _TAKES[make])


def run(request: Interpolate, ctx: Context) -> Result:
    """The clip that is asked for; one that comes from a clip is made while it is written, whatever its length."""
    if request.make == "smooth":
        return _smooth(request, ctx)
    if request.make == "continue":
        return _continue(request, ctx)
    if request.make == "loop" and request.clip is not None:
        return _close(request, ctx)
    return _from_pictures(request, ctx)


# --- from a clip, frame by frame ----------------------------------------------------------------------------------


def _smooth(request: Interpolate, ctx: Context) -> Result:
    film = look_at(request.clip, ctx)
    cuts = find_cuts(film.changes)
    repeats = find_repeats(film.changes)
    rate = exact_rate(request.export_fps) if request.export_fps else film.rate * (request.factor or _FACTOR)
    slow = Fraction(request.slow_motion).limit_denominator(100)
    count = frame_count(film.end * slow, rate)
    if count > MOST_FRAMES:
        raise BadInput(f"export_fps: {count} frames are more than a file may have ({MOST_FRAMES}).", field="export_fps")
    plan = spans(
        film.times,
        film.end,
        rate,
        slow_motion=slow,
        cuts=frozenset(cuts) if request.cut_guard else (),
        # What stands before a cut stays: the cut is where it is.
        left_out=frozenset(i for i in repeats if i + 1 not in cuts) if request.repair_duplicates else (),
        most=at_once(film),
    )
    stream = stream_of(request, ctx, film, plan, count, rate, slow)
    says = (
        f"{len(film)} frames at {_fps(film.rate)} fps -> {count} frames at {_fps(rate)} fps, {stream.duration_s:.2f} s"
    )
    for sentence in (f"{says}.", *_about(cuts, repeats, film, request)):
        ctx.notice(sentence)
    facts = {
        "says": says,
        "frames": [len(film), count],
        "fps": [str(film.rate), str(rate)],
        "cuts": list(cuts),
        "cut_times_s": [round(float(film.times[i]), 3) for i in cuts],
        "repeated": len(repeats),
        "even": len({b - a for a, b in pairwise(film.times)}) == 1,
        "sound": None if stream.sound is None else _way(stream, request),
    }
    return Result(stream, facts={"interpolation": facts})


def _close(request: Interpolate, ctx: Context) -> Result:
    """The clip, and after its last frame those that lead to its first."""
    film = look_at(request.clip, ctx)
    own = frame_count(film.end, film.rate)
    more = request.frames or frame_count(_LOOP_S, film.rate)
    most = at_once(film)
    at = [i / (more + 1) for i in range(1, more + 1)]
    closing = (Span(len(film) - 1, 0, tuple(at[i : i + most])) for i in range(0, more, most))
    plan = chain(spans(film.times, film.end, film.rate, most=most), closing)
    stream = stream_of(request, ctx, film, plan, own + more, film.rate)
    says = f"{own} frames and {more} that lead back to the first, {stream.duration_s:.2f} s"
    ctx.notice(f"{says}.")
    return Result(stream, facts={"interpolation": {"says": says, "frames": [own, own + more]}})


def _fps(rate: Fraction) -> str:
    return f"{float(rate):.6g}" if rate.denominator != 1001 else f"{float(rate):.5g}"


def _way(stream: Stream, request: Interpolate) -> str:
    return "as it was" if copied(stream.sound.codec, request.format, stream.sound.speed) else "coded anew"


def _about(cuts: Sequence[int], repeats: Sequence[int], film: Film, request: Interpolate) -> Iterator[str]:
    """What was found in the film, for the user."""
    if cuts:
        shown = ", ".join(f"{float(film.times[i]):.2f}" for i in cuts[:12]) + (", ..." if len(cuts) > 12 else "")
        guarded = "nothing is made across them" if request.cut_guard else "frames are made across them all the same"
        yield f"{len(cuts)} {'cut' if len(cuts) == 1 else 'cuts'} found, at {shown} s; {guarded}."
    if repeats and not request.repair_duplicates and len(repeats) > len(film) // 4:
        yield f"{len(repeats)} of {len(film)} frames repeat the one before; repair_duplicates makes them anew."
    if stands_still(film.changes):
        yield "Nothing moves in this clip; its frames are only repeated."


# --- from pictures, and clips that go on --------------------------------------------------------------------------


def _from_pictures(request: Interpolate, ctx: Context) -> Result:
    """From start to end; from start to start where no end is given."""
    start = _picture(request.start, "start", request, ctx)
    with ctx.lease(request.variant) as engine:
        if hasattr(engine, "bridge"):
            size = (request.width, request.height)
            first = fit_picture(start, *size, request.fit, background=request.background).pixels
            if request.make == "loop":
                clip = engine.loop(first, request, ctx)
                return Result(clip, facts={"seam": seam(clip.frames).public()} if len(clip) >= 3 else {})
            last = _picture(request.end, "end", request, ctx)
            last = fit_picture(last, *size, request.fit, background=request.background).pixels
            return Result(engine.bridge(first, last, request, ctx))
        height, width = start.shape[:2]
        if width * height > MAX_PIXELS // 4:
            by = (MAX_PIXELS / 4 / (width * height)) ** 0.5
            width, height = round(width * by), round(height * by)
        ends = [start, _picture(request.end, "end", request, ctx)]
        ends = [fit_picture(p, width, height, request.fit, background=request.background).pixels for p in ends]
        count = request.frames or _FRAMES
        frames = np.empty((count, height, width, 3), np.uint8)
        plan = [Span(0, 1, (i / (count - 1),)) for i in range(count)]
        for i, frame in enumerate(smooth(engine, ends, grouped(plan), ctx, scale=scale_of(request))):
            frames[i] = frame
            ctx.step(i + 1, count, "interpolate")
    return Result(Clip(frames, float(exact_rate(request.export_fps or _FPS))))


def _picture(path: str, name: str, request: Interpolate, ctx: Context) -> np.ndarray:
    picture = read_picture(ctx.input(path), background=request.background, field=name)
    for sentence in picture.notices:
        ctx.notice(sentence)
    return picture.pixels


def _continue(request: Interpolate, ctx: Context) -> Result:
    film = look_at(request.clip, ctx)
    size = (request.width, request.height)
    if 3 * len(film) * size[0] * size[1] > _CONTINUED_BYTES:
        most = _CONTINUED_BYTES // (3 * size[0] * size[1])
        raise BadInput(
            f"clip: {len(film)} frames are more than can be held to go on from ({most}).", "Cut it.", field="clip"
        )
    frames = np.stack([fit_picture(f, *size, request.fit, background=request.background).pixels for f in film.frames()])
    if film.sound is not None and request.sound == "keep":
        ctx.notice("sound: a clip that goes on has none; it is left out.")
    with ctx.lease(request.variant) as engine:
        clip = engine.extend(frames, request, ctx)
    return Result(clip, facts={"drift": drift(frames, clip.frames[len(frames) :]).public()})


# --- what it takes --------------------------------------------------------------------------------------------


def _needs(request: Interpolate, catalog: Catalog) -> tuple[str, ...]:
    """The one model.

    Raises:
        BadInput: it can't do what is to be made.
    """
    able = set(catalog.get(request.variant).capabilities)
    wanted = _DOES[request.make]
    if request.make == "loop" and (request.clip or request.start):
        wanted = ("interpolate",) if request.clip else ("in-between",)
    if not able & set(wanted):
        names = ", ".join(s.id for s in catalog.able(*wanted))
        of = {"clip": " of a clip", "start": " of a picture"}["start" if request.clip is None else "clip"]
        made = f"a loop{of}" if request.make == "loop" else f"what make {request.make} asks for"
        raise BadInput(f"variant: {request.variant} can't make {made}.", f"Choose one of {names}.", field="variant")
    return ("variant",)


def _check_picture(path: Path) -> str:
    return read_picture(path).suffix


MODE = Mode(
    id="interpolate",
    title="Interpolate",
    action="Make",
    summary="Frames between frames: a smoother or slower clip of any length, a clip between two pictures, a loop.",
    order=4,
    request=Interpolate,
    run=run,
    inputs={"clip": check_film, "start": _check_picture, "end": _check_picture},
    roles={"variant": ("interpolate", "in-between")},
    needs=_needs,
    prefers={"variant": ("rife", "flow")},
)
