"""``python -m studio train`` passes its words on to ``python -m studio.train``."""

import pytest
from typer.testing import CliRunner

from studio.cli import app
from studio.train import __main__ as program


@pytest.fixture
def heard(monkeypatch):
    words = []
    monkeypatch.setattr(program, "main", lambda given: words.extend(given) or 2)
    return words


@pytest.mark.parametrize("words", [["svd", "--minutes", "9", "--resume"], ["--help"], ["check", "--held-out", "4"]])
def test_every_word_goes_on_as_it_is_and_the_exit_code_comes_back(heard, words):
    result = CliRunner().invoke(app, ["train", *words])
    assert heard == words
    assert result.exit_code == 2


def test_help_says_what_there_is_to_train():
    result = CliRunner().invoke(app, ["train", "--help"])
    assert result.exit_code == 0
    assert "vae, clip, svd, sv3d, sdxl" in result.output


def test_the_command_that_is_kept_with_the_weights_names_no_place_of_the_machine(monkeypatch, tmp_path):
    kept = []
    monkeypatch.setattr(program, "_run", lambda given, words, began_s: kept.append(words) or 0)
    assert (
        program.main(["vae", "--out", str(tmp_path / "pocket"), f"--weights={tmp_path / 'more'}", "--minutes", "6"])
        == 0
    )
    assert kept == ["vae --out pocket --weights=more --minutes 6"]
