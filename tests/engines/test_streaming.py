"""The tiny UNet, streamed through two buffers, gives what the whole one gives, bit for bit."""

import pytest
import torch

from studio.engines import exact, sv3d_unet, svd_weights
from studio.engines.diffusers_folder import open_folder
from studio.engines.networks import build_empty, set_trained_eps
from studio.engines.weights.carrier import Carrier
from studio.engines.weights.module_weights import ModuleWeights
from studio.engines.weights.streaming import present, stay
from studio.errors import BadInput, Cancelled
from studio.models.costs.svd_units import UNET_UNITS
from studio.models.installed import Installed
from tests.engines.convert.oracles import full_size_keys
from tests.sgm import write_zeros
from tests.tiny import UNET, tiny_weights, write_tiny_svd

FRAMES = 3


def quiet(done, total):
    pass


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_tiny_svd(tmp_path_factory.mktemp("streaming") / "tiny", frames=FRAMES)


def opened(folder, dtype="fp32", carrier=None):
    """The UNet's weights; with a carrier for a device whose memory is not the host's, read into the host tier."""
    unet = open_folder(lambda config: build_empty("unet", config), folder / tiny_weights()["unet"])
    set_trained_eps(unet.module)
    units = list(svd_weights.unet_units(unet.module))
    first = svd_weights.stay_first(units)
    weights = ModuleWeights(
        unet, "cpu", dtype, units=[unit.module for unit in units], stay_first=first, carrier=carrier
    )
    weights.read(quiet)
    return weights


def separate():
    return Carrier("cpu", separate=True)


@torch.no_grad()
def run(unet, savings, passes=2):
    """What a guided pass gives, and one on its result."""
    g = torch.Generator().manual_seed(0)
    x_BTCHW = torch.randn(2, FRAMES, 8, 8, 8, generator=g)
    context = torch.cat([torch.zeros(1, 1, 32), torch.randn(1, 1, 32, generator=g)])
    ids = torch.tensor([[6.0, 127.0, 0.02]] * 2)
    if savings:
        told = {"encoder_hidden_states": prepared(exact.rewrite(unet), context, ids)}
    else:
        told = {"encoder_hidden_states": context, "added_time_ids": ids}
    out = []
    for i in range(passes):
        v = unet(x_BTCHW, torch.tensor(0.5 - i), **told, return_dict=False)[0]
        out.append(v)
        x_BTCHW = torch.cat([v, x_BTCHW[:, :, 4:]], dim=2)
    return torch.stack(out)


def prepared(unet, context, ids):
    return exact.prepare(unet, context, ids, FRAMES)


@pytest.fixture(scope="module")
def whole(folder):
    weights = opened(folder, carrier=separate())
    return {savings: run(weights.place(quiet), savings) for savings in (False, True) if not weights.displace()}


def test_units_are_listed_in_the_order_in_which_they_run(folder):
    weights = opened(folder)
    unet = weights.place(quiet)
    units = [unit.module for unit in svd_weights.unet_units(unet)]
    ran = []
    for unit in units:
        unit.register_forward_pre_hook(lambda module, _: ran.append(module))
    run(unet, savings=False, passes=1)
    assert ran == units
    ran.clear()
    run(unet, savings=True, passes=1)
    assert ran == units
    in_units = {p for unit in units for p in unit.parameters()}
    outside = {n.partition(".")[0] for n, p in unet.named_parameters() if p not in in_units}
    assert outside == {"conv_in", "conv_norm_out", "conv_out", "time_embedding", "add_embedding"}


def test_the_published_unet_has_the_units_that_were_counted_and_those_with_least_work_a_byte_stay_first(tmp_path):
    path = write_zeros(tmp_path / "svd.safetensors", full_size_keys("svd"))
    weights = svd_weights.open_weights(
        "unet", Installed("svd", "sgm", path, {"checkpoint": path}, "fp16"), "cpu", "fp16"
    )
    assert len(weights.units) == len(UNET_UNITS) == 44
    for size, counted in zip(weights.units, UNET_UNITS, strict=True):
        assert size / weights.device_bytes == pytest.approx(counted.share, rel=0.001, abs=2e-6)
    units = list(svd_weights.unet_units(weights._module))
    assert [unit.name for unit in units] == [counted.name for counted in UNET_UNITS]
    levels = [units[i].level for i in svd_weights.stay_first(units)]
    assert levels[:9] == [3] * 9
    assert levels[-11:] == [0] * 11


