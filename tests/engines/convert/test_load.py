import json
import struct
import subprocess
import sys
from itertools import pairwise

import pytest
import torch
from safetensors.torch import load_file, save_file

from studio.engines import svd_weights
from studio.engines.convert import load as module_under_test
from studio.engines.convert.load import check, load_component
from studio.errors import BadInput, Cancelled, DoesNotFit
from studio.models.checkpoint import COMPONENTS, read_checkpoint
from studio.models.installed import Installed
from tests.engines.convert.oracles import ROOT, SHIPPED, full_size_keys
from tests.sgm import write_tiny_sgm, write_zeros

LAST = "model.diffusion_model.out.2.bias"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "svd.safetensors"
    return path, write_tiny_sgm(path)


def load(path, component="unet", dtype="fp32", report=lambda done, total: None):
    return load_component(component, path, "cpu", dtype, report)


@pytest.mark.parametrize("component", COMPONENTS)
@pytest.mark.parametrize("dtype", ["fp16", "fp32"])
def test_what_is_loaded_is_what_was_stored(whole, component, dtype):
    path, modules = whole
    module = load(path, component, dtype)
    wanted = modules[component].state_dict()
    state = module.state_dict()
    assert set(state) == set(wanted)
    assert all(torch.equal(state[name].float(), wanted[name]) for name in wanted)
    assert {p.dtype for p in module.parameters()} == {{"fp16": torch.float16, "fp32": torch.float32}[dtype]}
    assert all(p.is_contiguous() and not p.requires_grad for p in module.parameters())
    assert not module.training
    assert {t.device.type for t in [*module.parameters(), *module.buffers()]} == {"cpu"}


def test_a_bf16_file_and_an_fp32_file_load_too(whole, tmp_path):
    path, _ = whole
    stored = load_file(path)
    for dtype in (torch.bfloat16, torch.float32):
        save_file({n: t.to(dtype) for n, t in stored.items()}, tmp_path / "copy.safetensors")
        module = load(tmp_path / "copy.safetensors", dtype="fp16")
        assert torch.equal(module.conv_out.bias, stored[LAST].to(dtype).half())


def test_an_image_decoders_vae_is_the_ordinary_class(tmp_path):
    modules = write_tiny_sgm(tmp_path / "x.safetensors", "svd-image-decoder")
    vae = load(tmp_path / "x.safetensors", "vae")
    latent = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(vae.decode(latent).sample, modules["vae"].decode(latent).sample)


def test_the_family_loads_a_single_file_with_the_eps_that_svd_was_trained_with(whole):
    path, _ = whole
    place = Installed("svd", "sgm", path, {"checkpoint": path}, "fp16")
    unet = svd_weights.load("unet", place, "cpu", "fp32", lambda done, total: None)
    assert {m.eps for n, m in unet.named_modules() if "res_block.norm" in n and hasattr(m, "eps")} == {1e-5}


def test_loading_reports_every_tensor_up_to_the_whole(whole):
    heard = []
    load(whole[0], report=lambda done, total: heard.append((done, total)))
    stored = read_checkpoint(whole[0]).components["unet"]
    total = sum(s.stored_bytes for s in stored.values())
    assert heard[0] == (0, total)
    assert heard[-1] == (total, total)
    assert len(heard) == len(stored) + 1
    assert all(a[0] < b[0] for a, b in pairwise(heard))


def test_a_load_stops_at_the_tensor_where_it_is_cancelled(whole):
    heard = []

    def report(done, total):
        heard.append(done)
        if len(heard) == 3:
            raise Cancelled()

    with pytest.raises(Cancelled):
        load(whole[0], report=report)
    assert len(heard) == 3


def test_running_out_of_memory_while_loading_is_said(whole):
    def report(done, total):
        if done:
            raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(DoesNotFit, match=r"the unet in svd\.safetensors"):
        load(whole[0], report=report)


def test_a_file_is_read_in_windows_and_none_is_larger_than_the_bound(whole, monkeypatch):
    path, _ = whole
    monkeypatch.setattr(module_under_test, "_WINDOW_BYTES", 100_000)
    plan = module_under_test.read_part(read_checkpoint(path), "unet").plan()[1]
    stored = load_file(path)
    windows = list(module_under_test._windows(plan))
    assert [step for window in windows for step in window] == plan
    assert all(len(w) == 1 or sum(s.stored.stored_bytes for s in w) <= 100_000 for w in windows)
    assert len(windows) > 10
    assert all(torch.equal(tensor, stored[step.name]) for step, tensor in module_under_test.read_steps(path, plan))


