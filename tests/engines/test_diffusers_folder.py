"""A component in several files: what its index says of each tensor is what is read."""

import json

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from studio.engines.diffusers_folder import open_folder
from studio.engines.weights.module_weights import ModuleWeights
from studio.errors import BadInput


@pytest.fixture
def folder(tmp_path):
    """A linear layer in two shards; the second has another, older bias besides."""
    (tmp_path / "config.json").write_text("{}")
    save_file({"bias": torch.tensor([1.0, 2.0])}, tmp_path / "model-1.safetensors")
    save_file({"weight": torch.eye(2), "bias": torch.tensor([8.0, 9.0])}, tmp_path / "model-2.safetensors")
    return tmp_path


def opened(folder, **where):
    index = folder / "model.safetensors.index.json"
    files = {name: f"model-{number}.safetensors" for name, number in where.items()}
    index.write_text(json.dumps({"weight_map": files}))
    return open_folder(lambda config: nn.Linear(2, 2), index)


def test_each_tensor_is_read_from_the_shard_that_the_index_names(folder):
    for number, bias in ((1, [1.0, 2.0]), (2, [8.0, 9.0])):
        weights = ModuleWeights(opened(folder, weight=2, bias=number), "cpu", "fp32")
        assert weights.place(lambda done, total: None).bias.tolist() == bias


def test_a_tensor_that_lies_in_another_shard_than_the_index_says_is_missing(folder):
    with pytest.raises(BadInput, match="does not belong to a Linear: it lacks weight"):
        opened(folder, weight=1, bias=1)
