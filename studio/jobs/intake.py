"""From what a person gave to a complete request: presets, the variant's defaults and bounds, the seed, the files."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from studio.errors import BadInput, NotInstalled
from studio.finish import Shape, expect, parse_steps
from studio.jobs.inputs import find_input, find_lora, is_reference, keep_input
from studio.media.write import check_format
from studio.models.catalog import Catalog
from studio.models.sampling import DISTILLED
from studio.models.spec import Capability, VariantSpec
from studio.modes import Mode, Request, all_modes
from studio.modes.request import MAX_SEED, bad_field, check_option
from studio.settings import Settings

_SHAPE = {"width", "height"}


def mode_of(given: Mapping[str, Any]) -> Mode:
    """The mode that a request names.

    Raises:
        BadInput: it names none, or one that is not there.
    """
    modes = all_modes()
    name = given.get("mode")
    if name not in modes:
        raise BadInput(f"mode: {name!r} is not one of {', '.join(modes)}.", field="mode")
    return modes[name]


def read_presets(mode: str, *folders: Path) -> dict[str, dict[str, Any]]:
    """Preset id -> its fields and its title, of all `<folder>/presets/<mode>/*.yaml`."""
    found: dict[str, dict[str, Any]] = {}
    for folder in folders:
        for path in sorted((folder / "presets" / mode).glob("*.yaml")):
            found[path.stem] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return found


def read_examples(mode: Mode, folder: Path) -> dict[str, dict[str, Any]]:
    """Example id -> a complete request of that mode, its files by absolute path, of all `<folder>/*.yaml`."""
    found: dict[str, dict[str, Any]] = {}
    for path in sorted(folder.glob("*.yaml")):
        request = yaml.safe_load(path.read_text(encoding="utf-8"))
        if request.get("mode") == mode.id:
            files = {field: str(path.parent / request[field]) for field in mode.inputs if field in request}
            found[path.stem] = {**request, **files}
    return found


def complete(
    given: Mapping[str, Any],
    catalog: Catalog,
    presets: Mapping[str, Mapping[str, Any]],
    *,
    distilled: Callable[[VariantSpec], bool] = lambda spec: False,
) -> tuple[Request, list[str]]:
    """The request with nothing left open, and what the user should know about it.

    Args:
        given: fields, the mode's id under ``mode``, and a preset's id under ``preset`` if one is wanted.
        distilled: whether a variant's few-step UNet is installed.

    Raises:
        BadInput: names the field, what was given and what is possible.
    """
    mode = mode_of(given)
    fields = {k: v for k, v in given.items() if k != "preset"}
    preset = given.get("preset")
    if preset:
        if preset not in presets:
            raise BadInput(f"preset: {preset!r} is not one of {', '.join(presets)}.", field="preset")
        chosen = {k: v for k, v in presets[preset].items() if k != "title"}
        fields = {**chosen, **{k: v for k, v in fields.items() if v is not None}}
    request = _validated(mode, fields)
    filled, notices = _fill(request, mode, catalog, distilled)
    if filled["seed"] is None:
        filled["seed"] = secrets.randbelow(MAX_SEED + 1)
    return _validated(mode, filled), notices


def _validated(mode: Mode, fields: Mapping[str, Any]) -> Request:
    try:
        return mode.request.model_validate(fields)
    except ValidationError as e:
        raise bad_field(e, mode.request) from e


def _fill(
    request: Request, mode: Mode, catalog: Catalog, distilled: Callable[[VariantSpec], bool]
) -> tuple[dict[str, Any], list[str]]:
    """The request's values with the chosen variants' defaults, held to their bounds; what no variant uses is None.

    At a speed that a variant has defaults of its own for, these stand instead of its usual ones.
    """
    values, notices, heard, resting = request.model_dump(), [], set(), set()
    used = mode.used_roles(request, catalog)
    for role, capabilities in mode.roles.items():
        if role not in used:
            idle = next((s for s in catalog.able(*capabilities) if s.id == values[role]), None)
            resting |= set(idle.options_for(*capabilities)) if idle else set()
            values[role] = values[role] if role == "variant" else None
            continue
        spec = catalog.get(values[role], field=role)
        able = spec.capability_for(*capabilities, field=role)
        options = able.options
        heard |= set(options)
        hurried = _hurried(values, able, spec, distilled)
        values |= hurried
        if hurried:
            listed = ", ".join(f"{field} to {value}" for field, value in hurried.items())
            notices.append(f"speed: {values['speed']} sets {listed}.")
        for field, option in options.items():
            if values[field] is None:
                values[field] = option.default
            check_option(field, values[field], option, spec.id)
            if field in hurried:
                continue
            if option.trained is not None and values[field] not in option.trained:
                best = ", ".join(map(str, option.trained))
                notices.append(f"{field}: {spec.id} was trained at {best}; {values[field]} may look worse.")
    chosen = " and ".join(dict.fromkeys(values[role] for role in used))
    for field in sorted(variant_fields(mode, catalog) - heard):
        if values[field] is not None and field not in resting:
            notices.append(f"{field}: {chosen} does not use it; ignored.")
        values[field] = None
    return values, notices


def _hurried(
    values: Mapping[str, Any], able: Capability, spec: VariantSpec, distilled: Callable[[VariantSpec], bool]
) -> dict[str, Any]:
    """What the speed that is asked for says of the fields that were left open.

    Raises:
        NotInstalled: the sampler for few steps is asked for, and the UNet that it goes with is not here.
    """
    open_fields: dict[str, Any] = {}
    if values.get("speed") is not None and "speed" in able.options:
        another = values["sampler"] not in (None, "lcm")  # then it is the variant's own UNet that samples
        set_there = able.at_speed(values["speed"], distilled=distilled(spec) and not another)
        open_fields = {field: value for field, value in set_there.items() if values[field] is None}
    if not set(open_fields) >= _SHAPE:  # one side of a shape, with another one's other side, is no shape
        open_fields = {field: value for field, value in open_fields.items() if field not in _SHAPE}
    extra = spec.extras.get(DISTILLED)
    if values.get("sampler") == "lcm" and extra is not None and not distilled(spec):
        raise NotInstalled(
            f"sampler: lcm runs {extra.title}, a UNet for few steps, which is not here.",
            f"python -m studio models pull {spec.id} --with {extra.purpose}",
            field="sampler",
        )
    return open_fields


def variant_fields(mode: Mode, catalog: Catalog) -> set[str]:
    """The fields of the mode's request that belong to variants: each listens to its own few."""
    able = ((spec, capabilities) for capabilities in mode.roles.values() for spec in catalog.able(*capabilities))
    return {field for spec, capabilities in able for field in spec.options_for(*capabilities)}


