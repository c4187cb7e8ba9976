"""The fields of requests whose clip is made from pictures: how a camera moves, and what a diffusion model is told."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from studio.modes.request import Request, form
from studio.modes.sampling import SamplingFields


class CameraMoveFields(Request):
    """How a camera moves over a still."""

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


class FilmedFields(SamplingFields):
    """What a model that samples a clip from noise is told of it. None means the variant's default."""

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


class MotionFields(FilmedFields, CameraMoveFields):
    """How a picture moves, by whatever animates it; each variant listens to its own few."""
