import numpy as np
import pytest
import trimesh

from studio.scene.surface import Surface

CORNERS = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
FACES = np.array([[0, 2, 1], [0, 1, 3], [1, 2, 3], [0, 3, 2]], np.int32)
COLOURS = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [9, 9, 9]], np.uint8)
UV = np.zeros((4, 3, 2), np.float32)
TEXTURE = np.zeros((2, 5, 3), np.uint8)


def test_a_surface_becomes_the_same_mesh_in_trimesh_with_its_colours():
    mesh = Surface(CORNERS, FACES, COLOURS).to_trimesh()
    assert isinstance(mesh, trimesh.Trimesh)
    assert np.array_equal(mesh.vertices, CORNERS)
    assert np.array_equal(mesh.faces, FACES)
    assert np.array_equal(mesh.visual.vertex_colors[:, :3], COLOURS)
    assert mesh.is_watertight
    assert mesh.volume == pytest.approx(1 / 6)


def test_a_bare_surface_becomes_a_bare_mesh():
    assert not Surface(CORNERS, FACES).to_trimesh().visual.defined


def test_new_colours_take_the_place_of_the_texture():
    surface = Surface(CORNERS, FACES, uv=UV, texture=TEXTURE).with_colours(COLOURS)
    assert surface.texture is None
    assert surface.uv is None
    assert np.array_equal(surface.colours, COLOURS)


def test_it_says_what_it_holds():
    assert repr(Surface(CORNERS, FACES, COLOURS)) == "Surface(4 vertices, 4 faces, coloured)"
    assert repr(Surface(CORNERS, FACES, uv=UV, texture=TEXTURE)) == "Surface(4 vertices, 4 faces, texture 5x2)"


def test_an_empty_surface_is_one():
    assert len(Surface(np.empty((0, 3)), np.empty((0, 3), np.int32)).faces) == 0


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"vertices": CORNERS.astype(np.float32)}, r"vertices float32\[4, 3\] is not float64 \(n, 3\)"),
        ({"vertices": CORNERS * np.nan}, "finite"),
        ({"faces": FACES.astype(np.int64)}, "faces int64"),
        ({"faces": FACES + 1}, "up to 4 of 4"),
        ({"faces": FACES - 1}, "faces name"),
        ({"colours": COLOURS[:3]}, r"colours uint8\[3, 3\] is not uint8 \(4, 3\)"),
        ({"uv": UV}, "go together"),
        ({"uv": UV[:, :2], "texture": TEXTURE}, "uv float32"),
        ({"uv": UV, "texture": TEXTURE[..., 0]}, "texture uint8"),
        ({"uv": UV, "texture": TEXTURE[:0]}, "no pixels"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(changes, says):
    with pytest.raises(ValueError, match=says):
        Surface(**{"vertices": CORNERS, "faces": FACES, **changes})
