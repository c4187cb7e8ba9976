import json
import shutil
from itertools import pairwise

import pytest
import torch
from safetensors.torch import load_file, save_file

from studio.engines import svd, svd_weights
from studio.engines.diffusers_folder import tensor_files
from studio.errors import BadInput, Cancelled, DoesNotFit
from studio.models.installed import Installed
from tests.tiny import tiny_weights, write_tiny_svd


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return write_tiny_svd(tmp_path_factory.mktemp("whole") / "tiny")


@pytest.fixture
def folder(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "tiny")


def installed(folder, dtype="fp32"):
    return Installed("tiny", "diffusers", folder, {c: folder / f for c, f in tiny_weights(dtype).items()}, dtype)


def load(folder, component="vae", dtype="fp32", report=lambda done, total: None):
    return svd_weights.load(component, installed(folder), "cpu", dtype, report)


@pytest.mark.parametrize("component", svd.COMPONENTS)
def test_every_tensor_of_the_file_is_in_its_place(whole, component):
    module = load(whole, component)
    stored = load_file(whole / tiny_weights()[component])
    state = module.state_dict()
    assert set(state) == set(stored)
    assert all(torch.equal(state[name], stored[name]) for name in stored)
    assert not module.training
    assert not any(p.requires_grad for p in module.parameters())
    assert {t.device.type for t in [*module.parameters(), *module.buffers()]} == {"cpu"}


def test_the_files_precision_and_the_devices_need_not_agree(whole, tmp_path):
    half = write_tiny_svd(tmp_path / "half", dtype="fp16")
    up = svd_weights.load("unet", installed(half, "fp16"), "cpu", "fp32", lambda done, total: None)
    down = load(whole, "unet", dtype="fp16")
    assert {p.dtype for p in up.parameters()} == {torch.float32}
    assert {p.dtype for p in down.parameters()} == {torch.float16}
    assert all(torch.equal(a.half(), b) for a, b in zip(up.parameters(), down.parameters(), strict=True))


def test_loading_reports_every_tensor_up_to_the_whole(whole):
    heard = []
    load(whole, "unet", report=lambda done, total: heard.append((done, total)))
    tensors = load_file(whole / tiny_weights()["unet"])
    total = sum(t.numel() * t.element_size() for t in tensors.values())
    assert heard[0] == (0, total)
    assert heard[-1] == (total, total)
    assert len(heard) == len(tensors) + 1
    assert all(a[0] < b[0] for a, b in pairwise(heard))


def test_a_load_stops_at_the_tensor_where_it_is_cancelled(whole):
    heard = []

    def report(done, total):
        heard.append(done)
        if len(heard) == 3:
            raise Cancelled()

    with pytest.raises(Cancelled):
        load(whole, report=report)
    assert len(heard) == 3


def shard(folder):
    file = folder / tiny_weights()["unet"]
    tensors = load_file(file)
    file.unlink()
    where = {}
    for i in (0, 1):
        part = dict(list(tensors.items())[i::2])
        name = f"diffusion_pytorch_model-0000{i + 1}-of-00002.safetensors"
        save_file(part, file.parent / name)
        where.update(dict.fromkeys(part, name))
    index = file.parent / f"{file.name}.index.json"
    index.write_text(json.dumps({"weight_map": where}))
    return index, tensors


def test_a_sharded_file_is_read_through_its_index(folder):
    index, tensors = shard(folder)
    place = Installed("tiny", "diffusers", folder, {"unet": index}, "fp32")
    state = svd_weights.load("unet", place, "cpu", "fp32", lambda done, total: None).state_dict()
    assert all(torch.equal(state[name], tensors[name]) for name in tensors)


def test_an_index_may_not_lead_outside_its_folder(folder):
    index, _ = shard(folder)
    text = index.read_text().replace("diffusion_pytorch_model-00001", "../vae/diffusion_pytorch_model-00001")
    index.write_text(text)
    with pytest.raises(BadInput, match=r"no \.safetensors file beside it"):
        tensor_files(index)


def rewrite(folder, change):
    file = folder / tiny_weights()["vae"]
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda t: t.pop("quant_conv.bias"), r"lacks quant_conv\.bias\."),
        (lambda t: [t.pop("quant_conv.bias"), t.pop("quant_conv.weight")], "lacks .* and 1 more"),
        (lambda t: t.update({"__class__.x": torch.ones(1)}), r"unknown __class__\.x"),
        (lambda t: t.update({"quant_conv.bias": torch.ones(9)}), r"quant_conv\.bias is \[9\]; .* \[8\]"),
    ],
)
def test_a_file_of_another_class_is_refused_before_anything_is_read(folder, change, says):
    rewrite(folder, change)
    heard = []
    with pytest.raises(BadInput, match=says):
        load(folder, report=lambda done, total: heard.append(done))
    assert heard == []


def test_left_over_position_ids_of_older_transformers_are_passed_over(folder):
    file = folder / tiny_weights()["image_encoder"]
    tensors = load_file(file)
    save_file({**tensors, "vision_model.embeddings.position_ids": torch.arange(50)[None]}, file)
    assert set(load(folder, "image_encoder").state_dict()) == set(tensors)


def cut(path):
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (cut, "damaged or cut short"),
        (lambda path: path.write_bytes(b""), "damaged or cut short"),
        (lambda path: path.write_bytes(b"\x80\x04pickle" * 50), "damaged or cut short"),
        (lambda path: path.unlink(), "is missing"),
        (lambda path: (path.parent / "config.json").unlink(), r"config\.json is missing"),
        (lambda path: (path.parent / "config.json").write_text("[1"), r"config\.json is damaged"),
        (lambda path: (path.parent / "config.json").write_text("[]"), r"config\.json is damaged"),
        (lambda path: (path.parent / "config.json").write_text('{"block_out_channels": 7}'), "does not describe"),
    ],
    ids=["cut", "empty", "pickle", "gone", "no-config", "cut-config", "list-config", "wrong-config"],
)
def test_damaged_files_get_one_sentence(folder, spoil, says):
    spoil(folder / tiny_weights()["vae"])
    with pytest.raises(BadInput, match=says) as caught:
        load(folder)
    assert "\n" not in caught.value.message
    assert caught.value.remedy


def test_running_out_of_memory_while_loading_is_said(whole):
    def report(done, total):
        if done:
            raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(DoesNotFit, match=r"the weights in diffusion_pytorch_model\.safetensors"):
        load(whole, report=report)
