"""What a speed sets, of what a request leaves open, with the variants as they ship."""

import pytest

from studio.errors import BadInput, NotInstalled
from studio.jobs import intake
from studio.models.catalog import Catalog
from studio.models.sampling import DISTILLED
from studio.modes import all_modes
from studio.settings import shipped

CATALOG = Catalog(shipped("configs") / "models")
PRESETS = {"hurried": {"title": "Hurried", "variant": "svd-xt", "speed": "draft", "steps": 6}}
NAMES = ("speed", "steps", "width", "height", "sampler", "guidance_max")


def complete(distilled=False, **given):
    request = {"mode": "image-to-video", "image": "a.png", "variant": "svd-xt", **given}
    return intake.complete(request, CATALOG, PRESETS, distilled=lambda spec: distilled)


def filled(**given):
    request, _ = complete(**given)
    return tuple(getattr(request, name) for name in NAMES)


def test_exact_and_fast_take_the_variants_own_defaults():
    exact = ("exact", 30, 1024, 576, "euler", 3.0)
    assert filled() == exact
    assert filled(speed="fast") == ("fast", *exact[1:])
    assert filled(speed="fast", distilled=True) == ("fast", *exact[1:])


def test_a_draft_is_few_steps_of_a_small_clip_and_says_so():
    assert filled(speed="draft") == ("draft", 8, 512, 320, "euler", 3.0)
    _, notices = complete(speed="draft")
    assert notices == ["speed: draft sets steps to 8, width to 512, height to 320."]


def test_with_the_unet_for_few_steps_a_draft_is_full_size():
    assert filled(speed="draft", distilled=True) == ("draft", 4, 1024, 576, "lcm", 1.0)


def test_a_draft_by_another_sampler_is_the_variants_own_unets():
    assert filled(speed="draft", sampler="heun", distilled=True) == filled(speed="draft", sampler="heun")
    assert filled(speed="draft", sampler="heun")[1:5] == (8, 512, 320, "heun")
    assert filled(speed="draft", sampler="lcm", distilled=True)[1:4] == (4, 1024, 576)


@pytest.mark.parametrize("distilled", [False, True])
def test_what_is_asked_for_by_name_stands_and_so_does_what_a_preset_says(distilled):
    assert filled(speed="draft", steps=12, distilled=distilled)[1] == 12
    assert filled(preset="hurried", distilled=distilled)[1] == 6
    assert filled(preset="hurried", steps=7, distilled=distilled)[1] == 7


def test_a_shape_is_never_half_a_drafts_and_half_somebody_elses():
    assert filled(speed="draft", width=768)[2:4] == (768, 576)
    assert filled(speed="draft", height=448)[2:4] == (1024, 448)
    _, notices = complete(speed="draft", width=768)
    assert notices[0] == "speed: draft sets steps to 8."


def test_a_request_that_is_complete_stays_as_it_is_whatever_is_installed_since():
    for then, now in ((False, True), (True, True), (False, False)):
        request, _ = complete(speed="draft", distilled=then)
        again, notices = intake.complete(request.model_dump(), CATALOG, PRESETS, distilled=lambda spec, now=now: now)
        assert again == request
        assert not [n for n in notices if n.startswith("speed")]


def test_the_sampler_for_few_steps_is_refused_where_its_unet_is_not_here():
    with pytest.raises(NotInstalled, match="lcm runs AnimateLCM") as refused:
        complete(sampler="lcm")
    assert refused.value.field == "sampler"
    assert refused.value.remedy == "python -m studio models pull svd-xt --with draft"
    assert filled(sampler="lcm", distilled=True)[4] == "lcm"
    with pytest.raises(BadInput, match="sampler: lcm is not one of svd's"):
        complete(variant="svd", sampler="lcm", distilled=True)


def test_a_model_without_speeds_does_not_listen():
    request, notices = complete(variant="parallax", speed="draft")
    assert request.speed is None
    assert notices == ["speed: parallax does not use it; ignored."]


@pytest.mark.parametrize("spec", list(CATALOG), ids=lambda spec: spec.id)
def test_what_a_speed_sets_would_pass_and_lcm_goes_with_its_unet_alone(spec):
    for mode in all_modes().values():
        for role, capabilities in mode.roles.items():
            if not set(capabilities) & set(spec.capabilities):
                continue
            able = spec.capability_for(*capabilities)
            assert not able.speeds or "speed" in able.options
            for fields in able.speeds.values():
                for field, value in fields.items():
                    intake.check_option(field, value, able.options[field], spec.id)
                values = dict.fromkeys([*mode.inputs, *_required(mode)], "x")
                mode.request.model_validate({**values, role: spec.id, **fields})
            samplers = able.options["sampler"].choices if "sampler" in able.options else ()
            assert samplers is not None, "a variant says which samplers are its own"
            assert ("lcm" in samplers) == ("distilled" in able.speeds)
            assert "lcm" not in samplers or DISTILLED in spec.extras


def _required(mode):
    return (name for name, field in mode.request.model_fields.items() if field.is_required())
