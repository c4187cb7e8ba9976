"""The options of a mode's commands: one a field of its request."""

from __future__ import annotations

import inspect
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer
from pydantic.fields import FieldInfo

_KEYWORD = inspect.Parameter.KEYWORD_ONLY


def option(name: str, field: FieldInfo) -> inspect.Parameter:
    """The field as a typer option. Values arrive as text: the request refuses in words what won't do."""
    plain = _plain_type(field.annotation)
    shown = list[str] if plain is tuple else str
    metavar = {int: "INTEGER", float: "NUMBER", bool: "yes|no", str: "TEXT", tuple: "TEXT"}[plain]
    help_text = field.description or ""
    if not field.is_required() and field.default not in (None, ()):
        shown_default = {True: "yes", False: "no"}[field.default] if plain is bool else field.default
        help_text += f" [default: {shown_default}]"
    if field.is_required():
        annotation: Any = Annotated[shown, typer.Option(help=help_text, metavar=metavar)]
        return inspect.Parameter(name, _KEYWORD, annotation=annotation)
    annotation = Annotated[shown | None, typer.Option(help=help_text, metavar=metavar)]
    return inspect.Parameter(name, _KEYWORD, default=None, annotation=annotation)


def parameter(name: str, annotation: Any, **default: Any) -> inspect.Parameter:
    """An option that is no field of a request."""
    return inspect.Parameter(name, _KEYWORD, annotation=annotation, **default)


def preset_parameter() -> inspect.Parameter:
    """``--preset``."""
    preset_help = typer.Option(help="Start from a preset; options given beside it win.")
    return parameter("preset", Annotated[str | None, preset_help], default=None)


def read(field: FieldInfo, text: Any) -> Any:
    """A number, or true or false, where the field takes one and the text is one; else the text, for the request to
    refuse in words."""
    plain = _plain_type(field.annotation)
    if plain is bool:
        return {"yes": True, "true": True, "no": False, "false": False}.get(str(text).lower(), text)
    for number in {int: (int,), float: (int, float)}.get(plain, ()):
        try:
            return number(text)
        except ValueError:
            continue
    return text


def give_signature(command: Any, parameters: list[inspect.Parameter], doc: str) -> Any:
    """The command, which takes what it likes, with the options that typer shall see."""
    command.__signature__ = inspect.Signature(parameters)
    command.__annotations__ = {p.name: p.annotation for p in parameters}
    command.__doc__ = doc
    return command


def _plain_type(annotation: Any) -> Any:
    """int, float, bool, str or tuple: the field's own type, without None and without bounds."""
    origin = get_origin(annotation)
    if origin in (Union, UnionType):
        return _plain_type(next(a for a in get_args(annotation) if a is not type(None)))
    if origin is Annotated:
        return _plain_type(get_args(annotation)[0])
    if origin is Literal:
        return str
    return tuple if origin is tuple else annotation
