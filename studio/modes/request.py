"""What all requests share: `Request`, the fields' metadata, and how one is filled from a variant."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, Strict, ValidationError

from studio.errors import BadInput
from studio.models.spec import Option

HEX_COLOUR = r"^#[0-9a-fA-F]{6}$"

MAX_SEED = 2**31 - 1
"""Largest seed: fits a 32-bit integer everywhere, and a JavaScript number."""

Format = Literal["mp4", "webm", "gif", "webp", "zip"]
"""The containers that `studio.media.write` can make, by suffix; ``zip`` is a PNG sequence."""


def form(
    *,
    group: Literal["main", "painting", "motion", "object", "mesh", "sampling", "output"] = "main",
    control: Literal[
        "auto",
        "slider",
        "number",
        "blank",
        "text",
        "prompt",
        "choice",
        "check",
        "picture",
        "clip",
        "variant",
        "seed",
        "lines",
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

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, validate_default=True)

    mode: str
    variant: str
    seed: Annotated[int, Field(ge=0, le=MAX_SEED)] | None = Field(
        default=None,
        description="Same request and seed give the same clip. Empty: drawn, and shown.",
        json_schema_extra=form(group="main", control="seed"),
    )
    export_fps: Annotated[float, Field(ge=1, le=60)] | None = Field(
        default=None,
        description="Frames per second of the finished file.",
        json_schema_extra=form(group="output", unit="fps", step=1, title="Export fps"),
    )
    format: Format = Field(
        default="mp4",
        description="Container of the finished file; zip is a PNG sequence.",
        json_schema_extra=form(group="output", control="choice"),
    )
    finish: Annotated[tuple[str, ...], Strict(False)] = Field(
        default=(),
        description="Finishing steps in order, such as boomerang, loop or caption:Text.",
        json_schema_extra=form(group="output", control="lines", title="Finish"),
    )


def bad_field(error: ValidationError, request: type[Request]) -> BadInput:
    """The first complaint of pydantic as one sentence: the field, what was given, what it takes."""
    first = error.errors()[0]
    field = str(first["loc"][0]) if first["loc"] else ""
    if first["type"] == "extra_forbidden":
        return BadInput(f"{field}: this is not an option here.", "Leave it out, or check its spelling.", field=field)
    if first["type"] == "missing":
        return BadInput(f"{field}: it is missing.", f"It takes {takes(request, field)}.", field=field)
    if first["type"] == "string_too_long" and first["ctx"]["max_length"] >= 1000:
        most = first["ctx"]["max_length"]
        return BadInput(
            f"{field}: it is longer than the {most:,} characters that it takes.".replace(",", " "),
            "Shorten it.",
            field=field,
        )
    given = repr(first["input"])
    shown = given if len(given) <= 60 else f"{given[:57]}..."
    return BadInput(f"{field}: {shown} won't do; it takes {takes(request, field)}.", field=field)


def takes(request: type[Request], field: str) -> str:
    """What the field takes, in words: ``a whole number from 2 to 240``."""
    schema = request.model_json_schema()["properties"][field]
    kinds = [k for k in schema.get("anyOf", [schema]) if k.get("type") != "null"]
    return " or ".join(map(_in_words, kinds))


def _in_words(schema: Mapping[str, Any]) -> str:
    if "enum" in schema or "const" in schema:
        return "one of " + ", ".join(map(str, schema.get("enum", [schema.get("const")])))
    kind = schema.get("type")
    if kind in ("integer", "number"):
        low, high = schema["minimum"], schema["maximum"]
        return f"a {'whole ' if kind == 'integer' else ''}number from {low:,} to {high:,}".replace(",", " ")
    if kind == "boolean":
        return "yes or no"
    if kind == "array":
        return "a list of words"
    if schema.get("pattern") == HEX_COLOUR:
        return "a colour such as #ffffff"
    return "text"


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
