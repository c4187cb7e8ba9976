"""Text-to-video: a sentence becomes pictures, one of them is chosen, and that one moves."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, Strict, model_validator

from studio.context import Context
from studio.errors import BadInput
from studio.media.clip import Clip
from studio.media.fit import fit_picture
from studio.media.grid import picture_grid
from studio.media.score import score
from studio.models.catalog import Catalog
from studio.modes.mode import Mode, Result, Still
from studio.modes.motion import MotionFields
from studio.modes.request import MAX_SEED, form

MOST_CANDIDATES = 9

STYLES = {
    "none": "{}",
    "photo": "{}, photograph, natural light, 35 mm lens, fine detail",
    "cinematic": "{}, film still, dramatic light, shallow depth of field, muted colours",
    "watercolour": "{}, watercolour on rough paper, loose washes, visible pigment",
    "anime": "{}, anime key visual, clean line, cel shading, vivid colours",
    "clay": "{}, clay model, stop motion, soft studio light, fingerprints in the clay",
    "line-art": "{}, ink drawing, fine black line on white paper, no shading",
}
"""Style -> the prompt that a painter is given for it."""


class TextToVideo(MotionFields):
    """A clip from a sentence: keyframes are painted, the best or the picked one is animated.

    Fields that neither model listens to are ignored with a notice; None means the model's default.
    """

    mode: Literal["text-to-video"] = "text-to-video"
    prompt: Annotated[str, Field(max_length=200_000)] = Field(
        description="What is to be seen, in words.",
        json_schema_extra=form(control="prompt"),
    )
    painter: str | None = Field(
        default="toybox",
        description="The model that paints the keyframes. One that films its own scenes needs no other.",
        json_schema_extra=form(control="variant", title="Keyframes by"),
    )
    refiner: str | None = Field(
        default=None,
        description="A model that does the last steps of each keyframe in the painter's place, for finer detail.",
        json_schema_extra=form(group="painting", control="variant", title="Refined by"),
    )
    variant: str = Field(
        default="toybox",
        description="The model that makes the keyframe move.",
        json_schema_extra=form(control="variant", title="Motion by"),
    )
    make: Literal["clip", "keyframes"] = Field(
        default="clip",
        description="The clip at once, or only the keyframes to choose from.",
        json_schema_extra=form(control="choice"),
    )
    candidates: Annotated[int, Field(ge=1, le=MOST_CANDIDATES)] = Field(
        default=1,
        description="How many keyframes are painted, each from a seed of its own: the request's, and those after it.",
        json_schema_extra=form(control="slider", step=1),
    )
    pick: Annotated[int, Field(ge=0, le=MOST_CANDIDATES)] = Field(
        default=0,
        description="Which keyframe is animated, counted from 1; 0 takes the best by sharpness, contrast and how much "
        "of it shows something.",
        json_schema_extra=form(group="output", control="number"),
    )
    negative_prompt: Annotated[str, Field(max_length=200_000)] | None = Field(
        default=None,
        description="What is not to be seen.",
        json_schema_extra=form(control="text", title="Negative prompt"),
    )
    style: Literal["none", "photo", "cinematic", "watercolour", "anime", "clay", "line-art"] | None = Field(
        default=None,
        description="Words for a look, put behind the prompt.",
        json_schema_extra=form(control="choice"),
    )
    loras: Annotated[tuple[str, ...], Field(max_length=8), Strict(False)] | None = Field(
        default=None,
        description="LoRAs by file name in the models folder's loras, each with its weight: detail.safetensors:0.8.",
        json_schema_extra=form(group="painting", control="lines", title="LoRAs"),
    )
    paint_steps: Annotated[int, Field(ge=1, le=200)] | None = Field(
        default=None,
        description="Sampling steps of a keyframe.",
        json_schema_extra=form(group="painting", control="slider", step=1, title="Painting steps"),
    )
    paint_sampler: Literal["euler", "heun", "euler-ancestral", "dpmpp-2m"] | None = Field(
        default=None,
        description="How noise becomes a keyframe.",
        json_schema_extra=form(group="painting", control="choice", title="Painting sampler"),
    )
    paint_guidance: Annotated[float, Field(ge=1, le=30)] | None = Field(
        default=None,
        description="How closely a keyframe keeps to the prompt; 1 leaves the negative prompt out.",
        json_schema_extra=form(group="painting", control="slider", step=0.5, title="Painting guidance"),
    )

    refine_from: Annotated[float, Field(ge=0.5, le=0.99)] | None = Field(
        default=None,
        description="Where the refiner goes on, as a share of the way from noise to keyframe; LoRAs end there.",
        json_schema_extra=form(group="painting", control="slider", step=0.01, title="Refine from"),
    )

    @model_validator(mode="before")
    @classmethod
    def _keyframes_are_a_zip(cls, given: Any) -> Any:
        if isinstance(given, dict) and given.get("make") == "keyframes":
            given = {**given, "format": given.get("format") or "zip"}
            if "painter" in given and given["painter"] is None:  # as in the recipe of a clip that was filmed
                given["painter"] = given.get("variant") or cls.model_fields["variant"].default
        return given

    @model_validator(mode="after")
    def _pick_is_there(self) -> TextToVideo:
        if self.pick > self.candidates:
            raise BadInput(
                f"pick: {self.pick} is more than there are candidates ({self.candidates}).",
                "Raise candidates, or pick 0 for the best.",
                field="pick",
            )
        return self


@dataclass(frozen=True)
class Paint:
    """One keyframe as a painter or a refiner is asked for it. What it does not listen to is None.

    Args:
        width, height: as the painter likes them for a clip of the request's shape.
        loras: files with their weights.
        candidates: how many are asked for together.
        refine_from: where a refiner goes on; None where there is none.
    """

    negative_prompt: str
    width: int
    height: int
    seed: int
    steps: int | None
    sampler: str | None
    guidance_scale: float | None
    loras: tuple[tuple[str, float], ...]
    candidates: int
    refine_from: float | None


def run(request: TextToVideo, ctx: Context) -> Result:
    """The clip of the chosen keyframe, and the keyframes beside it; or the keyframes as a clip of their own."""
    paints, pictures = _keyframes(request, ctx)
    scores = [score(picture) for picture in pictures]
    best = max(range(len(scores)), key=lambda i: scores[i].total)
    picked = request.pick - 1 if request.pick else best
    stills = {
        f"keyframe-{i}.png": Still(picture, {**request.model_dump(mode="json"), **_alone(request, paint)})
        for i, (picture, paint) in enumerate(zip(pictures, paints, strict=True), start=1)
    }
    facts = {
        "keyframes": [{"seed": p.seed, "score": s.public()} for p, s in zip(paints, scores, strict=True)],
        "picked": picked + 1,
    }
    if request.make == "keyframes":
        return Result(Clip(np.stack(pictures), 1.0), stills=stills, facts=facts)
    if len(pictures) > 1:
        ctx.notice(f"Keyframe {picked + 1} of {len(pictures)} is animated (seed {paints[picked].seed}).")
    if request.painter is None:  # what films paints its own
        with ctx.lease(request.variant) as engine:
            clip = engine.film(request.prompt, request.model_copy(update={"seed": paints[picked].seed}), ctx)
        return Result(clip, stills=stills, facts=facts)
    fitted = fit_picture(pictures[picked], request.width, request.height, "crop")
    with ctx.lease(request.variant) as engine:
        clip = engine.animate(fitted.pixels, request, ctx)
    return Result(clip, stills=stills, facts={**facts, "fit": fitted.mapping.as_dict()})


def _keyframes(request: TextToVideo, ctx: Context) -> tuple[list[Paint], list[np.ndarray]]:
    """What was asked for, and the pictures. None is painted again by a process that takes the job over later."""
    loras = tuple((str(ctx.lora(name)), weight) for name, weight in _loras(request))
    prompt = _prompt(request)
    with ctx.lease(request.painter or request.variant) as painter:
        size = painter.size_for(request.width, request.height)
        paints = [_paint(request, i, size, loras) for i in range(request.candidates)]
        if request.refiner is None:
            made = ctx.once("keyframes", lambda: _shown(painter.paint_all(prompt, paints, ctx), len(paints), ctx))
            return paints, list(made["pictures"])
        sketches = ctx.once("sketches", lambda: painter.sketch_all(prompt, paints, ctx))
    with ctx.lease(request.refiner) as refiner:
        left = [_rest(paint) for paint in paints]
        made = ctx.once("keyframes", lambda: _shown(refiner.refine_all(prompt, left, sketches, ctx), len(left), ctx))
        return paints, list(made["pictures"])


def _shown(pictures: Iterable[np.ndarray], total: int, ctx: Context) -> dict[str, np.ndarray]:
    """All of them, (N, H, W, 3); those that are there are shown as a grid while the others come."""
    done: list[np.ndarray] = []
    if total > 1:
        ctx.step(0, total, "keyframe")
    for picture in pictures:
        done.append(picture)
        ctx.step(len(done), total, "keyframe", preview=lambda: picture_grid(done))
    return {"pictures": np.stack(done)}


def _prompt(request: TextToVideo) -> str:
    return STYLES[request.style or "none"].format(request.prompt) if request.prompt.strip() else request.prompt


def _loras(request: TextToVideo) -> tuple[tuple[str, float], ...]:
    """File names and weights."""
    return tuple(map(_lora, request.loras or ()))


def _lora(text: str) -> tuple[str, float]:
    """Name and weight of ``detail.safetensors:0.8``; a weight that is not given is 1."""
    name, colon, weight = text.rpartition(":")
    try:
        found = (name, float(weight)) if colon else (text, 1.0)
    except ValueError:
        found = (name, math.nan)
    if not math.isfinite(found[1]):
        raise BadInput(f"loras: {weight!r} in {text!r} is not a number.", "Such as name:0.8.", field="loras")
    return found


def _paint(request: TextToVideo, index: int, size: tuple[int, int], loras: tuple[tuple[str, float], ...]) -> Paint:
    return Paint(
        negative_prompt=request.negative_prompt or "",
        width=size[0],
        height=size[1],
        seed=(request.seed + index) % (MAX_SEED + 1),
        steps=request.paint_steps,
        sampler=request.paint_sampler,
        guidance_scale=request.paint_guidance,
        loras=loras,
        candidates=request.candidates,
        refine_from=request.refine_from,
    )


def _rest(paint: Paint) -> Paint:
    """What is left for the refiner: LoRAs are made for the base's networks."""
    return replace(paint, loras=())


