from benchmarks.results_page import add_result, render
from benchmarks.targets import ON_CUDA, Target
from tests.benchmarks.test_results_page import result

H100 = "NVIDIA H100 80GB HBM3"


def page(tmp_path, device=H100, **benchmarks):
    for name, figures in benchmarks.items():
        add_result(tmp_path, name, result(device, **figures))
    return render(tmp_path)


def row(text, about):
    [line] = [line for line in text.splitlines() if line.startswith(f"| {about}") and line.count("|") == 5]
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_what_was_not_reached_is_not_met(tmp_path):
    text = page(tmp_path, gpu_unet={"eager": {"times_faster": 1.21, "identity_ratio": 1.004}})
    _, wanted, measured, verdict = row(text, "UNet guided step")
    assert wanted == "at least 1.6 times"
    assert measured == "1.21 times (gpu_unet 2026-11-22: eager, control 1)"
    assert verdict == "**not met**"


def test_of_several_ways_the_best_counts_and_is_named(tmp_path):
    text = page(
        tmp_path,
        gpu_unet={"eager": {"times_faster": 1.21}, "attention": {"failed": "RuntimeError"}},
        gpu_compiled={"unet": {"times_faster": 1.75}},
    )
    _, _, measured, verdict = row(text, "UNet guided step")
    assert measured == "1.75 times (gpu_compiled 2026-11-22: unet)"
    assert verdict == "met"


def test_of_errors_the_worst_counts(tmp_path):
    text = page(
        tmp_path,
        gpu_unet={"relative_error": {"ours_to_diffusers": 0.9}},
        gpu_compiled={"relative_error": {"ours_to_diffusers": 1.3}},
    )
    assert row(text, "error of a UNet step")[2:] == [
        "1.3 times (gpu_compiled 2026-11-22: relative error)", "**not met**",
    ]  # fmt: skip


def test_what_was_not_measured_is_said_to_be_so(tmp_path):
    text = page(tmp_path, gpu_unet={"eager": {"times_faster": 1.7}})
    assert row(text, "draft")[2:] == ["", "not measured"]
    assert text.count("not measured") == len(ON_CUDA) - 1


def test_bytes_are_shown_in_gib_and_nothing_is_a_figure_too(tmp_path):
    text = page(
        tmp_path,
        gpu_decode={"peak_bytes": {"ours": 11 * 2**30}},
        swap={"moved_bytes_a_swap": {"device_to_host_bytes": 0}},
    )
    assert row(text, "peak of that decoding")[2:] == ["11 GiB (gpu_decode 2026-11-22: peak bytes)", "**not met**"]
    assert row(text, "bytes that a swap writes back")[3] == "met"


def test_a_target_of_one_device_is_no_target_of_another(tmp_path):
    clip = {"exact": {"ours_s": 30.0}}
    assert row(page(tmp_path / "a", gpu_clip=clip), "exact clip")[3] == "**not met**"
    assert row(page(tmp_path / "b", "NVIDIA L4", gpu_clip=clip), "exact clip")[3] == "no H100"


def test_without_a_result_of_a_cuda_device_the_page_says_that_none_was_taken(tmp_path):
    text = page(tmp_path, "cpu", cpu_svd={"exact_savings": {"times_faster": 1.05, "identity_ratio": 1.01}})
    assert "No figure has been taken on a CUDA device" in text
    assert row(text, "exact savings")[3] == "**not met**"
    assert "H100" not in text
    assert "No figure" not in page(tmp_path, gpu_clip={"draft": {"draft_s": 1.0}})


def test_a_figure_whose_control_is_off_says_nothing(tmp_path):
    for name, control in (("a", 1.2), ("b", 0.85)):
        text = page(tmp_path / name, gpu_unet={"eager": {"times_faster": 1.9, "identity_ratio": control}})
        assert row(text, "UNet guided step")[3] == "not known: the control is off"


def test_the_peaks_of_the_vram_policies_are_to_be_known(tmp_path):
    text = page(tmp_path, gpu_memory={"policy_low": {"peak_bytes": 5 * 2**30}, "policy_none": {"failed": "no"}})
    assert row(text, "peak of an exact clip with --vram low")[1:] == [
        "to be known", "5 GiB (gpu_memory 2026-11-22: policy low)", "known",
    ]  # fmt: skip
    assert row(text, "peak of an exact clip with --vram none")[3] == "not measured"


def test_a_figure_at_the_bound_is_met():
    assert Target("x", (), at_least=2).met_by(2.0)
    assert Target("x", (), at_most=0).met_by(0.0)
    assert not Target("x", (), at_most=0).met_by(1.0)
