"""Image-to-video: a picture comes alive, by SVD or by a camera move over the still."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from studio.context import Context
from studio.media.fit import Fit, fit_picture
from studio.media.read import read_picture
from studio.modes.mode import Mode, Result
from studio.modes.motion import MotionFields
from studio.modes.request import HEX_COLOUR, PicturePath, form


class ImageToVideo(MotionFields):
    """A clip that begins with the picture.

    Fields that a variant does not listen to are ignored with a notice; None means the variant's default.
    """

    mode: Literal["image-to-video"] = "image-to-video"
    image: PicturePath = Field(
        description="The picture: PNG, JPEG, WebP or GIF (its first frame).",
        json_schema_extra=form(control="picture"),
    )
    variant: str = Field(
        default="parallax",
        description="The model that animates.",
        json_schema_extra=form(control="variant", title="Model"),
    )
    fit: Fit = Field(
        default="crop",
        description="How a picture of another shape meets the clip's: cut its edges, or keep all of it with bars "
        "of the background colour, or with a blurred copy behind. It is never stretched.",
        json_schema_extra=form(group="main", control="choice"),
    )
    background: Annotated[str, Field(pattern=HEX_COLOUR)] = Field(
        default="#ffffff",
        description="Colour behind transparent pixels and in bars, #rrggbb.",
        json_schema_extra=form(group="output", control="text"),
    )


def run(request: ImageToVideo, ctx: Context) -> Result:
    """The clip, by whatever the request's variant is."""
    picture = read_picture(ctx.input(request.image), background=request.background)
    for sentence in picture.notices:
        ctx.notice(sentence)
    fitted = fit_picture(picture.pixels, request.width, request.height, request.fit, background=request.background)
    if fitted.mapping.says:
        ctx.notice(fitted.mapping.says)
    with ctx.lease(request.variant) as engine:
        clip = engine.animate(fitted.pixels, request, ctx)
    return Result(clip, facts={"fit": fitted.mapping.as_dict()})


def _check_picture(path: Path) -> str:
    return read_picture(path).suffix


MODE = Mode(
    id="image-to-video",
    title="Image to video",
    action="Animate",
    summary="A clip that begins with your picture.",
    order=1,
    request=ImageToVideo,
    run=run,
    inputs={"image": _check_picture},
    prefers={
        "variant": (
            "svd-xt-1.1",
            "svd-xt",
            "svd-xt-image-decoder",
            "svd",
            "svd-image-decoder",
            "pocket-svd",
            "parallax",
        )
    },
)