def _alone(request: TextToVideo, paint: Paint) -> dict[str, Any]:
    """What is different about a request for this keyframe alone."""
    only = {"make": "keyframes", "format": "zip", "candidates": 1, "pick": 0, "finish": []}
    return {**only, "painter": request.painter or request.variant, "seed": paint.seed}


def _needs(request: TextToVideo, catalog: Catalog) -> tuple[str, ...]:
    """What films its own scenes needs no painter; keyframes alone need nothing that moves them.

    A refiner goes on with what a painter of its own family began.
    """
    painting = ("painter",) if request.refiner is None else ("painter", "refiner")
    painter = request.painter or request.variant
    if request.refiner is not None and (
        catalog.get(request.refiner, field="refiner").family != catalog.get(painter, field="painter").family
    ):
        raise BadInput(
            f"refiner: {request.refiner} can't go on with what {painter} paints.",
            "Leave it out, or choose another painter, such as sdxl.",
            field="refiner",
        )
    if request.make == "keyframes":
        return painting
    if "text-to-video" not in catalog.get(request.variant).capabilities:
        if request.painter is None:
            raise BadInput(
                f"painter: {request.variant} animates a picture, and no model is named that paints one.",
                "Such as toybox.",
                field="painter",
            )
        return (*painting, "variant")
    if request.painter not in (None, request.variant):
        raise BadInput(
            f"variant: {request.variant} films its own scenes, not a picture by {request.painter}.",
            "Choose another model for the motion, such as parallax.",
            field="variant",
        )
    return ("variant",)


def _wish(request: TextToVideo, role: str) -> Any:
    """The request as that role's engine sees it; a keyframe has about a million pixels, as SDXL's trained sizes do."""
    if role == "variant":
        return request
    across = math.sqrt(request.width / request.height)
    return _paint(request, 0, (round(1024 * across / 64) * 64, round(1024 / across / 64) * 64), ())


MODE = Mode(
    id="text-to-video",
    title="Text to video",
    action="Make",
    summary="A clip from a sentence, by way of a picture that you may choose.",
    order=2,
    request=TextToVideo,
    run=run,
    roles={"variant": ("text-to-video", "image-to-video"), "painter": ("text-to-image",), "refiner": ("refine",)},
    needs=_needs,
    wish=_wish,
    prefers={
        "painter": ("sdxl", "pocket-sdxl", "toybox"),
        "variant": ("svd-xt-1.1", "svd-xt", "svd", "pocket-svd", "toybox", "parallax"),
    },
    loras=lambda request: [name for name, _ in _loras(request)],
)
