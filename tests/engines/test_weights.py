"""A component's weights between file, host and device: one slab, one allocation, views; nothing left where it fails."""

import hashlib
import shutil
import weakref
from itertools import pairwise

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from studio.engines import exact, svd_weights
from studio.engines.convert.folder import write_folder
from studio.engines.convert.load import open_component
from studio.engines.diffusers_folder import open_folder
from studio.engines.networks import build_empty
from studio.engines.weights import module_weights, reading
from studio.engines.weights.carrier import Carrier
from studio.engines.weights.layout import ALIGNED_BYTES, Source, source_of
from studio.engines.weights.module_weights import ModuleWeights
from studio.engines.weights.slab import Slab
from studio.errors import BadInput, Cancelled, DoesNotFit
from studio.models.installed import Installed
from tests.engines.convert.oracles import SHIPPED
from tests.sgm import write_tiny_sgm
from tests.tiny import tiny_weights, write_tiny_svd

COMPONENTS = ("image_encoder", "unet", "vae")


def quiet(done, total):
    pass


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_tiny_svd(tmp_path_factory.mktemp("weights") / "tiny")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("checkpoint") / "svd.safetensors"
    write_tiny_sgm(path)
    return path


def from_folder(folder, component, dtype="fp32", carrier=None):
    opened = open_folder(lambda config: build_empty(component, config), folder / tiny_weights()[component])
    return ModuleWeights(opened, "cpu", dtype, carrier=carrier)


def streamable(folder, dtype="fp32", carrier=None):
    opened = open_folder(lambda config: build_empty("unet", config), folder / tiny_weights()["unet"])
    units = [unit.module for unit in svd_weights.unet_units(opened.module)]
    return ModuleWeights(opened, "cpu", dtype, units=units, stay_first=range(len(units)), carrier=carrier)


def separate():
    """A device whose memory is not the host's, with the CPU to compute."""
    return Carrier("cpu", separate=True)


def tensors(module):
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}


def storages(module):
    return {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors(module).values()}


