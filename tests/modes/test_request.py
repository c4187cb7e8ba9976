"""Requests say in words what their fields take."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from studio.errors import BadInput
from studio.models.spec import Option
from studio.modes.image_to_video import ImageToVideo
from studio.modes.request import bad_field, check_option, takes


@pytest.mark.parametrize(
    ("field", "says"),
    [
        ("frames", "a whole number from 2 to 240"),
        ("noise_augmentation", "a number from 0 to 1"),
        ("seed", "a whole number from 0 to 2 147 483 647"),
        ("fit", "one of crop, pad, blur-pad"),
        ("background", "a colour such as #ffffff"),
        ("finish", "a list of words"),
        ("image", "text"),
    ],
)
def test_each_kind_of_field_has_its_words(field, says):
    assert takes(ImageToVideo, field) == says


def refuse(**fields) -> BadInput:
    with pytest.raises(ValidationError) as caught:
        ImageToVideo.model_validate({"image": "x.png", **fields})
    return bad_field(caught.value, ImageToVideo)


def test_a_sentence_has_the_field_what_was_given_and_what_it_takes():
    assert str(refuse(frames=1000)) == "frames: 1000 won't do; it takes a whole number from 2 to 240."
    assert str(refuse(frames="many")) == "frames: 'many' won't do; it takes a whole number from 2 to 240."
    assert str(refuse(fraems=3)) == "fraems: this is not an option here. Leave it out, or check its spelling."


def test_a_long_value_is_cut_in_the_sentence():
    assert len(str(refuse(camera_move="x" * 10_000))) < 350


@pytest.mark.parametrize(
    ("value", "option", "says"),
    [
        (40, Option(default=25, max=25), "frames: 40 is more than svd-xt takes (25). Lower frames."),
        (1, Option(default=25, min=2), "frames: 1 is less than svd-xt takes (2). Raise frames."),
        (100, Option(default=64, multiple_of=64), "frames: 100 is not a multiple of 64. 128 would do."),
        (3, Option(default=1, choices=(1, 2)), "frames: 3 is not one of svd-xt's: 1, 2."),
    ],
)
def test_a_variants_own_bounds_are_said(value, option, says):
    with pytest.raises(BadInput) as caught:
        check_option("frames", value, option, "svd-xt")
    assert str(caught.value) == says


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=300, deadline=None)
@given(field=st.sampled_from(sorted(ImageToVideo.model_fields)), value=json_values)
def test_any_value_in_any_field_is_taken_or_refused_in_one_sentence(field, value):
    try:
        request = ImageToVideo.model_validate({"image": "x.png", field: value})
    except ValidationError as e:
        error = bad_field(e, ImageToVideo)
        assert error.message.startswith(f"{field}: ")
        assert len(str(error)) < 500
    else:
        again = ImageToVideo.model_validate_json(request.model_dump_json())
        assert again == request
        json.dumps(request.model_dump(mode="json"), allow_nan=False)
