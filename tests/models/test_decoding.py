import pytest

from studio.models.decoding import Decode, choose_decode, chunk_bytes, whole_bytes

GIB = 2**30


def choose(wished="auto", free_gib=None, **given):
    size = {"frames": 25, "width": 1024, "height": 576, "chunk": 14, "value_bytes": 2, **given}
    return choose_decode(wished, free_bytes=None if free_gib is None else int(free_gib * GIB), **size)


@pytest.mark.parametrize(
    ("free_gib", "way", "recompute", "chunk"),
    [
        (None, "whole", False, 14),
        (40, "whole", False, 14),
        (9, "whole", False, 14),
        (7.5, "whole", True, 14),
        (5, "chunked", False, 4),
        (1.3, "chunked", False, 1),
        (1.2, "tiled", False, 14),
    ],
)
def test_auto_takes_the_most_exact_way_that_fits(free_gib, way, recompute, chunk):
    how = choose(free_gib=free_gib)
    assert (how.way, how.chunk) == (way, chunk)
    assert how.recompute is (recompute or way == "tiled")
    assert bool(how.says) is (way != "whole")


@pytest.mark.parametrize("wished", ["whole", "chunked", "tiled"])
@pytest.mark.parametrize("free_gib", [None, 0.1, 100])
def test_what_is_wished_for_by_name_is_done_whatever_is_free(wished, free_gib):
    assert choose(wished, free_gib).way == wished


def test_a_chunk_is_no_longer_than_the_clip_and_then_tells_of_nothing():
    assert choose("chunked", frames=8).chunk == 8
    assert choose("chunked", frames=8).says == ""
    assert choose(free_gib=4.2, frames=3, width=1024, height=1024).says == ""


def test_tiles_shrink_with_what_is_free_but_not_below_what_is_of_use():
    assert choose("tiled", 40).tile == (72, 128)
    assert choose("tiled", 4.5).tile == (72, 64)
    assert choose("tiled", 0.1).tile == (36, 32)
    assert "approximation" in choose("tiled", width=1920, height=1088).says
    assert choose("tiled").says == ""


def test_full_precision_takes_twice_the_memory():
    for count in (whole_bytes, chunk_bytes):
        assert count(25, 1024, 576, 4) == 2 * count(25, 1024, 576, 2)
    assert choose(free_gib=9, value_bytes=4).way == "chunked"


def test_the_smaller_ways_end_with_chunks():
    whole = Decode("whole", 14)
    lean = whole.smaller()
    assert (lean.way, lean.recompute, lean.says) == ("whole", True, "")
    chunks = lean.smaller()
    assert (chunks.way, chunks.chunk) == ("chunked", 14)
    assert "14 frames at a time" in chunks.says
    assert chunks.smaller() is None
    assert Decode("tiled", 14).smaller() is None
