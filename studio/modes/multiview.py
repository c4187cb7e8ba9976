"""Multiview: one picture of an object becomes an orbit round it, with its cameras and a mesh."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, Strict, model_validator

from studio.context import Context
from studio.errors import BadInput
from studio.media.decode import clip_kind, read_clip
from studio.media.read import read_picture
from studio.models.catalog import Catalog
from studio.modes.mode import Mode, Result
from studio.modes.request import HEX_COLOUR, PicturePath, form
from studio.modes.sampling import SamplingFields
from studio.scene import orbit as orbits
from studio.scene.orbit import Orbit


class Multiview(SamplingFields):
    """An orbit round an object, its cameras and its mesh.

    Fields that a variant does not listen to are ignored with a notice; None means the variant's default.
    """

    mode: Literal["multiview"] = "multiview"
    image: PicturePath | None = Field(
        default=None,
        description="A picture of one object: PNG, JPEG, WebP or GIF (its first frame); transparency is its outline.",
        json_schema_extra=form(control="picture"),
    )
    mask: PicturePath | None = Field(
        default=None,
        description="Your own outline in place of a cut-out: a picture of the same shape, the object white.",
        json_schema_extra=form(group="object", control="picture", title="Corrected mask"),
    )
    variant: str = Field(
        default="inflate",
        description="The model that turns the object.",
        json_schema_extra=form(control="variant", title="Model"),
    )
    make: Literal["orbit", "cut-out"] = Field(
        default="orbit",
        description="The whole orbit, or only the cut-out, to look at and to correct.",
        json_schema_extra=form(group="object", control="choice"),
    )
    matting: str | None = Field(
        default="backdrop",
        description="The model that cuts the object out where the picture has no transparency of its own.",
        json_schema_extra=form(control="variant", title="Cut-out by"),
    )
    orbit: Literal["static", "sine", "keyed", "dynamic"] = Field(
        default="static",
        description="How the elevation goes: the same all round, up and down once, through keys of yours, or drawn "
        "from the seed.",
        json_schema_extra=form(control="choice"),
    )
    elevation_deg: Annotated[float, Field(ge=-80, le=80)] = Field(
        default=0.0,
        description="Of the camera above the object's middle, as in the picture; beyond 30 up or down views get worse.",
        json_schema_extra=form(control="slider", step=1, unit="degrees", title="Elevation"),
    )
    amplitude_deg: Annotated[float, Field(ge=0, le=60)] = Field(
        default=20.0,
        description="How far a sine orbit rises and sinks.",
        json_schema_extra=form(control="slider", step=1, unit="degrees", title="Amplitude"),
    )
    keys: Annotated[tuple[str, ...], Field(max_length=32), Strict(False)] = Field(
        default=(),
        description="Elevations of a keyed orbit, each as azimuth:elevation, such as 90:20.",
        json_schema_extra=form(control="lines", title="Elevation keys"),
    )
    object_ratio: Annotated[float, Field(ge=0.3, le=0.98)] = Field(
        default=0.85,
        description="Share of the frame that the object's longer side takes.",
        json_schema_extra=form(group="object", control="slider", step=0.01, title="Object's share"),
    )
    thickness: Annotated[float, Field(ge=0.1, le=2)] | None = Field(
        default=None,
        description="How deep the relief is; 1 is round.",
        json_schema_extra=form(group="object", control="slider", step=0.05),
    )
    frames: Annotated[int, Field(ge=8, le=240)] | None = Field(
        default=None,
        description="Number of views.",
        json_schema_extra=form(group="object", control="slider", step=1, unit="views", title="Views"),
    )
    size: Annotated[int, Field(ge=64, le=1024)] | None = Field(
        default=None,
        description="Width and height of each view.",
        json_schema_extra=form(group="object", control="number", unit="px", step=8),
    )
    noise_augmentation: Annotated[float, Field(ge=0, le=1)] | None = Field(
        default=None,
        description="Noise added to the picture that SV3D is shown.",
        json_schema_extra=form(group="sampling", control="number", title="Noise augmentation"),
    )
    views: PicturePath | None = Field(
        default=None,
        description="An orbit that is there already, as a clip or a ZIP of PNGs, in place of making one: its first "
        "frame shows the picture.",
        json_schema_extra=form(group="mesh", control="clip", title="Views that are there"),
    )
    photo: PicturePath | None = Field(
        default=None,
        description="Your own picture of the object from another side, in place of the view that is nearest to it.",
        json_schema_extra=form(group="mesh", control="picture", title="Own photo"),
    )
    photo_azimuth_deg: Annotated[float, Field(ge=0, lt=360)] = Field(
        default=180.0,
        description="From where that photo was taken, counter-clockwise as seen from above.",
        json_schema_extra=form(group="mesh", control="slider", step=1, unit="degrees", title="Photo's azimuth"),
    )
    mesh_grid: Annotated[int, Field(ge=32, le=192)] = Field(
        default=96,
        description="Points along the longest side of the grid that the mesh is carved from.",
        json_schema_extra=form(group="mesh", control="slider", step=8, title="Mesh detail"),
    )
    texture: Literal["vertices", "sheet"] = Field(
        default="vertices",
        description="The mesh's colours: blended at its vertices, or sharper, from the sheet of all views.",
        json_schema_extra=form(group="mesh", control="choice"),
    )
    turntable: Literal["views", "mesh"] = Field(
        default="views",
        description="What the clip shows: the views, or the mesh rendered at any number of frames.",
        json_schema_extra=form(group="output", control="choice"),
    )
    turntable_frames: Annotated[int, Field(ge=8, le=480)] = Field(
        default=96,
        description="Frames of a turntable of the mesh.",
        json_schema_extra=form(group="output", control="slider", step=1, unit="frames", title="Turntable frames"),
    )
    turntable_size: Annotated[int, Field(ge=64, le=2048)] = Field(
        default=768,
        description="Width and height of a turntable of the mesh.",
        json_schema_extra=form(group="output", control="number", unit="px", step=8, title="Turntable size"),
    )
    background: Annotated[str, Field(pattern=HEX_COLOUR)] = Field(
        default="#ffffff",
        description="Colour behind the object in the clip, #rrggbb; WebP and ZIP keep it transparent.",
        json_schema_extra=form(group="output", control="text"),
    )

    @model_validator(mode="after")
    def _can_begin(self) -> Multiview:
        if self.image is None and self.views is None:
            raise BadInput("image: it is missing.", "Choose a picture of an object.", field="image")
        if self.orbit == "keyed":
            orbits.keyed(_keys(self.keys))
        return self


def run(request: Multiview, ctx: Context) -> Result:
    """The turntable, or the cut-out alone, and a folder of all that belongs to it."""
    from studio.modes.orbiting import turn  # what it computes with takes a while to import

    return turn.cut_out(request, ctx) if request.make == "cut-out" else turn.turn(request, ctx)


def _keys(lines: tuple[str, ...]) -> list[tuple[float, float]]:
    found = []
    for line in lines:
        try:
            azimuth, elevation = (float(part) for part in line.split(":"))
        except ValueError as e:
            raise BadInput(
                f"keys: {line!r} is no azimuth with its elevation.", "Write them as 90:20.", field="keys"
            ) from e
        found.append((azimuth, elevation))
    return found


def orbit_of(
    kind: str, elevation_deg: float, amplitude_deg: float, keys: tuple[str, ...], seed: int, views: int
) -> Orbit:
    """The orbit that such a request asks for.

    Raises:
        BadInput: it gets too steep, or a key won't do.
    """
    if kind == "sine":
        return orbits.sine(elevation_deg, amplitude_deg, views)
    if kind == "keyed":
        return orbits.keyed(_keys(keys), views)
    if kind == "dynamic":
        return orbits.dynamic(elevation_deg, seed, views)
    return orbits.static(elevation_deg, views)


def _needs(request: Multiview, catalog: Catalog) -> tuple[str, ...]:
    """Views that are there need no model that makes them, and a mask of one's own none that cuts out."""
    cuts = request.photo is not None or (request.views is None and request.mask is None)
    turns = request.views is None and request.make == "orbit"
    if turns and request.orbit != "static" and not catalog.get(request.variant).facts.get("told_cameras", True):
        raise BadInput(
            f"orbit: {request.variant} is told no cameras and turns at one elevation; {request.orbit} won't do.",
            "Choose static, or a model that is told them.",
            field="orbit",
        )
    return (("matting",) if cuts else ()) + (("variant",) if turns else ())


