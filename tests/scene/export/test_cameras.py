import json
from dataclasses import replace

import numpy as np
import pytest

from studio.scene.camera import Camera
from studio.scene.export.folder import export_all
from studio.scene.export.rig import Rig, opengl_camera_to_world
from tests.scene.export import readers
from tests.scene.export.conftest import FPS, NAMES, SIZE

CUBE = np.array([(x, y, z) for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)])

READERS = {
    "nerfstudio": readers.nerfstudio,
    "blender nerf": lambda folder: readers.blender_nerf(folder, SIZE),
    "colmap": readers.colmap,
    "glb": lambda folder: readers.glb(folder, SIZE, SIZE),
}


@pytest.mark.parametrize("kind", READERS)
def test_the_corners_of_a_cube_are_seen_where_our_own_cameras_see_them(kind, folder, cameras):
    seen = np.stack([CUBE @ c.world_to_camera[:3, :3].T + c.world_to_camera[:3, 3] for c in cameras])
    ours = np.stack([s @ c.intrinsics.T for s, c in zip(seen, cameras, strict=True)])
    pixels = ours[..., :2] / ours[..., 2:] + 0.5  # files count from the frame's corner
    tolerance = 2e-5 if kind == "glb" else 1e-9  # pixels; glTF has float32
    assert np.allclose(READERS[kind](folder)(CUBE), pixels, rtol=0, atol=tolerance)


def test_poses_come_back_from_nerf_files_exactly(folder, cameras):
    for name in ("transforms.json", "transforms_train.json"):
        frames = json.loads((folder / name).read_text())["frames"]
        for frame, camera in zip(frames, cameras, strict=True):
            world_to_camera = np.diag([1, -1, -1, 1]) @ np.linalg.inv(np.array(frame["transform_matrix"]))
            assert np.abs(world_to_camera - camera.world_to_camera).max() < 1e-12


def test_poses_come_back_from_colmap_files_within_a_millionth(folder, cameras):
    lines = (folder / "sparse/0/images.txt").read_text().splitlines()
    for line, camera in zip(lines[2::2], cameras, strict=True):
        w, x, y, z, *shift = map(float, line.split()[1:8])
        assert np.abs(readers.rotation(w, x, y, z) - camera.world_to_camera[:3, :3]).max() < 1e-6
        assert np.abs(shift - camera.world_to_camera[:3, 3]).max() < 1e-6


def test_poses_come_back_from_the_glb_within_a_millionth(folder, cameras):
    page, body = readers.glb_parts((folder / "mesh.glb").read_bytes())
    places, turns = (readers.accessor(page, body, s["output"]) for s in page["animations"][0]["samplers"])
    z_up = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]])
    for place, (x, y, z, w), camera in zip(places.astype(float), turns.astype(float), cameras, strict=True):
        pose = opengl_camera_to_world(camera)
        assert np.abs(z_up @ place - pose[:3, 3]).max() < 1e-6
        assert np.abs(z_up @ readers.rotation(w, x, y, z) - pose[:3, :3]).max() < 1e-6


def test_transforms_json_says_all_that_nerfstudio_asks_for(folder):
    page = json.loads((folder / "transforms.json").read_text())
    focal = 0.5 * SIZE / np.tan(np.deg2rad(16.9))
    assert page["camera_model"] == "OPENCV"
    assert (page["w"], page["h"], page["cx"], page["cy"]) == (SIZE, SIZE, SIZE / 2, SIZE / 2)
    assert (page["fl_x"], page["fl_y"]) == pytest.approx((focal, focal))
    assert page["camera_angle_x"] == pytest.approx(np.deg2rad(33.8))
    assert page["orientation_override"] == "none"
    assert page["applied_transform"] == np.eye(4)[:3].tolist()
    assert (folder / page["ply_file_path"]).is_file()
    assert [frame["file_path"] for frame in page["frames"]] == [f"images/{name}" for name in NAMES]


def test_transforms_train_json_names_frames_without_their_suffix(folder):
    page = json.loads((folder / "transforms_train.json").read_text())
    assert page["camera_angle_x"] == pytest.approx(np.deg2rad(33.8))
    assert [frame["file_path"] for frame in page["frames"]] == [f"images/{name[:-4]}" for name in NAMES]


