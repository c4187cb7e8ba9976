"""The one table from a request's field to a control: how it is drawn, how it follows the variant, how it is read.

A mode's form is its request's JSON schema (types, bounds, enums, defaults and the `form()` metadata) met with the
chosen variant's `Option` for the same field. Nothing here knows any mode, field or variant by name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import gradio as gr

from studio.models.spec import Option
from studio.modes.request import Request

GROUPS = {
    "main": "",
    "painting": "Keyframes",
    "motion": "Motion",
    "object": "Object",
    "mesh": "Mesh",
    "sampling": "Sampling",
    "output": "Output",
}
"""Groups of a form in order, with their headings; ``main`` stands open, the others under Advanced."""


@dataclass(frozen=True)
class Entry:
    """One field as a form needs it, before any variant has spoken.

    Args:
        kind: a key of `KINDS`.
        integer: only whole numbers will do.
        labels: choice -> what the page calls it, where that is not its name in words.
        listeners: role -> ids of the variants that listen to it there; None where every variant does.
    """

    name: str
    kind: str
    title: str
    info: str
    group: str
    unit: str = ""
    step: float | None = None
    integer: bool = False
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[Any, ...] | None = None
    labels: Mapping[Any, str] = field(default_factory=dict)
    default: Any = None
    required: bool = False
    listeners: Mapping[str, frozenset[str]] | None = None

    def heard_by(self, chosen: Mapping[str, str]) -> bool:
        """True where the field matters to one of the variants, by role, so that its control is shown."""
        return self.listeners is None or any(chosen.get(role) in ids for role, ids in self.listeners.items())


def in_words(name: Any) -> str:
    """A name as a person reads it: ``ease-in-out`` is "Ease in out"."""
    text = str(name).replace("-", " ").replace("_", " ")
    return text[:1].upper() + text[1:]


def _facts(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Type, bounds and enum of a property, also where it is `X | None`."""
    shapes = [s for s in schema.get("anyOf", [schema]) if s.get("type") != "null"]
    shape = shapes[0] if shapes else schema
    return {
        "type": shape.get("type"),
        "minimum": shape.get("minimum", shape.get("exclusiveMinimum")),
        "maximum": shape.get("maximum", shape.get("exclusiveMaximum")),
        "choices": tuple(shape["enum"]) if "enum" in shape else None,
    }


def _kind(asked: str, facts: Mapping[str, Any]) -> str:
    if asked != "auto":
        return asked
    if facts["choices"]:
        return "choice"
    return {"boolean": "check", "integer": "number", "number": "number", "array": "lines"}.get(facts["type"], "text")


def entries(request: type[Request], offered: Mapping[str, Mapping[str, Mapping[str, Option]]]) -> list[Entry]:
    """The request's fields, ``mode`` left out: pictures, the variants, the mode's own, then what all requests share.

    Args:
        offered: role -> variant -> the fields that it listens to there.
    """
    whole = request.model_json_schema()
    found = []
    for name, schema in whole["properties"].items():
        if name == "mode":
            continue
        facts = _facts(schema)
        listening = {r: {v: o[name] for v, o in variants.items() if name in o} for r, variants in offered.items()}
        options = [option for variants in listening.values() for option in variants.values()]
        kind = _kind(schema.get("control", "auto"), facts)
        if kind in ("slider", "number") and any(o.default is None for o in options):
            kind = "blank"  # Gradio's sliders and numbers can't be empty, and empty means "as the variant likes"
        found.append(
            Entry(
                name=name,
                kind=kind,
                title=schema.get("title") or in_words(name),
                info=schema.get("description", ""),
                group=schema.get("group", "main"),
                unit=schema.get("unit", ""),
                step=schema.get("step"),
                integer=facts["type"] == "integer",
                minimum=facts["minimum"],
                maximum=facts["maximum"],
                choices=facts["choices"],
                labels=schema.get("labels", {}),
                default=schema.get("default"),
                required=name in whole.get("required", ()),
                listeners={r: frozenset(v) for r, v in listening.items() if v} or None,
            )
        )
    rank = {"picture": 0, "clip": 0, "prompt": 0, "variant": 1}

    def place(entry: Entry) -> tuple[int, bool]:
        """What a model is given comes before it, and the model that ends the work after the others."""
        return rank.get(entry.kind, 3 if entry.name in Request.model_fields else 2), entry.name == "variant"

    return sorted(found, key=place)


