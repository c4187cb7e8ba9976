"""Blocks in compiled pieces give what they give otherwise; nothing is compiled twice."""

import copy
import os

import pytest
import torch
from diffusers import UNetSpatioTemporalConditionModel

from studio.engines import compiled, exact
from studio.engines.block_functions import add_feed_forward
from studio.engines.compiled import Compiler, Compiling
from studio.engines.kernels import EAGER, Kernels, kernels_for
from studio.engines.networks import set_trained_eps
from studio.engines.whole_decode import decode_whole
from studio.errors import Cancelled
from studio.models.spec import read_spec
from studio.models.tuned import Tuned
from tests import tiny
from tests.engines.held import Held

NOISE_LEVEL = torch.tensor(0.3)
ONE_LEVEL = {
    **tiny.UNET,
    "block_out_channels": [64],
    "down_block_types": ["CrossAttnDownBlockSpatioTemporal"],
    "up_block_types": ["CrossAttnUpBlockSpatioTemporal"],
    "num_attention_heads": [2],
}


class Told:
    """Hears notices; ends the work at the check of that number."""

    def __init__(self, stop_at=None):
        self.notices, self.checks, self.stop_at = [], 0, stop_at

    def notice(self, sentence):
        self.notices.append(sentence)

    def check(self):
        self.checks += 1
        if self.checks == self.stop_at:
            raise Cancelled()


@pytest.fixture(scope="module")
def unet():
    unet = UNetSpatioTemporalConditionModel.from_config(ONE_LEVEL).eval().requires_grad_(False)
    tiny.keep_variance(unet, torch.Generator().manual_seed(0))
    set_trained_eps(unet)
    return exact.rewrite(unet)


def given(ids=((6.0, 127.0, 0.02),) * 2):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(2, 3, 8, 4, 8, generator=generator)
    context = torch.randn(2, 1, 32, generator=generator)
    return x, context, torch.tensor(ids)


def run(unet, kernels, ff_rows=None, **how):
    x, context, ids = given(**how)
    prepared = exact.prepare(unet, context, ids, 3, ff_rows=ff_rows, kernels=kernels)
    return unet(x, NOISE_LEVEL, prepared, return_dict=False)[0]


def off(a, b):
    return ((a - b).abs().max() / b.abs().max()).item()


@pytest.fixture(scope="module")
def compiler(unet):
    """One that has compiled the UNet; graphs are captured and run as they are."""
    compiler = Compiler(backend="aot_eager")
    run(unet, Kernels(compiling=Compiling(compiler, Told(), Tuned(None))))
    return compiler


def kernels(compiler, told=None, tuned=None):
    return Kernels(compiling=Compiling(compiler, told or Told(), tuned or Tuned(None)))


def test_compiled_blocks_give_the_same_but_for_rounding(unet, compiler):
    assert off(run(unet, kernels(compiler)), run(unet, EAGER)) <= 5e-6
    assert not compiler.failed


def test_blocks_of_the_same_shapes_share_a_piece_and_a_second_clip_compiles_nothing(unet, compiler):
    blocks = 4 * 2 + 4 * 8  # res blocks: two pieces each, transformers: eight; each exists four times but for widths
    assert compiler.count <= 14 < blocks
    before, again = compiler.count, copy.deepcopy(unet)
    with torch.no_grad():
        for parameter in again.parameters():
            parameter.mul_(0.9)  # other weights elsewhere, as a variant that was swapped in has
    exact_frames = torch._dynamo.utils.counters["frames"]["ok"]
    assert off(run(again, kernels(compiler)), run(again, EAGER)) <= 5e-6
    assert compiler.count == before
    assert torch._dynamo.utils.counters["frames"]["ok"] == exact_frames


def test_what_a_job_is_told_about_compiling(unet, monkeypatch):
    told, tuned, compiler = Told(), Tuned(None), Compiler(backend="eager")
    clock = iter(range(1000))
    monkeypatch.setattr(compiled.time, "perf_counter", lambda: float(next(clock)))
    some = torch.ones(3, 4)

    def job():
        k = kernels(compiler, told, tuned)
        k.run(torch.add, some, some)
        k.run(torch.mul, some, some)
        k.over()
        k.over()

    job()
    assert told.notices == [
        "Now the network is compiled for this size, once: that takes a minute or two. --compile off leaves it out.",
        "Compiled the network in 2 s; the next clip of this size begins at once.",
    ]
    told.notices.clear()
    job()
    assert told.notices == []
    kernels(compiler, told, tuned).run(torch.sub, some, some)
    assert "about 2 s" in told.notices[0]


