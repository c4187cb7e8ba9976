import pytest
import torch

from studio.engines.networks import build
from studio.engines.sv3d_unet import PerFrameUNet
from tests.sgm import TINY_UNET
from tests.tiny import keep_variance


@pytest.fixture(scope="module")
def stock():
    unet = build("unet", TINY_UNET).eval()
    keep_variance(unet, torch.Generator().manual_seed(0))
    return unet


@pytest.fixture
def inputs():
    g = torch.Generator().manual_seed(1)
    shapes = {"sample": (2, 3, 8, 8, 8), "encoder_hidden_states": (2, 1, 32)}
    return {"timestep": torch.tensor([0.3, -0.4]), **{n: torch.randn(s, generator=g) for n, s in shapes.items()}}


@torch.no_grad()
def test_with_the_same_vector_for_every_frame_it_is_the_stock_unet(stock, inputs):
    ids = torch.tensor([[6.0, 127.0, 0.02], [9.0, 40.0, 0.1]])
    vector = stock.add_time_proj(ids.flatten()).view(2, 1, -1).repeat(1, 3, 1)
    wanted = stock(**inputs, added_time_ids=ids, return_dict=False)[0]
    given = PerFrameUNet.forward(stock, **inputs, vector=vector)[0]
    assert given.shape == wanted.shape
    assert (given - wanted).abs().max() < 1e-5


@torch.no_grad()
def test_each_frame_listens_to_its_own_vector(stock, inputs):
    vector = torch.zeros(2, 3, 768)
    before = PerFrameUNet.forward(stock, **inputs, vector=vector)[0]
    vector[0, 1] = 1.0
    change = (PerFrameUNet.forward(stock, **inputs, vector=vector)[0] - before).abs().amax(dim=(2, 3, 4))
    assert change[0, 1] > 2 * change[0, 0] > 0  # the others hear of it through time only
    assert change[1].max() == 0
