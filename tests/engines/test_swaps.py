"""Variants that take turns leave nothing behind, and building two at a time builds two."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from torch import nn

from studio.engines.networks import build_empty
from tests.tiny import UNET, write_tiny_svd
from tests.tiny_sdxl import write_tiny_sdxl

ROOT = Path(__file__).resolve().parents[2]

_SWAPS = """
import gc, re, sys
from pathlib import Path
import torch
from studio.engines import sdxl_weights, svd_weights
from studio.engines.weights import module_weights
from studio.engines.weights.carrier import Carrier
from studio.models.installed import Installed
from tests.tiny import tiny_weights
from tests.tiny_sdxl import tiny_sdxl_weights

torch.set_num_threads(1)
separate, dtype, count = sys.argv[1] == "device", sys.argv[2], int(sys.argv[3])
if separate:
    module_weights.carrier_for = lambda device: Carrier(device, separate=True)
quiet = lambda done, total: None

def rss():
    gc.collect()
    text = Path("/proc/self/status").read_text()
    return sum(int(re.search(f + r":\\s+(\\d+)", text).group(1)) * 1024 for f in ("RssAnon", "RssShmem"))

def variants():
    for folder in map(Path, sys.argv[4:]):
        names = tiny_sdxl_weights() if folder.name == "sdxl" else tiny_weights()
        files = {c: folder / f for c, f in names.items()}
        yield Installed(folder.name, "diffusers", folder, files, "fp32")

def opened(place):
    family = sdxl_weights if place.variant == "sdxl" else svd_weights
    return family.open_weights("unet", place, "cpu", dtype)

places = list(variants())
kept = [opened(place) for place in places]
before = 0
for i in range(count):
    # every tenth time it is opened anew, as after a change of its files.
    place, weights = places[i % 3], kept[i % 3]
    if i % 10 == 9:
        weights = kept[i % 3] = opened(place)
    weights.read(quiet)
    module = weights.stream(weights.device_bytes // 2, quiet) if i % 5 == 4 else weights.place(quiet)
    total = sum(float(p.flatten()[0]) for p in module.parameters() if not p.is_meta)
    del module
    weights.displace()
    weights.forget()
    assert weights.held_bytes == weights.host_bytes == 0
    if i == 29:  # each was opened anew
        before = rss()
print(before, rss(), min(w.device_bytes for w in kept[:2]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(
    ("where", "dtype", "count"),
    [
        ("device", "fp32", 80),
        pytest.param("device", "fp32", 200, marks=pytest.mark.slow),
        pytest.param("cpu", "fp16", 200, marks=pytest.mark.slow),
    ],
)
def test_swaps_between_three_variants_leave_memory_as_it_was(tmp_path_factory, where, dtype, count):
    folders = variants(tmp_path_factory)
    done = subprocess.run(
        [sys.executable, "-c", _SWAPS, where, dtype, str(count), *folders],
        cwd=ROOT, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    before, after, size = map(int, done.stdout.split())
    assert size > 10e6
    assert abs(after - before) < 0.02 * before
    # A swap in fifty that kept its weights would be seen.
    assert 0.02 * before < (count - 30) / 50 * size


def variants(tmp_path_factory) -> list[Path]:
    """SVD, SVD-XT and SDXL; the UNets of the first two are some 20 MB in fp32. Written once."""
    base = tmp_path_factory.getbasetemp() / "swaps"
    folders = [base / name for name in ("svd", "svd-xt", "sdxl")]
    if not base.exists():
        config = dict(UNET)
        UNET.update(block_out_channels=[64, 128], cross_attention_dim=64)
        try:
            for seed, folder in enumerate(folders[:2]):
                write_tiny_svd(folder, seed=seed)
        finally:
            UNET.clear()
            UNET.update(config)
        write_tiny_sdxl(folders[2])
    return folders


def test_threads_that_build_at_the_same_time_build_whole_modules_and_leave_torch_as_it_was():
    before = nn.Module.register_parameter
    built, errors = [], []

    def work():
        try:
            built.extend(build_empty("unet", UNET) for _ in range(3))
        except Exception as e:
            errors.append(e)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert len(built) == 12
    assert all(p.is_meta for module in built for p in module.parameters())
    assert nn.Module.register_parameter is before
    assert not torch.nn.Linear(2, 2).weight.is_meta
