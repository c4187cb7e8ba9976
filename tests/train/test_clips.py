import math

import numpy as np
import pytest
import torch

from studio.scene import orbit as orbits
from studio.scene.orbit import Orbit
from studio.scene.toybox.scene import Scene, Solid
from studio.train import clips as clips_of
from studio.train.clips import Source
from studio.train.curate import STILL_PX, motion_bucket
from studio.train.dice import ORBITS, dice
from studio.train.fields import Fields
from studio.train.moves import FPS, film_take, looks_round, orbit_take
from studio.train.render import render
from studio.train.scenes import COLOURS, KINDS, draw_scene
from studio.train.scores import measured_flow
from studio.train.takes import Take


@pytest.fixture(scope="module")
def source() -> Source:
    return Source("cpu", 4, size=32)


@pytest.fixture(scope="module")
def clips(source):
    return source.clips(6, frames=4)


def test_clips_say_what_is_true_of_them(clips):
    assert clips.frames.shape == (6, 4, 3, 32, 32)
    assert clips.motion.dtype == torch.float32
    assert (clips.motion >= 0).all()
    assert clips.fps.min() >= FPS[0]
    assert clips.fps.max() <= FPS[1]
    assert clips.true_motion.shape == (6,)
    assert torch.equal(clips.buckets, motion_bucket(clips.motion))
    seen = [measured_flow(clip.permute(0, 2, 3, 1).numpy()) for clip in clips.frames]
    assert clips.motion.tolist() == pytest.approx(seen)
    assert all(c in ("", *COLOURS) for c in clips.colours)
    assert all(s in ("", *KINDS) for s in clips.shapes)
    assert len({clip.numpy().tobytes() for clip in clips.frames}) == 6


def test_clips_that_stand_still_are_left_out_and_the_others_move_by_much_and_by_little(source):
    clips = source.clips(10, frames=3)
    assert clips.motion.min() >= STILL_PX
    assert clips.motion.max() > 5 * clips.motion.min()
    assert clips.true_motion[clips.motion.argmax()] > clips.true_motion[clips.motion.argmin()]


def test_a_round_thing_is_not_made_to_turn_where_that_would_not_be_seen():
    assert [looks_round(kind) for kind in ("sphere", "vase", "cube", "star", "teapot")] == [
        True,
        True,
        False,
        False,
        False,
    ]
    for number in range(300):
        d = dice(ORBITS, 8, number)
        scene = draw_scene(d).scene
        turned = np.ptp(film_take(d, scene, 3)[0].turns_deg, axis=0)
        for solid, by in zip(scene.solids, turned, strict=True):
            assert by == 0 or solid.pattern in ("spotted", "checkered") or not looks_round(solid.kind)


def test_the_same_seed_gives_the_same_clips_and_going_on_gives_new_ones(clips):
    again = Source("cpu", 4, size=32)
    assert torch.equal(again.clips(6, frames=4).frames, clips.frames)
    assert not torch.equal(again.clips(6, frames=4).frames, clips.frames)


def test_what_is_held_out_is_never_trained_on():
    trained, held_out = (Source("cpu", 4, size=16, held_out=h).pictures(8) for h in (False, True))
    assert not set(trained.captions) & set(held_out.captions)


def test_some_clips_are_of_photographs_but_none_that_is_held_out(monkeypatch):
    monkeypatch.setattr(clips_of, "_PHOTOS", 1.0)
    trained, held_out = (Source("cpu", 4, size=16, held_out=h).clips(3, frames=3) for h in (False, True))
    assert trained.shapes == ("", "", "")
    assert all(held_out.shapes)


def test_pictures_and_orbits_do_not_depend_on_how_many_clips_were_made(source):
    fresh = Source("cpu", 4, size=32)
    assert torch.equal(fresh.pictures(2).frames, source.pictures(2).frames)