def test_of_another_unet_the_deepest_stay_first():
    units = list(svd_weights.unet_units(build_empty("unet", UNET)))
    assert [unit.level for unit in units] == [0, 0, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0]
    assert svd_weights.stay_first(units) == [2, 3, 4, 5, 6, 7, 8, 0, 1, 9, 10, 11, 12, 13]


def test_every_class_of_unet_has_its_units(folder):
    assert issubclass(sv3d_unet.PerFrameUNet, type(build_empty("unet", UNET)))
    unet = build_empty("unet", {**UNET, "_class_name": "PerFrameUNet"})
    assert len(list(svd_weights.unet_units(unet))) == 14


@pytest.mark.parametrize("savings", [False, True], ids=["diffusers", "savings"])
def test_a_streamed_unet_gives_what_the_whole_one_gives_however_much_of_it_stays(folder, whole, savings):
    weights = opened(folder, carrier=separate())
    rest = weights.device_bytes - sum(weights.units)
    seen = set()
    for k in range(len(weights.units) + 1):
        resident = sum(sorted(weights.units)[:k])
        unet = weights.stream(resident, quiet)
        assert torch.equal(run(unet, savings), whole[savings])
        assert weights.held_bytes == weights.streamed_bytes(resident)
        assert weights.held_bytes <= rest + resident + 2 * max(weights.units)
        seen.add(weights.held_bytes)
        weights.displace()
        assert weights.held_bytes == 0
    assert len(seen) > 3
    unet = weights.place(quiet)
    assert torch.equal(run(unet, savings), whole[savings]), "no hook is left"


def test_with_nothing_staying_the_device_has_two_units_and_what_is_in_none(folder):
    weights = opened(folder, carrier=separate())
    unet = weights.stream(0, quiet)
    storages = {}

    def look(*_):
        tensors = [t for t in [*unet.parameters(), *unet.buffers()] if not t.is_meta]
        storages.update({t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors})

    for unit in svd_weights.unet_units(unet):
        unit.module.register_forward_hook(look)
    run(unet, savings=False)
    rest = weights.device_bytes - sum(weights.units)
    assert sum(storages.values()) == weights.held_bytes == rest + 2 * max(weights.units)
    assert weights.held_bytes < weights.device_bytes / 2


def test_while_a_unit_runs_the_next_is_on_its_way_and_each_is_copied_once_a_pass(folder):
    class Watch(Carrier):
        def __init__(self):
            super().__init__("cpu", separate=True)
            self.copied = []

        def copy(self, to, of):
            self.copied.append(of.data_ptr())
            super().copy(to, of)

    carrier = Watch()
    weights = opened(folder, carrier=carrier)
    unet = weights.stream(0, quiet)
    units = [unit.module for unit in svd_weights.unet_units(unet)]
    base = carrier.copied[0]  # the slab's first byte: what is in no unit
    begins, at = [], base + weights.device_bytes - sum(weights.units)
    for size in weights.units:
        begins.append(at)
        at += size
    there = []
    for unit in units:
        unit.register_forward_pre_hook(lambda *_: there.append(len(carrier.copied)))
    carrier.copied.clear()
    run(unet, savings=False, passes=2)
    count = len(units)
    # The first two were brought when the stream began.
    assert carrier.copied == [begins[(i + 2) % count] for i in range(2 * count)]
    assert there == list(range(2 * count))


