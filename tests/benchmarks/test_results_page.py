import json
import subprocess
import sys

import pytest

from benchmarks import machine
from benchmarks.__main__ import benchmarks, main
from benchmarks.results_page import add_result, render


def result(device="cpu", time="2026-11-22T10:00:00+00:00", **figures):
    return {
        "figures": figures, "command": "python -m benchmarks x", "time": time, "revision": "abc",
        "machine": {**machine.describe(device), "device": device}, "versions": {"python": "3.10.0"},
    }  # fmt: skip


def test_results_of_one_machine_and_day_share_a_file(tmp_path):
    first = add_result(tmp_path, "one", result(a=1))
    assert add_result(tmp_path, "two", result(b=2)) == first
    add_result(tmp_path, "one", result(a=3))
    other = add_result(tmp_path, "one", result("NVIDIA H100 80GB HBM3", a=4))
    assert [p.name for p in sorted(tmp_path.iterdir())] == [
        "cpu-2026-11-22.json",
        "nvidia-h100-80gb-hbm3-2026-11-22.json",
    ]
    kept = json.loads(first.read_text())
    assert {name: r["figures"] for name, r in kept.items()} == {"one": {"a": 3}, "two": {"b": 2}}
    assert json.loads(other.read_text())["one"]["figures"] == {"a": 4}


def test_the_page_shows_every_figure_and_leaves_out_what_was_not_measured(tmp_path):
    figures = {
        "clip": {"ratio": 0.98765, "ratio_range": [0.9, 1.1]},
        "peak": 1234567,
        "gone": None,
        "raw": [1, 2, 3, 4],
    }
    add_result(tmp_path, "gpu", result(**figures))
    page = render(tmp_path)
    assert "## gpu" in page
    assert "| clip: ratio | 0.9877 |" in page
    assert "| clip: ratio range | 0.9 to 1.1 |" in page
    assert "| peak | 1,234,567 |" in page
    assert "gone" not in page
    assert "raw" not in page


def test_the_newest_result_of_a_benchmark_comes_first(tmp_path):
    add_result(tmp_path, "one", result(time="2026-11-20T10:00:00+00:00", a=1))
    add_result(tmp_path, "one", result(time="2026-11-21T10:00:00+00:00", a=1))
    page = render(tmp_path)
    assert page.index("2026-11-21") < page.index("2026-11-20")
    assert page.count("## one\n") == 1


def test_benchmarks_are_the_modules_with_a_run_and_each_says_what_it_does(capsys):
    found = benchmarks()
    assert {"gpu_unet", "overhead", "parallax"} <= set(found)
    assert not {"compare", "everything", "machine", "results_page", "svd_bench", "svd_models"} & set(found)
    assert all(text.splitlines()[0].endswith(".") for text in found.values())
    assert main(["--list"]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in found)


def test_an_unknown_benchmark_is_one_sentence(capsys):
    assert main(["speed"]) == 2
    assert "There is no benchmark 'speed'; there are cpu_svd, " in capsys.readouterr().err


def test_listing_loads_nothing_heavy():
    code = (
        "import sys; from benchmarks.__main__ import main; main(['--list']); "
        "print({'torch', 'diffusers', 'gradio'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.rstrip().endswith("set()")


def test_what_was_stopped_is_kept_as_far_as_it_came_and_said_to_be_so(tmp_path, monkeypatch):
    import benchmarks.parallax as module

    def run(args):
        args.keep({"first": 1})
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "run", run)
    with pytest.raises(KeyboardInterrupt):
        main(["parallax", "--results", str(tmp_path / "results")])
    page = (tmp_path / "RESULTS.md").read_text()
    assert "stopped before its end" in page
    assert "| first | 1 |" in page
    monkeypatch.setattr(module, "run", lambda args: {"first": 2})
    assert main(["parallax", "--results", str(tmp_path / "results")]) == 0
    page = (tmp_path / "RESULTS.md").read_text()
    assert "stopped before its end" not in page
    assert "| first | 2 |" in page
    assert str(tmp_path) not in page, "where it is kept is not what made it"


def test_a_part_that_failed_is_told_and_is_the_exit_code(tmp_path, monkeypatch, capsys):
    import benchmarks.parallax as module

    monkeypatch.setattr(module, "run", lambda args: {"one": {"failed": "RuntimeError: no"}, "two": {"left_out": "no"}})
    assert main(["parallax", "--results", str(tmp_path / "results")]) == 1
    assert "parallax: one failed: RuntimeError: no" in capsys.readouterr().err
    assert "| one: failed | RuntimeError: no |" in (tmp_path / "RESULTS.md").read_text()
