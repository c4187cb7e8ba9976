import argparse
import json
import sys
import time

import pytest

from benchmarks import everything
from benchmarks.__main__ import benchmarks
from benchmarks.everything import ANYWHERE, ON_CUDA, Entry, run_all

FAKE = """
import json, sys, time
from pathlib import Path
name, *options = sys.argv[1:]
folder = Path(options[options.index("--results") + 1])
folder.mkdir(exist_ok=True)
(folder / name).write_text(json.dumps(options))
if name == "slow":
    time.sleep(60)
sys.exit(3 if name == "broken" else 0)
"""


@pytest.fixture
def run(tmp_path):
    def run(*entries, budget_s=60.0, **options):
        args = argparse.Namespace(budget_s=budget_s, tiny=False, no_save=False, results=tmp_path / "results")
        return run_all(args, entries=entries, program=(sys.executable, "-S", "-c", FAKE), **options)

    return run


def options_of(tmp_path, name):
    return json.loads((tmp_path / "results" / name).read_text())


def test_one_that_breaks_does_not_stop_those_after_it(run):
    done = []
    outcome = run(Entry("broken", 20), Entry("sound", 20), on_done=lambda: done.append(1))
    assert outcome["broken"].startswith("failed, in whole or in part, with exit code 3")
    assert outcome["sound"].startswith("done in ")
    assert len(done) == 2


def test_one_that_takes_too_long_is_stopped_and_its_figures_stay(run, tmp_path):
    begun = time.monotonic()
    outcome = run(Entry("slow", 1.5, least_s=0), Entry("sound", 20))
    assert time.monotonic() - begun < 30
    assert outcome["slow"] == "stopped after 2 s; what it had found is kept"
    assert outcome["sound"].startswith("done in ")
    assert (tmp_path / "results" / "slow").is_file()


def test_the_budget_is_shared_and_what_no_longer_fits_is_left_out(run, tmp_path):
    now = iter([0.0, 10.0, 10.0, 40.0, 42.0])
    outcome = run(
        Entry("first", 100, budgeted=True), Entry("second", 100, least_s=20), budget_s=60, clock=lambda: next(now)
    )
    assert options_of(tmp_path, "first")[:2] == ["--budget-s", "35"]  # 60 less 10, less what starting takes
    assert outcome["second"] == "left out: 18 s were left, and it takes 20"


def test_what_lacks_a_package_is_left_out_and_the_package_named(run):
    outcome = run(Entry("first", 9, needs=("json", "a_package_that_is_not_there")))
    assert outcome == {"first": "left out: a_package_that_is_not_there can't be imported here"}


@pytest.mark.parametrize(
    ("first", "without"), [("slow", True), ("left-out", True), ("broken", False), ("sound", False)]
)
def test_what_builds_on_another_one_does_without_where_that_took_too_long(run, tmp_path, first, without):
    before = Entry(first, 1 if first == "slow" else 20, least_s=100 if first == "left-out" else 0)
    run(before, Entry("second", 20, after=first, otherwise=("--compile", "off")))
    assert (options_of(tmp_path, "second")[:2] == ["--compile", "off"]) == without


def test_every_entry_is_a_benchmark_and_what_says_most_of_a_gpu_fits_however_long_each_takes():
    assert {entry.name for entry in (*ON_CUDA, *ANYWHERE)} <= set(benchmarks())
    assert sum(entry.most_s for entry in ON_CUDA[:4]) + ON_CUDA[4].least_s <= 540
    assert all(not entry.after or entry.after in [e.name for e in ON_CUDA[:i]] for i, entry in enumerate(ON_CUDA))


def test_without_a_name_the_whole_list_is_run_and_its_failure_is_the_exit_code(monkeypatch, capsys, tmp_path):
    from benchmarks.__main__ import main

    asked, outcomes = [], iter(["left out: 2 s were left, and it takes 40", "failed with exit code 1"])

    def run_all(args, on_done):
        asked.append((args.budget_s, args.tiny, args.results))
        return {"gpu_unet": "done in 3 s", "swap": next(outcomes)}

    monkeypatch.setattr(everything, "run_all", run_all)
    given = ["--budget-s", "30", "--results", str(tmp_path / "results")]
    assert [main(given), main(given)] == [0, 1]
    assert asked == [(30.0, False, tmp_path / "results")] * 2
    assert "swap                 failed with exit code 1" in capsys.readouterr().out
