"""The fields of every request whose clip is made from one picture, by whatever animates it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from studio.errors import BadInput
from studio.modes.request import Request, form


class MotionFields(Request):
    """How a picture moves. None means the variant's default; each variant listens to its own few."""

    camera_move: (
        Literal[
            "push-in",
            "pull-out",
            "pan-left",
            "pan-right",
            "tilt-up",
            "tilt-down",
            "truck-left",
            "truck-right",
            "pedestal-up",
            "pedestal-down",
            "arc-left",
            "arc-right",
            "orbit",
            "roll",
            "dolly-zoom",
            "handheld",
        ]
        | None
    ) = Field(
        default=None,
        description="How the camera moves over the still.",
        json_schema_extra=form(group="main", control="choice", title="Camera move"),
    )
    amount: Annotated[float, Field(ge=0, le=2)] | None = Field(
        default=None,
        description="How far the camera goes; 1 is a clear move, 0 stands still.",
        json_schema_extra=form(group="main", control="slider", step=0.05),
    )
    easing: Literal["linear", "ease-in", "ease-out", "ease-in-out"] | None = Field(
        default=None,
        description="How the move starts and ends.",
        json_schema_extra=form(group="motion", control="choice"),
    )
    motion_bucket: Annotated[int, Field(ge=1, le=255)] | None = Field(
        default=None,
        description="SVD's amount of motion, of any kind; 127 is what it saw most.",
        json_schema_extra=form(group="main", control="slider", step=1, title="Motion bucket"),
    )
    frames: Annotated[int, Field(ge=2, le=240)] | None = Field(
        default=None,
        description="Number of frames.",
        json_schema_extra=form(group="motion", control="slider", step=1, unit="frames"),
    )
    conditioning_fps: Annotated[int, Field(ge=2, le=30)] | None = Field(
        default=None,
        description="The rate that SVD is told to move at; not the rate of the file.",
        json_schema_extra=form(group="motion", control="slider", step=1, unit="fps", title="Conditioning fps"),
    )
    noise_augmentation: Annotated[float, Field(ge=0, le=1)] | None = Field(
        default=None,
        description="Noise added to the picture that SVD is shown; more of it lets it stray further.",
        json_schema_extra=form(group="motion", control="slider", step=0.01, title="Noise augmentation"),
    )
    steps: Annotated[int, Field(ge=1, le=200)] | None = Field(
        default=None,
        description="Sampling steps.",
        json_schema_extra=form(group="sampling", control="slider", step=1),
    )
    sampler: Literal["euler", "heun", "euler-ancestral", "dpmpp-2m"] | None = Field(
        default=None,
        description="How noise becomes a clip, step by step; heun takes twice as long a step.",
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
    width: Annotated[int, Field(ge=64, le=4096)] | None = Field(
        default=None,
        description="Width of the clip.",
        json_schema_extra=form(group="output", unit="px", step=8),
    )
    height: Annotated[int, Field(ge=64, le=4096)] | None = Field(
        default=None,
        description="Height of the clip.",
        json_schema_extra=form(group="output", unit="px", step=8),
    )

    @model_validator(mode="after")
    def _guidance_rises(self) -> MotionFields:
        low, high = self.guidance_min, self.guidance_max
        if low is not None and high is not None and low > high:
            raise BadInput(
                f"guidance_min: {low:g} is above guidance_max ({high:g}).", "Lower it.", field="guidance_min"
            )
        return self
