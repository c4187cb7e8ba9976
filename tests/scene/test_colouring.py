import numpy as np
import pytest

from studio.scene.camera import Camera
from studio.scene.colouring import colour_vertices, sheet_texture
from studio.scene.hull import visual_hull
from studio.scene.orbit import Orbit, orbit_cameras, static
from studio.scene.raster import rasterise
from studio.scene.surface import Surface
from tests.scene.shapes import Rendered, mesh, rendered, turntable

HELD_OUT = Orbit((*(360 * (k + 0.5) / 8 for k in range(7)), 0.0), (5.0,) * 8)


def psnr_db(one: np.ndarray, other: np.ndarray) -> float:
    return 10 * np.log10(255**2 / np.mean((one.astype(float) - other) ** 2))


def inner_psnr_db(one: Rendered, other: Rendered) -> float:
    both = (one.alpha == 255) & (other.alpha == 255)
    return psnr_db(one.frames[both], other.frames[both])


def painted(name: str, dissent: int = 0) -> Surface:
    truth = turntable(name)
    return colour_vertices(
        visual_hull(truth.alpha, truth.cameras, dissent=dissent), truth.frames, truth.alpha, truth.cameras
    )


@pytest.mark.parametrize("name", ["blob", "figure"])
@pytest.mark.parametrize("dissent", [0, 1])
def test_views_that_were_held_out_look_like_the_truth(name, dissent):
    truth = rendered(mesh(name), HELD_OUT, 192)
    assert psnr_db(rendered(painted(name, dissent), HELD_OUT, 192).frames, truth.frames) >= 28


@pytest.mark.parametrize("name", ["sphere", "box"])
def test_colours_of_the_true_mesh_come_back_where_it_is_seen(name):
    truth, true_mesh = turntable(name), mesh(name)
    found = colour_vertices(true_mesh, truth.frames, truth.alpha, truth.cameras)
    wrong = np.abs(found.colours.astype(int) - true_mesh.colours).mean(axis=1)
    seen = np.abs(true_mesh.vertices[:, 2]) < 0.28
    assert np.median(wrong[seen]) < 2
    assert np.percentile(wrong[seen], 99) < 10
    assert np.array_equal(found.vertices, true_mesh.vertices)


def test_what_stands_in_front_does_not_colour_what_is_behind():
    ball = mesh("sphere")
    red, blue = np.uint8([200, 30, 30]), np.uint8([30, 30, 200])
    pair = Surface(
        np.concatenate([ball.vertices * 0.4 + [0, side * 0.22, 0] for side in (-1, 1)]),
        np.concatenate([ball.faces, ball.faces + np.int32(len(ball.vertices))]),
        np.repeat([red, blue], len(ball.vertices), axis=0),
    )
    seen = rendered(pair, static(0), 128)
    found = colour_vertices(pair, seen.frames, seen.alpha, seen.cameras)
    wrong = np.abs(found.colours.astype(int) - pair.colours).max(axis=1)
    assert (wrong > 20).mean() < 0.01


def test_the_background_never_colours_the_object():
    dark = mesh("figure").with_colours(np.full_like(mesh("figure").colours, 40))
    seen = rendered(dark, turntable("figure").orbit, 192)
    hull = visual_hull(seen.alpha, seen.cameras)
    assert colour_vertices(hull, seen.frames, seen.alpha, seen.cameras).colours.max() <= 45


def test_what_no_view_sees_takes_the_nearest_colour_that_one_does():
    halves = mesh("sphere")
    red, blue = np.uint8([200, 30, 30]), np.uint8([30, 30, 200])
    halves = halves.with_colours(np.where(halves.vertices[:, :1] < 0, red, blue))
    seen = rendered(halves, static(60), 128)  # never from below
    found = colour_vertices(halves, seen.frames, seen.alpha, seen.cameras).colours
    below = halves.vertices[:, 2] < -0.4
    left, right = (below & (side * halves.vertices[:, 0] > 0.12) for side in (-1, 1))
    assert np.abs(found[left].astype(int) - red).max() < 20
    assert np.abs(found[right].astype(int) - blue).max() < 20