def narrowed(entry: Entry, option: Option | None) -> Entry:
    """The entry with the variant's default and bounds in place of the field's own."""
    if option is None:
        return entry
    lows = [b for b in (entry.minimum, option.min) if b is not None]
    highs = [b for b in (entry.maximum, option.max) if b is not None]
    return replace(
        entry,
        default=option.default,
        minimum=max(lows, default=None),
        maximum=min(highs, default=None),
        choices=option.choices if option.choices is not None else entry.choices,
        step=float(option.multiple_of) if option.multiple_of else entry.step,
        info=entry.info + _trained(option),
    )


def _trained(option: Option) -> str:
    if not option.trained:
        return ""
    return f" Trained on {', '.join(map(str, option.trained))}."


def _label(entry: Entry) -> str:
    spoken = entry.title.lower().split()
    return entry.title if not entry.unit or entry.unit in spoken else f"{entry.title} ({entry.unit})"


def _plain(entry: Entry) -> dict[str, Any]:
    return {"label": _label(entry), "info": entry.info, "value": entry.default}


def _slider(entry: Entry) -> dict[str, Any]:
    low = entry.minimum if entry.minimum is not None else 0
    high = entry.maximum if entry.maximum is not None else 100
    value = entry.default if entry.default is not None else low
    step = entry.step or (1 if entry.integer else None)
    fixed = low == high  # of which Gradio (6.31) makes no slider
    shown = {"value": value, "minimum": low, "maximum": high + 1 if fixed else high, "step": step}
    return {**_plain(entry), **shown, "interactive": not fixed}


def _number(entry: Entry) -> dict[str, Any]:
    """No minimum or maximum: the studio's own sentence stands beside the field, not the page's toast."""
    says = _range(entry)
    return {
        **_plain(entry),
        "info": f"{entry.info} {says}".strip(),
        "step": entry.step or (1 if entry.integer else 0.1),
    }


def _range(entry: Entry) -> str:
    if entry.minimum is None or entry.maximum is None:
        return ""
    by = f", in steps of {entry.step:g}" if entry.step and entry.step != 1 else ""
    return f"{entry.minimum:g} to {entry.maximum:g}{by}."


def _choice(entry: Entry) -> dict[str, Any]:
    """Words, except where the choices are names of formats and the like: those have digits among them."""
    choices = entry.choices or ()
    names = any(ch.isdigit() for c in choices for ch in str(c))
    return {
        **_plain(entry),
        "choices": [(entry.labels.get(c, str(c) if names else in_words(c)), c) for c in choices],
    }


def _blank(entry: Entry) -> dict[str, Any]:
    plain = {k: v for k, v in _number(entry).items() if k != "step"}
    return {**plain, "value": "" if entry.default is None else str(entry.default)}


def _lines(entry: Entry) -> dict[str, Any]:
    return {**_plain(entry), "info": f"{entry.info} One a line.", "value": "\n".join(entry.default or ())}


def _clip(entry: Entry) -> dict[str, Any]:
    return {"label": f"{_label(entry)}: {entry.info}", "value": None}


def _picture(entry: Entry) -> dict[str, Any]:
    return {
        "label": _label(entry),
        "value": None,
        "placeholder": f"Drop it here, paste it, or click to choose\n{entry.info}",
    }


def _read_lines(raw: Any) -> Any:
    return tuple(line.strip() for line in raw.splitlines() if line.strip()) if isinstance(raw, str) else raw


