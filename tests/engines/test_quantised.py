"""8-bit weights. Where torchao is not installed, only what needs none of it runs."""

import importlib.util

import pytest
import torch
import yaml

from studio.engines import exact
from studio.engines.quantised import held_in, quantised, quantised_bytes, why_not
from studio.errors import BadInput
from studio.events import Notice
from studio.service import Studio
from tests.engines.test_exact import FULL, SAME_IDS, inputs, make, saved

LEAST = 32
"""The tiny UNet's matrices are this narrow."""

needs_torchao = pytest.mark.skipif(importlib.util.find_spec("torchao") is None, reason="torchao is not installed")


class Told:
    def __init__(self):
        self.heard = []

    def notice(self, sentence):
        self.heard.append(sentence)


@pytest.fixture
def unet():
    return exact.rewrite(make())


@pytest.fixture
def torchao_is_missing(monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == "torchao" else found(name))


def eight_bit(unet):
    """The names of the layers that are."""
    return {name for name, m in unet.named_modules() if isinstance(m, torch.nn.Linear) and hasattr(m.weight, "qdata")}


def error(a, b):
    return float((a - b).norm() / b.norm())


def test_without_torchao_the_weights_are_used_as_they_are_and_a_notice_says_what_to_install(unet, torchao_is_missing):
    told = Told()
    assert held_in("int8", unet, told) is unet
    assert told.heard == ["fast: the weights are used as they are. For int8 install torchao: pip install torchao"]
    with pytest.raises(BadInput, match="pip install torchao"):
        quantised(unet, "int8")


def test_nothing_is_said_where_nothing_is_asked(unet):
    told = Told()
    assert held_in("", unet, told) is unet
    assert told.heard == []


def test_a_job_goes_on_with_the_weights_as_they_are_and_says_so(tiny_svd, photo, settings, torchao_is_missing):
    path = settings.home / "configs" / "models" / f"{tiny_svd}.yaml"
    spec = yaml.safe_load(path.read_text(encoding="utf-8"))
    spec["capabilities"]["image-to-video"]["options"]["speed"] = {"default": "exact"}
    spec["facts"]["fast"] = {"quantise": "int8"}
    path.write_text(yaml.safe_dump(spec), encoding="utf-8")
    with Studio(settings) as again:
        job = again.submit({"mode": "image-to-video", "image": str(photo), "variant": tiny_svd, "speed": "fast"})
        said = [e.message for e in again.events(job.id) if isinstance(e, Notice)]
        job = again.wait(job.id)
    assert job.state == "done", job.error
    assert sum("install torchao" in sentence for sentence in said) == 1


@needs_torchao
def test_the_cpu_does_not_multiply_in_fp8(unet):
    assert why_not("fp8", unet) == "cpu does not multiply in fp8."
    assert why_not("int8", unet) == ""


def test_at_full_size_a_third_of_the_weights_is_held_in_half_a_gigabyte():
    with torch.device("meta"):
        unet = type(make()).from_config(FULL)
    taken = quantised_bytes(unet)
    assert taken == 571_805_440
    assert 0.37 < taken / sum(p.numel() for p in unet.parameters()) < 0.38


@needs_torchao
def test_only_wide_projections_and_feed_forwards_are_quantised_and_the_rest_is_shared(unet):
    before = {name: tensor.clone() for name, tensor in unet.state_dict().items()}
    eight = quantised(unet, "int8", least=LEAST)
    changed = eight_bit(eight)
    assert "down_blocks.0.attentions.0.transformer_blocks.0.ff.net.0.proj" in changed
    assert "down_blocks.0.attentions.0.temporal_transformer_blocks.0.ff_in.net.2" in changed
    assert "up_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q" in changed
    assert "mid_block.attentions.0.temporal_transformer_blocks.0.attn1.to_out.0" in changed
    assert not any("attn2" in name or "time" in name.split(".")[0] for name in changed)
    mine = {p.data_ptr() for p in unet.parameters()}
    assert all(
        p.data_ptr() in mine for name, p in eight.named_parameters() if name.removesuffix(".weight") not in changed
    )
    assert eight.down_blocks[0].resnets[0] is unet.down_blocks[0].resnets[0]
    assert not eight_bit(unet)
    assert all(torch.equal(unet.state_dict()[name], tensor) for name, tensor in before.items())


@needs_torchao
@pytest.mark.parametrize("rewritten", [True, False])
def test_what_it_gives_is_near_what_the_weights_as_they_are_give(rewritten):
    unet = make()
    x, context, told = inputs(ids=SAME_IDS)
    if rewritten:
        exact.rewrite(unet)
        run = saved
    else:

        def run(unet, x, context, told):
            with torch.no_grad():
                return unet(x, torch.tensor(0.3), context, told, return_dict=False)[0]

    whole = run(unet, x, context, told)
    eight = run(quantised(unet, "int8", least=LEAST), x, context, told)
    assert 0 < error(eight, whole) < 0.03
    assert torch.equal(run(quantised(unet, "int8", least=LEAST), x, context, told), eight)


@needs_torchao
def test_what_is_made_takes_the_bytes_that_are_planned(unet):
    eight = quantised(unet, "int8", least=LEAST)
    matrices = [eight.get_submodule(name).weight for name in eight_bit(eight)]
    held = sum(m.qdata.nbytes + m.scale.to(torch.float32).nbytes for m in matrices)
    assert held == quantised_bytes(unet, least=LEAST)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")
@needs_torchao
@pytest.mark.parametrize("kind", ["int8", "fp8"])
def test_on_a_cuda_device_it_is_near_too(kind):
    unet = exact.rewrite(make().half().to("cuda"))
    if why_not(kind, unet):
        pytest.skip(why_not(kind, unet))
    x, context, told = (t.to("cuda") for t in inputs(ids=SAME_IDS))
    whole = saved(unet, x.half(), context.half(), told)
    assert error(saved(quantised(unet, kind, least=LEAST), x.half(), context.half(), told), whole) < 0.1
