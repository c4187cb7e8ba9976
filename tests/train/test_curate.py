import pytest
import torch

from studio.train import curate
from studio.train.curate import Measures, cuts, kept, motion_bucket, named, sharpness
from studio.train.scores import spearman


def measures(many: int, **more) -> Measures:
    """Good clips, one as good as another, but for what is said."""
    whole = {"motion": torch.full((many,), 2.0), "sharpness": torch.ones(many), "named": torch.full((many,), 0.1)}
    whole["cut"] = torch.zeros(many, dtype=torch.bool)
    for name, (at, value) in more.items():
        whole[name][at] = value
    return Measures(**whole)


@pytest.mark.parametrize(
    ("name", "value"), [("motion", 0.0), ("motion", 0.5), ("cut", True), ("sharpness", 0.1), ("named", 0.0)]
)
def test_the_clip_that_is_worst_by_any_measure_is_dropped(name, value):
    assert kept(measures(6, **{name: (3, value)}), 5).tolist() == [0, 1, 2, 4, 5]


def test_a_cut_is_worse_than_standing_still_and_that_than_lacking_what_is_named():
    mixed = measures(4, cut=(0, True), motion=(1, 0.0), named=(2, 0.001))
    assert kept(mixed, 3).tolist() == [1, 2, 3]
    assert kept(mixed, 2).tolist() == [2, 3]
    assert kept(mixed, 1).tolist() == [3]


def moving(step: float) -> torch.Tensor:
    """uint8 (4, 3, 64, 64): smooth waves that go aside by so many pixels a frame."""
    x = torch.arange(64)[None] + torch.arange(64)[:, None] * 0.3
    return torch.stack(
        [(128 + 100 * torch.sin((x + step * t) / 9)).to(torch.uint8).expand(3, -1, -1) for t in range(4)]
    )


def test_a_clip_with_a_cut_is_told_from_one_that_moves():
    jump = moving(1.0)
    jump[2:] = 255 - jump[2:]
    assert cuts(torch.stack([moving(1.0), jump, moving(0.0), moving(6.0)])).tolist() == [False, True, False, False]
    assert cuts(jump[None, :2]).tolist() == [False]


def test_a_clip_is_as_sharp_as_its_least_sharp_frame():
    noise = torch.randint(0, 256, (1, 3, 3, 32, 32), generator=torch.Generator().manual_seed(1)).to(torch.uint8)
    blurred = noise.clone()
    blurred[0, 1] = torch.nn.functional.avg_pool2d(noise[0, 1].float(), 5, 1, 2).to(torch.uint8)
    sharp, soft = sharpness(torch.cat([noise, blurred]))
    assert soft < 0.2 * sharp


def test_what_is_named_counts_by_the_thing_that_is_seen_least():
    ids = torch.full((2, 10, 10), -1, dtype=torch.int16)
    ids[0, :5] = 0
    ids[0, 9, 9] = 1
    ids[1, :2] = 0
    assert named(ids, (2, 1)).tolist() == pytest.approx([0.01, 0.2])
    assert named(ids, (3, 1))[0] == 0


def test_buckets_rise_with_the_motion_and_their_middle_is_ordinary_motion():
    ladder = torch.tensor([0.0, 0.1, 0.5, 1.0, 2.0, 3.0, 5.0, 8.0, 20.0, 100.0])
    buckets = motion_bucket(ladder)
    assert spearman(ladder.tolist(), buckets.tolist()) == 1.0
    assert buckets[0] == 1
    assert motion_bucket(torch.tensor([curate.BUCKET_PX, 1e9])).tolist() == [128, 255]
