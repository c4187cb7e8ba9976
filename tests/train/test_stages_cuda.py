"""Training on a CUDA device, in bf16: what the CPU's run of the same stages cannot show."""

import math

import pytest
import torch

from studio.train import stages
from studio.train.loop import Order, train
from studio.train.stages import Clock, Setup


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("compiled", [False, True])
def test_on_cuda_every_stage_learns_and_is_measured_through_the_engines(tmp_path, compiled):
    device = torch.device("cuda:0")
    for name in stages.names():
        said = []
        order = Order(tmp_path, steps=12, compiled=compiled, held_out=1, log_s=0.0, glances=(), say=said.append)
        told = train(stages.stage(name), Setup(device, 0, (tmp_path,), toy=True), Clock(5), order)
        assert all(math.isfinite(line["loss"]) for line in told["log"])
        assert all(math.isfinite(figure["value"]) for figure in told["figures"].values())
        assert told["runs"][-1]["device"] == torch.cuda.get_device_name(device)
        assert not any("torch.compile failed" in line for line in said)
