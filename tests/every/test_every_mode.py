"""What holds for every mode, today's and tomorrow's."""

import re

import pytest

from studio.engines import METHODS, family_module
from studio.jobs.workshop import open_catalog
from studio.modes import all_modes
from studio.modes.request import Request
from studio.settings import Settings

MODES = list(all_modes().values())
CATALOG = open_catalog(Settings(home="nowhere"))


@pytest.fixture(params=MODES, ids=lambda m: m.id)
def mode(request):
    return request.param


def test_its_id_is_its_file_its_command_and_its_request(mode):
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", mode.id)
    assert mode.run.__module__ == f"studio.modes.{mode.id.replace('-', '_')}"
    assert issubclass(mode.request, Request)
    assert mode.request.model_fields["mode"].default == mode.id


def test_every_field_says_what_it_is_and_every_number_has_bounds(mode):
    schema = mode.request.model_json_schema()["properties"]
    for name, field in mode.request.model_fields.items():
        if name in ("mode",):
            continue
        assert field.description, name
        assert field.description.rstrip().endswith("."), name
        numbers = [p for p in [schema[name], *schema[name].get("anyOf", [])] if p.get("type") in ("integer", "number")]
        for number in numbers:
            assert {"minimum", "exclusiveMinimum"} & set(number), name
            assert {"maximum", "exclusiveMaximum"} & set(number), name


def test_some_variant_that_needs_no_download_can_do_it(mode):
    assert any(spec.bundled for spec in CATALOG.able(mode.id))


def test_its_inputs_are_fields(mode):
    assert set(mode.inputs) <= set(mode.request.model_fields)


def test_its_engines_have_its_method(mode):
    for family in {spec.family for spec in CATALOG.able(mode.id)}:
        assert callable(getattr(family_module(family).Engine, METHODS[mode.id]))