def test_a_pass_that_was_broken_off_leaves_the_next_one_right(folder, whole):
    weights = opened(folder, carrier=separate())
    unet = weights.stream(0, quiet)
    units = [unit.module for unit in svd_weights.unet_units(unet)]
    for i in range(len(units)):

        def fail(*_):
            raise Cancelled()

        hook = units[i].resnets[0].register_forward_hook(fail) if hasattr(units[i], "resnets") else None
        hook = hook or next(m for m in units[i].modules() if not list(m.children())).register_forward_hook(fail)
        with pytest.raises(Cancelled):
            run(unet, savings=False, passes=1)
        hook.remove()
        assert torch.equal(run(unet, savings=False), whole[False])


def test_a_units_weights_can_be_read_without_running_it(folder):
    wanted = opened(folder).place(quiet)
    weights = opened(folder, carrier=separate())
    unet = weights.stream(0, quiet)
    names = [n for n, m in unet.named_modules() if n.endswith(("attn2", "time_pos_embed"))]
    assert len(names) > 8
    for name in reversed(names):
        with present(unet.get_submodule(name)):
            for a, b in zip(
                unet.get_submodule(name).parameters(), wanted.get_submodule(name).parameters(), strict=True
            ):
                assert torch.equal(a, b)
    with present(unet.conv_in):
        assert torch.equal(unet.conv_in.weight, wanted.conv_in.weight)
    with present(wanted):
        pass  # nothing is streamed there
    with pytest.raises(AssertionError, match="can't be present at once"), present(unet):
        pass


def test_what_is_present_stays_while_others_come_and_go(folder):
    unet = opened(folder, carrier=separate()).stream(0, quiet)
    a, b, c, *_ = (unit.module for unit in svd_weights.unet_units(unet))
    with present(a), present(b):
        kept = [p.clone() for p in a.parameters()]
        with pytest.raises(AssertionError, match="finds no room"), present(c):
            pass
        assert all(torch.equal(x, y) for x, y in zip(kept, a.parameters(), strict=True))
    with present(c):
        assert not any(p.is_meta for p in c.parameters())


def test_a_unit_that_is_not_there_has_no_weights_at_all(folder):
    unet = opened(folder, carrier=separate()).stream(0, quiet)
    *_, last = (unit.module for unit in svd_weights.unet_units(unet))
    assert all(p.is_meta for p in last.parameters())


@pytest.mark.parametrize("dtype", ["fp32", "fp16"])
def test_on_the_cpu_units_come_from_the_file_and_no_host_memory_is_taken(folder, dtype):
    weights = opened(folder, dtype)
    assert weights.host_bytes == 0
    unet = weights.stream(0, quiet)
    expected = opened(folder, dtype).place(quiet)
    for unit, other in zip(svd_weights.unet_units(unet), svd_weights.unet_units(expected), strict=True):
        with present(unit.module):
            pairs = zip(unit.module.state_dict().items(), other.module.state_dict().items(), strict=True)
            assert all(n == m and torch.equal(a, b) and a.dtype == b.dtype for (n, a), (m, b) in pairs)


def test_a_streamed_file_that_is_cut_short_meanwhile_is_said(folder, tmp_path):
    copy = write_tiny_svd(tmp_path / "tiny", frames=FRAMES)
    unet = opened(copy).stream(0, quiet)
    file = copy / tiny_weights()["unet"]
    with file.open("r+b") as f:
        f.truncate(100_000)
    with pytest.raises(BadInput, match="damaged or cut short"):
        run(unet, savings=False)


def test_what_stays_is_never_more_than_is_allowed_and_goes_by_the_order_given():
    units = (5, 1, 4, 2)
    assert stay(units, 7, [0, 2, 3, 1]) == {0, 3}
    assert stay(units, 0, [0, 1, 2, 3]) == frozenset()
    assert stay(units, 12, [3, 2, 1, 0]) == {0, 1, 2, 3}


def test_the_family_streams_the_unet_alone(folder):
    place = Installed("tiny", "diffusers", folder, {c: folder / f for c, f in tiny_weights().items()}, "fp32")
    open_weights = svd_weights.open_weights
    assert len(open_weights("unet", place, "cpu", "fp32").units) == 14
    assert open_weights("vae", place, "cpu", "fp32").units == ()
    assert open_weights("image_encoder", place, "cpu", "fp32").units == ()
