import numpy as np
import pytest
import torch

from studio.train import photos
from studio.train.dice import CLIPS, dice
from studio.train.photos import Photos
from studio.train.scores import measured_flow


@pytest.fixture(scope="module")
def shown() -> Photos:
    return Photos("cpu")


def test_every_photo_is_there_and_its_licence_is_told(shown):
    assert shown.there()
    licences = (photos.FOLDER / "LICENCES.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in licences for name in photos._SAID)


def test_photos_that_are_not_there_are_left_out(shown, monkeypatch, tmp_path):
    monkeypatch.setattr(photos, "FOLDER", tmp_path)
    assert not shown.there()


def test_the_motion_of_a_photo_clip_is_what_is_seen(shown):
    for number in (0, 1, 2):
        clip = shown.clip(dice(CLIPS, 1, number), 4, 8, 128)
        assert clip.frames.shape == (4, 3, 128, 128)
        assert clip.caption.endswith(".")
        assert clip.caption_zh.endswith("。")
        seen = measured_flow(clip.frames.permute(0, 2, 3, 1).numpy())
        assert seen == pytest.approx(clip.motion, rel=0.35, abs=0.3)


def test_the_same_numbers_give_the_same_clip_and_one_frame_does_not_move(shown):
    one, two = (shown.clip(dice(CLIPS, 1, 5), 3, 6, 32) for _ in range(2))
    assert torch.equal(one.frames, two.frames)
    assert shown.clip(dice(CLIPS, 1, 5), 1, 6, 32).motion == 0


def test_windows_stay_on_the_photo():
    at, sides = np.array([[0.0, 0.0], [10.0, 0.0]]), np.array([100.0, 100.0])
    assert photos._motion(sides, at) == pytest.approx(25.6)
    assert photos._motion(np.array([100.0, 50.0]), np.zeros((2, 2))) > 50