def _as_it_is(raw: Any) -> Any:
    return None if raw == "" else raw


def _read_number(raw: Any) -> Any:
    """The number that a line of text holds; the text itself where it holds none, which the request then refuses."""
    text = raw.strip() if isinstance(raw, str) else raw
    try:
        number = float(text)
    except (TypeError, ValueError):
        return _as_it_is(text)
    return int(number) if number.is_integer() else number


@dataclass(frozen=True)
class Kind:
    """How one kind of field is shown.

    Args:
        component: Gradio's class.
        fixed: constructor arguments that stay.
        moving: those that follow the variant, from the narrowed entry.
        read: what the browser sent -> what the request takes; None leaves the field out.
        show: a request's value -> the control's.
        missing: what is said where a field that has to be given is empty.
    """

    component: type[gr.components.Component]
    moving: Callable[[Entry], dict[str, Any]]
    fixed: Mapping[str, Any]
    read: Callable[[Any], Any] = _as_it_is
    show: Callable[[Any], Any] = lambda value: value
    missing: str = "it has to be given."


FILES = ("picture", "clip")
"""Kinds of fields that hold a file."""

KINDS: Mapping[str, Kind] = {
    "slider": Kind(gr.Slider, _slider, {"buttons": []}),
    "number": Kind(gr.Number, _number, {}),
    "blank": Kind(
        gr.Textbox,
        _blank,
        {"placeholder": "as the model likes"},
        _read_number,
        show=lambda v: "" if v is None else f"{v:.10g}",
    ),
    "seed": Kind(gr.Number, _plain, {"precision": 0, "step": 1}),
    "text": Kind(gr.Textbox, _plain, {"max_lines": 4}),
    "prompt": Kind(
        gr.Textbox,
        _plain,
        {"lines": 3, "max_lines": 8, "placeholder": "A red rocket on the grass, at sunset"},
        missing="say what is to be seen.",
    ),
    "choice": Kind(gr.Dropdown, _choice, {"filterable": False}),
    "check": Kind(gr.Checkbox, _plain, {}),
    "lines": Kind(gr.Textbox, _lines, {"lines": 2, "max_lines": 6}, _read_lines, lambda v: "\n".join(v or ())),
    "variant": Kind(gr.Dropdown, _choice, {"filterable": False}),
    "picture": Kind(
        gr.Image,
        _picture,
        {
            "type": "filepath",
            "image_mode": None,
            "sources": ["upload", "clipboard"],
            "height": 300,
            "buttons": ["fullscreen"],
            "interactive": True,
        },
        missing="choose a picture first.",
    ),
    "clip": Kind(
        gr.File,
        _clip,
        {"file_types": [".mp4", ".webm", ".gif", ".webp", ".zip"], "height": 150, "interactive": True},
        missing="choose a clip first.",
    ),
}
"""Control of a field -> how it is drawn and read."""


def draw(entry: Entry, option: Option | None, *, elem_id: str) -> gr.components.Component:
    """A new control for the field, in the Blocks that are open."""
    kind = KINDS[entry.kind]
    return kind.component(**{**kind.fixed, **kind.moving(narrowed(entry, option))}, elem_id=elem_id)


def follow(entry: Entry, option: Option | None, *, value: Any = None) -> dict[str, Any]:
    """The update that makes the control follow a variant. A value that is not None stands instead of the default."""
    kind = KINDS[entry.kind]
    moved = kind.moving(narrowed(entry, option))
    if value is not None:
        moved["value"] = kind.show(value)
    return gr.update(**moved)


def read(shown: Iterable[Entry], raw: Mapping[str, Any]) -> dict[str, Any]:
    """What the controls hold, as a request's fields; what is empty is left out, so that the studio fills it.

    Args:
        shown: the fields that the variant listens to.
        raw: field -> the value as the browser sent it.
    """
    values = {e.name: KINDS[e.kind].read(raw.get(e.name)) for e in shown}
    return {name: value for name, value in values.items() if value is not None}
