import copy

import pytest
import torch
from diffusers import AutoencoderKLTemporalDecoder

from studio.engines.whole_decode import decode_whole
from studio.models.decoding import chunk_bytes, whole_bytes
from tests import tiny
from tests.counting import counting
from tests.engines.convert.oracles import cases

FULL = {**tiny.VAE, "block_out_channels": [128, 256, 512, 512]}
GIB = 2**30


@pytest.fixture(scope="module")
def vae():
    vae = AutoencoderKLTemporalDecoder.from_config({**tiny.VAE, "block_out_channels": [32, 64, 64, 96]})
    tiny.keep_variance(vae, torch.Generator().manual_seed(0))
    return vae.eval().requires_grad_(False)


def latent(frames, height, width):
    return torch.randn(frames, 4, height, width, generator=torch.Generator().manual_seed(frames))


def ignore(done, total):
    pass


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("slice_pixels", [1, 900, 1 << 20])
@pytest.mark.parametrize("size", [(1, 4, 4), (5, 3, 5)], ids=str)
def test_it_equals_decoding_all_frames_at_once(vae, size, slice_pixels, recompute):
    z = latent(*size)
    expected = vae.decode(z, num_frames=len(z)).sample
    given = z.clone()
    out = decode_whole(vae.decoder, given, ignore, recompute=recompute, slice_pixels=slice_pixels)
    assert out.shape == expected.shape
    assert (out - expected).abs().max() < 5e-5
    assert torch.equal(given, z)


@pytest.mark.parametrize("case", cases("vae_io", only="svd"))
def test_it_gives_the_references_pixels(case):
    io = case.tensors("vae_io")
    out = decode_whole(case.module("vae").decoder, io["z"], ignore, slice_pixels=100_000)
    assert (out - io["decoded_all_frames"]).abs().max() < 5e-5


def test_decoding_in_chunks_does_not(vae):
    z = latent(4, 4, 4)
    whole = vae.decode(z, num_frames=4).sample
    chunks = torch.cat([vae.decode(part, num_frames=2).sample for part in z.split(2)])
    assert (chunks - whole).abs().amax(dim=(1, 2, 3)).min() > 0.01


def test_a_wrong_share_of_time_would_be_caught(vae, monkeypatch):
    z = latent(3, 4, 4)
    expected = vae.decode(z, num_frames=3).sample
    monkeypatch.setattr("studio.engines.whole_decode._temporal_share", lambda block: 0.5)
    assert (decode_whole(vae.decoder, z, ignore) - expected).abs().max() > 0.01


def test_half_precision_is_no_further_from_full_than_diffusers_own(vae):
    z, half = latent(3, 4, 4), copy.deepcopy(vae).half()
    full = vae.decode(z, num_frames=3).sample
    theirs = half.decode(z.half(), num_frames=3).sample.float()
    ours = decode_whole(half.decoder, z, ignore, slice_pixels=2000)
    assert (ours - full).norm() <= 1.1 * (theirs - full).norm()


def test_each_slice_is_told_and_can_end_the_decoding(vae):
    told = []
    decode_whole(vae.decoder, latent(3, 4, 4), lambda done, total: told.append((done, total)), slice_pixels=300)
    assert [done for done, _ in told] == list(range(1, told[0][1] + 1))
    assert {total for _, total in told} == {len(told)}

    def stop(done, total):
        told.append((done, total))
        raise KeyboardInterrupt

    told.clear()
    with pytest.raises(KeyboardInterrupt):
        decode_whole(vae.decoder, latent(3, 4, 4), stop, slice_pixels=300)
    assert len(told) == 1


@pytest.fixture(scope="module")
def full():
    """SVD's VAE at full size, fp16, on the meta device."""
    with torch.device("meta"):
        return AutoencoderKLTemporalDecoder.from_config(FULL).half().eval().to("meta").requires_grad_(False)


@pytest.fixture(scope="module")
def full_decoder(full):
    """Its decoder with the shares of time on the CPU, where their numbers can be read."""
    decoder = copy.deepcopy(full.decoder)
    for module in decoder.modules():
        if hasattr(module, "mix_factor"):
            module.mix_factor = torch.nn.Parameter(torch.zeros(1), requires_grad=False)
    return decoder


def counted(decoder, frames, width, height, **how):
    with counting() as count:
        decode_whole(decoder, torch.empty(frames, 4, height // 8, width // 8, device="meta"), ignore, **how)
    return count


def test_diffusers_takes_28_gib_for_a_whole_clip(full):
    with counting() as count:
        full.decode(torch.empty(25, 4, 72, 128, dtype=torch.half, device="meta"), num_frames=25)
    assert count.peak_bytes / GIB == pytest.approx(28.1, abs=0.05)
    assert count.flop / 1e12 == pytest.approx(173.57, abs=0.005)
    assert count.peak_bytes == pytest.approx(chunk_bytes(25, 1024, 576, 2), rel=0.01)


@pytest.mark.parametrize(("recompute", "gib", "tflop"), [(False, 8.0, 173.58), (True, 6.0, 188.44)])
def test_a_full_size_clip_is_decoded_as_a_whole_within_its_bounds(full_decoder, recompute, gib, tflop):
    count = counted(full_decoder, 25, 1024, 576, recompute=recompute)
    assert count.peak_bytes / GIB <= gib
    assert count.flop / 1e12 <= tflop


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("size", [(25, 1024, 576), (14, 1024, 576), (8, 1920, 1088)], ids=str)
def test_what_it_will_take_is_known_before(full_decoder, size, recompute):
    peak = counted(full_decoder, *size, recompute=recompute).peak_bytes
    # The plan asks for a tenth more than it expects.
    assert 0.98 <= whole_bytes(*size, 2, recompute=recompute) / peak <= 1.2