def check_size(request: Request, settings: Settings) -> None:
    """Refuses what would run for days or fill the memory.

    Raises:
        BadInput: with the number asked for, the limit, and which field to lower.
    """
    made = all_modes()[request.mode].shape(request)
    if made is None:
        parse_steps(request.finish)
        return
    frames, width, height = made
    steps, pixels = getattr(request, "steps", None) or 1, width * height
    fps = request.export_fps or 1.0  # pictures that don't move have none
    shape = expect(Shape(frames, width, height, fps), request.finish)
    check_format(f".{request.format}", frames=shape.frames, width=shape.width, height=shape.height, fps=shape.fps)
    if frames * pixels > settings.clip_limit:
        most = max(1, int(settings.clip_limit // pixels))
        raise BadInput(
            f"frames: {frames} frames of {width}x{height} are more than this studio holds at once.",
            f"At this size up to {most} frames are possible.",
            field="frames",
        )
    if steps * frames * pixels > settings.work_limit:
        most = max(1, int(settings.work_limit // (frames * pixels)))
        raise BadInput(
            f"steps: {steps} steps for {frames} frames of {width}x{height} are more than this studio takes on.",
            f"Up to {most} steps are possible here.",
            field="steps",
        )


def keep_inputs(request: Request, mode: Mode, settings: Settings) -> Request:
    """The request with each file checked, kept by content, and named by its reference.

    Raises:
        BadInput: a file or a LoRA is not there, or is not what the mode takes; names the field.
    """
    for name in mode.loras(request):
        find_lora(name, settings.loras)
    kept = {}
    for field, check in mode.inputs.items():
        given = getattr(request, field)
        if given is None:
            continue
        path = find_input(given, settings.inputs, field=field)
        try:
            suffix = check(path)
        except BadInput as e:
            e.field = field
            raise
        if not is_reference(given):
            kept[field] = keep_input(path, suffix, settings.inputs)
    return request.model_copy(update=kept)


def request_hash(request: Request) -> str:
    """sha256 over the complete request; its files count by content, through their references."""
    canonical = json.dumps(request.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()
