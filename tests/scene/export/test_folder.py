import pytest

from studio.scene.export.folder import export_all, write_files
from tests.scene.export.conftest import FPS, NAMES, SIZE

CAMERAS = {
    "transforms.json",
    "transforms_train.json",
    "sparse/0/cameras.txt",
    "sparse/0/images.txt",
    "sparse/0/points3D.txt",
    "README.txt",
}
MESH = {"points.ply", "mesh.glb", "mesh.obj", "mesh.ply", "mesh.stl"}


def tree(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def export(folder, surface, cameras):
    return export_all(folder, surface, cameras, width=SIZE, height=SIZE, fps=FPS, frame_names=NAMES)


def test_the_folder_holds_what_is_said_and_nothing_else(tmp_path, painted, textured, cameras):
    for name, surface, files in [
        ("painted", painted, CAMERAS | MESH),
        ("textured", textured, CAMERAS | MESH | {"mesh.mtl", "mesh.png"}),
        ("bare", None, CAMERAS),
    ]:
        written = export(tmp_path / name, surface, cameras)
        assert {path.relative_to(tmp_path / name).as_posix() for path in written} == files
        assert set(tree(tmp_path / name)) == files


def test_the_same_orbit_is_written_with_the_same_bytes(tmp_path, painted, textured, cameras):
    for surface in (painted, textured):
        export(tmp_path / "one", surface, cameras)
        export(tmp_path / "other", surface, cameras)
        assert tree(tmp_path / "one") == tree(tmp_path / "other")


def test_no_file_says_where_it_was_written(folder, textured_folder):
    for place in (folder, textured_folder):
        for name, data in tree(place).items():
            assert str(place.parent).encode() not in data, name


def test_cameras_without_a_surface_name_no_points(tmp_path, cameras):
    export(tmp_path, None, cameras)
    assert b"ply" not in (tmp_path / "transforms.json").read_bytes()
    assert "mesh" not in (tmp_path / "README.txt").read_text()
    assert (tmp_path / "sparse/0/points3D.txt").read_text().startswith("#")


def test_the_readme_names_every_file_and_how_nerfstudio_leaves_the_cameras_alone(folder, textured_folder):
    for place in (folder, textured_folder):
        text = (place / "README.txt").read_text()
        assert "--center-method none --auto-scale-poses False" in text
        names = {path.name for path in place.iterdir()} - {"README.txt"}
        assert not {name for name in names if name not in text}


def test_a_file_that_can_not_be_written_leaves_none_of_them(tmp_path):
    (tmp_path / "taken").write_text("a file where a folder is wanted")
    with pytest.raises(OSError, match="taken"):
        write_files(tmp_path, {"first.txt": b"1", "taken/second.txt": b"2"})
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_a_file_of_the_same_name_is_replaced(tmp_path):
    write_files(tmp_path, {"a.txt": b"old"})
    assert write_files(tmp_path, {"a.txt": b"new"}) == [tmp_path / "a.txt"]
    assert tree(tmp_path) == {"a.txt": b"new"}