def from_below(surface: Surface, size: int) -> tuple[np.ndarray, np.ndarray, Camera]:
    """A photo, its alpha and its camera."""
    camera = orbit_cameras(static(-80, 2), size)[-1]
    view = rasterise(surface, camera, size, size)
    return view.over(255), view.alpha, camera


def test_a_photo_from_elsewhere_is_one_more_view():
    ball = mesh("sphere")
    seen = rendered(ball, static(40), 192)
    frame, alpha, camera = from_below(ball, 192)
    below = ball.vertices[:, 2] < -0.44

    def error(frames, masks, cameras):
        found = colour_vertices(ball, frames, masks, cameras).colours
        return np.abs(found[below].astype(int) - ball.colours[below]).mean()

    without = error(seen.frames, seen.alpha, seen.cameras)
    with_it = error(
        np.concatenate([seen.frames, frame[None]]), np.concatenate([seen.alpha, alpha[None]]), [*seen.cameras, camera]
    )
    assert with_it < 3 < without


@pytest.mark.parametrize("colour", [colour_vertices, sheet_texture])
def test_a_view_of_weight_0_says_nothing(colour):
    truth = turntable("blob")
    frames = truth.frames.copy()
    frames[3] = 0
    hull = visual_hull(truth.alpha, truth.cameras, grid=48)
    weights = [0.0 if i == 3 else 1.0 for i in range(21)]
    found = rendered(colour(hull, frames, truth.alpha, truth.cameras, weights=weights), HELD_OUT, 192)
    assert found.frames[found.alpha == 255].max(axis=1).min() > 60


@pytest.mark.parametrize("name", ["blob", "figure"])
def test_the_sheet_shows_held_out_views_too(name):
    truth = turntable(name)
    hull = visual_hull(truth.alpha, truth.cameras)
    textured = sheet_texture(hull, truth.frames, truth.alpha, truth.cameras)
    assert textured.colours is None
    assert textured.uv.min() >= 0
    assert textured.uv.max() <= 1
    held_out = rendered(mesh(name), HELD_OUT, 192)
    assert psnr_db(rendered(textured, HELD_OUT, 192).frames, held_out.frames) >= 28


def test_the_sheet_is_sharper_than_vertices_far_apart():
    stripes = np.where(np.sin(80 * mesh("blob").vertices[:, 2:]) > 0, 60, 200).repeat(3, axis=1).astype(np.uint8)
    striped = mesh("blob").with_colours(stripes)
    truth, held_out = rendered(striped, static(10), 192), rendered(striped, HELD_OUT, 192)
    few = visual_hull(truth.alpha, truth.cameras, grid=16, dissent=0)
    by_vertex = rendered(colour_vertices(few, truth.frames, truth.alpha, truth.cameras), HELD_OUT, 192)
    by_sheet = rendered(sheet_texture(few, truth.frames, truth.alpha, truth.cameras), HELD_OUT, 192)
    assert inner_psnr_db(by_sheet, held_out) > inner_psnr_db(by_vertex, held_out) + 4


def test_neighbouring_faces_mostly_come_from_the_same_view():
    truth = turntable("figure")
    hull = visual_hull(truth.alpha, truth.cameras, grid=64)
    textured = sheet_texture(hull, truth.frames, truth.alpha, truth.cameras)
    tile = np.floor(textured.uv.mean(axis=1) * 5).astype(int) @ [1, 5]
    pairs = hull.to_trimesh().face_adjacency
    assert (tile[pairs[:, 0]] != tile[pairs[:, 1]]).mean() < 0.12  # 0.2 were each face to take the best


def test_a_sheet_of_large_frames_fits_what_viewers_take(monkeypatch):
    monkeypatch.setattr("studio.scene.colouring._LARGEST_SHEET", 512)
    truth = turntable("blob")
    hull = visual_hull(truth.alpha, truth.cameras, grid=48)
    textured = sheet_texture(hull, truth.frames, truth.alpha, truth.cameras)
    assert max(textured.texture.shape) <= 512
    seen = rendered(textured, static(0), 192)
    assert inner_psnr_db(seen, rendered(mesh("blob"), static(0), 192)) > 25
