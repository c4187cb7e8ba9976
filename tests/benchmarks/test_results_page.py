import json
import subprocess
import sys

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
    assert {"gpu", "overhead", "parallax"} <= set(found)
    assert not {"compare", "machine", "results_page", "svd_models"} & set(found)
    assert all(text.splitlines()[0].endswith(".") for text in found.values())
    assert main(["--list"]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in found)


def test_an_unknown_benchmark_is_one_sentence(capsys):
    assert main(["speed"]) == 2
    assert "There is no benchmark 'speed'; there are gpu," in capsys.readouterr().err


def test_listing_loads_nothing_heavy():
    code = (
        "import sys; from benchmarks.__main__ import main; main(['--list']); "
        "print({'torch', 'diffusers', 'gradio'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.rstrip().endswith("set()")
