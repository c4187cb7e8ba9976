"""The clip kept on the host while it is decoded. Where a second device is wanted, meta is the device and the CPU the
host: no number is computed there, but every tensor's place and every copy is real."""

import weakref

import pytest
import torch
from diffusers import AutoencoderKLTemporalDecoder
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from studio.engines.whole_decode import decode_whole
from studio.models.decoding import LEAN_SLICE_PIXELS, SLICE_PIXELS, kept_on_host_bytes, whole_bytes
from tests import tiny
from tests.counting import counting
from tests.engines.test_whole_decode import FULL, GIB, ignore, latent


@pytest.fixture(scope="module")
def vae():
    vae = AutoencoderKLTemporalDecoder.from_config({**tiny.VAE, "block_out_channels": [32, 64, 64, 96]})
    tiny.keep_variance(vae, torch.Generator().manual_seed(0))
    return vae.eval().requires_grad_(False)


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("slice_pixels", [1, 900])
def test_it_gives_the_very_same_numbers(vae, monkeypatch, slice_pixels, recompute):
    z = latent(5, 3, 5)
    how = {"recompute": recompute, "slice_pixels": slice_pixels}
    expected = decode_whole(vae.decoder, z, ignore, **how)
    copied = copies(monkeypatch)
    assert torch.equal(decode_whole(vae.decoder, z, ignore, keep_on_host=True, **how), expected)
    assert len(copied) > 10


def copies(monkeypatch):
    """On the CPU the host is the device and `to` copies nothing: from here on it does, so that what is computed on is
    laid out as a copy is, and nothing reaches the host that was not put there."""
    real, copied = torch.Tensor.to, []

    def to(tensor, *args, **more):
        moved = real(tensor, *args, **more)
        if args and isinstance(args[0], torch.device) and moved is tensor:
            copied.append(tensor.shape)
            return tensor.contiguous().clone().as_subclass(Elsewhere)
        return moved

    monkeypatch.setattr(torch.Tensor, "to", to)
    return copied


class Elsewhere(torch.Tensor):
    """A tensor that says it lies on another device."""

    @property
    def device(self):
        return torch.device("cuda", 7)


class Apart(TorchDispatchMode):
    """Counts what lives on meta and on the CPU, each by itself, and what is copied between them."""

    def __init__(self):
        super().__init__()
        self.live, self.peak, self.crossed_bytes = {"meta": 0, "cpu": 0}, {"meta": 0, "cpu": 0}, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is torch.ops.aten.copy_.default and (args[0].device.type, args[1].device.type) == ("cpu", "meta"):
            self.crossed_bytes += args[1].nbytes
            return args[0]
        out = func(*args, **kwargs)
        if func is torch.ops.aten._to_copy.default and (args[0].device.type, out.device.type) == ("cpu", "meta"):
            self.crossed_bytes += out.nbytes
        given = {t.untyped_storage()._cdata for t in tree_leaves([args, kwargs]) if isinstance(t, torch.Tensor)}
        for tensor in tree_leaves(out):
            if isinstance(tensor, torch.Tensor) and tensor.untyped_storage()._cdata not in given:
                storage, place = tensor.untyped_storage(), tensor.device.type
                self.live[place] += storage.nbytes()
                self.peak[place] = max(self.peak[place], self.live[place])
                weakref.finalize(storage, self._died, place, storage.nbytes())
        return out

    def _died(self, place, size):
        self.live[place] -= size


@pytest.fixture(scope="module")
def full_decoder():
    """SVD's decoder at full size, fp16, on the meta device; the shares of time on the CPU, where they can be read."""
    with torch.device("meta"):
        decoder = AutoencoderKLTemporalDecoder.from_config(FULL).half().eval().requires_grad_(False).decoder
    decoder.to("meta")
    for module in decoder.modules():
        if hasattr(module, "mix_factor"):
            module.mix_factor = torch.nn.Parameter(torch.zeros(1), requires_grad=False)
    return decoder


def counted(decoder, frames, width, height, slice_pixels):
    # `counting` keeps attention in one piece, as a GPU does.
    with counting(), Apart() as count:
        z = torch.empty(frames, 4, height // 8, width // 8)
        decode_whole(decoder, z, ignore, recompute=True, keep_on_host=True, slice_pixels=slice_pixels)
    return count


@pytest.mark.slow
@pytest.mark.parametrize(
    ("size", "slice_pixels"),
    [
        ((25, 1024, 576), SLICE_PIXELS),
        ((25, 1024, 576), LEAN_SLICE_PIXELS),
        ((14, 1024, 576), 1 << 19),
        ((25, 576, 320), 1 << 18),
        ((8, 1920, 1088), LEAN_SLICE_PIXELS),
    ],
    ids=str,
)
def test_what_it_takes_on_the_device_is_known_before(full_decoder, size, slice_pixels):
    frames, width, height = size
    count = counted(full_decoder, *size, slice_pixels)
    assert 0.999 <= kept_on_host_bytes(*size, 2, slice_pixels) / count.peak["meta"] <= 1.04
    # What comes in while what goes out is made: 64 + 128 values a pixel.
    assert count.peak["cpu"] / (frames * width * height * 2) == pytest.approx(192, rel=0.01)
    assert count.crossed_bytes / (frames * width * height * 2) == pytest.approx(4285, rel=0.01)


@pytest.mark.slow
def test_a_clip_that_takes_6_gib_on_the_device_takes_1(full_decoder):
    size = (25, 1024, 576)
    assert counted(full_decoder, *size, LEAN_SLICE_PIXELS).peak["meta"] / GIB <= 0.9
    assert whole_bytes(*size, 2, recompute=True) / GIB > 5.9
