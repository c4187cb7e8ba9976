"""`Settings`: everything that a person may set about the studio, read once, at start."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import platformdirs
import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError

from studio.errors import BadInput


def _amount(text: str | None) -> str | None:
    """Refuses what `studio.models.limits.parse_bytes` could not read."""
    if text is not None and not re.fullmatch(r"\s*\d+(\.\d+)?\s*([kmgt]i?)?b\s*", text, re.IGNORECASE):
        raise PydanticCustomError("bytes", "give a number and a unit, such as 8GB or 7.5GiB")
    return text


Bytes = Annotated[str | None, AfterValidator(_amount)]
"""An amount of memory in words."""

_package = Path(__file__).resolve().parent


def shipped(name: str) -> Path:
    """A folder that ships with the studio (configs, examples): beside the package, or inside it once installed."""
    inside = _package / name
    return inside if inside.is_dir() else _package.parent / name


class Settings(BaseModel):
    """Precedence: command line, then ``STUDIO_<NAME>``, then ``configs/studio.yaml``, then the defaults here."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    home: Path = Field(
        default_factory=lambda: Path(platformdirs.user_data_dir("svd-studio", appauthor=False)),
        description="holds models, inputs, outputs and the journal",
    )
    models_dir: Path | None = Field(default=None, description="where weights are; home/models by default")
    comfyui_dir: Path | None = Field(default=None, description="an existing ComfyUI models folder to read from")
    host: str = Field(default="127.0.0.1", description="address to listen on")
    port: int | None = Field(default=None, ge=1, le=65535, description="port; the first free one from 7860 by default")
    share: bool = Field(default=False, description="make a public link through Gradio's share server")
    auth: str | None = Field(default=None, pattern=r"^[^:]+:.+$", repr=False, description="user:password for the page")
    device: str = Field(default="auto", pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$", description="auto, cpu, mps, cuda:0")
    precision: Literal["auto", "bf16", "fp16", "fp32"] = Field(
        default="auto", description="fp16 on CUDA, fp32 elsewhere; bf16: half the time and memory on a CPU that has it"
    )
    vram: Literal["auto", "high", "normal", "low", "none"] = Field(
        default="auto",
        description="high: all weights stay on the device; normal: those of each phase; low: the big ones are "
        "streamed; none: all of them are; auto: the quickest plan that fits",
    )
    vram_budget: Bytes = Field(default=None, description="most device memory to take: 8GB, 7.5GiB")
    ram_budget: Bytes = Field(default=None, description="most host memory for waiting weights")
    exact_savings: bool = Field(default=True, description="compute what is constant once; the same but for rounding")
    compile: Literal["auto", "on", "off"] = Field(
        default="auto", description="compile networks once for each size: where CUDA and Triton are; always; never"
    )
    runner: Literal["auto", "process", "inline"] = Field(default="auto", description="where jobs run")
    queue_limit: int = Field(default=100, ge=1, le=10_000, description="jobs that may wait")
    queue_window: int = Field(default=8, ge=0, le=100, description="of so many waiting jobs one may go first; 0: none")
    idle_unload_s: float = Field(default=600, ge=0, description="weights are dropped after so long unused; 0: never")
    work_limit: float = Field(default=1e10, gt=0, description="most steps x frames x pixels of one request")
    clip_limit: float = Field(default=6e8, gt=0, description="most frames x pixels of one request")
    cancel_grace_s: float = Field(default=30, gt=0, description="after this the device process is stopped by force")

    @property
    def models(self) -> Path:
        """The folder of weights."""
        return self.models_dir or self.home / "models"

    @property
    def loras(self) -> tuple[Path, ...]:
        """The folders of LoRAs: the studio's own, then ComfyUI's."""
        theirs = () if self.comfyui_dir is None else (self.comfyui_dir, self.comfyui_dir / "models")
        return (self.models / "loras", *(folder / "loras" for folder in theirs))

    @property
    def outputs(self) -> Path:
        """The folder of finished files."""
        return self.home / "outputs"

    @property
    def inputs(self) -> Path:
        """Kept copies of what requests were made from, by content."""
        return self.home / "inputs"

    @property
    def journal(self) -> Path:
        """The jobs' database."""
        return self.home / "journal.sqlite"

    @property
    def scratch(self) -> Path:
        """Folders of running jobs."""
        return self.home / "scratch"

    @property
    def configs(self) -> Path:
        """The yaml files that ship with the studio."""
        return shipped("configs")

    @property
    def examples(self) -> Path:
        """Complete requests with their pictures, that ship with the studio."""
        return shipped("examples")


def read_settings(environ: Mapping[str, str] | None = None, **given: Any) -> Settings:
    """The settings of this start. Options that are None count as not given.

    Raises:
        BadInput: names the option or variable whose value won't do.
    """
    environ = os.environ if environ is None else environ
    values: dict[str, Any] = {}
    path = shipped("configs") / "studio.yaml"
    if path.is_file():
        values.update(yaml.safe_load(path.read_text(encoding="utf-8")) or {})
    names = {}
    for field in Settings.model_fields:
        name = f"STUDIO_{field.upper()}"
        if environ.get(name):
            values[field] = environ[name]
            names[field] = name
    for field, value in given.items():
        if value is not None:
            values[field] = value
            names[field] = f"--{field.replace('_', '-')}"
    try:
        settings = Settings.model_validate(values)
    except ValidationError as e:
        first = e.errors()[0]
        field = str(first["loc"][0])
        raise BadInput(f"{names.get(field, field)}: {first.get('input')!r} won't do; {first['msg']}.") from e
    absolute = {
        f: getattr(settings, f).expanduser().absolute()
        for f in ("home", "models_dir", "comfyui_dir")
        if getattr(settings, f) is not None
    }
    return settings.model_copy(update=absolute)
