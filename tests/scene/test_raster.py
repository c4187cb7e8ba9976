import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import trimesh
from trimesh.ray.ray_pyembree import RayMeshIntersector

from studio.scene.camera import Camera
from studio.scene.orbit import RADIUS, orbit_cameras, sine, static
from studio.scene.raster import BARE, NEAR, rasterise
from studio.scene.surface import Surface

SIZE = 192
FRONT = orbit_cameras(static(0), SIZE)[-1]
STEEP = orbit_cameras(static(25), SIZE)[3]


def surface_of(mesh):
    return Surface(np.asarray(mesh.vertices, np.float64), np.asarray(mesh.faces, np.int32))


def torus():
    return trimesh.creation.torus(0.36, 0.12, major_sections=60, minor_sections=30)


def quad(corners, **colouring):
    """Two triangles a b c, a c d of four corners."""
    return Surface(np.array(corners, np.float64), np.array([[0, 1, 2], [0, 2, 3]], np.int32), **colouring)


FLOOR = [(-0.6, -0.9, -0.2), (0.6, -0.9, -0.2), (0.6, 0.9, -0.2), (-0.6, 0.9, -0.2)]
FLOOR_UV = np.array([[(0, 0), (1, 0), (1, 1)], [(0, 0), (1, 1), (0, 1)]], np.float32)


def rays(camera, width=SIZE, height=SIZE):
    """World directions (H, W, 3) of the pixels, as long as one unit of depth."""
    y, x = np.mgrid[:height, :width]
    k = camera.intrinsics
    local = np.stack([(x - k[0, 2]) / k[0, 0], (y - k[1, 2]) / k[1, 1], np.ones((height, width))], axis=-1)
    return local @ camera.world_to_camera[:3, :3]


def floor_hits(camera, height):
    """(x, y, depth) at which each pixel's ray meets the plane of that z."""
    d, o = rays(camera), camera.position
    with np.errstate(divide="ignore", invalid="ignore"):
        depth = (height - o[2]) / d[..., 2]
    return o[0] + depth * d[..., 0], o[1] + depth * d[..., 1], depth


def edges_of(mask):
    return (mask ^ np.roll(mask, 1, 0)) | (mask ^ np.roll(mask, 1, 1))


@pytest.mark.parametrize(
    "mesh",
    [torus(), trimesh.creation.icosphere(3, 0.5), trimesh.creation.box((0.5, 0.7, 0.9)), trimesh.creation.cone(0.3, 1)],
    ids=["torus", "sphere", "box", "cone"],
)
def test_masks_and_faces_are_embrees(mesh):
    tracer = RayMeshIntersector(mesh)
    wrong = edges = other = 0
    for camera in orbit_cameras(sine(10, 30), SIZE)[::4]:
        got = rasterise(surface_of(mesh), camera, SIZE, SIZE)
        d = rays(camera).reshape(-1, 3)
        hit = tracer.intersects_first(np.broadcast_to(camera.position, d.shape), d).reshape(SIZE, SIZE)
        wrong += np.count_nonzero((hit >= 0) != (got.alpha > 0))
        edges += np.count_nonzero(edges_of(hit >= 0))
        other += np.count_nonzero(hit != got.face)
    assert edges > 1000
    assert wrong <= edges / 1000
    assert other <= 0.02 * edges  # rays along an edge between two faces may name either


def test_depth_and_place_of_a_sphere_are_the_formulas():
    got = rasterise(surface_of(trimesh.creation.icosphere(5, 0.5)), STEEP, SIZE, SIZE)
    d, o = rays(STEEP), STEEP.position
    a, b = (d * d).sum(-1), d @ o
    off = b * b - a * (o @ o - 0.25)
    inside = off > 0.02
    assert np.array_equal(got.mask[inside], np.ones(inside.sum(), bool))
    assert np.isinf(got.depth[off < -0.01]).all()
    assert np.abs(got.depth - (-b - np.sqrt(np.maximum(off, 0))) / a)[inside].max() < 2e-3


