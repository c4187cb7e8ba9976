"""Settings: command line before variable before default, and a bad one is named."""

from pathlib import Path

import pytest

from studio.errors import BadInput
from studio.settings import Settings, read_settings, shipped


def test_an_option_wins_over_a_variable_and_that_over_the_default():
    assert read_settings({}).device == "auto"
    assert read_settings({"STUDIO_DEVICE": "cpu"}).device == "cpu"
    assert read_settings({"STUDIO_DEVICE": "cpu"}, device="cuda:1").device == "cuda:1"
    assert read_settings({"STUDIO_DEVICE": "cpu"}, device=None).device == "cpu"


def test_words_of_a_variable_become_values():
    settings = read_settings({"STUDIO_SHARE": "1", "STUDIO_PORT": "8000", "STUDIO_CANCEL_GRACE_S": "2.5"})
    assert (settings.share, settings.port, settings.cancel_grace_s) == (True, 8000, 2.5)


@pytest.mark.parametrize(
    ("environ", "given", "named"),
    [
        ({"STUDIO_PORT": "99999"}, {}, "STUDIO_PORT"),
        ({"STUDIO_PRECISION": "int4"}, {}, "STUDIO_PRECISION"),
        ({"STUDIO_SHARE": "perhaps"}, {}, "STUDIO_SHARE"),
        ({}, {"device": "toaster"}, "--device"),
        ({}, {"port": 0}, "--port"),
        ({}, {"vram": "some"}, "--vram"),
        ({}, {"vram_budget": "8"}, "--vram-budget: '8' won't do; give a number and a unit"),
        ({"STUDIO_RAM_BUDGET": "much"}, {}, "STUDIO_RAM_BUDGET"),
    ],
)
def test_a_value_that_will_not_do_is_named_as_it_was_given(environ, given, named):
    with pytest.raises(BadInput, match=named):
        read_settings(environ, **given)


def test_everything_lies_in_home_unless_said_otherwise(tmp_path):
    settings = read_settings({"STUDIO_HOME": str(tmp_path)})
    for path in (settings.models, settings.outputs, settings.inputs, settings.journal, settings.scratch):
        assert path.is_relative_to(tmp_path)
    assert read_settings({"STUDIO_HOME": str(tmp_path), "STUDIO_MODELS_DIR": "/weights"}).models == Path("/weights")


def test_home_is_a_platform_folder_by_default_and_paths_are_absolute():
    assert read_settings({}).home.name == "svd-studio"
    assert read_settings({}, home=Path("here")).home.is_absolute()
    assert not str(read_settings({}, home=Path("~/x")).home).startswith("~")


def test_reading_settings_makes_no_folder(tmp_path):
    read_settings({"STUDIO_HOME": str(tmp_path / "home")})
    assert list(tmp_path.iterdir()) == []


def test_what_ships_with_the_studio_is_found():
    assert (shipped("configs") / "models" / "parallax.yaml").is_file()
    assert (shipped("examples") / "pictures").is_dir()


def test_every_setting_says_what_it_is():
    assert all(field.description for field in Settings.model_fields.values())
