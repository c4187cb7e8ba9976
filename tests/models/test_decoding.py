import pytest

from studio.models.decoding import LEAN_SLICE_PIXELS, SLICE_PIXELS, chunk_bytes, kept_on_host_bytes, whole_bytes

SIZES = [(25, 1024, 576), (14, 1024, 576), (25, 576, 320)]


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_each_leaner_way_takes_no_more_than_the_one_before(size):
    ways = [
        chunk_bytes(*size, 2),
        whole_bytes(*size, 2),
        whole_bytes(*size, 2, recompute=True),
        kept_on_host_bytes(*size, 2, SLICE_PIXELS),
        kept_on_host_bytes(*size, 2, LEAN_SLICE_PIXELS),
    ]
    assert ways == sorted(ways, reverse=True)
    assert ways[-1] < ways[0] / 10


def test_full_precision_takes_twice_the_memory():
    for count in (whole_bytes, chunk_bytes, kept_on_host_bytes):
        assert count(25, 1024, 576, 4) == 2 * count(25, 1024, 576, 2)


def test_what_lies_on_the_host_grows_no_slice():
    short, long = (kept_on_host_bytes(frames, 1024, 576, 2, LEAN_SLICE_PIXELS) for frames in (25, 100))
    assert short == long
