"""What holds for every variant: its yaml and the modes agree."""

import pytest

from studio.engines import METHODS
from studio.jobs.workshop import open_catalog
from studio.models.spec import BundledSource, HubSource
from studio.modes import all_modes
from studio.modes.request import bad_field, check_option
from studio.settings import Settings

SPECS = list(open_catalog(Settings(home="nowhere")))
MODES = list(all_modes().values())
CAPABILITIES = {capability for mode in MODES for capabilities in mode.roles.values() for capability in capabilities}


@pytest.fixture(params=SPECS, ids=lambda s: s.id)
def spec(request):
    return request.param


def places(spec):
    """Each (mode, role, options) in which the variant may be named."""
    for mode in MODES:
        for role, capabilities in mode.roles.items():
            if set(capabilities) & set(spec.capabilities):
                yield mode, role, spec.options_for(*capabilities)


def test_all_that_it_can_do_is_asked_for_by_some_mode_and_has_a_method(spec):
    assert set(spec.capabilities) <= CAPABILITIES
    assert set(METHODS) == CAPABILITIES


def test_its_options_are_fields_of_the_request_whose_default_would_pass(spec):
    for mode, role, options in places(spec):
        assert role != "variant" or "export_fps" in options, "what moves says how fast"
        for name, option in options.items():
            field = mode.request.model_fields[name]
            assert field.default is None, f"{name} has a default of its own; the variant's would never be used"
            check_option(name, option.default, option, spec.id)
            values = dict.fromkeys(
                [*mode.inputs, *(n for n, f in mode.request.model_fields.items() if f.is_required())], "x"
            )
            try:
                mode.request.model_validate({**values, role: spec.id, name: option.default})
            except ValueError as e:
                pytest.fail(str(bad_field(e, mode.request)))


def test_it_says_where_its_weights_are_from_and_under_which_licence(spec):
    assert spec.sources
    assert spec.licence.name
    if spec.bundled:
        assert all(isinstance(s, BundledSource) for s in spec.sources)
        return
    assert spec.shipped or spec.licence.url.startswith("https://")
    assert sum(spec.component_bytes.values()) > 0
    for source in spec.sources:
        if isinstance(source, HubSource):
            assert all(f.endswith(".safetensors") for f in source.weights.values())
