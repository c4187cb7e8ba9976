import json

import numpy as np
import pytest
import trimesh

from studio.scene.export.glb import mesh_glb
from studio.scene.export.mesh import mesh_obj, mesh_ply, mesh_stl
from studio.scene.export.paint import corners, vertex_colours
from studio.scene.export.rig import Rig
from studio.scene.surface import Surface
from tests.scene.export import readers
from tests.scene.export.conftest import COLOURS, CORNERS, FACES

TO_Z_UP = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]])
VOLUME = 1.0 * 0.6 * 0.2


def loaded(path):
    """The one mesh of a file as trimesh reads it, unchanged."""
    return trimesh.load(path, process=False, force="mesh")


def glb_attribute(folder, name):
    page, body = readers.glb_parts((folder / "mesh.glb").read_bytes())
    return readers.accessor(page, body, page["meshes"][0]["primitives"][0]["attributes"][name])


def test_the_ply_holds_vertices_faces_and_colours_z_up(folder):
    mesh = loaded(folder / "mesh.ply")
    assert np.allclose(mesh.vertices, CORNERS, rtol=0, atol=1e-6)
    assert np.array_equal(mesh.faces, FACES)
    assert np.array_equal(mesh.visual.vertex_colors[:, :3], COLOURS)


def test_the_points_are_the_vertices_with_their_colours_as_ply_and_for_colmap(folder):
    cloud = trimesh.load(folder / "points.ply")
    assert isinstance(cloud, trimesh.PointCloud)
    assert np.allclose(cloud.vertices, CORNERS, rtol=0, atol=1e-6)
    assert np.array_equal(cloud.colors[:, :3], COLOURS)
    rows = readers.points3d(folder)
    assert np.allclose(rows, np.hstack([CORNERS, COLOURS]), rtol=0, atol=1e-6)


def test_the_stl_is_a_closed_solid_whose_normals_look_outwards(folder):
    data = (folder / "mesh.stl").read_bytes()
    assert not data.startswith(b"solid")
    mesh = trimesh.load(folder / "mesh.stl")
    assert mesh.is_watertight
    assert mesh.volume == pytest.approx(VOLUME, rel=1e-6)
    assert np.allclose(mesh.extents, (1.0, 0.6, 0.2))
    rows = np.frombuffer(data[84:], [("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
    assert (np.einsum("fk,fck->fc", rows["normal"], rows["corners"]) > 0).all()
    assert np.allclose(np.linalg.norm(rows["normal"], axis=1), 1)


def test_a_flat_triangle_has_no_normal_in_the_stl_and_no_warning():
    line = Surface(np.array([(0.0, 0, 0), (1, 0, 0), (2, 0, 0)]), np.array([(0, 1, 2)], np.int32))
    assert np.array_equal(np.frombuffer(mesh_stl(line)[84:96], "<f4"), (0, 0, 0))


def test_the_obj_holds_the_mesh_y_up_with_a_colour_a_vertex(folder):
    mesh = loaded(folder / "mesh.obj")
    assert np.allclose(mesh.vertices @ TO_Z_UP.T, CORNERS, rtol=0, atol=1e-6)
    assert mesh.volume == pytest.approx(VOLUME)
    assert np.array_equal(mesh.visual.vertex_colors[:, :3], COLOURS)
    assert not (folder / "mesh.mtl").exists()


def test_the_glb_holds_the_mesh_y_up_and_trimesh_reads_it(folder):
    mesh = loaded(folder / "mesh.glb")
    assert np.allclose(mesh.vertices @ TO_Z_UP.T, CORNERS, rtol=0, atol=1e-6)
    assert np.array_equal(mesh.faces, FACES)
    assert mesh.volume == pytest.approx(VOLUME)


def test_the_glbs_vertex_colours_are_linear_and_come_back_exactly(folder):
    linear = glb_attribute(folder, "COLOR_0").astype(float)
    srgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    assert np.array_equal(np.rint(srgb * 255), COLOURS)
    assert linear[COLOURS[:, 1] == 140, 1] == pytest.approx(0.2623, abs=1e-4)


@pytest.mark.parametrize("which", ["folder", "textured_folder"])
def test_the_glbs_colours_are_unlit(which, request):
    page, _ = readers.glb_parts((request.getfixturevalue(which) / "mesh.glb").read_bytes())
    assert page["extensionsUsed"] == ["KHR_materials_unlit"]
    assert page["materials"][0]["extensions"] == {"KHR_materials_unlit": {}}


def test_the_glbs_bounds_are_those_of_its_positions(folder):
    page, body = readers.glb_parts((folder / "mesh.glb").read_bytes())
    index = page["meshes"][0]["primitives"][0]["attributes"]["POSITION"]
    values = readers.accessor(page, body, index)
    assert page["accessors"][index]["min"] == values.min(0).tolist()
    assert page["accessors"][index]["max"] == values.max(0).tolist()


@pytest.mark.parametrize("name", ["mesh.glb", "mesh.obj"])
def test_each_triangle_of_a_textured_mesh_shows_its_own_part_of_the_texture(name, textured, textured_folder):
    mesh = loaded(textured_folder / name)
    image = mesh.visual.material.to_simple().image if name == "mesh.glb" else mesh.visual.material.image
    assert np.array_equal(np.asarray(image.convert("RGB")), textured.texture)
    assert len(mesh.faces) == len(FACES)
    places = (mesh.vertices @ TO_Z_UP.T)[mesh.faces]
    assert np.allclose(places, CORNERS[FACES], rtol=0, atol=1e-6)
    assert np.allclose(mesh.visual.uv[mesh.faces], textured.uv, rtol=0, atol=1e-6)


def test_gltf_counts_texture_rows_from_the_top(textured, textured_folder):
    _, _, faces = corners(textured)
    uv = glb_attribute(textured_folder, "TEXCOORD_0")[faces]
    assert np.allclose(uv[..., 1], 1 - textured.uv[..., 1])


def test_the_objs_material_names_its_files_without_a_folder(textured_folder):
    assert (textured_folder / "mesh.obj").read_text().startswith("mtllib mesh.mtl\n")
    assert "map_Kd mesh.png\n" in (textured_folder / "mesh.mtl").read_text()
    assert (textured_folder / "mesh.png").is_file()


def test_a_vertex_with_one_texture_coordinate_is_written_once(textured):
    shared = Surface(CORNERS, FACES, uv=np.full((12, 3, 2), 0.5, np.float32), texture=textured.texture)
    assert len(corners(shared)[0]) == len(CORNERS)


def test_points_of_a_textured_surface_take_the_colour_that_its_texture_has_there(textured):
    colours = vertex_colours(textured)
    first = [np.argwhere(vertex == FACES)[0] for vertex in range(8)]
    u, v = np.array([textured.uv[face, corner] for face, corner in first]).T
    assert np.array_equal(colours, textured.texture[(v < 0.5).astype(int), (u >= 0.5).astype(int)])


def test_a_surface_without_colours_is_grey():
    bare = Surface(CORNERS, FACES)
    assert (vertex_colours(bare) == 180).all()
    assert b"property uchar red" in mesh_ply(bare)
    assert list(mesh_obj(bare, "mesh")) == ["mesh.obj"]


def test_a_glb_says_how_fast_it_was_made_to_play(painted, cameras):
    rig = Rig(cameras, 96, 96, [f"{i}.png" for i in range(21)])
    page, _ = readers.glb_parts(mesh_glb(painted, rig, 12.5))
    assert page["animations"][0]["extras"] == {"fps": 12.5, "frames": 21}
    assert json.dumps(page).count("uri") == 0
