import copy

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, AutoencoderKLTemporalDecoder

from studio.engines import svd_decode
from studio.engines.clip_decode import decode_clip
from studio.errors import Cancelled, StudioError
from studio.models.decoding import Decode
from tests import tiny
from tests.engines.test_svd import Watch

SMALL_TILES = Decode("tiled", 4, tile=(6, 8))


@pytest.fixture(scope="module", autouse=True)
def _without_gradients():
    with torch.no_grad():
        yield


def make(cls, **changes):
    vae = cls.from_config({**tiny.VAE, **changes})
    tiny.keep_variance(vae, torch.Generator().manual_seed(0))
    return vae.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def vae():
    return make(AutoencoderKLTemporalDecoder)


@pytest.fixture(scope="module")
def image_vae():
    return make(AutoencoderKL, up_block_types=["UpDecoderBlock2D"] * 4)


@pytest.fixture(scope="module")
def latent():
    return torch.randn(4, 4, 8, 16, generator=torch.Generator().manual_seed(0)) * 0.18215


def at_once(vae, latent):
    """What diffusers gives for all frames together."""
    more = {"num_frames": len(latent)} if isinstance(vae, AutoencoderKLTemporalDecoder) else {}
    return svd_decode.to_uint8(vae.decode(latent / 0.18215, **more).sample)


def most(a, b):
    return np.abs(a.astype(int) - b.astype(int)).max()


def test_the_whole_clip_is_decoded_as_if_at_once_and_progress_is_in_hundredths(vae, latent):
    ctx = Watch()
    assert most(decode_clip(vae, latent, Decode("whole", 2), ctx), at_once(vae, latent)) <= 1
    done = [d for stage, d, total in ctx.steps if (stage, total) == ("decode", 100)]
    assert len(done) == len(ctx.steps)
    assert done == sorted(set(done))
    assert (done[0], done[-1]) == (0, 100)
    assert ctx.notices == []


def test_chunks_are_decoded_as_chunks(vae, latent):
    ctx = Watch()
    frames = decode_clip(vae, latent, Decode("chunked", 2), ctx)
    assert (frames == svd_decode.decode_frames(vae, latent, 2, Watch())).all()
    assert [d for stage, d, total in ctx.steps] == [0, 2, 4]
    assert most(frames, at_once(vae, latent)) > 1


def test_one_tile_is_the_whole_and_several_are_near_it(vae, latent):
    whole = decode_clip(vae, latent, Decode("whole", 4), Watch())
    one = decode_clip(vae, latent, Decode("tiled", 4), Watch())
    ctx = Watch()
    several = decode_clip(vae, latent, SMALL_TILES, ctx)
    assert most(one, whole) <= 1
    assert several.shape == whole.shape
    assert np.corrcoef(several.ravel(), whole.ravel())[0, 1] > 0.5
    assert ctx.steps[-1] == ("decode", ctx.steps[-1][2], ctx.steps[-1][2])
    assert ctx.steps[-1][2] > 1


def test_to_an_image_decoder_the_whole_is_its_frames(image_vae, latent):
    expected, ctx = at_once(image_vae, latent), Watch()
    for how in (Decode("whole", 3), Decode("chunked", 1)):
        assert most(decode_clip(image_vae, latent, how, ctx), expected) <= 1
    tiles = decode_clip(image_vae, latent, SMALL_TILES, ctx)
    assert tiles.shape == expected.shape


def test_the_clip_may_be_kept_on_the_host_and_taken_in_smaller_slices(vae, latent):
    whole = decode_clip(vae, latent, Decode("whole", 4, slice_pixels=2000), Watch())
    ctx = Watch()
    assert (decode_clip(vae, latent, Decode("whole", 4, keep="host", slice_pixels=2000), ctx) == whole).all()
    assert len(ctx.steps) > 20
    twice = decode_clip(vae, latent, Decode("whole", 4, recompute=True, keep="host", slice_pixels=2000), Watch())
    assert most(twice, whole) <= 1


@pytest.mark.parametrize("how", [Decode("whole", 4), Decode("chunked", 4), SMALL_TILES], ids=lambda h: h.way)
@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("shapes do not agree")])
def test_errors_of_torch_go_through_as_they_are(vae, latent, how, error):
    def fail(module, args, output):
        raise error

    hook = vae.decoder.conv_in.register_forward_hook(fail)
    try:
        with pytest.raises(type(error)) as caught:
            decode_clip(vae, latent, how, Watch())
    finally:
        hook.remove()
    assert caught.value is error


def test_what_overflows_in_half_precision_is_done_again_in_full(vae, latent):
    latent = latent[:2, :, :4, :4]  # half precision is slow on a CPU
    half = copy.deepcopy(vae).half()
    half.decoder.time_conv_out.register_forward_hook(
        lambda module, args, out: out * float("inf") if out.dtype == torch.float16 else out
    )
    ctx = Watch()
    frames = decode_clip(half, latent, Decode("whole", 2), ctx)
    assert ctx.notices == ["Decoding overflowed in half precision; it is done again in full precision."]
    assert most(frames, at_once(vae, latent)) <= 3
    assert {p.dtype for p in half.parameters()} == {torch.float16}


def test_numbers_that_are_not_finite_in_full_precision_either_are_an_error(vae, latent):
    with pytest.raises(StudioError, match="not finite"):
        decode_clip(vae, latent * float("nan"), Decode("whole", 2), Watch())


@pytest.mark.parametrize("how", [Decode("whole", 4), SMALL_TILES], ids=lambda h: h.way)
def test_every_slice_is_a_point_to_cancel_at(vae, latent, how):
    class Impatient(Watch):
        asked = 0

        def check(self):
            self.asked += 1
            if self.asked == 3:
                raise Cancelled()

        def step(self, done, total, stage="sample", preview=None):
            self.check()

    ctx = Impatient()
    with pytest.raises(Cancelled):
        decode_clip(vae, latent, how, ctx)
    assert ctx.asked == 3