def _check_picture(path: Path) -> str:
    return read_picture(path).suffix


def _check_views(path: Path) -> str:
    clip = read_clip(path)
    if not 8 <= len(clip) <= 240 or clip.width != clip.height:
        raise BadInput(
            f"views: {len(clip)} frames of {clip.width}x{clip.height} are no orbit.", "8 to 240 square frames are."
        )
    return f".{clip_kind(path)}"


def _shape(request: Multiview) -> tuple[int, int, int] | None:
    if request.turntable == "mesh":
        return request.turntable_frames, request.turntable_size, request.turntable_size
    if request.frames is None or request.size is None:
        return None
    return request.frames, request.size, request.size


MODE = Mode(
    id="multiview",
    title="Multiview",
    action="Turn it",
    summary="An orbit round an object, its cameras and a mesh, from one picture.",
    order=3,
    request=Multiview,
    run=run,
    inputs={"image": _check_picture, "mask": _check_picture, "views": _check_views, "photo": _check_picture},
    roles={"variant": ("multiview",), "matting": ("cut-out",)},
    needs=_needs,
    prefers={"variant": ("sv3d-p", "sv3d-u", "pocket-sv3d", "inflate"), "matting": ("u2netp", "backdrop")},
    shape=_shape,
    folder="turntable",
)