def test_a_texture_lies_in_perspective_on_a_floor():
    y, x = np.mgrid[:64, :64]
    texture = np.stack([x * 4, 252 - y * 4, np.full_like(x, 7)], axis=-1).astype(np.uint8)
    got = rasterise(quad(FLOOR, uv=FLOOR_UV, texture=texture), STEEP, SIZE, SIZE)
    px, py, depth = floor_hits(STEEP, -0.2)
    u, v = (px + 0.6) / 1.2, (py + 0.9) / 1.8
    on = (u > 0.01) & (u < 0.99) & (v > 0.01) & (v < 0.99)
    assert on.sum() > 5000
    assert np.abs(got.rgb[on, 0] - (u[on] * 64 - 0.5) * 4).max() < 0.51
    assert np.abs(got.rgb[on, 1] - (v[on] * 64 - 0.5) * 4).max() < 0.51
    assert (got.rgb[on, 2] == 7).all()
    assert np.allclose(got.depth[on], depth[on], rtol=1e-6)


def test_vertex_colours_flow_in_perspective():
    colours = np.array([[0, 0, 9], [200, 0, 9], [200, 200, 9], [0, 200, 9]], np.uint8)
    got = rasterise(quad(FLOOR, colours=colours), STEEP, SIZE, SIZE)
    px, py, _ = floor_hits(STEEP, -0.2)
    on = got.alpha > 0
    assert np.abs(got.rgb[on, 0] - (px[on] + 0.6) / 1.2 * 200).max() < 0.51
    assert np.abs(got.rgb[on, 1] - (py[on] + 0.9) / 1.8 * 200).max() < 0.51


