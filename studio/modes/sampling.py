"""The fields of every request whose frames are sampled from noise by a network of the SVD family."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from studio.errors import BadInput
from studio.modes.request import Request, form


class SamplingFields(Request):
    """How noise becomes frames. None means the variant's default; each variant listens to its own few."""

    speed: Literal["exact", "fast", "draft"] | None = Field(
        default=None,
        description="Exact is the model as it is; fast reuses parts of earlier steps and says how far they had moved; "
        "draft takes few steps, for a first look.",
        json_schema_extra=form(control="choice") | {"labels": {"fast": "Fast (approximate)", "draft": "Draft (rough)"}},
    )
    steps: Annotated[int, Field(ge=1, le=200)] | None = Field(
        default=None,
        description="Sampling steps.",
        json_schema_extra=form(group="sampling", control="slider", step=1),
    )
    sampler: Literal["euler", "heun", "euler-ancestral", "dpmpp-2m", "lcm"] | None = Field(
        default=None,
        description="How noise becomes a clip, step by step; heun takes twice as long a step; lcm runs the few-step "
        "UNet, where that is installed.",
        json_schema_extra=form(group="sampling", control="choice"),
    )
    guidance: Literal["linear", "triangle", "trapezoid", "constant"] | None = Field(
        default=None,
        description="How guidance goes over the frames, between its least and its most.",
        json_schema_extra=form(group="sampling", control="choice", title="Guidance over time"),
    )
    guidance_min: Annotated[float, Field(ge=1, le=20)] | None = Field(
        default=None,
        description="The least guidance, that of the first frame; constant guidance has none.",
        json_schema_extra=form(group="sampling", control="slider", step=0.1, title="Guidance, least"),
    )
    guidance_max: Annotated[float, Field(ge=1, le=20)] | None = Field(
        default=None,
        description="The most guidance: of the last frame where it is linear, else of those in the middle.",
        json_schema_extra=form(group="sampling", control="slider", step=0.1, title="Guidance, most"),
    )
    decode: Literal["auto", "whole", "chunked", "tiled"] | None = Field(
        default=None,
        description="From latents to frames: whole is exact; chunked can flicker and tiled is an approximation, "
        "for large clips in little memory; auto is whole where it fits.",
        json_schema_extra=form(group="sampling", control="choice"),
    )
    decode_chunk: Annotated[int, Field(ge=1, le=240)] | None = Field(
        default=None,
        description="Frames decoded at a time where that is chunked; fewer need less memory and may flicker.",
        json_schema_extra=form(group="sampling", control="slider", step=1, title="Decode chunk", unit="frames"),
    )

    @model_validator(mode="after")
    def _guidance_rises(self) -> Self:
        low, high = self.guidance_min, self.guidance_max
        if low is not None and high is not None and low > high:
            raise BadInput(
                f"guidance_min: {low:g} is above guidance_max ({high:g}).", "Lower it.", field="guidance_min"
            )
        return self
