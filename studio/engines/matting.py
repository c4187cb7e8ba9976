"""Matting: which pixels of a picture are its main object, by an ONNX network through rembg's session.

The session is always made on a file of ours: rembg's own choice of a model, which it would download, is never asked
for. onnxruntime keeps the network in host memory and runs it on the CPU; the manager counts it as if on the device, so
that it stays from job to job, shows in the ledger and goes on unload like all weights.
"""

from __future__ import annotations

import importlib.util
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from studio.errors import BadInput, NotInstalled, StudioError
from studio.models.installed import Installed
from studio.models.spec import VariantSpec
from studio.models.weights_file import sha256_of

if TYPE_CHECKING:
    from studio.context import Context
    from studio.models.weights import Report

COMPONENTS = ("network",)

_THREADS = 1
"""Of onnxruntime: 320x320 takes the one 0.4 s, two are no quicker where something else uses the cores."""

_SURELY_NOT, _SURELY = 0.1, 0.9
"""The network's haze below the one becomes nothing, what is above the other the whole object.

Judged by eye on twelve photos, beside settling the edge on the picture's by a guided filter, which frayed smooth rims
and thinned what was nearly the background's grey.
"""


def open_weights(component: str, installed: Installed, device: str, dtype: str) -> SessionWeights:
    """The network in its `.onnx` file; it computes in fp32 on the host, whatever the device and its dtype."""
    return SessionWeights(installed.weights[component])


class SessionWeights:
    """An onnxruntime session as `studio.models.weights.Weights`: host and device are the same for it."""

    units: tuple[int, ...] = ()

    def __init__(self, file: Path) -> None:
        self._file = file
        self._session: Any = None
        self._read = self._placed = False
        self.device_bytes = file.stat().st_size

    @property
    def host_bytes(self) -> int:
        """What it takes while it waits for its use."""
        return self.device_bytes if self._read else 0

    @property
    def held_bytes(self) -> int:
        """What it takes while it may be used."""
        return self.device_bytes if self._placed else 0

    def digest(self, report: Report) -> str:
        """The file's sha256."""
        return sha256_of(self._file)

    def streamed_bytes(self, resident_bytes: int) -> int:
        """All of it: it is never streamed."""
        return self.device_bytes

    def read(self, report: Report) -> None:
        """The session is open."""
        self._open(report)
        self._read = True

    def forget(self) -> None:
        """The session is closed unless it is in use."""
        self._read = False
        self._close()

    def place(self, report: Report) -> Any:
        """rembg's session."""
        self._open(report)
        self._placed = True
        return self._session

    def stream(self, resident_bytes: int, report: Report) -> Any:
        """As `place`."""
        return self.place(report)

    def displace(self) -> None:
        """The session is closed unless it waits for its next use."""
        self._placed = False
        self._close()

    def _open(self, report: Report) -> None:
        report(0, self.device_bytes)
        session = self._session or _session(self._file)
        report(self.device_bytes, self.device_bytes)
        self._session = session

    def _close(self) -> None:
        if not (self._read or self._placed):
            self._session = None


class Engine:
    """Cuts the main object out of a picture.

    Args:
        components: gives the session by `use("network", phase="cut-out")`.
    """

    def __init__(self, spec: VariantSpec, components: Any) -> None:
        self._spec = spec
        self._components = components

    def cut_out(self, pixels: np.ndarray, ctx: Context) -> np.ndarray:
        """Alpha, uint8 (H, W), 255 on the object; 0 everywhere where the network sees none.

        rembg's own `predict` stretches what it finds to the full range, so that a picture of nothing would become an
        object; here the network's probability counts as it is.

        Args:
            pixels: uint8 (H, W, 3).

        Raises:
            StudioError: the network gave something that is no mask.
        """
        ctx.step(0, 1, "cut-out")
        facts, height, width = self._spec.facts, *pixels.shape[:2]
        size = (facts["size_px"], facts["size_px"])
        with self._components.use("network", phase="cut-out") as (session,):
            found = session.look(pixels, facts["mean"], facts["deviation"], size)
        ctx.step(1, 1, "cut-out")
        if found.shape != (1, 1, *size) or not np.isfinite(found).all():
            raise StudioError(f"{self._spec.id} gave no mask.", f"Run: python -m studio models verify {self._spec.id}")
        chance = cv2.resize(found[0, 0], (width, height), interpolation=cv2.INTER_CUBIC)
        alpha = (chance - _SURELY_NOT) / (_SURELY - _SURELY_NOT)
        return np.rint(alpha.clip(0, 1) * 255).astype(np.uint8)


def _session(file: Path) -> Any:
    """rembg's session on that file, on the CPU, with the same result in every run.

    Raises:
        NotInstalled: rembg or onnxruntime is missing.
        BadInput: onnxruntime can't read the file.
    """
    base, runtime = _rembg()
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = _THREADS
    options.use_deterministic_compute = True
    options.log_severity_level = 4  # it writes to stderr what is raised anyway

    class OwnFile(base.BaseSession):
        @classmethod
        def download_models(cls, *args: Any, **kwargs: Any) -> str:
            """The file that is here: where rembg's sessions look for theirs, and fetch it, this one has it."""
            return str(file)

        def look(self, pixels: np.ndarray, mean: Any, deviation: Any, size: tuple[int, int]) -> np.ndarray:
            """What the network gives for the picture in that size, under rembg's own normalisation."""
            return self.inner_session.run(None, self.normalize(base.Image.fromarray(pixels), mean, deviation, size))[0]

    try:
        return OwnFile(file.stem, options, providers=["CPUExecutionProvider"])
    except Exception as e:  # onnxruntime's errors have no common type of their own
        raise BadInput(f"{file} can't be read as a network.", "Remove it and pull again.") from e


@lru_cache(maxsize=1)
def _rembg() -> tuple[Any, Any]:
    """rembg's `sessions.base`, and onnxruntime.

    The module is loaded by its file. Imported by name it would bring all of rembg 2.0.69, and with that pymatting,
    which compiles for long when it is first imported and is not used here.
    """
    try:
        import onnxruntime

        found = importlib.util.find_spec("rembg")
        if found is None or found.origin is None:
            raise ImportError("rembg")
        file = Path(found.origin).parent / "sessions" / "base.py"
        spec = importlib.util.spec_from_file_location("studio_rembg_base", file)
        base = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(base)
    except (ImportError, OSError) as e:
        raise NotInstalled(
            "A cut-out by a network needs rembg and onnxruntime.", 'Run: pip install "rembg==2.0.69" onnxruntime'
        ) from e
    return base, onnxruntime
