"""What holds for every variant: its yaml and the modes agree."""

import pytest

from studio.jobs.workshop import open_catalog
from studio.models.spec import BundledSource, HubSource
from studio.modes import all_modes
from studio.modes.request import bad_field, check_option
from studio.settings import Settings

SPECS = list(open_catalog(Settings(home="nowhere")))


@pytest.fixture(params=SPECS, ids=lambda s: s.id)
def spec(request):
    return request.param


def test_its_capabilities_are_modes_and_its_options_are_fields_whose_default_would_pass(spec):
    for capability, offered in spec.capabilities.items():
        request = all_modes()[capability].request
        assert "export_fps" in offered.options
        for name, option in offered.options.items():
            field = request.model_fields[name]
            assert field.default is None, f"{name} has a default of its own; the variant's would never be used"
            check_option(name, option.default, option, spec.id)
            values = dict.fromkeys(all_modes()[capability].inputs, "x.png")
            try:
                request.model_validate({**values, "variant": spec.id, name: option.default})
            except ValueError as e:
                pytest.fail(str(bad_field(e, request)))


def test_it_says_where_its_weights_are_from_and_under_which_licence(spec):
    assert spec.sources
    assert spec.licence.name
    if spec.bundled:
        assert all(isinstance(s, BundledSource) for s in spec.sources)
        return
    assert spec.licence.url.startswith("https://")
    assert sum(spec.component_bytes.values()) > 0
    for source in spec.sources:
        if isinstance(source, HubSource):
            assert all(f.endswith(".safetensors") for f in source.weights.values())
