import json

import pytest

from studio.models import tuned as module
from studio.models.memory import Device
from studio.models.tuned import BLOCKS, COMPILED, EAGER, Tuned, machine, memory_format_of, tuned_file

GPU = Device("cuda:0", "A card", "fp16")


def test_an_answer_stays_until_it_is_asked_anew(tmp_path):
    tuned = Tuned(tmp_path / "t.json", "torch 1")
    assert tuned.choice("q") is None
    assert tuned.keep("q", "flash", {"flash": 0.1, "math": 0.2}) == "flash"
    assert tuned.keep("q", "math", {"math": 0.05}) == "flash"
    again = Tuned(tmp_path / "t.json", "torch 1")
    assert again.choice("q") == "flash"
    assert again.seconds("q") == {"flash": 0.1, "math": 0.2}
    assert again.keep("q", "math", {"math": 0.05}, anew=True) == "math"
    assert Tuned(tmp_path / "t.json", "torch 1").choice("q") == "math"
    assert again.questions() == ("q",)
    again.forget()
    assert again.questions() == ()


def test_two_processes_do_not_write_over_each_others_answers(tmp_path):
    page, command = (Tuned(tmp_path / "t.json", "torch 1") for _ in range(2))
    page.keep("q", "flash", {})
    command.keep("q", "math", {}, anew=True)
    page.keep("other", "math", {})
    assert page.choice("q") == "flash", "one that runs is not changed under its jobs"
    later = Tuned(tmp_path / "t.json", "torch 1")
    assert (later.choice("q"), later.choice("other")) == ("math", "math")


def test_what_was_measured_with_another_version_is_measured_anew(tmp_path):
    Tuned(tmp_path / "t.json", "torch 1").keep("q", "flash", {})
    assert Tuned(tmp_path / "t.json", "torch 2").choice("q") is None


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"made_with": "x", "answers": []}', '{"made_with": "x", "answers": {"q": {"choice": 3}}}']
)
def test_a_damaged_file_counts_as_empty_and_is_replaced(tmp_path, text):
    (tmp_path / "t.json").write_text(text)
    tuned = Tuned(tmp_path / "t.json", "x")
    assert tuned.choice("q") is None
    tuned.keep("q", "flash", {})
    assert json.loads((tmp_path / "t.json").read_text())["answers"]["q"]["choice"] == "flash"


def test_without_a_file_and_where_it_cant_be_written_answers_last_as_long_as_the_process(tmp_path):
    (tmp_path / "file").write_text("")
    for tuned in (Tuned(None), Tuned(tmp_path / "file" / "t.json")):
        tuned.keep("q", "flash", {})
        assert tuned.choice("q") == "flash"


def test_each_device_and_precision_has_a_file_of_its_own_that_plans_do_not_read(tmp_path):
    paths = {tuned_file(tmp_path, d) for d in (GPU, Device("cuda:1", "A card", "fp16"), Device("cpu", "CPU", "fp32"))}
    assert len(paths) == 3
    assert not {p.parent for p in paths} & {tmp_path / "devices"}


def test_what_it_holds_for_names_device_precision_and_torch():
    assert machine(GPU).startswith("A card fp16; torch 2.")


@pytest.mark.parametrize(
    ("compiling", "device", "triton", "answer", "expected"),
    [
        ("auto", "cuda:0", True, None, True),
        ("auto", "cuda:0", True, COMPILED, True),
        ("auto", "cuda:0", True, EAGER, False),
        ("auto", "cuda:0", False, None, False),
        ("auto", "cpu", True, COMPILED, False),
        ("on", "cpu", False, EAGER, True),
        ("off", "cuda:0", True, COMPILED, False),
    ],
)
def test_networks_are_compiled_where_that_pays_or_where_it_was_asked_for(
    monkeypatch, compiling, device, triton, answer, expected
):
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: triton or None)
    tuned = Tuned(None)
    if answer:
        tuned.keep(BLOCKS, answer, {})
    assert tuned.compiles(compiling, device) is expected


def test_channels_come_last_only_where_that_was_measured_for_how_blocks_run():
    tuned = Tuned(None)
    assert not tuned.channels_last(compiled=True)
    tuned.keep(memory_format_of(COMPILED), "channels last", {})
    assert tuned.channels_last(compiled=True)
    assert not tuned.channels_last(compiled=False)
