import itertools

import pytest
import torch

from studio.engines.tiles import fades, in_tiles, spans


def enlarge(latent_TCHW):
    """A decoder that looks at nothing but the cell itself: tiles of it must join without a trace."""
    return latent_TCHW[:, :3].repeat_interleave(8, dim=2).repeat_interleave(8, dim=3)


def latent(frames, height, width):
    return torch.randn(frames, 4, height, width, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("length", "tile", "overlap"), [(40, 16, 4), (41, 16, 15), (17, 16, 4), (16, 16, 4), (5, 16, 4)]
)
def test_spans_cover_everything_with_the_overlap_and_are_no_more_than_needed(length, tile, overlap):
    found = spans(length, tile, overlap)
    assert found[0].start == 0
    assert found[-1].stop == length
    assert {s.stop - s.start for s in found} == {min(tile, length)}
    for a, b in itertools.pairwise(found):
        assert overlap <= a.stop - b.start < tile
    assert len(found) == 1 or tile + (len(found) - 2) * (tile - overlap) < length


@pytest.mark.parametrize(("length", "tile", "overlap"), [(40, 16, 4), (41, 16, 15), (20, 16, 8), (5, 16, 4)])
def test_fades_sum_to_one_at_every_pixel_and_never_jump(length, tile, overlap):
    along = spans(length, tile, overlap)
    total = torch.zeros(length * 8)
    for span, fade in zip(along, fades(along, length), strict=True):
        total[span.start * 8 : span.stop * 8] += fade
        assert fade.min() > 0
        edges = [fade[0].item()] * (span.start > 0) + [fade[-1].item()] * (span.stop < length)
        assert all(edge < 0.05 for edge in edges)
        assert (fade[1:] - fade[:-1]).abs().max() < 0.1
    assert torch.allclose(total, torch.ones(length * 8))


@pytest.mark.parametrize("size", [(40, 50), (16, 40), (10, 12)])
def test_tiles_of_what_sees_only_itself_join_without_a_trace(size):
    z, told = latent(3, *size), []
    out = in_tiles(enlarge, z, tile=(16, 24), overlap=6, on_tile=lambda done, total: told.append((done, total)))
    assert torch.allclose(out, enlarge(z), atol=1e-6)
    assert [done for done, _ in told] == list(range(1, len(told) + 1))
    assert told[-1][0] == told[-1][1]


def test_where_two_tiles_disagree_one_fades_into_the_other():
    values = iter([0.0, 1.0])

    def flat(latent_TCHW):
        frames, _, height, width = latent_TCHW.shape
        return torch.full((frames, 3, height * 8, width * 8), next(values))

    out = in_tiles(flat, latent(1, 8, 24), tile=(8, 16), overlap=7, on_tile=lambda done, total: None)
    row = out[0, 0, 0]
    assert (row[:64] == 0).all()
    assert (row[-64:] == 1).all()
    middle = row[64:128]
    assert (middle[1:] > middle[:-1]).all()
    assert (middle[1:] - middle[:-1]).max() < 0.02
