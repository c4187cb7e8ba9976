"""Weights that lie side by side are one product; convolutions' weights may have their channels last."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from studio.engines import exact, svd_weights
from studio.engines.kernels import as_one
from studio.engines.networks import build_empty
from studio.engines.weights.carrier import Carrier
from studio.engines.weights.layout import Opened, channels_last, lay_out, source_of
from studio.models.installed import Installed
from tests.counting import counting
from tests.engines.test_exact import FULL, NOISE_LEVEL, off
from tests.tiny import tiny_weights, write_tiny_svd


def quiet(done, total):
    pass


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = write_tiny_svd(tmp_path_factory.mktemp("kernels") / "tiny", frames=3)
    return Installed("tiny", "diffusers", folder, {c: folder / f for c, f in tiny_weights().items()}, "fp32")


def in_a_slab(path):
    """The published UNet on the meta device, its tensors as views of the memory that a component takes."""
    with torch.device("meta"):
        unet = build_empty("unet", FULL)
    units = [unit.module for unit in svd_weights.unet_units(unet)]
    shapes = {name: tuple(p.shape) for name, p in unet.state_dict().items()}
    sources = {name: source_of(path, 0, torch.half, shape) for name, shape in shapes.items()}
    layout = lay_out(Opened(unet, sources, "the unet"), torch.half, units)
    memory = torch.empty(layout.nbytes, dtype=torch.uint8, device="meta")
    for slot in layout.slots:
        slot.place.point(slot.place.make(slot.within(memory)))
    return unet


def test_in_a_components_memory_queries_keys_and_values_are_one_product(tmp_path):
    unet = exact.rewrite(in_a_slab(tmp_path / "unet.safetensors"))
    for module in unet.modules():
        if hasattr(module, "mix_factor"):
            module.mix_factor = nn.Parameter(torch.zeros(1), requires_grad=False)
    with torch.device("meta"):
        x, context = torch.empty(2, 2, 8, 32, 32, dtype=torch.half), torch.empty(2, 1, 1024, dtype=torch.half)
    prepared = exact.prepare(unet, context, torch.zeros(2, 3), 2)
    with counting() as one:
        unet(x, NOISE_LEVEL.to("meta"), prepared, return_dict=False)
    with pytest.MonkeyPatch.context() as patch, counting() as three:
        patch.setattr("studio.engines.exact_blocks.as_one", lambda *weights: weights)
        unet(x, NOISE_LEVEL.to("meta"), prepared, return_dict=False)
    assert three.launches - one.launches == 2 * 32  # 16 transformers, over space and over time
    assert three.flop == one.flop
    assert one.moved_bytes < three.moved_bytes


def test_weights_that_do_not_lie_side_by_side_stay_as_they_are():
    memory = torch.empty(4 * 64, device="meta")
    q, gap, k, v = (nn.Parameter(memory[i * 64 :][:64].view(8, 8), requires_grad=False) for i in range(4))
    assert as_one(q, gap, k)[0].shape == (24, 8)
    for weights in ((q, k, v), (gap, q, k), (q, nn.Parameter(torch.empty(8, 8, device="meta")), k), (q, gap, object())):
        assert as_one(*weights) == weights
    here = torch.zeros(3 * 64)
    on_cpu = tuple(nn.Parameter(here[i * 64 :][:64].view(8, 8), requires_grad=False) for i in range(3))
    assert as_one(*on_cpu) == on_cpu, "there a mapped file and a streamed one shall give the same"


def weights_of(place, component, *, last, carrier=True, dtype="fp32"):
    by = Carrier("cpu", separate=True) if carrier else None
    return svd_weights.open_weights(component, place, "cpu", dtype, carrier=by, channels_last=last)


def unet_gives(unet):
    g = torch.Generator().manual_seed(0)
    x, context = torch.randn(2, 3, 8, 8, 8, generator=g), torch.randn(2, 1, 32, generator=g)
    prepared = exact.prepare(exact.rewrite(unet), context, torch.tensor([[6.0, 127.0, 0.02]] * 2), 3)
    return unet(x, NOISE_LEVEL, prepared, return_dict=False)[0]


@pytest.mark.parametrize("carrier", [True, False], ids=["a device of its own", "the host"])
@pytest.mark.parametrize("dtype", ["fp32", "fp16"])
def test_channels_come_last_in_memory_and_the_numbers_stay(place, carrier, dtype):
    found = {}
    for last in (False, True):
        weights = weights_of(place, "vae", last=last, carrier=carrier, dtype=dtype)
        found[last] = weights.digest(quiet)
        weights.read(quiet)
        assert weights.digest(quiet) == found[last]
        vae = weights.place(quiet)
        conv, one = vae.decoder.conv_in.weight, vae.quant_conv.weight
        through_time = vae.decoder.mid_block.resnets[0].temporal_res_block.conv1.weight
        assert conv.is_contiguous(memory_format=torch.channels_last) is last
        assert through_time.is_contiguous(memory_format=torch.channels_last_3d) is last
        assert one.is_contiguous(), "a 1x1 convolution is the same either way, and read as it is"
        found[last, "state"] = {name: t.clone() for name, t in vae.state_dict().items()}
    assert found[False] == found[True], "what it holds has not changed, so that variants still share it"
    for name, tensor in found[False, "state"].items():
        assert torch.equal(tensor, found[True, "state"][name]), name


def test_with_channels_last_the_unet_gives_the_same_but_for_rounding_placed_or_streamed(place):
    expected = unet_gives(weights_of(place, "unet", last=False).place(quiet))
    weights = weights_of(place, "unet", last=True)
    whole = unet_gives(weights.place(quiet))
    assert off(whole, expected) <= 5e-6
    weights.displace()
    weights.read(quiet)
    streamed = unet_gives(weights.stream(0, quiet))
    assert off(streamed, expected) <= 5e-6
    weights.displace()


def test_what_convolutions_are_given_follows_their_weights(place):
    vae = weights_of(place, "vae", last=True).place(quiet)
    h = vae.decoder.conv_in(torch.randn(2, 4, 8, 8))
    assert h.is_contiguous(memory_format=torch.channels_last)
    assert functional.group_norm(h, 32).is_contiguous(memory_format=torch.channels_last)


def test_a_module_in_memory_can_be_put_so_too(place):
    plain = weights_of(place, "unet", last=False).place(quiet)
    expected = unet_gives(plain)
    assert channels_last(plain).conv_in.weight.is_contiguous(memory_format=torch.channels_last)
    assert off(unet_gives(plain), expected) <= 5e-6


def test_the_manager_lays_them_so_where_that_was_measured(place, tmp_path):
    from types import SimpleNamespace

    from studio.engines import svd
    from studio.models.catalog import Catalog
    from studio.models.manager import ModelManager
    from studio.models.memory import Device
    from studio.models.tuned import EAGER, memory_format_of
    from tests.tiny import tiny_spec_yaml

    spec = tiny_spec_yaml("tiny", tmp_path, frames=3)
    family = SimpleNamespace(open_weights=svd.open_weights, Engine=svd.Engine, CHANNELS_LAST=svd.CHANNELS_LAST)
    manager = ModelManager(
        Catalog(spec.parent), lambda: Device("cpu", "CPU", "fp32"), find=lambda _: place, family=lambda _: family
    )
    manager.tuned.keep(memory_format_of(EAGER), "channels last", {})
    with manager.lease("tiny", lambda component, done, total: None) as engine:
        with engine._components.use("vae", phase="decode") as (vae,):
            assert vae.decoder.conv_in.weight.is_contiguous(memory_format=torch.channels_last)
        with engine._components.use("image_encoder", phase="encode") as (encoder,):
            patches = encoder.vision_model.embeddings.patch_embedding.weight
            assert not patches.is_contiguous(memory_format=torch.channels_last)
