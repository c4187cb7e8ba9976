"""What holds for every mode, today's and tomorrow's."""

import re

import pytest

from studio.engines import METHODS, family_module
from studio.errors import NotInstalled
from studio.jobs.intake import read_presets
from studio.jobs.workshop import open_catalog
from studio.modes import all_modes
from studio.modes.request import Request
from studio.settings import Settings, shipped

MODES = list(all_modes().values())
CATALOG = open_catalog(Settings(home="nowhere"))
PRESETS = [(mode.id, preset) for mode in MODES for preset in read_presets(mode.id, shipped("configs"))]


@pytest.fixture(params=MODES, ids=lambda m: m.id)
def mode(request):
    return request.param


def given(mode, file):
    """What a request of that mode has to be given: a stand-in for each file, and a word for each text."""
    needed = {name: "a cup" for name, field in mode.request.model_fields.items() if field.is_required()}
    return {"mode": mode.id, **needed, **dict.fromkeys(mode.inputs, str(file))}


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


def test_each_of_its_roles_is_a_field_whose_default_is_nothing_or_a_variant_that_needs_no_download(mode):
    assert "variant" in mode.roles
    for role, capabilities in mode.roles.items():
        named = mode.request.model_fields[role].default
        if named is None:
            continue
        default = CATALOG.get(named)
        assert default.bundled
        assert set(default.capabilities) & set(capabilities)


def test_every_variant_that_can_do_a_role_is_shown_there_and_named_by_a_method_of_its_engine(mode):
    for capabilities in mode.roles.values():
        for capability in capabilities:
            able = CATALOG.able(capability)
            assert able, capability
            for family in {spec.family for spec in able}:
                assert callable(getattr(family_module(family).Engine, METHODS[capability]))


def test_a_request_of_which_nothing_is_said_but_what_must_be_uses_roles_that_are_its_own(mode, studio, photo):
    complete, notices = studio.check(given(mode, photo))
    assert notices == []
    used = mode.used_roles(complete, CATALOG)
    assert used
    assert set(used) <= set(mode.roles)
    assert [spec.id for spec, _ in mode.uses(complete, CATALOG)] == [getattr(complete, role) for role in used]


def test_its_inputs_are_fields(mode):
    assert set(mode.inputs) <= set(mode.request.model_fields)


@pytest.mark.parametrize(("mode_id", "preset"), PRESETS, ids=lambda name: name)
def test_every_preset_is_a_request_without_notices_that_runs_or_says_what_to_install(studio, photo, mode_id, preset):
    mode = all_modes()[mode_id]
    assert studio.presets(mode_id)[preset]["title"]
    request = {**given(mode, photo), "preset": preset}
    request |= {k: v for k, v in studio.presets(mode_id)[preset].items() if k != "title" and k in request}
    complete, notices = studio.check(request)
    assert notices == []
    assert studio.plan(request).says
    missing = [spec for spec, _ in mode.uses(complete, studio.catalog) if not spec.bundled]
    if missing:
        with pytest.raises(NotInstalled) as caught:
            studio.submit(request)
        assert caught.value.field in mode.roles
        assert missing[0].id in f"{caught.value.message} {caught.value.remedy}"