@pytest.mark.parametrize("read", [False, True], ids=["from-file", "from-host"])
@pytest.mark.parametrize("dtype", ["fp32", "fp16"])
@pytest.mark.parametrize("component", COMPONENTS)
def test_on_a_device_a_component_is_one_allocation_and_its_tensors_are_views(folder, component, dtype, read):
    weights = from_folder(folder, component, dtype, separate())
    if read:
        weights.read(quiet)
    module = weights.place(quiet)
    stored = load_file(folder / tiny_weights()[component])
    wanted = {"fp32": torch.float32, "fp16": torch.float16}[dtype]
    assert all(torch.equal(t, stored[n].to(wanted)) for n, t in module.state_dict().items())
    ((base, size),) = storages(module).items()
    assert size == weights.device_bytes == weights.held_bytes
    spans = sorted((t.data_ptr(), t.numel() * t.element_size()) for t in tensors(module).values())
    assert all(begin % ALIGNED_BYTES == 0 and base <= begin and begin + n <= base + size for begin, n in spans)
    assert all(a + n <= b for (a, n), (b, _) in pairwise(spans)), "none lies over another"
    padded = sum(-(-n // ALIGNED_BYTES) * ALIGNED_BYTES for _, n in spans)
    assert weights.device_bytes == padded


def test_the_host_has_one_slab_of_exactly_the_devices_bytes(folder):
    weights = streamable(folder, carrier=separate())
    assert weights.host_bytes == 0
    weights.read(quiet)
    assert weights.host_bytes == weights.device_bytes == weights._slab.memory.untyped_storage().nbytes()
    assert weights.held_bytes == 0
    weights.read(lambda done, total: pytest.fail("it was there"))
    weights.forget()
    assert weights.host_bytes == 0
    weights.forget()


def test_a_units_tensors_lie_side_by_side_and_what_is_in_none_lies_first(folder):
    weights = streamable(folder, carrier=separate())
    unet = weights.place(quiet)
    base = min(storages(unet))
    units = [unit.module for unit in svd_weights.unet_units(unet)]
    at = base + weights.device_bytes - sum(weights.units)
    assert all(t.data_ptr() < at for t in [*unet.conv_in.parameters(), *unet.conv_out.parameters()])
    for unit, size in zip(units, weights.units, strict=True):
        assert all(at <= p.data_ptr() < at + size for p in unit.parameters())
        at += size
    assert at == base + weights.device_bytes


def test_on_the_cpu_what_the_file_has_is_mapped_and_the_host_tier_takes_nothing(folder):
    weights = from_folder(folder, "image_encoder")
    weights.read(lambda done, total: pytest.fail("there is nothing to read"))
    assert weights.host_bytes == 0
    module = weights.place(quiet)
    assert weights._memory.numel() == 0
    assert weights.held_bytes == weights.device_bytes
    position_ids = module.vision_model.embeddings.position_ids
    assert torch.equal(position_ids[0], torch.arange(position_ids.shape[1]))


def test_on_the_cpu_only_what_must_be_converted_takes_memory(checkpoint):
    same = ModuleWeights(open_component("image_encoder", checkpoint), "cpu", "fp16")
    same.place(quiet)
    # The projection is stored the other way round; query, key and value are thirds of what is stored.
    projection = 32 * 160 * 2
    assert same._memory.numel() == -(-projection // ALIGNED_BYTES) * ALIGNED_BYTES
    other = ModuleWeights(open_component("image_encoder", checkpoint), "cpu", "fp32")
    other.place(quiet)
    assert 0 < other.device_bytes - other._memory.numel() < 4096, "the numbers of positions are no part of it"


def test_a_file_of_two_precisions_is_mapped_where_it_can_be(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "tiny")
    file = copy / tiny_weights()["vae"]
    stored = load_file(file)
    stored["quant_conv.weight"] = stored["quant_conv.weight"].half()
    save_file(stored, file)
    weights = from_folder(copy, "vae")
    vae = weights.place(quiet)
    assert weights._memory.numel() == 8 * 8 * 4
    assert {p.dtype for p in vae.parameters()} == {torch.float32}
    assert all(torch.equal(t, stored[n].float()) for n, t in vae.state_dict().items())


@pytest.mark.parametrize("carrier", [None, separate()], ids=["cpu", "device"])
def test_displacing_empties_the_module_and_the_next_place_fills_the_same_one(folder, carrier):
    weights = from_folder(folder, "image_encoder", carrier=carrier)
    module = weights.place(quiet)
    before = {n: t.clone() for n, t in tensors(module).items()}
    parts = list(module.modules())
    weights.displace()
    assert weights.held_bytes == 0
    assert all(p.is_meta for p in module.parameters())
    weights.displace()
    assert weights.place(quiet) is module
    assert list(module.modules()) == parts
    assert all(torch.equal(t, before[n]) for n, t in tensors(module).items())
    with pytest.raises(AssertionError, match="there already"):
        weights.place(quiet)


def test_an_empty_module_tells_the_dtype_it_will_have(folder):
    weights = from_folder(folder, "unet", "fp16", separate())
    unet = weights.place(quiet)
    weights.displace()
    assert {p.dtype for p in unet.parameters()} == {torch.float16}


def moves(weights, carrier):
    """Every move of these weights that reports, each with what comes before it."""
    yield "read", lambda: None, weights.read
    yield "place from the file", weights.forget, weights.place
    yield "place from the host", lambda: weights.read(quiet), weights.place
    yield "stream", lambda: weights.read(quiet), lambda report: weights.stream(weights.device_bytes // 3, report)
    yield "digest", lambda: None, weights.digest


@pytest.mark.parametrize("carrier", [None, separate()], ids=["cpu", "device"])
@pytest.mark.parametrize("dtype", ["fp32", "fp16"])
def test_a_move_that_is_broken_off_anywhere_leaves_nothing(folder, dtype, carrier, monkeypatch):
    monkeypatch.setattr(module_weights, "_PART_BYTES", 700_000)
    monkeypatch.setattr(module_weights, "_STAGE_BYTES", 700_000)
    monkeypatch.setattr(reading, "_BATCH_BYTES", 100_000)
    weights = streamable(folder, dtype, carrier)
    for what, prepare, move in moves(weights, carrier):
        prepare()
        count, host_bytes = 0, weights.host_bytes

        def listen(done, total):
            nonlocal count
            count += 1

        move(listen)
        weights.displace()
        if what == "read":
            weights.forget()
        assert count >= 4 or (what == "read" and carrier is None), what
        for at in range(0, count, max(1, count // 7)):

            def fail(done, total, heard=[0], at=at):  # noqa: B006 - counts its own calls
                heard[0] += 1
                if heard[0] > at:
                    raise Cancelled()

            with pytest.raises(Cancelled):
                move(fail)
            assert (weights.held_bytes, weights.host_bytes, weights._memory) == (0, host_bytes, None), (what, at)
            assert all(p.is_meta for p in weights._module.parameters())
            assert all(not m._forward_pre_hooks for m in weights._module.modules())


def test_an_error_holds_no_memory_while_it_is_dealt_with(folder, monkeypatch):
    made = []

    def memory(nbytes):
        array = np.empty(nbytes, np.uint8)
        made.append(weakref.ref(array))
        return torch.from_numpy(array)

    class WatchedSlab(Slab):
        def __init__(self, nbytes):
            super().__init__(0)
            self.memory = memory(nbytes)

    carrier = separate()
    carrier.empty = memory
    weights = streamable(folder, carrier=carrier)

    def fail(done, total):
        if done:
            raise torch.OutOfMemoryError("CUDA out of memory")

    def fails(move):
        with pytest.raises(DoesNotFit, match=r"the weights in diffusion_pytorch_model\.safetensors") as caught:
            move(fail)
        assert made.pop()() is None
        assert caught.value.__cause__.__traceback__ is not None

    with monkeypatch.context() as patched:
        patched.setattr(module_weights, "Slab", WatchedSlab)
        fails(weights.read)
    weights.read(quiet)
    fails(weights.place)
    fails(lambda report: weights.stream(0, report))


def test_progress_grows_up_to_the_whole_in_every_move(folder, monkeypatch):
    monkeypatch.setattr(module_weights, "_PART_BYTES", 1_000_000)
    weights = streamable(folder, carrier=separate())
    for what, prepare, move in moves(weights, separate()):
        prepare()
        heard = []
        move(lambda done, total: heard.append((done, total)))  # noqa: B023 - it is called at once
        weights.displace()
        dones = [done for done, _ in heard]
        assert dones == sorted(dones), what
        assert heard[0][0] == 0, what
        assert heard[-1][0] == heard[-1][1] == heard[0][1] > 0, what


def test_too_much_for_the_host_is_said_and_nothing_is_kept(folder, monkeypatch):
    weights = from_folder(folder, "vae", carrier=separate())

    def none_left(nbytes):
        raise MemoryError(f"{nbytes} bytes of host memory can't be had")

    monkeypatch.setattr(module_weights, "Slab", none_left)
    with pytest.raises(DoesNotFit, match="not enough memory for the weights in"):
        weights.read(quiet)
    assert weights.host_bytes == 0


def test_more_than_any_machine_has_is_a_memory_error():
    with pytest.raises(MemoryError, match="bytes of host memory"):
        Slab(1 << 60)


def test_a_file_that_was_cut_short_since_it_was_opened_is_said(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "tiny")
    weights = from_folder(copy, "vae", carrier=separate())
    with (copy / tiny_weights()["vae"]).open("r+b") as file:
        file.truncate(50_000)
    with pytest.raises(BadInput, match="damaged or cut short"):
        weights.read(quiet)
    assert weights.host_bytes == 0
    (copy / tiny_weights()["vae"]).unlink()
    with pytest.raises(BadInput, match="can't be read"):
        weights.read(quiet)


def test_large_tensors_are_converted_in_blocks(folder, monkeypatch):
    whole = from_folder(folder, "unet", "fp16").place(quiet).state_dict()
    monkeypatch.setattr(reading, "_BLOCK_BYTES", 1000)
    again = from_folder(folder, "unet", "fp16").place(quiet).state_dict()
    assert all(torch.equal(again[name], whole[name]) for name in whole)


def test_what_a_transform_only_picks_is_read_as_it_is(tmp_path):
    def of(transform):
        return source_of(tmp_path, 100, torch.float16, (6, 4, 1, 1), transform)

    assert of(lambda t: t[:, :, 0, 0]) == Source(tmp_path, 100, torch.float16, (6, 4))
    assert of(lambda t: t[2:4]) == Source(tmp_path, 100 + 2 * 4 * 2, torch.float16, (2, 4, 1, 1))
    turned = of(lambda t: t[:, :, 0, 0].t())
    assert (turned.begin, turned.shape) == (100, (6, 4, 1, 1))
    assert turned.transform is not None


def test_digests_are_those_of_the_tensors_whatever_file_they_lie_in(checkpoint, tmp_path):
    write_folder(checkpoint, tmp_path / "folder")
    middle = tiny_weights("fp16")
    for component in COMPONENTS:
        single = ModuleWeights(open_component(component, checkpoint), "cpu", "fp16")
        opened = open_folder(
            lambda config, c=component: build_empty(c, config), tmp_path / "folder" / middle[component]
        )
        spread = ModuleWeights(opened, "cpu", "fp16", carrier=separate())
        found = single.digest(quiet)
        assert len(bytes.fromhex(found)) == hashlib.sha256().digest_size
        assert spread.digest(quiet) == found
        spread.read(quiet)
        assert spread.digest(quiet) == found, "from the host"
        assert ModuleWeights(open_component(component, checkpoint), "cpu", "fp32").digest(quiet) != found


def test_two_variants_with_the_same_vae_have_one_digest_of_it_and_two_of_the_unet(tmp_path):
    found = {}
    for seed, name in enumerate(("svd", "svd-xt")):
        folder = write_tiny_svd(tmp_path / name, seed=seed, frames=14 + seed)
        if seed:
            shutil.copytree(tmp_path / "svd" / "vae", folder / "vae", dirs_exist_ok=True)
        found[name] = [from_folder(folder, c).digest(quiet) for c in ("vae", "unet")]
    assert found["svd"][0] == found["svd-xt"][0]
    assert found["svd"][1] != found["svd-xt"][1]


def test_a_digest_is_the_same_after_the_unet_was_rewritten_and_another_for_another_class(folder):
    weights = from_folder(folder, "unet")
    before = weights.digest(quiet)
    exact.rewrite(weights.place(quiet))
    assert weights.digest(quiet) == before
    opened = open_folder(
        lambda config: build_empty("unet", {**config, "_class_name": "PerFrameUNet"}), folder / tiny_weights()["unet"]
    )
    assert ModuleWeights(opened, "cpu", "fp32").digest(quiet) != before


def test_one_tensor_more_or_less_changes_the_digest(folder, tmp_path):
    before = from_folder(folder, "vae").digest(quiet)
    copy = shutil.copytree(folder, tmp_path / "tiny")
    file = copy / tiny_weights()["vae"]
    stored = load_file(file)
    a, b = "decoder.conv_norm_out.weight", "decoder.conv_norm_out.bias"
    save_file({**stored, a: stored[b], b: stored[a]}, file)
    assert from_folder(copy, "vae").digest(quiet) != before


def test_the_published_single_file_layout_loads_on_a_device_as_on_the_cpu():
    path = SHIPPED / "a" / "svd" / "checkpoint.safetensors"
    place = Installed("svd", "sgm", path, {"checkpoint": path}, "fp32")
    weights = svd_weights.open_weights("vae", place, "cpu", "fp32")
    on_cpu = weights.place(quiet).state_dict()
    other = ModuleWeights(open_component("vae", path), "cpu", "fp32", carrier=separate())
    other.read(quiet)
    on_device = other.place(quiet).state_dict()
    assert all(torch.equal(on_device[name], on_cpu[name]) for name in on_cpu)
