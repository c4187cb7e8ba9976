"""``python -m studio toybox``: a toy scene from a sentence, with what is exactly known about it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, Progress, TextColumn

from studio.cli.base import Json, err, escape, out, print_json
from studio.errors import BadInput, WriteFailed


def toybox(
    prompt: Annotated[str, typer.Option(help="The sentence: things, colours, materials, where they are, the light.")],
    output: Annotated[Path, typer.Option(help="The folder to write; made where it isn't there.")],
    seed: Annotated[int, typer.Option(help="Of what the sentence leaves open.", min=0, max=2**63 - 1)] = 0,
    orbit: Annotated[int | None, typer.Option(help="Views all round instead of one picture.", min=1, max=360)] = None,
    elevation: Annotated[float | None, typer.Option(help="Of the orbit's cameras, degrees.", min=0, max=80)] = None,
    depth: Annotated[bool, typer.Option("--depth", help="Write depth too, float32 .npy, scene units.")] = False,
    masks: Annotated[bool, typer.Option("--masks", help="Write masks too, PNG: 0 nothing, 1 the first thing.")] = False,
    width: Annotated[int, typer.Option(min=16, max=4096)] = 1024,
    height: Annotated[int, typer.Option(min=16, max=4096)] = 576,
    as_json: Json = False,
) -> None:
    """Renders a toy scene from a sentence, without weights: pictures, exact depth, masks and cameras. Not SDXL."""
    from studio.engines.toybox import notices  # numba takes half a second to import
    from studio.scene.toybox.composition import compose
    from studio.scene.toybox.render import orbit_cameras, render_view, scene_camera
    from studio.scene.toybox.words import parse

    if elevation is not None and orbit is None:
        raise BadInput("elevation: it is the orbit's; give --orbit too.", field="elevation")
    sentence = parse(prompt)
    scene = compose(sentence, seed)
    if orbit is None:
        stands = [(scene.azimuth_deg, scene.elevation_deg, scene_camera(scene, width, height))]
    else:
        stands = orbit_cameras(scene, orbit, width, height, elevation)
    views: list[dict[str, Any]] = []
    with (
        _writing(output),
        Progress(TextColumn("{task.description}"), BarColumn(), console=err, disable=not err.is_terminal) as progress,
    ):
        output.mkdir(parents=True, exist_ok=True)
        bar = progress.add_task("render", total=len(stands))
        for i, (azimuth, height_deg, camera) in enumerate(stands):
            view = render_view(scene, camera, width, height, azimuth_deg=azimuth, elevation_deg=height_deg)
            views.append({**_write_view(output, f"{i:03d}", view, depth=depth, masks=masks), **_camera_facts(view)})
            progress.advance(bar)
        facts = {
            "prompt": prompt,
            "seed": seed,
            "caption": scene.caption,
            "unknown": list(sentence.unknown),
            "things": [s.kind for s in scene.solids],
            "width": width,
            "height": height,
            "views": views,
        }
        (output / "scene.json").write_text(json.dumps(facts, indent=2, ensure_ascii=False), encoding="utf-8")
    for notice in notices(sentence, scene):
        err.print(escape(notice), soft_wrap=True)
    if as_json:
        print_json(facts)
    else:
        out.print(output / "scene.json", soft_wrap=True)


def _write_view(folder: Path, name: str, view: Any, *, depth: bool, masks: bool) -> dict[str, str]:
    """Writes what was asked for of a view; the files' names."""
    import cv2
    import numpy as np

    files = {"picture": f"view_{name}.png"}
    (folder / files["picture"]).write_bytes(cv2.imencode(".png", view.rgb[:, :, ::-1])[1].tobytes())
    if depth:
        files["depth"] = f"depth_{name}.npy"
        np.save(folder / files["depth"], view.depth)
    if masks:
        files["mask"] = f"mask_{name}.png"
        ids = np.maximum(view.ids + 1, 0).astype(np.uint8)
        (folder / files["mask"]).write_bytes(cv2.imencode(".png", ids)[1].tobytes())
    return files


def _camera_facts(view: Any) -> dict[str, Any]:
    import numpy as np

    return {
        "azimuth_deg": view.azimuth_deg,
        "elevation_deg": view.elevation_deg,
        "intrinsics": view.camera.intrinsics.tolist(),
        "camera_to_world": np.linalg.inv(view.camera.world_to_camera).tolist(),
    }


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Turns a failure of the file system into one sentence."""
    try:
        yield
    except OSError as e:
        raise WriteFailed(f"{folder} could not be written.", "Check the disk, or name another folder.") from e
