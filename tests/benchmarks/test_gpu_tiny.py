import json

import pytest
import torch
from accelerate import init_empty_weights

from benchmarks import gpu, svd_models
from benchmarks.__main__ import main
from studio.engines import networks, svd
from tests.tiny import DIFFUSERS_WARNS


@pytest.fixture(autouse=True)
def _threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.filterwarnings(DIFFUSERS_WARNS)
def test_both_ways_run_at_tiny_size_and_make_the_same_frames(tmp_path, capsys):
    assert main(["gpu", "--tiny", "--rounds", "1", "--steps", "2", "--results", str(tmp_path / "results")]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["frames_differ"]["most_of_255"] <= 1
    for name in ("unet_step", "decode", "clip"):
        assert figures[name]["rounds"] == 1
        assert figures[name]["ours_s"] > 0
        assert figures[name]["diffusers_s"] > 0
    assert "ours to diffusers" in (tmp_path / "RESULTS.md").read_text()


def test_the_full_size_is_svd_xts_to_the_last_weight():
    counts = {}
    for name in svd.COMPONENTS:
        with init_empty_weights(include_buffers=False):
            counts[name] = sum(p.numel() for p in networks.build(name, svd_models.FULL[name]).parameters())
    assert counts == {"unet": 1_524_623_082, "vae": 97_742_847, "image_encoder": 632_076_800}


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_without_a_cuda_device_one_sentence_says_so(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["gpu"])
    assert stopped.value.code == 2
    assert "no CUDA device" in capsys.readouterr().err


def test_without_diffusers_one_sentence_says_what_to_do(capsys, monkeypatch):
    monkeypatch.setattr(gpu, "NEEDS", ("torch", "a_package_that_is_not_there"))
    with pytest.raises(SystemExit):
        main(["gpu", "--tiny"])
    assert (
        "a_package_that_is_not_there can't be imported here; python -m benchmarks gpu --help" in capsys.readouterr().err
    )


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_full_size_networks_of_random_weights_stay_finite_in_half_precision():
    modules = svd_models.build(svd_models.FULL, "cuda:0", "fp16")
    engine = svd_models.make_engine(modules, "cuda:0", "fp16")
    wish = svd_models.request(steps=2, width=512, height=320, frames=8, decode_chunk=8)
    clip = engine.animate(svd_models.made_picture(512, 320), wish, svd_models.quiet_context())
    assert clip.frames.std() > 5