def test_what_cant_be_compiled_runs_as_it_is_and_is_tried_once(unet):
    def backend(graph, inputs):
        tried.append(graph)
        raise RuntimeError("no C compiler here")

    told, tried = Told(), []
    compiler = Compiler(backend=backend)
    assert torch.equal(run(unet, kernels(compiler, told)), run(unet, EAGER))
    assert len(tried) == 1
    assert len(told.notices) == 2
    assert "it goes on without" in told.notices[1]
    later = Told()
    assert torch.equal(run(unet, kernels(compiler, later)), run(unet, EAGER))
    assert later.notices == []
    assert len(tried) == 1


def test_running_out_of_memory_while_compiling_is_the_plans_affair(unet):
    def backend(graph, inputs):
        def full(*inputs):
            raise torch.OutOfMemoryError("CUDA out of memory.")

        return full

    compiler = Compiler(backend=backend)
    with pytest.raises(torch.OutOfMemoryError):
        run(unet, kernels(compiler))
    assert not compiler.failed


def test_cancelling_is_heard_between_two_pieces(unet):
    compiler = Compiler(backend="eager")
    with pytest.raises(Cancelled):
        run(unet, kernels(compiler, Told(stop_at=3)))
    assert compiler.count == 2
    assert not compiler.failed


class Quantised(torch.Tensor):
    """A weight of another class, as torchao's are."""

    __torch_function__ = torch._C._disabled_torch_function_impl


def test_a_quantised_weight_has_a_piece_of_its_own_and_is_never_taken_for_its_neighbours(unet):
    other, compiler = copy.deepcopy(unet), Compiler(backend="eager")
    attention = other.mid_block.attentions[0].transformer_blocks[0].attn1
    weight = attention.to_q.weight.detach().as_subclass(Quantised)
    weight._is_param = True
    attention.to_q.weight = weight
    run(unet, kernels(compiler))
    before = compiler.count
    assert off(run(other, kernels(compiler)), run(unet, EAGER)) <= 5e-6
    assert not compiler.failed
    assert compiler.count == before + 1


def test_the_decoder_is_compiled_too():
    from diffusers import AutoencoderKLTemporalDecoder

    vae = AutoencoderKLTemporalDecoder.from_config({**tiny.VAE, "block_out_channels": [32, 32], **two_blocks()})
    tiny.keep_variance(vae, torch.Generator().manual_seed(0))
    vae = vae.eval().requires_grad_(False)
    z = torch.randn(3, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    expected = decode_whole(vae.decoder, z, lambda done, total: None)
    compiler = Compiler(backend="aot_eager")
    out = decode_whole(vae.decoder, z, lambda done, total: None, kernels=kernels(compiler))
    assert (out - expected).abs().max() < 5e-5
    assert compiler.count == 12
    decode_whole(vae.decoder, z + 1, lambda done, total: None, kernels=kernels(compiler))
    assert compiler.count == 12


def two_blocks():
    return {"down_block_types": ["DownEncoderBlock2D"] * 2}


def test_a_lease_says_how_to_compute(tmp_path):
    spec = read_spec(tiny.tiny_spec_yaml("tiny", tmp_path, frames=3))
    assert kernels_for(Held(spec, {}), Told(), "the UNet").compiling is None
    on = Held(spec, {}, compiling="on", compiled_dir=tmp_path / "compiled")
    first, second = (kernels_for(on, Told(), "the UNet").compiling for _ in range(2))
    assert first._compiler is second._compiler, "what one job compiles serves the next"


@pytest.mark.parametrize("there", [None, "default", "another"])
def test_what_is_compiled_is_kept_in_the_studios_folder_unless_the_user_named_another(monkeypatch, tmp_path, there):
    from torch._inductor.runtime.cache_dir_utils import default_cache_dir

    monkeypatch.setenv(
        "TORCHINDUCTOR_CACHE_DIR", default_cache_dir() if there == "default" else str(tmp_path / "another")
    )
    if there is None:
        monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR")
    kernels(Compiler(tmp_path / "compiled", backend="eager")).run(torch.add, torch.ones(2), torch.ones(2))
    expected = str(tmp_path / ("another" if there == "another" else "compiled"))
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == expected


@pytest.mark.slow
def test_the_real_compiler_gives_the_same_but_for_rounding(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "")
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR")
    generator = torch.Generator().manual_seed(0)
    shapes = ((10, 32), (32,), (32,), (256, 32), (256,), (32, 128), (32,))
    x, *weights = (torch.randn(s, generator=generator) * 0.1 for s in shapes)
    expected = add_feed_forward(x.clone(), *weights, eps=1e-5)
    compiler = Compiler(tmp_path / "compiled")
    with torch.no_grad():
        out = kernels(compiler).run(add_feed_forward, x.clone(), *weights, eps=1e-5)
    assert not compiler.failed
    assert off(out, expected) <= 5e-6
    assert any((tmp_path / "compiled").iterdir())
