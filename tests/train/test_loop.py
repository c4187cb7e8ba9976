"""The training loop, on a line that is fitted to points: when it writes, when it ends, what it tells."""

import math
import os
import signal
import subprocess
import sys
from typing import ClassVar

import numpy as np
import pytest
import torch

from studio.errors import BadInput, StudioError
from studio.train import __main__ as program
from studio.train import export, loop
from studio.train.loop import Order, train
from studio.train.stages import Bound, Clock, Measured, Setup


class Line:
    """A stage that learns y = 3 x."""

    name, needs, minutes, evaluation_s = "line", (), 1.0, 6.0
    begins_from = None
    bounds: ClassVar = {"slope": Bound("at least", 2.9)}

    def begin(self, setup):
        return LineTraining(setup)

    def measure(self, shipped, setup, count, clock):
        slope = float(export.read_state(export.find(shipped._roots, "line") / "line")["weight"])
        return Measured({"slope": slope, "samples": count}, np.zeros((4, 4, 3), np.uint8))


class LineTraining:
    helpers = ()
    learning_rate = 0.1

    def __init__(self, setup):
        torch.manual_seed(0)
        self.line = torch.nn.Linear(1, 1, bias=False)
        state = setup.resumed("line", "line")
        if state is not None:
            self.line.load_state_dict(state)
        self.exported = {"line": self.line}
        self.dice = setup.generator("line")
        self.broken = False

    def step(self, progress):
        x = torch.randn(8, 1, generator=self.dice)
        loss = (self.line(x) - 3 * x).square().mean() * (float("nan") if self.broken else 1)
        return loss, {"largest": x.max()}

    def configs(self):
        return {"line": {"a": 1}}

    def other_files(self):
        return {"words/list.txt": "one"}


def run(root, steps=None, *, clock=None, resume=False, stage=None, roots=(), **given):
    setup = Setup(torch.device("cpu"), 0, (root, *roots), toy=True, resume=resume, run=int(resume))
    values = {"held_out": 1, "log_s": 0.0, "glances": (), "say": lambda line: None}
    return train(stage or Line(), setup, clock or Clock(5), Order(root, steps=steps, **{**values, **given}))


def slope(root):
    return float(export.read_state(root / "line" / "line")["weight"])


class After:
    """Asks to stop before the step after so many, as a signal would."""

    def __init__(self, steps):
        self.left = steps

    def __call__(self):
        self.left -= 1
        return self.left < 0


def test_it_learns_and_writes_weights_figures_sheet_and_other_files(tmp_path):
    told = run(tmp_path, 300, command="the command")
    assert slope(tmp_path) == pytest.approx(3, abs=0.05)
    assert told["figures"]["slope"] == {"value": pytest.approx(3, abs=0.05), "wanted": "at least 2.9", "met": True}
    assert told["figures"]["samples"] == {"value": 1}
    assert told["runs"][0]["command"] == "the command"
    assert [line["step"] for line in told["log"]] == list(range(1, 301))
    files = {f.relative_to(tmp_path).as_posix() for f in tmp_path.rglob("*") if f.is_file()}
    beside = {"line/metrics.json", "line/sheet.png", "line/words/list.txt"}
    assert files == {"line/line/config.json", "line/line/diffusion_pytorch_model.safetensors", *beside}


def test_the_same_seed_and_steps_give_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        run(tmp_path / name, 20)
    a, b = (export.read_metrics(tmp_path / name / "line")["files"] for name in ("a", "b"))
    assert a == b


def test_what_is_written_is_the_running_mean_of_the_weights(tmp_path):
    stage = Line()
    made = []
    stage.begin = lambda setup: made.append(LineTraining(setup)) or made[0]
    run(tmp_path, 6, stage=stage)
    last = made[0].line.weight.item()
    begun = LineTraining(Setup(torch.device("cpu"), 0, (), toy=True)).line.weight.item()
    assert begun + 0.01 < slope(tmp_path) < last - 0.01  # it rises, and its mean behind it


def test_a_resumed_run_goes_on_and_the_record_has_both(tmp_path):
    run(tmp_path, 60)
    before = slope(tmp_path)
    told = run(tmp_path, 1, resume=True)
    assert slope(tmp_path) == pytest.approx(before, abs=0.01)
    assert [r["steps"] for r in told["runs"]] == [60, 1]
    assert len(told["log"]) == 61