def test_orbits_go_round_once_and_end_at_the_input_view_on_white(source):
    batch = source.orbits(4)
    assert batch.frames.shape == (4, 21, 3, 32, 32)
    angles = zip(batch.azimuths_deg.tolist(), batch.elevations_deg.tolist(), strict=True)
    assert {Orbit(tuple(a), tuple(e)).is_static for a, e in angles} == {True, False}
    assert (batch.frames.permute(0, 1, 3, 4, 2)[:, :, 0] == 255).all()
    share = batch.masks.float().mean(dim=(2, 3))
    assert share.min() > 0.03
    assert not batch.masks[:, :, 0].any()
    assert not batch.masks[:, :, :, -1].any()


def test_the_input_view_of_an_orbit_shows_the_object_in_the_middle_at_the_size_that_the_studio_cuts_out():
    filled = []
    for number in range(4):
        scene = Scene((Solid("sphere", "red", foot=(3.0, 0.0, 1.0)),), "studio", "plain", azimuth_deg=40.0)
        seen = _seen(orbit_take(dice(ORBITS, 3, number), scene, orbits.static(20.0)), 96)[-1]
        rows, columns = (np.nonzero(seen.any(axis).numpy())[0] for axis in (1, 0))
        for line in (rows, columns):
            assert (line[0] + line[-1]) / 2 == pytest.approx(47.5, abs=1)
        filled.append(max(np.ptp(rows), np.ptp(columns)) + 1)
    assert min(filled) >= 0.74 * 96
    assert max(filled) <= 0.92 * 96
    assert max(filled) - min(filled) >= 4


def test_no_view_of_an_orbit_is_cut_off_where_the_input_view_is_the_narrow_one():
    for kind in ("fence", "train", "disc"):
        scene = Scene((Solid(kind, "red", turn_deg=90.0),), "studio", "plain")
        seen = _seen(orbit_take(dice(ORBITS, 3, 1), scene, orbits.dynamic(12.0, 4)), 64)
        edges = (seen[:, 0], seen[:, -1], seen[:, :, 0], seen[:, :, -1])
        assert not any(edge.any() for edge in edges), kind


def test_the_views_of_an_orbit_stand_to_each_other_as_sv3ds_cameras_do():
    orbit = orbits.dynamic(20.0, 5)
    d = dice(ORBITS, 3, 1)
    mine = orbit_take(d, draw_scene(d, alone=True).scene, orbit).world_to_camera
    theirs = np.stack([c.world_to_camera for c in orbits.orbit_cameras(orbit, 64)])
    turns = [poses @ np.linalg.inv(poses[-1]) for poses in (mine, theirs)]
    assert np.allclose(turns[0][:, :3, :3], turns[1][:, :3, :3], atol=1e-9)
    scale = np.linalg.norm(turns[0][:-1, :3, 3], axis=1) / np.linalg.norm(turns[1][:-1, :3, 3], axis=1)
    assert np.allclose(scale, scale[0])


def test_fewer_frames_a_second_of_the_same_scene_move_further_from_frame_to_frame():
    seen: dict[int, list[float]] = {}
    for number in range(300):
        d = dice(ORBITS, 9, number)
        take, fps = film_take(d, draw_scene(d).scene, 2)
        step = np.linalg.norm(np.diff(np.linalg.inv(take.world_to_camera)[:, :3, 3], axis=0))
        seen.setdefault(fps, []).append(step)
    slow, fast = np.mean(seen[4] + seen[5]), np.mean(seen[11] + seen[12])
    assert sorted(seen) == list(range(FPS[0], FPS[1] + 1))
    assert slow > 1.5 * fast


def test_no_camera_of_a_clip_goes_under_the_floor_and_none_turns_away():
    for number in range(60):
        d = dice(ORBITS, 2, number)
        take, _ = film_take(d, draw_scene(d).scene, 14)
        poses = np.linalg.inv(take.world_to_camera)
        assert (poses[:, 1, 3] > 0.1).all()
        middle = take.feet[0].mean(axis=0) - poses[:, :3, 3]
        ahead = (middle * poses[:, :3, 2]).sum(axis=1) / np.linalg.norm(middle, axis=1)
        assert ahead.min() > math.cos(math.radians(40))


def _seen(take: Take, size: int) -> torch.Tensor:
    """bool (T, S, S): where the object is."""
    return render([take], size, Fields("cpu", 32), white=True, soft=False).ids >= 0