_PEAK = """
import re, sys
from pathlib import Path
from studio.engines.convert import load
def status(field): return int(re.search(field + r":\\s+(\\d+)", Path("/proc/self/status").read_text()).group(1)) * 1024
load.check(path := Path(sys.argv[1]))
Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
before = status("VmRSS")
kept = load.load_component("unet", path, "cpu", "fp32", lambda done, total: None)
print(status("VmHWM") - before - sum(p.numel() * 4 for p in kept.parameters()))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_loading_takes_little_more_memory_than_what_is_loaded(tmp_path):
    """At a fifth of the UNet's widths, from fp16 to fp32, so that nothing can stay mapped."""
    shapes = {
        name: tuple(n if n % 5 or "diffusion_model" not in name else n // 5 for n in shape)
        for name, shape in full_size_keys("svd").items()
        if "open_clip" not in name or "visual" in name
    }
    path = write_zeros(tmp_path / "fifth.safetensors", shapes)
    stored = sum(s.stored_bytes for s in read_checkpoint(path).components["unet"].values())
    assert stored > 100e6
    done = subprocess.run([sys.executable, "-c", _PEAK, path], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 0.15 * stored


def test_a_whole_file_passes_its_check_whatever_its_heads(whole):
    check(whole[0])
    check(SHIPPED / "a" / "svd" / "checkpoint.safetensors")


def change(path, target, edit):
    tensors = load_file(path)
    edit(tensors)
    save_file(tensors, target)


@pytest.mark.parametrize("test", [check, load], ids=["check", "load"])
@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (lambda t: t.pop(LAST), rf"lacks {LAST}\."),
        (lambda t: t.update({"model.diffusion_model.__init__.x": torch.ones(1)}), r"unknown .*__init__\.x"),
        (lambda t: t.update({"../../etc/passwd": torch.ones(1)}), r"unknown \.\./\.\./etc/passwd"),
        (lambda t: t.update({"model_ema.decay": torch.ones(1)}), r"unknown model_ema\.decay"),
        (lambda t: t.update({LAST: t[LAST].to(torch.float8_e4m3fn)}), r"stored in fp8 .*Use an fp16 copy"),
        (lambda t: t.update({LAST: t[LAST].to(torch.int8)}), "stored in I8"),
        (lambda t: t.update({LAST: torch.ones(2, 2)}), r"out\.2\.bias is \[2, 2\]"),
    ],
    ids=["missing", "hostile", "path", "extra", "fp8", "integers", "shape"],
)
def test_a_file_that_is_not_as_published_gets_one_sentence_before_anything_is_read(whole, tmp_path, edit, says, test):
    change(whole[0], tmp_path / "x.safetensors", edit)
    with pytest.raises(BadInput, match=says) as caught:
        test(tmp_path / "x.safetensors")
    assert "\n" not in caught.value.message


def cut(data):
    return data[:-100]


def cut_header(data):
    return data[:5000]


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (cut, "is cut short: it has"),
        (cut_header, "cut short within its header"),
        (lambda data: b"", "no safetensors file"),
        (lambda data: b"\x80\x02}q\x00X\x05\x00\x00\x00" * 50, "is a pickle under another name"),
        (lambda data: b"\x80\x04\x95\x1a\x00\x00\x00\x00\x00\x00\x00}\x94" * 50, "is a pickle under another name"),
        (lambda data: b"PK\x03\x04\x00\x00\x08\x08\x00\x00archive/data.pkl" * 50, "a pickled PyTorch file"),
        (lambda data: struct.pack("<Q", 2) + b"[]" + bytes(99), "header makes no sense"),
        (lambda data: data + b"more", "its tensors and its length disagree"),
    ],
    ids=["cut", "cut-header", "empty", "pickle2", "pickle4", "torch-zip", "no-header", "longer"],
)
def test_a_damaged_or_foreign_file_gets_one_sentence(whole, tmp_path, spoil, says):
    path = tmp_path / "x.safetensors"
    path.write_bytes(spoil(whole[0].read_bytes()))
    with pytest.raises(BadInput, match=says) as caught:
        load(path)
    assert "\n" not in caught.value.message
    assert caught.value.remedy


def test_a_real_torch_pickle_is_never_opened(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "exploded"), "w"))

    torch.save({"state_dict": Bomb()}, tmp_path / "svd.safetensors")
    with pytest.raises(BadInput, match="never unpickles"):
        load(tmp_path / "svd.safetensors")
    assert not (tmp_path / "exploded").exists()


def test_a_header_that_lies_about_a_shape_is_refused_before_anything_is_built(whole, tmp_path):
    data = whole[0].read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    header[LAST]["shape"] = [2**40]
    text = json.dumps(header).encode()
    (tmp_path / "x.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])
    with pytest.raises(BadInput, match="header makes no sense"):
        load(tmp_path / "x.safetensors")
