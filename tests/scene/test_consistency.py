import json

import cv2
import numpy as np
import pytest

from studio.errors import BadInput
from studio.scene.consistency import consistency
from tests.scene.shapes import jittered, shifted, turntable


@pytest.mark.parametrize("name", ["blob", "figure"])
def test_scores_fall_as_masks_are_shaken(name):
    truth = turntable(name)
    scores = [consistency(jittered(truth.masks, pixels), truth.cameras) for pixels in (0, 1, 3)]
    for of in (lambda s: s.mean, lambda s: s.lowest, lambda s: s.split_half):
        assert of(scores[0]) > of(scores[1]) > of(scores[2])
    assert scores[0].mean > 0.985


@pytest.mark.parametrize(("frame", "wrong"), [(0, "shifted"), (9, "shifted"), (20, "grown"), (14, "half")])
def test_the_worst_frame_is_named(frame, wrong):
    truth = turntable("figure")
    masks = truth.masks.copy()
    if wrong == "shifted":
        masks[frame] = shifted(masks[frame], 5, -3)
    elif wrong == "grown":
        masks[frame] = cv2.dilate(masks[frame].astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
    else:
        masks[frame, :, 96:] = False
    found = consistency(masks, truth.cameras)
    assert found.worst == frame
    assert found.lowest < np.sort(found.reprojection)[1] - 0.03


def test_an_orbit_closes_and_one_that_breaks_off_does_not():
    truth = turntable("figure")
    whole = consistency(truth.masks, truth.cameras, truth.frames)
    assert 0.6 < whole.loop_closure < 1.5
    frames = truth.frames.copy()
    frames[-1] = frames[10]  # the last one shows the back
    assert consistency(truth.masks, truth.cameras, frames).loop_closure > 1.8
    assert 0.6 < consistency(truth.masks, truth.cameras).loop_closure < 1.5


def test_a_soft_back_is_told():
    truth = turntable("figure")
    frames = np.random.default_rng(0).integers(0, 255, truth.frames.shape, dtype=np.uint8)
    assert consistency(truth.masks, truth.cameras, frames).back_sharpness == pytest.approx(1, abs=0.1)
    for i in range(7, 13):
        frames[i] = cv2.GaussianBlur(frames[i], (0, 0), 1.5)
    assert consistency(truth.masks, truth.cameras, frames).back_sharpness < 0.3


def test_what_is_public_is_json_and_names_the_frame():
    truth = turntable("blob")
    found = consistency(truth.alpha, truth.cameras, truth.frames)
    public = json.loads(json.dumps(found.public()))
    assert public["worst_frame"] == found.worst
    assert public["mean"] == pytest.approx(found.mean, abs=1e-4)
    assert len(public["reprojection"]) == 21
    assert consistency(truth.alpha, truth.cameras).public()["back_sharpness"] is None


def test_three_views_are_too_few():
    truth = turntable("blob")
    with pytest.raises(BadInput, match="3 views are too few"):
        consistency(truth.masks[:3], truth.cameras[:3])
