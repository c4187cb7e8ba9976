"""`ModeForm`: the left-hand side of a tab, drawn from the mode, its variants and its presets as data."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from studio.errors import BadInput, StudioError
from studio.jobs.inputs import find_input
from studio.modes import Mode
from studio.modes.request import MAX_SEED
from studio.service import Studio, VariantStatus
from studio.ui import form, say
from studio.ui.files import given_path
from studio.ui.switches import NO_WORDS, Chosen, Switches

CLEAR_JS = "() => ({__type__: 'update', visible: false})"
"""Takes the message under a field away once the field is touched."""

WIDE = (*form.FILES, "prompt", "variant", "seed")
"""Kinds of fields that are drawn in their own way, over the whole width."""

HIDDEN = gr.update(visible=False)


class ModeForm:
    """Controls, the message under each, presets, the plan line and the buttons. Build it inside open Blocks.

    Args:
        uploads: the folder where Gradio puts what a browser uploads.
    """

    def __init__(self, studio: Studio, mode: Mode, uploads: Path) -> None:
        self.studio, self.settings, self.mode, self.name = studio, studio.settings, mode, mode.id
        self.roots = (uploads, self.settings.inputs, self.settings.outputs, self.settings.examples)
        self.models: dict[str, gr.Dropdown] = {}
        self.abouts: dict[str, gr.HTML] = {}
        self._rules = Switches(studio, mode)
        self.entries = self._rules.entries
        self.presets = studio.presets(mode.id)
        self.controls: dict[str, gr.components.Component] = {}
        self.wrongs: dict[str, gr.HTML] = {}
        self.headings: dict[str, gr.HTML] = {}
        self.cells: dict[str, gr.Column] = {}
        self._draw()

    def refresh(self) -> None:
        """Asks again which variants there are and which can run."""
        self._rules.refresh()

    @property
    def variants(self) -> Mapping[str, Mapping[str, VariantStatus]]:
        """Role -> variant -> what is known of it."""
        return self._rules.variants

    def first(self) -> dict[str, Any]:
        """Every switch as it stands at first."""
        return self._rules.first()

    @property
    def switches(self) -> dict[str, gr.components.Component]:
        """The controls that decide what else is shown: the models', and some of the mode's own."""
        return {**self.models, **{e.name: self.controls[e.name] for e in self._rules.own}}

    def chosen(self, *values: Any) -> dict[str, Any]:
        """Switch -> value, from the values of `switches` in their order."""
        return {n: str(v or "") if n in self.models else v for n, v in zip(self.switches, values, strict=True)}

    # -- drawing

    def _draw(self) -> None:
        name, first = self.name, self.first()
        self._draw_group("main", first)
        self.plan = gr.HTML("", elem_id=f"{name}-plan", elem_classes=["plan"])
        with gr.Row(elem_classes=["actions", "at-hand"]):
            self.run = gr.Button(
                self._action(first), variant="primary", scale=3, min_width=160, elem_id=f"{name}-run",
                elem_classes=["run"],
            )  # fmt: skip
            self.cancel = gr.Button(
                "Cancel", interactive=False, scale=1, min_width=110, elem_id=f"{name}-cancel", elem_classes=["cancel"]
            )
        with gr.Accordion("Advanced", open=False, elem_id=f"{name}-advanced") as self.advanced:
            for group, title in form.GROUPS.items():
                members = self._group(group)
                if group != "main" and members:
                    heard = any(self._rules.heard(e, first) for e in members)
                    self.headings[group] = gr.HTML(f'<h3 class="group">{escape(title)}</h3>', visible=heard)
                    self._draw_group(group, first)

    def _group(self, group: str) -> list[form.Entry]:
        return [e for e in self.entries if e.group == group]

    def _draw_group(self, group: str, chosen: Chosen) -> None:
        """Files, the models and the seed over the whole width; the rest side by side where there is room."""
        members = self._group(group)
        for entry in (e for e in members if e.kind in (*form.FILES, "prompt")):
            if not self._rules.comes_and_goes(entry):
                self._draw_entry(entry, chosen)
                continue
            with gr.Column(visible=self._rules.heard(entry, chosen)) as self.cells[entry.name]:
                self._draw_entry(entry, chosen)
        for entry in (e for e in members if e.kind == "variant"):
            self._draw_variant(entry, chosen)
        with gr.Row(elem_classes=["cells"]):
            if group == "main" and self.presets:
                self._draw_preset()
            for entry in (e for e in members if e.kind not in WIDE):
                with gr.Column(min_width=200, visible=self._rules.heard(entry, chosen)) as self.cells[entry.name]:
                    self._draw_entry(entry, chosen)
        for entry in (e for e in members if e.kind == "seed"):
            self._draw_seed(entry)

    def _draw_entry(self, entry: form.Entry, chosen: Chosen) -> None:
        elem_id = f"{self.name}-{entry.name}"
        self.controls[entry.name] = form.draw(entry, self._rules.option(entry, chosen), elem_id=elem_id)
        self._draw_wrong(entry)

    def _draw_wrong(self, entry: form.Entry) -> None:
        self.wrongs[entry.name] = gr.HTML("", visible=False, elem_id=f"{self.name}-{entry.name}-wrong")

    def _draw_variant(self, entry: form.Entry, chosen: Chosen) -> None:
        role, elem_id = entry.name, f"{self.name}-{entry.name}"
        used = role in self._rules.used(chosen)
        self.models[role] = self.controls[role] = gr.Dropdown(
            self.variant_choices(role), value=chosen[role], label=entry.title, elem_id=elem_id, filterable=False,
            elem_classes=["variants"], visible=self._rules.heard(entry, chosen),
        )  # fmt: skip
        self._draw_wrong(entry)
        self.abouts[role] = gr.HTML(self.about_variant(role, chosen[role]), visible=used, elem_id=f"{elem_id}-about")

    def _draw_preset(self) -> None:
        choices = [("None", ""), *((str(p.get("title", i)), i) for i, p in self.presets.items())]
        with gr.Column(min_width=200):
            self.preset = gr.Dropdown(
                choices, value="", label="Preset", info="Fills in the settings.", elem_id=f"{self.name}-preset",
                filterable=False,
            )  # fmt: skip

    def _draw_seed(self, entry: form.Entry) -> None:
        elem_id = f"{self.name}-{entry.name}"
        with gr.Row(elem_classes=["seed"]):
            self.seed = form.draw(replace(entry, default=secrets.randbelow(MAX_SEED)), None, elem_id=elem_id)
            with gr.Column(scale=1, min_width=150):
                self.dice = gr.Checkbox(True, label="Random each time", container=False, elem_id=f"{elem_id}-dice")
                self.reuse = gr.Button("Reuse last seed", size="sm", elem_id=f"{elem_id}-reuse")
        self.controls[entry.name] = self.seed
        self._draw_wrong(entry)

    def variant_choices(self, role: str) -> list[tuple[str, str]]:
        """Every variant, those that can't run marked as such; before them none, where the role may stay empty."""
        none = [("None", "")] if self._rules.optional(role) else []
        found = self.variants[role].items()
        return none + [(v.spec.title + ("" if v.usable else " (not installed)"), i) for i, v in found]

    def about_variant(self, role: str, variant: str) -> str:
        """What the model is; and, where it can't run, what to install, how large it is and under which licence."""
        status = self.variants[role].get(variant)
        if status is None:
            return ""
        summary = f"<p>{escape(status.spec.summary)}</p>"
        if status.usable:
            return f'<div class="about">{summary}</div>'
        return f'<div class="about missing">{summary}{how_to_install(status)}</div>'

    def _action(self, chosen: Chosen) -> str:
        found = [self.variants[role].get(chosen[role]) for role in self._rules.used(chosen)]
        return self.mode.action if all(v is None or v.usable for v in found) else "Not installed: what to do"

    # -- following the switches

    def follower(self, changed: str) -> Callable[..., dict[Any, Any]]:
        """A handler for when that switch was changed; takes the values of `switches`.

        A switch of the mode's own takes a model with it that can do what it now asks for.
        """

        def follow(*values: Any) -> dict[Any, Any]:
            asked = self.chosen(*values)
            chosen = asked if changed in self.models else self._rules.able(asked)
            moved = [role for role in self.models if chosen[role] != asked[role]]
            followed = self.follow(chosen, changed=(changed, *moved))
            return {**followed, **{self.models[role]: chosen[role] for role in moved}}

        return follow

    def follow(
        self, chosen: Chosen, values: Mapping[str, Any] | None = None, *, changed: Collection[str] = ()
    ) -> dict[Any, Any]:
        """Updates that show what these switches leave to be said, and no more.

        Args:
            values: request fields that stand instead of the defaults. None leaves alone what has nothing to do with
                what was changed.
            changed: the switches that were.
        """
        rules, used = self._rules, self._rules.used(chosen)
        own_changed = values is not None or not set(changed) <= set(self.models)
        proposed = rules.proposed(chosen) if own_changed else {}
        given = {name: value for name, value in (values or {}).items() if value is not None}
        if "speed" in given:
            given = {**rules.at_speed(given["speed"], chosen), **given}
        shown: dict[Any, Any] = {self.run: self._action(chosen)}
        for role, about in self.abouts.items():
            shown[about] = gr.update(value=self.about_variant(role, chosen[role]), visible=role in used)
            if rules.optional(role):
                offered = rules.offered(role, chosen)
                shown[self.models[role]] = gr.update(visible=offered, value=chosen[role] if offered else "")
        for group, heading in self.headings.items():
            shown[heading] = gr.update(visible=any(rules.heard(e, chosen) for e in self._group(group)))
        for entry in self.entries:
            control = self.controls[entry.name]
            shown[self.wrongs[entry.name]] = HIDDEN
            if rules.comes_and_goes(entry) and entry.name in self.cells:
                shown[self.cells[entry.name]] = gr.update(visible=rules.heard(entry, chosen))
            if entry.kind in WIDE:
                if entry.kind == "prompt" and entry.name in given:
                    shown[control] = form.follow(entry, None, value=given[entry.name])
                continue
            if entry.listeners is not None:
                moved = values is not None or bool(set(entry.listeners) & set(changed))
            else:
                moved = entry.name in given or (own_changed and entry.name in rules.following)
            if moved:
                value = given.get(entry.name, proposed.get(entry.name) if entry.listeners is None else None)
                shown[control] = form.follow(entry, rules.option(entry, chosen), value=value)
        if values is None and self.presets:
            shown[self.preset] = ""
        return shown

    def hurry(self, speed: Any, *values: Any) -> dict[Any, Any]:
        """Updates for another speed: what the variants set at it; takes the values of `switches`."""
        chosen = self.chosen(*values)
        at_speed = self._rules.at_speed(speed, chosen)
        moved = [e for e in self.entries if e.name in at_speed]
        return {
            self.controls[e.name]: form.follow(e, self._rules.option(e, chosen), value=at_speed[e.name]) for e in moved
        }

    def apply_preset(self, preset: str | None, *values: Any) -> dict[Any, Any]:
        """Updates for a preset: its fields, and the variants' defaults for the rest; takes the values of `switches`."""
        return self._with_switches(self.chosen(*values), self.presets.get(preset or "", {}))

    def _with_switches(self, chosen: Chosen, values: Mapping[str, Any]) -> dict[Any, Any]:
        """`follow` for the switches that the values name, the others as they are or as they can be with those; the
        dropdowns show them."""
        named = {name: now if values.get(name) is None else values[name] for name, now in chosen.items()}
        chosen = self._rules.able(named)
        followed = self.follow(chosen, values)
        return {**{self.models[role]: chosen[role] for role in self.models}, **followed}

    def fill(self, request: Mapping[str, Any]) -> dict[Any, Any]:
        """Updates that put a whole request into the form, its files included where they are still here."""
        shown = self._with_switches(self.first(), request)
        for entry in self.entries:
            if entry.kind == "seed" and request.get(entry.name) is not None:
                shown[self.seed] = request[entry.name]
                shown[self.dice] = False
            elif entry.kind in form.FILES:
                shown[self.controls[entry.name]] = self._file(request.get(entry.name))
        return shown

    def _file(self, reference: Any) -> str | None:
        try:
            return str(find_input(str(reference), self.settings.inputs)) if reference else None
        except StudioError:
            return None

    @staticmethod
    def touched(control: gr.components.Component) -> Callable[..., Any]:
        """The event of a person's hand on the control; a file box of Gradio 6.31 has none of its own."""
        return control.input if hasattr(control, "input") else control.change

    @property
    def outputs(self) -> list[Any]:
        """All that `follow`, `apply_preset`, `fill` and `complain` write to."""
        drawn = [*self.controls.values(), *self.wrongs.values(), *self.headings.values(), *self.cells.values()]
        drawn += [self.preset] if self.presets else []
        return [*drawn, *self.abouts.values(), self.run, self.dice, self.plan, self.advanced]

    @property
    def inputs(self) -> list[Any]:
        """What `request` reads, in its order."""
        return [self.dice, *self.controls.values()]

    # -- reading

    def request(self, dice: Any, *raw: Any, complete: bool = True) -> dict[str, Any]:
        """The controls' values as a request, not yet checked by the studio.

        Args:
            complete: False lets fields be missing that have to be given: for a plan.

        Raises:
            BadInput: a file that is not an upload, or a field that has to be given.
        """
        sent = dict(zip(self.controls, raw, strict=True))
        chosen = {role: str(sent.get(role) or "") for role in self.models}
        used = self._rules.used({**{name: value for name, value in sent.items() if value is not None}, **chosen})
        heard_by = {role: chosen[role] for role in used}
        shown = [
            e
            for e in self.entries
            if e.heard_by(heard_by)
            and self._rules.matters(e, sent)
            and (e.kind != "variant" or e.name in ("variant", *used))
        ]
        for entry in shown:
            if entry.kind in form.FILES:
                sent[entry.name] = given_path(sent[entry.name], self.roots, entry.name)
            elif entry.kind == "prompt" and not complete:
                sent[entry.name] = sent[entry.name] or NO_WORDS
            elif entry.kind == "seed" and dice:
                sent[entry.name] = None
        values = form.read(shown, sent)
        for entry in shown:
            if complete and entry.required and entry.name not in values:
                raise BadInput(f"{entry.name}: {form.KINDS[entry.kind].missing}", field=entry.name)
        return {"mode": self.mode.id, **values}

    def complain(self, error: StudioError) -> dict[Any, Any]:
        """Updates that show an error beside its field (and open what the field is folded into)."""
        shown: dict[Any, Any] = dict.fromkeys(self.wrongs.values(), HIDDEN)
        wrong = self.wrongs.get(error.field or "")
        if wrong is not None:
            shown[wrong] = gr.update(value=say.wrong(error.message, error.remedy), visible=True)
            if next(e for e in self.entries if e.name == error.field).group != "main":
                shown[self.advanced] = gr.update(open=True)
        return shown

    def in_labels(self, error: StudioError) -> str:
        """The error's message with the field's label in place of its name."""
        label = next((e.title for e in self.entries if e.name == error.field), None)
        return (
            f"{label}{error.message[len(error.field) :]}"
            if label and error.message.startswith(f"{error.field}:")
            else error.message
        )

    def missing(self, error: StudioError, wish: Mapping[str, Any]) -> tuple[str, str]:
        """Sentence and remedy for a variant that is known, but not here."""
        role = error.field if error.field in self.models else "variant"
        variant = str(wish.get(role))
        status = self.variants[role].get(variant)
        name = status.spec.title if status else variant
        how = f"In a terminal: {status.command}; or the Models tab." if status and status.command else error.remedy
        return f"{name} is not installed.", how

    def content(self) -> dict[Any, Any]:
        """Updates that take every message away."""
        return dict.fromkeys(self.wrongs.values(), HIDDEN)


def how_to_install(status: VariantStatus) -> str:
    """What is missing and how large it is, the licence, and the command, as HTML."""
    rows = [f"<p>{escape(status.note)}</p>" if status.note else ""]
    rows.append(f"<p>Licence: {say.licence(status.spec)}</p>" if status.command else "")
    rows.append(f'<pre tabindex="0"><code>{escape(status.command)}</code></pre>' if status.command else "")
    return "".join(rows)
