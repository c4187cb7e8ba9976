"""What all requests share: `Request`, the fields' metadata, and how one is filled from a variant."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from studio.errors import BadInput
from studio.models.spec import Option

MAX_SEED = 2**31 - 1
"""Largest seed: fits a 32-bit integer everywhere, and a JavaScript number."""

Format = Literal["mp4", "webm", "gif", "webp", "zip"]
"""The containers that `studio.media.write` can make, by suffix; ``zip`` is a PNG sequence."""


def form(
    *,
    group: Literal["main", "motion", "sampling", "output"] = "main",
    control: Literal[
        "auto", "slider", "number", "text", "choice", "check", "picture", "variant", "seed", "lines"
    ] = "auto",
    unit: str = "",
    step: float | None = None,
    title: str | None = None,
) -> dict[str, Any]:
    """`json_schema_extra` for a field: where and how a form shows it. Nothing outside a front end reads it."""
    return {"group": group, "control": control, "unit": unit, "step": step, "title": title}


PicturePath = Annotated[str, Field(min_length=1, max_length=4096)]
"""A path of a picture, or `input:<sha256>.<suffix>` for one that the studio already keeps."""


class Request(BaseModel):
    """A wish, as data: the same JSON in a tab, a command, an API call, a batch row, the journal and the recipe.

    Every field that is None is filled by the studio on submission: from the preset, then from the variant; the
    seed is drawn. What is journaled and run has no None that matters.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False, allow_inf_nan=False, validate_default=True)

    mode: str
    variant: str
    seed: Annotated[int, Field(ge=0, le=MAX_SEED, strict=True)] | None = Field(
        default=None,
        description="Same request and seed give the same clip. Empty: drawn, and shown.",
        json_schema_extra=form(group="main", control="seed"),
    )
    export_fps: Annotated[float, Field(ge=1, le=60)] = Field(
        default=7.0,
        description="Frames per second of the finished file.",
        json_schema_extra=form(group="output", unit="fps", step=1, title="Export fps"),
    )
    format: Format = Field(
        default="mp4",
        description="Container of the finished file; zip is a PNG sequence.",
        json_schema_extra=form(group="output", control="choice"),
    )
    finish: tuple[str, ...] = Field(
        default=(),
        description="Finishing steps in order, such as boomerang, loop or caption:Text.",
        json_schema_extra=form(group="output", control="lines", title="Finish"),
    )


def bad_field(error: ValidationError) -> BadInput:
    """The first complaint of pydantic as one sentence: field, value given, what is possible."""
    first = error.errors()[0]
    field = str(first["loc"][0]) if first["loc"] else ""
    given = first.get("input")
    shown = repr(given) if not isinstance(given, Mapping) else "the request"
    if len(shown) > 60:
        shown = shown[:57] + "..."
    if first["type"] == "extra_forbidden":
        return BadInput(f"{field}: this is not an option here.", "Leave it out, or check its spelling.", field=field)
    if first["type"] == "missing":
        return BadInput(f"{field}: it is missing.", "Give it.", field=field)
    says = first["msg"].removeprefix("Value error, ")
    return BadInput(f"{field}: {shown} won't do; {says[:1].lower()}{says[1:].rstrip('.')}.", field=field or None)


def check_option(field: str, value: Any, option: Option, variant: str) -> None:
    """Holds a value to the variant's own bounds.

    Raises:
        BadInput: outside them; says what was given, what is possible and the nearest value that would do.
    """
    if option.choices is not None and value not in option.choices:
        able = ", ".join(map(str, option.choices))
        raise BadInput(f"{field}: {value} is not one of {variant}'s: {able}.", field=field)
    if option.max is not None and value > option.max:
        raise BadInput(
            f"{field}: {value} is more than {variant} takes ({option.max:g}).", f"Lower {field}.", field=field
        )
    if option.min is not None and value < option.min:
        raise BadInput(
            f"{field}: {value} is less than {variant} takes ({option.min:g}).", f"Raise {field}.", field=field
        )
    if option.multiple_of and value % option.multiple_of:
        m = option.multiple_of
        near = max(m, round(value / m) * m)
        raise BadInput(f"{field}: {value} is not a multiple of {m}.", f"{near} would do.", field=field)
