"""How an orbit comes about: cut-out, views, cameras, mesh, scores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from studio.context import Context
from studio.errors import BadInput
from studio.media.alpha import WHITE, over, straight
from studio.media.backdrop import white_alpha
from studio.media.clip import Clip
from studio.media.cutout import frame_object, own_alpha, read_mask
from studio.media.decode import read_clip
from studio.media.read import colour, read_picture
from studio.modes.mode import Result, Still
from studio.modes.multiview import Multiview, orbit_of
from studio.modes.orbiting.files import Turned, turntable, write_orbit
from studio.scene.camera import Camera
from studio.scene.colouring import colour_vertices, sheet_texture
from studio.scene.consistency import Consistency, consistency
from studio.scene.hull import visual_hull
from studio.scene.orbit import Orbit, orbit_cameras
from studio.scene.raster import rasterise
from studio.scene.recover import SURE, Recovered, recover_orbit
from studio.scene.surface import Surface
from studio.scene.views import Views

SOUND = 0.93
"""A view that agrees with the others less than so is named."""


@dataclass(frozen=True, eq=False)
class _Seen:
    """The object in the frame: uint8 (S, S, 3) on white with alpha (S, S); its mask uint8 (H, W) in the picture."""

    pixels: np.ndarray
    alpha: np.ndarray
    mask: np.ndarray
    fit: Mapping[str, Any]


def turn(request: Multiview, ctx: Context) -> Result:
    """The turntable, and a folder of all that belongs to it."""
    if request.views is None:
        seen = _cut_out(request, request.image or "", ctx)
        asked = _orbit(request, request.frames)
        for sentence in asked.warnings():
            ctx.notice(sentence)
        with ctx.lease(request.variant) as engine:
            views = engine.orbit(seen.pixels, seen.alpha, asked, request, ctx)
        fit = seen.fit
    else:
        views, fit = _given_views(request, ctx), {}
        asked = _orbit(request, len(views.frames))
    views, photo_at = _with_photo(views, asked, request, ctx)
    alpha = views.alpha if views.alpha is not None else white_alpha(views.frames)
    ctx.step(0, 4, "measure")
    recovered = recover_orbit(alpha, asked) if views.posed == "unknown" else None
    turned = (
        recovered.orbit if recovered is not None else _in_its_sense(asked, alpha) if views.posed == "told" else asked
    )
    cameras = orbit_cameras(turned, views.frames.shape[1])
    ctx.step(1, 4, "measure")
    surface = views.surface or _reconstructed(views.frames, alpha, cameras, request)
    ctx.step(2, 4, "measure")
    report = consistency(alpha, cameras, views.frames)
    ctx.step(3, 4, "measure")
    for sentence in _sayings(recovered, report, turned, photo_at):
        ctx.notice(sentence)
    facts = _facts(turned, recovered, report, surface, views, fit)
    # The orbit ends with the input view; what a user sees begins with it.
    order = np.roll(np.arange(len(views.frames)), 1)
    shown = Turned(
        views.frames[order], alpha[order], [cameras[i] for i in order],
        [turned.azimuths_deg[i] for i in order], [turned.elevations_deg[i] for i in order],
    )  # fmt: skip
    fps, behind = float(request.export_fps or 1), colour(request.background)
    artifacts = write_orbit(ctx.scratch / "orbit", shown, surface, fps=fps, report=facts, check=ctx.check)
    ctx.step(4, 4, "measure")
    if request.turntable == "mesh":
        clip = Clip(_rendered(surface, turned, request, ctx), fps, closed=True)
    else:
        clip = turntable(shown, fps, behind, transparent=request.format in ("webp", "zip"))
    return Result(clip, artifacts=artifacts, facts={"multiview": facts})


def cut_out(request: Multiview, ctx: Context) -> Result:
    """The object alone, as the orbit would begin with it, and its mask in the picture's own shape."""
    seen = _cut_out(request, request.image or "", ctx)
    alone = {**request.model_dump(mode="json"), "finish": []}
    stills = {
        "cut-out.png": Still(np.dstack([straight(seen.pixels, seen.alpha), seen.alpha]), alone),
        "mask.png": Still(np.repeat(seen.mask[..., None], 3, axis=2), alone),
    }
    clip = Clip(seen.pixels[None], float(request.export_fps or 1), seen.alpha[None])
    return Result(clip, stills=stills, facts={"fit": dict(seen.fit)})


def _orbit(request: Multiview, views: int | None) -> Orbit:
    r = request
    return orbit_of(r.orbit, r.elevation_deg, r.amplitude_deg, r.keys, r.seed or 0, views or 2)


def _cut_out(request: Multiview, path: str, ctx: Context, *, masked: bool = True) -> _Seen:
    """The object of that picture, centred in the frame, on white."""
    picture = read_picture(ctx.input(path))
    for sentence in picture.notices:
        ctx.notice(sentence)
    height, width = picture.pixels.shape[:2]
    own = own_alpha(picture)
    if masked and request.mask is not None:
        alpha = read_mask(ctx.input(request.mask), width, height)
    elif own is not None:
        alpha = own
    else:
        with ctx.lease(request.matting or "") as cutter:
            alpha = cutter.cut_out(picture.pixels, ctx)
    framed = frame_object(
        picture.pixels, alpha, size=request.size or 576, ratio=request.object_ratio, flattened=alpha is own
    )
    for sentence in framed.warnings:
        ctx.notice(sentence)
    return _Seen(framed.pixels, framed.alpha, alpha, framed.mapping.as_dict())


