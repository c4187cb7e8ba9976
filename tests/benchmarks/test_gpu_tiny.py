import json

import pytest
import torch
from accelerate import init_empty_weights

from benchmarks import svd_bench, svd_models
from benchmarks.__main__ import main
from studio.engines import networks
from tests.tiny import DIFFUSERS_WARNS


@pytest.fixture(autouse=True)
def _threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def measure(tmp_path, capsys):
    """Runs one benchmark at tiny size, here; gives its figures, which are also in the results."""

    def measure(name, *options):
        given = ["--tiny", "--rounds", "1", "--results", str(tmp_path / "results"), *options]
        assert main([name, *given]) == 0, capsys.readouterr().err
        figures = json.loads(capsys.readouterr().out)
        [kept] = (tmp_path / "results").glob("*.json")
        assert json.loads(kept.read_text())[name]["figures"] == figures
        return figures

    return measure


def test_the_unet_step_is_compared_each_way_and_its_error_is_small(measure):
    figures = measure("gpu_unet")
    for way in ("eager", "attention", "channels_last"):
        assert figures[way]["diffusers_s"] > 0
        assert figures[way]["rounds"] == 1
    assert set(figures["attention"]["trials"]["2 x 16, 64 tokens"]) >= {"choice", "torch", "flash"}
    assert 0.3 < figures["relative_error"]["ours_to_diffusers"] < 3
    assert figures["relative_error"]["diffusers"] < 1e-5


def test_decoding_is_compared_with_each_chunk_size_and_its_error_is_small(measure):
    figures = measure("gpu_decode")
    assert all(figures[f"chunk_{chunk}"]["ours_s"] > 0 for chunk in (25, 14, 8))
    assert 0.3 < figures["relative_error"]["ours_to_diffusers"] < 3


@pytest.mark.filterwarnings(DIFFUSERS_WARNS)
def test_clips_of_each_speed_are_made_and_exact_gives_diffusers_frames(measure):
    figures = measure("gpu_clip", "--steps", "4")
    assert figures["exact"]["frames_differ"]["most_levels"] <= 1
    assert figures["fast"]["drift"]["psnr_db"] > 10
    assert figures["fast"]["drift"]["most_levels"] > 1
    assert figures["draft"]["draft_s"] > 0


@pytest.mark.filterwarnings(DIFFUSERS_WARNS)
def test_a_clip_is_made_under_each_vram_policy_and_by_diffusers(measure):
    figures = measure("gpu_memory")
    plans = {policy: figures[f"policy_{policy}"]["plan"] for policy in ("high", "normal", "low", "none")}
    assert plans == {"high": "resident", "normal": "swap", "low": "stream", "none": "stream"}
    assert figures["diffusers_resident"]["seconds_a_step"] > 0
    assert "accelerator" in figures["diffusers_model_offload"]["left_out"]


def test_our_networks_run_compiled_piece_by_piece_and_stay_as_exact(measure):
    figures = measure("gpu_compiled")
    pieces = [figures[part]["pieces"] for part in ("unet", "decode", "unet_unguided", "unet_channels_last")]
    assert 0 < pieces[0] < pieces[1] < pieces[2] <= pieces[3] < 200
    assert 0.3 < figures["relative_error"]["ours_to_diffusers"] < 3


def test_diffusers_own_unet_runs_compiled_region_by_region(measure):
    figures = measure("gpu_compiled_theirs")
    assert figures["unet"]["first_call_s"] > figures["unet"]["eager_s"]


def test_processor_time_is_compared_on_a_small_unet(measure):
    figures = measure("cpu_svd", "--steps", "4")
    assert figures["exact_savings"]["relative_difference"] < 1e-5
    assert 0 < figures["feature_cache"]["relative_drift"] < 1


def test_a_check_at_tiny_size_is_not_kept_among_the_results(tmp_path, monkeypatch, capsys):
    kept = []
    monkeypatch.setattr("benchmarks.results_page.add_result", lambda *given: kept.append(given) or tmp_path)
    assert main(["cpu_svd", "--tiny", "--rounds", "1", "--steps", "2"]) == 0
    assert kept == []


def test_the_full_size_is_svd_xts_to_the_last_weight():
    counts = {}
    for name in svd_models.COMPONENTS:
        with init_empty_weights(include_buffers=False):
            counts[name] = sum(p.numel() for p in networks.build(name, svd_models.FULL[name]).parameters())
    assert counts == {"unet": 1_524_623_082, "vae": 97_742_847, "image_encoder": 632_076_800}


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_without_a_cuda_device_one_sentence_says_so(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["gpu_unet"])
    assert stopped.value.code == 2
    assert "no CUDA device" in capsys.readouterr().err


def test_without_diffusers_one_sentence_says_what_to_do(capsys, monkeypatch):
    monkeypatch.setattr(svd_bench, "NEEDS", ("torch", "a_package_that_is_not_there"))
    with pytest.raises(SystemExit):
        main(["gpu_unet", "--tiny"])
    assert "a_package_that_is_not_there can't be imported here; python -m benchmarks --help" in capsys.readouterr().err


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_full_size_networks_of_random_weights_stay_finite_in_half_precision():
    modules = svd_models.build(svd_models.FULL, "cuda:0", "fp16")
    engine = svd_models.make_engine(modules, "cuda:0", "fp16")
    wish = svd_models.request(steps=2, width=512, height=320, frames=8, decode_chunk=8)
    clip = engine.animate(svd_models.made_picture(512, 320), wish, svd_models.quiet_context())
    assert clip.frames.std() > 5