def test_colmap_numbers_frames_from_one_and_all_have_the_one_camera(folder):
    assert (folder / "sparse/0/cameras.txt").read_text().splitlines()[1].split()[:4] == ["1", "PINHOLE", "96", "96"]
    lines = (folder / "sparse/0/images.txt").read_text().splitlines()[2:]
    assert lines[1::2] == [""] * 21
    assert [line.split()[0] for line in lines[::2]] == [str(number) for number in range(1, 22)]
    assert {line.split()[8] for line in lines[::2]} == {"1"}
    assert [line.split()[9] for line in lines[::2]] == NAMES


def test_the_animated_camera_has_a_keyframe_a_frame_and_comes_to_no_pose_twice(folder):
    page, body = readers.glb_parts((folder / "mesh.glb").read_bytes())
    (animation,) = page["animations"]
    assert [channel["target"] for channel in animation["channels"]] == [
        {"node": 1, "path": "translation"},
        {"node": 1, "path": "rotation"},
    ]
    assert page["nodes"][1]["camera"] == 0
    times = readers.accessor(page, body, animation["samplers"][0]["input"])
    assert np.allclose(times, np.arange(21) / FPS)
    places = readers.accessor(page, body, animation["samplers"][0]["output"])
    gaps = np.linalg.norm(places - np.roll(places, 1, axis=0), axis=1)
    assert gaps.min() > 0.4


def test_the_animated_camera_turns_the_short_way_between_keyframes(folder):
    page, body = readers.glb_parts((folder / "mesh.glb").read_bytes())
    turns = readers.accessor(page, body, page["animations"][0]["samplers"][1]["output"])
    assert np.allclose(np.linalg.norm(turns, axis=1), 1)
    assert np.sum(turns[1:] * turns[:-1], axis=1).min() > 0.9


def test_wide_frames_keep_their_angles_in_every_format(tmp_path, cameras, painted):
    k = cameras[0].intrinsics.copy()
    k[0, 2], k[1, 2] = (160 - 1) / 2, (90 - 1) / 2
    wide = [replace(camera, intrinsics=k) for camera in cameras]
    export_all(tmp_path, painted, wide, width=160, height=90, fps=FPS, frame_names=NAMES)
    expected = readers.nerfstudio(tmp_path)(CUBE)
    assert np.allclose(readers.colmap(tmp_path)(CUBE), expected, rtol=0, atol=1e-9)
    assert np.allclose(readers.glb(tmp_path, 160, 90)(CUBE), expected, rtol=0, atol=2e-5)


def test_a_rig_refuses_a_lens_that_not_all_formats_can_say(cameras):
    k = cameras[3].intrinsics.copy()
    k[0, 2] += 0.5
    with pytest.raises(ValueError, match=r"camera of 03.png has not the lens"):
        Rig([*cameras[:3], replace(cameras[3], intrinsics=k)], SIZE, SIZE, NAMES[:4])


def test_a_rig_refuses_a_pose_that_is_not_rigid(cameras):
    scaled = cameras[0].world_to_camera @ np.diag([2, 2, 2, 1])
    mirrored = cameras[0].world_to_camera @ np.diag([-1, 1, 1, 1])
    for pose in (scaled, mirrored):
        with pytest.raises(ValueError, match=r"00.png is not rigid"):
            Rig([Camera(cameras[0].intrinsics, pose)], SIZE, SIZE, NAMES[:1])


@pytest.mark.parametrize("names", [["a.png"], ["a.png", "a.png"], []])
def test_a_rig_wants_a_name_for_each_camera(cameras, names):
    with pytest.raises(ValueError, match="2 cameras and the names"):
        Rig(cameras[:2], SIZE, SIZE, names)


@pytest.mark.parametrize("name", ["/tmp/a.png", "..\\a.png", "a b.png", "a.jpg", "a.png\n"])
def test_a_rig_refuses_a_name_that_not_all_formats_can_say(cameras, name):
    with pytest.raises(ValueError, match="plain name of a PNG"):
        Rig(cameras[:1], SIZE, SIZE, [name])
