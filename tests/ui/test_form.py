from typing import Annotated, Literal

import gradio as gr
import pytest
from pydantic import Field

from studio.models.spec import Capability, Licence, Option, VariantSpec
from studio.modes.request import Request, form
from studio.ui import form as forms


class Wish(Request):
    mode: Literal["wish"] = "wish"
    image: str = Field(json_schema_extra=form(control="picture"))
    variant: str = Field(default="plain", json_schema_extra=form(control="variant"))
    frames: Annotated[int, Field(ge=2, le=240)] | None = Field(
        default=None, json_schema_extra=form(group="motion", control="slider", step=1, unit="frames")
    )
    strength: Annotated[float, Field(ge=0, le=1)] | None = Field(default=None)
    width: Annotated[int, Field(ge=64, le=4096)] | None = Field(default=None, json_schema_extra=form(unit="px"))
    look: Literal["as-is", "very-bold"] = "as-is"
    again: bool = False


def spec(name, **options):
    return VariantSpec(
        id=name, title=name, summary="", family="x", sources=(), licence=Licence(name="none"),
        capabilities={"wish": Capability(options=options)},
    )  # fmt: skip


PLAIN = spec("plain", frames=Option(default=25, max=60), width=Option(default=512, max=1024, multiple_of=8))
BOLD = spec("bold", strength=Option(default=0.5), frames=Option(default=14, choices=(14,)))


def entries(specs):
    return forms.entries(Wish, {"variant": {s.id: s.options_for("wish") for s in specs}})


def entry(name, specs=(PLAIN, BOLD)):
    return next(e for e in entries(specs) if e.name == name)


def test_every_field_but_the_mode_becomes_an_entry():
    names = [e.name for e in entries([PLAIN])]
    assert "mode" not in names
    assert set(names) == set(Wish.model_fields) - {"mode"}


@pytest.mark.parametrize(
    ("name", "kind"),
    [("image", "picture"), ("variant", "variant"), ("seed", "seed"), ("frames", "slider"), ("strength", "number"),
     ("width", "number"), ("look", "choice"), ("again", "check"), ("finish", "lines"), ("format", "choice")],
)  # fmt: skip
def test_a_fields_type_and_metadata_choose_its_control(name, kind):
    assert entry(name).kind == kind


def test_a_slider_whose_variant_leaves_it_open_can_be_empty():
    assert entry("frames", [spec("open", frames=Option(default=None))]).kind == "blank"


def test_a_slider_that_can_only_stand_at_one_value_is_drawn_and_can_not_be_moved():
    fixed = spec("fixed", frames=Option(default=21, min=21, max=21)).options_for("wish")["frames"]
    with gr.Blocks():
        slider = forms.draw(entry("frames"), fixed, elem_id="frames")
    assert (slider.value, slider.interactive) == (21, False)
    free = forms.follow(entry("frames"), PLAIN.options_for("wish")["frames"])
    assert (free["maximum"], free["interactive"]) == (60, True)


def test_a_field_is_heard_by_the_variants_that_list_it_and_by_all_where_none_does():
    assert entry("width").heard_by({"variant": "plain"})
    assert not entry("width").heard_by({"variant": "bold"})
    assert entry("look").heard_by({"variant": "plain"})
    assert entry("look").heard_by({"variant": "bold"})


def test_the_variants_option_narrows_bounds_and_sets_the_default():
    narrowed = forms.narrowed(entry("frames"), PLAIN.options_for("wish")["frames"])
    assert (narrowed.minimum, narrowed.maximum, narrowed.default) == (2, 60, 25)


def test_the_update_for_another_variant_carries_its_bounds_default_and_step():
    update = forms.follow(entry("width"), PLAIN.options_for("wish")["width"])
    assert update["value"] == 512
    assert update["step"] == 8
    assert "64 to 1024, in steps of 8." in update["info"]


def test_a_value_from_a_preset_stands_instead_of_the_default():
    assert forms.follow(entry("frames"), PLAIN.options_for("wish")["frames"], value=33)["value"] == 33


def test_a_unit_is_in_the_label_once():
    with gr.Blocks():
        px = forms.draw(entry("width"), None, elem_id="w")
        frames = forms.draw(entry("frames"), PLAIN.options_for("wish")["frames"], elem_id="f")
    assert px.label == "Width (px)"
    assert frames.label == "Frames"


def test_what_is_empty_is_left_out_of_the_request_and_lines_become_steps():
    shown = entries([PLAIN])
    raw = {"frames": 12, "strength": None, "look": "very-bold", "finish": "loop\n\n caption:Hi \n", "variant": ""}
    assert forms.read(shown, raw) == {"frames": 12, "look": "very-bold", "finish": ("loop", "caption:Hi")}


def test_a_value_of_the_wrong_type_is_passed_on_for_the_studio_to_refuse():
    assert forms.read([entry("frames")], {"frames": [1]}) == {"frames": [1]}


def test_choices_read_like_words_except_names_of_formats():
    choices = forms.follow(entry("look"), None)["choices"]
    assert choices == [("As is", "as-is"), ("Very bold", "very-bold")]
    assert ("mp4", "mp4") in forms.follow(entry("format"), None)["choices"]


def test_a_choice_is_called_what_the_field_calls_it():
    class Labelled(Wish):
        look: Literal["as-is", "very-bold"] = Field("as-is", json_schema_extra={"labels": {"very-bold": "Bold (loud)"}})

    (look,) = (e for e in forms.entries(Labelled, {}) if e.name == "look")
    assert forms.follow(look, None)["choices"] == [("As is", "as-is"), ("Bold (loud)", "very-bold")]


def test_the_picture_and_the_variant_come_first_and_what_all_requests_share_last():
    names = [e.name for e in entries([PLAIN])]
    assert names[:2] == ["image", "variant"]
    assert set(names[-4:]) == {"seed", "export_fps", "format", "finish"}


def test_nothing_in_the_ui_names_a_field_or_variant_of_a_mode():
    from pathlib import Path

    import studio.ui

    folder = Path(studio.ui.__file__).parent
    words = ("motion_bucket", "camera_move", "conditioning_fps", "parallax", "ImageToVideo", "image_to_video")
    for path in folder.glob("*.py"):
        code = path.read_text(encoding="utf-8")
        code = code.split('"""', 2)[2] if code.startswith('"""') else code
        assert not [w for w in words if w in code], path.name