def test_a_run_is_resumed_from_another_folder_than_it_writes(tmp_path):
    run(tmp_path / "before", 60)
    run(tmp_path / "after", 1, resume=True, roots=(tmp_path / "before",))
    assert slope(tmp_path / "after") == pytest.approx(slope(tmp_path / "before"), abs=0.01)


def test_resuming_what_was_never_begun_is_the_users_mistake(tmp_path):
    with pytest.raises(BadInput, match="line: it has not been trained"):
        run(tmp_path, 1, resume=True)


def test_a_run_does_not_go_on_with_another_stage_before_it(tmp_path):
    class Second(Line):
        name, needs = "second", ("line",)

        def measure(self, shipped, setup, count, clock):
            return Measured({}, np.zeros((4, 4, 3), np.uint8))

    run(tmp_path, 3)
    told = run(tmp_path, 3, stage=Second())
    assert told["needs"] == {"line": export.identity(tmp_path / "line")}
    run(tmp_path, 1, stage=Second(), resume=True)
    run(tmp_path, 9)
    with pytest.raises(BadInput, match="trained with another line"):
        run(tmp_path, 1, stage=Second(), resume=True)


def test_a_toy_and_a_full_model_are_not_mixed(tmp_path):
    run(tmp_path, 3)
    setup = Setup(torch.device("cpu"), 0, (tmp_path,), resume=True)
    with pytest.raises(BadInput, match="what was trained is a toy, and this run is full-sized"):
        train(Line(), setup, Clock(5), Order(tmp_path, steps=1))


def test_a_run_that_is_stopped_writes_whole_weights_and_takes_no_figures(tmp_path):
    told = run(tmp_path, 50, stopped=After(2))
    assert told["runs"][-1]["steps"] == 2
    assert told["figures"] == {}
    assert slope(tmp_path)


def test_it_ends_in_time_for_its_figures(tmp_path):
    times = iter(np.arange(0, 1000, 0.5))  # a look at the clock takes half a second
    told = run(tmp_path, clock=Clock(1.0, now=lambda: float(next(times))))
    last_s = told["log"][-1]["minutes"] * 60
    assert 60 - Line.evaluation_s - 2 <= last_s <= 60 - Line.evaluation_s + 2
    assert told["figures"]


def test_figures_take_a_quarter_of_a_short_run_at_most(tmp_path):
    times = iter(np.arange(0, 1000, 0.1))
    told = run(tmp_path, clock=Clock(0.1, now=lambda: float(next(times))))
    assert 4 < told["log"][-1]["minutes"] * 60 < 5


def test_weights_are_written_every_minute(tmp_path, monkeypatch):
    times = iter(range(0, 10_000, 2))
    written = []
    real = export.write_stage
    monkeypatch.setattr(export, "write_stage", lambda *a, **k: (written.append(next(times)), real(*a, **k))[1])
    run(tmp_path, clock=Clock(5.0, now=lambda: next(times)))
    assert 5 <= len(written) <= 6
    assert all(50 <= gap <= 75 for gap in np.diff(written[:-1]))


def test_what_it_is_like_so_far_is_seen_while_it_goes_on(tmp_path):
    told = run(tmp_path, 10, glances=(0.5,))
    assert [line["step"] for line in told["log"] if "figures" in line] == [6]


def test_a_loss_that_is_no_number_ends_the_run_and_leaves_the_last_weights(tmp_path):
    run(tmp_path, 60)
    before = slope(tmp_path)

    class Broken(Line):
        def begin(self, setup):
            training = LineTraining(setup)
            training.broken = True
            return training

    with pytest.raises(StudioError, match="no number any more at step 1"):
        run(tmp_path, 5, stage=Broken())
    assert slope(tmp_path) == before


def test_weights_that_are_no_numbers_are_never_written(tmp_path):
    module = torch.nn.Linear(1, 1)
    mean = loop.RunningMean({"x": module})
    assert mean.is_finite()
    torch.nn.init.constant_(module.bias, math.inf)
    mean.update()
    assert not mean.is_finite()


