"""The moves of weights that only a CUDA device can show: pinning, copies on a side stream, memory given back."""

import pytest
import torch

from studio.engines import svd_weights
from studio.engines.diffusers_folder import open_folder
from studio.engines.networks import build_empty
from studio.engines.weights.module_weights import ModuleWeights
from tests.tiny import tiny_weights, write_tiny_svd


def quiet(done, total):
    pass


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_cuda_the_slab_is_pinned_and_every_way_to_lie_computes_the_same(tmp_path):
    device, folder = "cuda:0", write_tiny_svd(tmp_path / "tiny")
    opened = open_folder(lambda config: build_empty("unet", config), folder / tiny_weights()["unet"])
    units = [unit.module for unit in svd_weights.unet_units(opened.module)]
    weights = ModuleWeights(opened, device, "fp32", units=units, stay_first=range(len(units)))
    weights.read(quiet)
    assert weights._slab.memory.is_pinned()
    x = torch.randn(1, 3, 8, 8, 8, device=device)
    told = {"encoder_hidden_states": torch.randn(1, 1, 32, device=device)}
    told["added_time_ids"] = torch.tensor([[6.0, 127.0, 0.02]], device=device)

    def run(unet):
        with torch.no_grad():
            return [unet(x, torch.tensor(float(i)), **told).sample.cpu() for i in range(3)]

    outs, left = [], set()
    for resident in (None, None, 0, weights.device_bytes // 3):
        unet = weights.place(quiet) if resident is None else weights.stream(resident, quiet)
        outs.append(run(unet))
        weights.displace()
        torch.cuda.synchronize()
        left.add(torch.cuda.memory_allocated(device))
    assert len(left) == 1, "each left what the first did: the inputs, and what CUDA's libraries keep"
    weights.forget()
    outs.append(run(weights.place(quiet)))
    assert all(torch.equal(a, b) for out in outs for a, b in zip(out, outs[0], strict=True))
