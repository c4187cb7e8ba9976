"""What is quickest, found out with real blocks; the clock is the tests' own."""

import json

import pytest
import torch

from studio.cli import app
from studio.engines import tuning
from studio.engines.compiled import Compiler, Compiling
from studio.engines.tuning import ClipShape, tune
from studio.models.tuned import BLOCKS, COMPILED, EAGER, SMALL_STEPS, Tuned, memory_format_of
from tests.engines.test_graphs import Again

CLIP = ClipShape(2, 64, 64)


class Told:
    def notice(self, sentence):
        pass

    def check(self):
        pass


@pytest.fixture(autouse=True)
def _narrow(monkeypatch):
    monkeypatch.setattr(tuning, "_LEVELS", ((1, 1), (2, 1)))
    monkeypatch.setattr(tuning, "_SMALL", CLIP)


def clock(monkeypatch, *seconds):
    """Trials take these, in order; attention takes no time."""
    rest = list(seconds)

    def timed(work, device):
        work()
        return rest.pop(0)

    monkeypatch.setattr(tuning, "seconds_of", timed)
    monkeypatch.setattr("studio.engines.attention.seconds_of", lambda work, device: 1.0)


def test_each_question_is_answered_and_kept(monkeypatch):
    # eager and compiled with each memory format, then a small step launched and played back
    clock(monkeypatch, 4.0, 3.0, 5.0, 1.0, 2.0, 1.0)
    tuned, recorder = Tuned(None), Again()
    compiling = Compiling(Compiler(backend="eager"), Told(), tuned)
    found = {f.question: f for f in tune(tuned, "cpu", torch.float32, CLIP, compiling, recorder)}
    assert set(found) == set(tuned.questions())
    assert sum(question.startswith("attention") for question in found) == 4
    assert found[memory_format_of(EAGER)].choice == "contiguous"
    assert found[memory_format_of(COMPILED)].choice == "channels last"
    assert found[BLOCKS].seconds == {EAGER: 4.0, COMPILED: 1.0}
    assert found[BLOCKS].choice == COMPILED
    assert found[SMALL_STEPS].choice == "recorded"
    assert tuned.channels_last(compiled=True)


def test_what_can_neither_be_compiled_nor_recorded_is_not_chosen(monkeypatch):
    def backend(graph, inputs):
        raise RuntimeError("no C compiler here")

    clock(monkeypatch, 4.0, 3.0, 5.0, 1.0, 2.0)
    tuned = Tuned(None)
    compiling = Compiling(Compiler(backend=backend), Told(), tuned)
    list(tune(tuned, "cpu", torch.float32, CLIP, compiling, Again(fails=RuntimeError("not here"))))
    assert {BLOCKS, SMALL_STEPS, memory_format_of(COMPILED)}.isdisjoint(tuned.questions())
    assert tuned.choice(memory_format_of(EAGER)) == "contiguous"


def test_what_plays_back_something_else_is_not_used(monkeypatch):
    class Wrong(Again):
        def record(self, work):
            _, out = super().record(work)
            return (lambda: out.zero_()), out

    clock(monkeypatch, 4.0, 3.0, 2.0, 1.0)
    tuned = Tuned(None)
    list(tune(tuned, "cpu", torch.float32, CLIP, None, Wrong()))
    assert tuned.choice(SMALL_STEPS) is None


def test_the_command_prints_what_it_found_and_keeps_it(tmp_path, capsys):
    size = ["--frames", "2", "--width", "64", "--height", "64"]
    app(["--home", str(tmp_path), "--device", "cpu", "tune", *size, "--json"], standalone_mode=False)
    said = json.loads(capsys.readouterr().out)
    assert said["device"] == "cpu"
    kept = json.loads((tmp_path / "devices" / "tuned" / "cpu-fp32.json").read_text())
    assert {f["question"] for f in said["found"]} == set(kept["answers"])
    app(["--home", str(tmp_path), "--device", "cpu", "tune", *size], standalone_mode=False)
    assert memory_format_of(EAGER) in capsys.readouterr().out