def test_where_compiling_fails_it_goes_on_without(tmp_path, monkeypatch):
    def compile(module, **given):
        def fail(*args, **kwargs):
            raise RuntimeError("no compiler")

        module._compiled_call_impl = fail

    monkeypatch.setattr(torch.nn.Module, "compile", compile)
    said = []
    told = run(tmp_path, 3, compiled=True, say=said.append)
    assert any("torch.compile failed" in line and "no compiler" in line for line in said)
    assert told["runs"][-1]["compiled"] is False
    assert told["runs"][-1]["steps"] == 3


def test_the_rate_warms_up_stays_and_falls():
    rates = [loop.rate(step / 1000, step, 100) for step in range(1000)]
    assert rates[0] < 0.02
    assert all(r == 1 for r in rates[101:500])
    assert rates[-1] == pytest.approx(0.02)
    assert np.all(np.diff(rates[500:]) <= 0)


def test_the_running_mean_follows_the_weights_and_a_resumed_one_slowly():
    module = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.zeros_(module.weight)
    means = [loop.RunningMean({"x": module}, resumed=resumed) for resumed in (False, True)]
    torch.nn.init.ones_(module.weight)
    for mean in means:
        mean.update()
    fresh, resumed = (float(mean.states["x"]["weight"]) for mean in means)
    assert fresh == pytest.approx(1 - 2 / 11)
    assert resumed == pytest.approx(1 - loop.MOST_EMA)


def test_a_bound_is_met_on_its_own_side_and_never_by_no_number():
    most = Bound("at most", 1.2)
    assert most.met(1.2)
    assert not most.met(1.3)
    assert not most.met(math.nan)
    assert Bound("at least", 28).met(28.0)
    assert not Bound("at least", 28).met(27.9)


def test_other_runs_and_salts_have_other_numbers():
    def first(seed, run, salt):
        setup = Setup(torch.device("cpu"), seed, (), run=run)
        return float(torch.rand((), generator=setup.generator(salt)))

    assert len({first(0, 0, "a"), first(1, 0, "a"), first(0, 1, "a"), first(0, 0, "b")}) == 4
    assert first(0, 1, "a") == first(0, 1, "a")


# --- the program ----------------------------------------------------------------------------------------------


def complaint(capsys, *words):
    code = program.main(list(words))
    return code, capsys.readouterr().err


def test_an_unknown_stage_is_named_with_those_there_are(capsys, tmp_path):
    code, says = complaint(capsys, "vea", "--out", str(tmp_path))
    assert code == 2
    assert "no 'vea'; there are" in says
    assert "svd" in says


def test_a_stage_whose_need_is_missing_says_what_to_run(capsys, tmp_path):
    code, says = complaint(capsys, "svd", "--out", str(tmp_path), "--weights", str(tmp_path))
    assert code == 2
    assert "studio train" in says


def test_toy_weights_never_go_into_the_studios_own_folder(capsys):
    code, says = complaint(capsys, "vae", "--toy")
    assert code == 2
    assert "--out" in says


@pytest.mark.parametrize("words", [["--minutes", "0"], ["--steps", "-1"], ["--minutes", "soon"]])
def test_a_number_that_means_nothing_is_refused(words, tmp_path, capsys):
    with pytest.raises(SystemExit) as e:
        program.main(["vae", "--out", str(tmp_path), *words])
    assert e.value.code == 2


def test_a_device_that_is_not_here_is_refused(capsys, tmp_path):
    code, says = complaint(capsys, "vae", "--out", str(tmp_path), "--device", "cuda:77")
    assert code == 2
    assert "device" in says


def test_there_is_nothing_to_check_before_the_first_stage(capsys, tmp_path):
    code, says = complaint(capsys, "check", "--out", str(tmp_path), "--weights", str(tmp_path))
    assert code == 2
    assert "no stage has been trained" in says


def test_being_asked_to_end_is_heard_once_and_ends_at_once_the_second_time():
    with program._stoppable() as asked:
        os.kill(os.getpid(), signal.SIGTERM)
        assert asked == [signal.SIGTERM]
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_the_training_package_needs_nothing_that_a_bare_machine_lacks():
    code = (
        "import sys\n"
        "import studio.train.__main__, studio.train.report, studio.train.loop\n"
        "from studio.train import stages\n"
        "[stages.stage(name) for name in ('vae', 'clip', 'svd', 'sv3d')]\n"
        "import studio.engines.svd, studio.engines.sv3d\n"
        "print([m for m in ('pydantic', 'gradio', 'typer', 'moviepy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == "[]"