def _given_views(request: Multiview, ctx: Context) -> Views:
    """An orbit from a file: it begins with the input view there, and ends with it here."""
    clip = read_clip(ctx.input(request.views or ""))
    frames = clip.frames
    if clip.width != clip.height:
        raise BadInput(f"views: {clip.width}x{clip.height} is not square.", "Crop the orbit to squares.", field="views")
    order = np.roll(np.arange(len(frames)), -1)
    alpha = None if clip.alpha is None else clip.alpha[order]
    on_white = frames[order] if alpha is None else over(frames[order], alpha, WHITE)
    return Views(on_white, alpha, posed="unknown")


def _with_photo(views: Views, orbit: Orbit, request: Multiview, ctx: Context) -> tuple[Views, int | None]:
    """The views with the user's own photo in place of the nearest one, and which that is; then nothing rendered
    stands any more."""
    if request.photo is None:
        return views, None
    seen = _cut_out(request.model_copy(update={"size": views.frames.shape[1]}), request.photo, ctx, masked=False)
    away = (np.array(orbit.azimuths_deg) - request.photo_azimuth_deg + 180) % 360 - 180
    at = int(np.abs(away).argmin())
    frames = views.frames.copy()
    alpha = (white_alpha(frames) if views.alpha is None else views.alpha).copy()
    frames[at], alpha[at] = seen.pixels, seen.alpha
    ctx.notice(f"The view at {orbit.azimuths_deg[at]:.0f} degrees is your photo.")
    return replace(views, frames=frames, alpha=alpha, surface=None), at


def _in_its_sense(orbit: Orbit, alpha: np.ndarray) -> Orbit:
    """The orbit, or its mirror image where the views agree clearly better with that: nobody says which way round the
    network counts azimuths, but perspective shows it."""
    one, other = (consistency(alpha, orbit_cameras(o, alpha.shape[1]), grid=48).mean for o in (orbit, orbit.reversed()))
    return orbit.reversed() if other > one + SURE else orbit


def _reconstructed(frames: np.ndarray, alpha: np.ndarray, cameras: list[Camera], request: Multiview) -> Surface:
    hull = visual_hull(alpha, cameras, grid=request.mesh_grid)
    give_colours = sheet_texture if request.texture == "sheet" else colour_vertices
    return give_colours(hull, frames, alpha, cameras)


def _rendered(surface: Surface, turned: Orbit, request: Multiview, ctx: Context) -> np.ndarray:
    """The turntable of the mesh: from the input view once round, at the orbit's own elevations."""
    count, size = request.turntable_frames, request.turntable_size
    closed = np.array([turned.elevations_deg[-1], *turned.elevations_deg])
    azimuths = np.array([0.0, *turned.azimuths_deg[:-1], 360.0 if turned.azimuths_deg[0] < 180 else -360.0])
    sense = np.sign(azimuths[-1])
    at = np.arange(1, count + 1) * 360.0 / count
    elevations = np.interp(at, azimuths * sense % 360.0 + 360.0 * (azimuths * sense >= 360.0), closed)
    wanted = Orbit((*at[:-1], 0.0), tuple(elevations))
    cameras = orbit_cameras(wanted if sense > 0 else wanted.reversed(), size)
    behind = colour(request.background)
    frames = np.empty((count, size, size, 3), np.uint8)
    for i, camera in enumerate([cameras[-1], *cameras[:-1]]):
        ctx.step(i, count, "render", preview=lambda i=i: Clip(frames[: max(1, i)], float(request.export_fps or 1)))
        seen = rasterise(surface, camera, size, size, supersample=2)
        frames[i] = over(seen.rgb, seen.alpha, behind)
    ctx.step(count, count, "render")
    return frames


def _sayings(recovered: Recovered | None, report: Consistency, turned: Orbit, photo_at: int | None) -> list[str]:
    """What the user should know of the cameras and of the views."""
    said = []
    if recovered is not None and not recovered.sure:
        said.append(
            "The cameras are a guess: this object looks alike from several elevations, so that its outlines do not "
            "tell them apart."
        )
    if report.lowest < SOUND:
        azimuth, agrees = turned.azimuths_deg[report.worst], f"{report.lowest:.2f} of 1"
        if report.worst == photo_at:
            said.append(
                f"Your photo does not agree with the other views ({agrees}): was it taken from {azimuth:.0f} degrees, "
                "and from the same height as they?"
            )
        elif azimuth == 0:
            said.append(
                f"Your picture does not agree with the other views ({agrees}), so they show another shape or were "
                "seen from elsewhere. Another seed, or the picture's true elevation, would help."
            )
        else:
            said.append(
                f"The view at {azimuth:.0f} degrees does not agree with the others ({agrees}): the mesh may lack "
                "something there. Another seed, or your own photo from that side, would help."
            )
    return said


def _facts(
    turned: Orbit, recovered: Recovered | None, report: Consistency, surface: Surface, views: Views,
    fit: Mapping[str, Any],
) -> dict[str, Any]:  # fmt: skip
    """What the report says, as JSON; views in the order of the files: from the input view on."""
    order = [len(turned) - 1, *range(len(turned) - 1)]
    cameras: dict[str, Any] = {"known": views.posed}
    if recovered is not None:
        cameras |= {
            "elevation_deg": recovered.elevation_deg,
            "clockwise": recovered.clockwise,
            "margin": recovered.margin,
            "sure": recovered.sure,
        }
    return {
        "cameras": cameras,
        "views": [
            {
                "image": f"images/{i:03d}.png",
                "azimuth_deg": round(turned.azimuths_deg[at], 4),
                "elevation_deg": round(turned.elevations_deg[at], 4),
                "score": round(report.reprojection[at], 4),
            }
            for i, at in enumerate(order)
        ],
        "consistency": {**report.public(), "worst_frame": order.index(report.worst)},
        "mesh": {"vertices": len(surface.vertices), "faces": len(surface.faces), "rendered": views.surface is surface},
        "fit": dict(fit),
    }
