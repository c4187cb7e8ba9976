"""What an orbit leaves in its folder: views, cameras, mesh, sheet and report."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from studio.media.alpha import over, straight
from studio.media.clip import Clip
from studio.media.sheet import contact_sheet
from studio.media.still import write_still
from studio.scene.camera import Camera
from studio.scene.export.folder import export_all
from studio.scene.surface import Surface

_SHEET_COLUMNS = 7


@dataclass(frozen=True, eq=False)
class Turned:
    """The views as the user sees them: from the input view on, each with its camera.

    Args:
        frames: uint8 (T, S, S, 3) on white.
        alpha: uint8 (T, S, S).
    """

    frames: np.ndarray
    alpha: np.ndarray
    cameras: Sequence[Camera]
    azimuths_deg: Sequence[float]
    elevations_deg: Sequence[float]

    @cached_property
    def colours(self) -> np.ndarray:
        """uint8 (T, S, S, 3): the object's own, with no white in its edges."""
        return straight(self.frames, self.alpha)

    def captions(self) -> list[str]:
        """One a view: its azimuth and its elevation."""
        pairs = zip(self.azimuths_deg, self.elevations_deg, strict=True)
        return [f"{azimuth:.0f}\N{DEGREE SIGN}  {elevation:+.0f}\N{DEGREE SIGN}" for azimuth, elevation in pairs]


def turntable(turned: Turned, fps: float, background: tuple[int, int, int], *, transparent: bool) -> Clip:
    """The views as a clip that goes on from its last frame with its first.

    Args:
        transparent: keep the alpha in place of the background.
    """
    if transparent:
        return Clip(turned.colours, fps, turned.alpha, closed=True)
    return Clip(over(turned.colours, turned.alpha, background), fps, closed=True)


def write_orbit(
    folder: Path,
    turned: Turned,
    surface: Surface,
    *,
    fps: float,
    report: Mapping[str, Any],
    check: Callable[[], None],
) -> dict[str, Path]:
    """Path in the user's folder -> file in `folder`, of everything but the clip."""
    images = folder / "images"
    images.mkdir(parents=True)
    names = [f"{i:03d}.png" for i in range(len(turned.frames))]
    for name, pixels, alpha in zip(names, turned.colours, turned.alpha, strict=True):
        check()
        write_still(np.dstack([pixels, alpha]), images / name)
    size = turned.frames.shape[1]
    paths = export_all(
        folder, surface, list(turned.cameras), width=size, height=size, fps=fps, frame_names=names
    )  # fmt: skip
    check()
    sheet = contact_sheet(Clip(turned.frames, fps), _SHEET_COLUMNS, captions=turned.captions(), max_frames=240)
    paths.append(write_still(sheet, folder / "sheet.png"))
    paths.append(folder / "report.json")
    paths[-1].write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return {str(path.relative_to(folder).as_posix()): path for path in [*(images / n for n in names), *paths]}
