"""What only a CUDA device can show: no waiting in the step loop, its attention kernels, Triton's pieces, recordings."""

from types import SimpleNamespace

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from studio.diffusion.precondition import denoise_v
from studio.diffusion.samplers import SAMPLERS
from studio.diffusion.sigmas import karras
from studio.engines import exact
from studio.engines.attention import Attention, candidates, in_slices, measure, question_of
from studio.engines.compiled import Compiler, Compiling
from studio.engines.kernels import EAGER, Kernels, Recorder
from studio.engines.progress import reporting
from studio.engines.svd_network import Network
from studio.engines.weights.layout import channels_last
from studio.models.tuned import Tuned
from tests.engines.test_exact import make, off
from tests.engines.test_graphs import CONDITIONS, steps

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]

CUDA = "cuda:0"


class Ctx:
    def __init__(self):
        self.told, self.notices = [], []

    def check(self):
        pass

    def step(self, done, total, stage="sample", preview=None):
        self.told.append(done)

    def keep(self, state):
        pass

    def notice(self, sentence):
        self.notices.append(sentence)


@pytest.fixture(scope="module")
def unet():
    return exact.rewrite(make()).to(CUDA)


def qkv(shape, dtype=torch.half):
    return torch.randn(3, *shape, generator=torch.Generator().manual_seed(0)).to(CUDA, dtype)


def test_the_step_loop_never_makes_the_device_wait(unet):
    network = Network(unet, CONDITIONS, 3, 1.0, 2.5)
    x = torch.randn(1, 3, 4, 8, 8, generator=torch.Generator().manual_seed(0)) * 700
    sampling = SimpleNamespace(x_BTCHW=x, denoised_BTCHW=x, done=0, state=dict)
    ctx, request = Ctx(), SimpleNamespace(steps=4, export_fps=7.0)
    x, levels = x.to(CUDA), karras(4, sigma_min=0.002, sigma_max=700.0, rho=7.0)
    denoise_v(network, x, levels[0])  # libraries are loaded
    mode = torch.cuda.get_sync_debug_mode()
    with reporting(sampling, SimpleNamespace(id="tiny"), request, ctx, 0, 4) as on_step:
        torch.cuda.set_sync_debug_mode("error")
        try:
            out = SAMPLERS["euler"](lambda x, sigma: denoise_v(network, x, sigma), x, levels, on_step)
        finally:
            torch.cuda.set_sync_debug_mode(mode)
    assert ctx.told == [1, 2, 3, 4]
    assert torch.equal(sampling.x_BTCHW, out.cpu())


@pytest.mark.parametrize("shape", [(4, 5, 1024, 64), (256, 5, 25, 64), (4, 1, 1024, 512)], ids=str)
def test_every_candidate_that_runs_gives_the_same_but_for_rounding(shape):
    q, k, v = qkv(shape)
    tuned = Tuned(None)
    choice = measure(q, tuned)
    assert choice in tuned.seconds(question_of(q))
    expected = torch.nn.functional.scaled_dot_product_attention(q.double(), k.double(), v.double())
    for name in tuned.seconds(question_of(q)):
        assert off(candidates(q)[name](q, k, v).double(), expected) < 5e-3, name


def test_products_in_slices_are_no_further_from_full_precision_than_torchs_math():
    q, k, v = qkv((2, 1, 1024, 512)) * 2
    exactly = torch.nn.functional.scaled_dot_product_attention(q.double(), k.double(), v.double())
    with sdpa_kernel(SDPBackend.MATH):
        torchs = (torch.nn.functional.scaled_dot_product_attention(q, k, v) - exactly).norm()
    ours = (in_slices(q, k, v) - exactly).norm()
    assert ours <= 1.1 * torchs


@pytest.mark.slow
@pytest.mark.parametrize("last", [False, True], ids=["contiguous", "channels last"])
def test_compiled_steps_give_the_same_but_for_rounding_and_a_second_clip_compiles_nothing(unet, tmp_path, last):
    expected = steps(unet, EAGER, count=2)
    other = channels_last(exact.rewrite(make()).to(CUDA)) if last else unet
    compiler, ctx = Compiler(tmp_path / "compiled"), Ctx()
    for _ in range(2):
        compiling = Compiling(compiler, ctx, Tuned(None))
        kernels = Kernels(Attention(Tuned(None), measures=True), compiling)
        found = steps(other, kernels, count=2)
        compiling.over()
        assert off(found[-1], expected[-1]) < 5e-3  # convolutions of fp32 run in TF32
        count = compiler.count
    assert compiler.count == count
    assert len(ctx.notices) == 2


def test_recorded_steps_give_the_very_same(unet):
    expected, found = steps(unet, EAGER), steps(unet, Kernels(recorder=Recorder()))
    assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))
