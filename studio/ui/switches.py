"""`Switches`: which of a mode's models have something to do, and what follows from that for its form. No Gradio."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from studio.errors import BadInput, StudioError
from studio.models.sampling import DISTILLED
from studio.models.spec import Option
from studio.modes import Mode
from studio.modes.request import Request
from studio.service import NO_FILE, Studio, VariantStatus
from studio.ui import form

NO_WORDS = " "
"""Stands for a text that is yet to be written, where a request is only planned."""

_DECIDING = ("choice", "check", *form.FILES)
"""Kinds of a mode's own fields that may decide which of its models have something to do."""

Chosen = Mapping[str, Any]
"""Switch -> value: of a role the variant's id, "" where none is named."""


def conditions(request: type[Request]) -> dict[str, Mapping[str, Any]]:
    """Field -> the mode's own fields -> the values of them with which the field matters; the others always do.

    They are the ``when`` of the field's metadata.
    """
    found = {name: field.json_schema_extra for name, field in request.model_fields.items()}
    return {n: extra["when"] for n, extra in found.items() if isinstance(extra, dict) and "when" in extra}


class Switches:
    """A mode's roles, and those of its own fields that its `needs` may look at.

    Args:
        mode: its fields without a listener decide; what all requests share does not.
    """

    def __init__(self, studio: Studio, mode: Mode) -> None:
        self._studio, self._mode = studio, mode
        self.refresh()
        self.entries = form.entries(mode.request, self.options)
        self.own = [e for e in self.entries if mode.needs and self._may_decide(e)]
        self._when = conditions(mode.request)
        self.following = self._depending()

    def refresh(self) -> None:
        """Asks again which variants there are and which can run."""
        self.variants: dict[str, dict[str, VariantStatus]] = {
            role: {v.spec.id: v for v in self._studio.variants(*capabilities)}
            for role, capabilities in self._mode.roles.items()
        }

    @property
    def options(self) -> dict[str, dict[str, Mapping[str, Option]]]:
        """Role -> variant -> the fields that it listens to there."""
        return {
            role: {v: status.spec.options_for(*self._mode.roles[role]) for v, status in found.items()}
            for role, found in self.variants.items()
        }

    def _may_decide(self, entry: form.Entry) -> bool:
        return entry.kind in _DECIDING and entry.listeners is None and entry.name not in Request.model_fields

    def first(self) -> dict[str, Any]:
        """Every switch as it stands at first; of a role the request's own default, else a variant that can run, else
        any, or "" where it may stay empty."""
        chosen: dict[str, Any] = {}
        for role, found in self.variants.items():
            asked = self._studio.default_variant(self._mode, role)
            usable = [i for i, v in found.items() if v.usable]
            first = asked if asked in found else next(iter([*usable, *found]), "")
            chosen[role] = "" if self.optional(role) else first
        return {**chosen, **{e.name: e.default for e in self.own}}

    def optional(self, role: str) -> bool:
        """True where the mode does without a model in that role unless one is named."""
        return self._mode.request.model_fields[role].default is None and role not in self._mode.prefers

    def used(self, chosen: Chosen) -> tuple[str, ...]:
        """The roles that have something to do; other fields may be among the given."""
        try:
            return self._needed(chosen)
        except BadInput:  # they don't go together, which is said where the request is checked
            return tuple(role for role in self._mode.roles if chosen.get(role))

    def _needed(self, chosen: Chosen) -> tuple[str, ...]:
        """The same.

        Raises:
            BadInput: they don't go together.
        """
        unknown = {name: None for name, field in self._mode.request.model_fields.items() if field.is_required()}
        given = {name: None if value == "" else value for name, value in chosen.items()}
        return self._mode.used_roles(self._mode.request.model_construct(**{**unknown, **given}), self._studio.catalog)

    def offered(self, role: str, chosen: Chosen) -> bool:
        """True where a variant in that role could go with the others; a role that has to be filled always is."""
        return not self.optional(role) or any(self._goes(role, {**chosen, role: v}) for v in self.variants[role])

    def _goes(self, role: str, chosen: Chosen) -> bool:
        try:
            return role in self._needed(chosen)
        except BadInput:
            return False

    def heard(self, entry: form.Entry, chosen: Chosen) -> bool:
        """True where the field is to be seen: it is an offered role's, or one of the variants that have something to do
        listens to it; and the mode's own fields stand so that it matters."""
        if entry.kind == "variant":
            return self.offered(entry.name, chosen)
        return self.matters(entry, chosen) and entry.heard_by({role: chosen[role] for role in self.used(chosen)})

    def matters(self, entry: form.Entry, chosen: Chosen) -> bool:
        """True where the mode's own fields stand so that the field has a meaning; other fields may be among the
        given."""
        return all(chosen.get(name) in values for name, values in self._when.get(entry.name, {}).items())

    def comes_and_goes(self, entry: form.Entry) -> bool:
        """True where the field is not always to be seen."""
        return entry.listeners is not None or entry.name in self._when

    def able(self, chosen: Chosen) -> dict[str, Any]:
        """The switches with another variant in the role whose own can't do what the mode's own fields ask for: the
        mode's default or else the first that can, one that can run before others. As they are where none can."""
        try:
            self._needed(chosen)
        except BadInput as e:
            role = e.field or ""
            found = self.variants.get(role, {})
            able = [v for v in found if self._goes(role, {**chosen, role: v})]
            usable = [self._studio.default_variant(self._mode, role), *(v for v in found if found[v].usable)]
            best = next((v for v in (*usable, *able) if v in able), None)
            return dict(chosen) if best is None else {**chosen, role: best}
        return dict(chosen)

    def option(self, entry: form.Entry, chosen: Chosen) -> Option | None:
        """How the first of the used variants that listen to the field treats it."""
        for role in self.used(chosen):
            option = self.options[role].get(chosen[role], {}).get(entry.name)
            if option is not None:
                return option
        return None

    def at_speed(self, speed: Any, chosen: Chosen) -> dict[str, Any]:
        """Field -> what it is to be at that speed, of all fields that the used variants set at some speed."""
        found: dict[str, Any] = {}
        for role in self.used(chosen):
            status = self.variants[role].get(chosen[role])
            if status is not None:
                able = status.spec.capability_for(*self._mode.roles[role])
                distilled = any(extra.component == DISTILLED and extra.where for extra in status.extras)
                there = able.at_speed(speed, distilled=distilled)
                changing = {name for fields in able.speeds.values() for name in fields}
                found |= {name: there.get(name, able.options[name].default) for name in changing}
        return found

    def proposed(self, chosen: Chosen) -> dict[str, Any]:
        """What the request itself says of every field where its own switches stand so; nothing where they can't."""
        stand_ins = {**dict.fromkeys(form.FILES, NO_FILE), "prompt": NO_WORDS}
        needed = {e.name: stand_ins.get(e.kind) for e in self.entries if e.required}
        own = {e.name: chosen[e.name] for e in self.own if chosen.get(e.name) is not None}
        try:
            return self._mode.request.model_validate({"mode": self._mode.id, **needed, **own}).model_dump()
        except (ValidationError, StudioError):
            return {}

    def _depending(self) -> frozenset[str]:
        """The fields that no variant listens to whose default is another one where a switch stands otherwise."""
        named = {e.name for e in self.entries if e.listeners is None} - set(self.first())
        usual, found = self.proposed({}), set()
        for entry in self.own:
            for value in entry.choices or ((True, False) if entry.kind == "check" else ()):
                proposed = self.proposed({entry.name: value})
                found |= {n for n in named & set(proposed) if proposed[n] != usual.get(n)}
        return frozenset(found)
