import pytest
import torch

from studio.models.limits import host_memory
from studio.models.memory import Device, choose_device

GB = 10**9


@pytest.fixture
def cuda(monkeypatch):
    """A CUDA device as torch would tell of it; what was asked of it."""
    asked = []
    say = {
        "is_available": True, "device_count": 2, "get_device_name": "Some GPU", "mem_get_info": (10 * GB, 24 * GB),
        "memory_reserved": 8 * GB, "memory_allocated": 5 * GB, "max_memory_allocated": 7 * GB, "empty_cache": None,
        "reset_peak_memory_stats": None,
    }  # fmt: skip
    for name, answer in say.items():
        monkeypatch.setattr(torch.cuda, name, lambda *args, n=name, a=answer: asked.append((n, *args)) or a)
    return asked


def test_the_cpu_has_the_hosts_memory_and_nothing_counts_its_peak():
    cpu = Device("cpu", "CPU", "fp32")
    assert cpu.total_bytes() == host_memory().total_bytes
    assert 0 < cpu.free_bytes() <= cpu.total_bytes()
    assert cpu.taken_bytes() == 0
    assert cpu.peak_bytes() is None
    cpu.forget_peak()
    cpu.empty_cache()
    assert not cpu.accelerator


def test_cached_blocks_of_a_gpu_are_free_and_its_peak_is_the_allocators(cuda):
    gpu = Device("cuda:1", "Some GPU", "fp16")
    assert gpu.total_bytes() == 24 * GB
    assert gpu.free_bytes() == 13 * GB
    assert gpu.taken_bytes() == 5 * GB
    gpu.forget_peak()
    assert gpu.peak_bytes() == 7 * GB
    gpu.empty_cache()
    assert ("reset_peak_memory_stats", "cuda:1") in cuda
    assert ("empty_cache",) in cuda
    assert {args[0] for _, *args in cuda if args} == {"cuda:1"}


def test_a_metal_device_can_not_give_more_than_the_host_has_left(monkeypatch):
    monkeypatch.setattr(torch.mps, "recommended_max_memory", lambda: 2**60)
    monkeypatch.setattr(torch.mps, "current_allocated_memory", lambda: 3 * GB)
    monkeypatch.setattr(torch.mps, "driver_allocated_memory", lambda: 4 * GB)
    metal = Device("mps", "Apple GPU", "fp32")
    assert GB < metal.free_bytes() <= host_memory().total_bytes + GB
    assert metal.taken_bytes() == 3 * GB
    assert metal.total_bytes() == 2**60
    assert metal.peak_bytes() is None


def test_the_best_device_that_is_there_is_chosen_and_its_precision(cuda):
    assert choose_device("auto", "auto") == Device("cuda:0", "Some GPU", "fp16")
    assert choose_device("cuda:1", "fp32") == Device("cuda:1", "Some GPU", "fp32")
    assert choose_device("cpu", "auto") == Device("cpu", "CPU", "fp32")
    assert choose_device("cpu", "bf16") == Device("cpu", "CPU", "bf16")


def test_a_device_that_is_not_there_is_refused_by_name(cuda, monkeypatch):
    with pytest.raises(ValueError, match="cuda:2 is not there; this machine has 2"):
        choose_device("cuda:2", "auto")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="no CUDA device"):
        choose_device("cuda", "auto")