@pytest.mark.parametrize("height", [-0.2, -0.15 * NEAR])
def test_a_floor_that_goes_on_behind_the_camera_is_seen_from_the_lens_to_the_horizon(height):
    wide = [(50 * x, 50 * y, height) for x, y in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
    got = rasterise(quad(wide), FRONT, SIZE, SIZE)
    px, py, depth = floor_hits(FRONT, height)
    truth = (depth > NEAR) & (np.abs(px) <= 50) & (np.abs(py) <= 50)
    assert truth.any()
    assert np.array_equal(got.alpha > 0, truth)


def test_no_pixel_of_a_slanted_wall_along_the_view_is_nearer_than_the_lens():
    wall = np.array([(-30, -50, 30), (30, -50, -30), (30, 50, -30), (-30, 50, 30)]) - (0.1 * NEAR, 0, 0.1 * NEAR)
    got = rasterise(quad(wall), FRONT, SIZE, SIZE)
    assert got.alpha.any()
    assert NEAR * 0.999 <= got.depth.min() < NEAR * 1.1


def test_what_is_behind_the_camera_is_not_seen():
    behind = surface_of(trimesh.creation.icosphere(2, 0.3))
    behind = Surface(behind.vertices + FRONT.position * 2, behind.faces)
    assert not rasterise(behind, FRONT, SIZE, SIZE).alpha.any()


@pytest.mark.parametrize(("factor", "seen"), [(0.9, False), (1.1, True)])
def test_what_touches_the_lens_is_not_seen(factor, seen):
    y = -RADIUS + factor * NEAR
    got = rasterise(quad([(-1, y, -1), (1, y, -1), (1, y, 1), (-1, y, 1)]), FRONT, SIZE, SIZE)
    assert (got.alpha == 255).all() == seen
    assert got.alpha.any() == seen


def test_a_camera_inside_sees_the_inside_everywhere():
    within = Camera(FRONT.intrinsics, np.eye(4))
    got = rasterise(surface_of(trimesh.creation.icosphere(3, 0.5)), within, SIZE, SIZE)
    assert (got.alpha == 255).all()
    assert got.depth.max() <= 0.5


def test_nothing_is_black_without_depth_or_face():
    got = rasterise(Surface(np.empty((0, 3)), np.empty((0, 3), np.int32)), FRONT, 9, 5)
    assert got.rgb.shape == (5, 9, 3)
    assert not got.rgb.any()
    assert not got.alpha.any()
    assert np.isinf(got.depth).all()
    assert (got.face == -1).all()


def test_a_triangle_without_area_and_one_far_outside_are_not_seen():
    corners = np.array([[0, 0, 0], [0.1, 0, 0], [0.2, 0, 0], [1e12, 0, 0], [1e12, 0, 1], [1e12, 1, 0]], np.float64)
    surface = Surface(corners, np.array([[0, 1, 2], [3, 4, 5]], np.int32))
    assert not rasterise(surface, FRONT, SIZE, SIZE).alpha.any()


def test_a_surface_without_colours_is_grey():
    got = rasterise(surface_of(torus()), STEEP, SIZE, SIZE)
    assert (got.rgb[got.mask] == BARE).all()


def test_supersampled_alpha_is_the_area_that_is_covered():
    half = RADIUS * math.tan(math.radians(33.8 / 2))
    pixel = 2 * half / SIZE
    right = 10.25 * pixel  # the square ends a quarter into a pixel, and at a pixel's edge below
    corners = [(-right, 0, -10 * pixel), (right, 0, -10 * pixel), (right, 0, 10 * pixel), (-right, 0, 10 * pixel)]
    got = rasterise(quad(corners), FRONT, SIZE, SIZE, supersample=4)
    middle = SIZE // 2
    assert got.alpha[middle, middle + 9 : middle + 12].tolist() == [255, 64, 0]
    assert got.alpha[middle + 8 : middle + 12, middle].tolist() == [255, 255, 0, 0]
    assert got.rgb[middle, middle + 10].tolist() == [BARE] * 3
    assert got.over(255)[middle, middle + 10].tolist() == [round((64 * BARE + 191 * 255) / 255)] * 3


def test_supersampling_averages_what_is_smaller_than_a_pixel():
    checks = np.repeat((np.indices((256, 256)).sum(0) % 2 * 255).astype(np.uint8)[..., None], 3, axis=2)
    small = orbit_cameras(static(25), 48)[3]
    floor = quad(FLOOR, uv=FLOOR_UV, texture=checks)
    one, many = (rasterise(floor, small, 48, 48, supersample=s).rgb[22:34, 20:28].astype(int) for s in (1, 6))
    assert one.std() > 40
    assert many.std() < one.std() / 3


def test_of_two_faces_in_one_place_the_first_is_seen_and_of_two_in_line_the_nearer():
    same = quad([(-0.5, 0, -0.5), (0.5, 0, -0.5), (0.5, 0, 0.5), (-0.5, 0, 0.5)])
    twice = Surface(same.vertices, np.concatenate([same.faces, same.faces]))
    assert rasterise(twice, FRONT, SIZE, SIZE).face.max() == 1
    nearer = Surface(
        np.concatenate([same.vertices, same.vertices - (0, 0.1, 0)]), np.concatenate([same.faces, same.faces + 4])
    )
    got = rasterise(nearer, FRONT, SIZE, SIZE)
    assert set(np.unique(got.face)) == {-1, 2, 3}
    assert got.depth.min() == pytest.approx(RADIUS - 0.1)


def test_no_ray_slips_between_triangles_that_share_an_edge():
    got = rasterise(surface_of(trimesh.creation.icosphere(4, 0.9)), FRONT, 64, 64)
    assert (got.alpha == 255).all()


def test_frames_rendered_at_a_time_are_those_rendered_one_after_another():
    surface = surface_of(torus())
    surface = surface.with_colours(np.arange(len(surface.vertices) * 3).reshape(-1, 3).astype(np.uint8))
    cameras = orbit_cameras(sine(0, 20), SIZE)

    def draw(camera):
        got = rasterise(surface, camera, SIZE, SIZE, supersample=2)
        return [a.tobytes() for a in (got.rgb, got.alpha, got.depth, got.face)]

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(draw, cameras)) == [draw(c) for c in cameras]
