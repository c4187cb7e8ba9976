"""Interpolate through the studio: from a request to a file, with the embedded engine, with RIFE and with SVD."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from studio.engines.rife_net import RifeNet
from studio.errors import BadInput
from studio.media.clip import Clip
from studio.media.decode import read_clip
from studio.media.probe import probe
from studio.media.recipe import make_recipe, read_recipe
from studio.media.write import write_clip
from tests.media.films import clicks, heard, write_film
from tests.modes.test_interpolate import moving_square, saved


@pytest.fixture(scope="module")
def film(tmp_path_factory) -> Path:
    """Two seconds at 6 frames a second, with a click at its beginning and near its end."""
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    return write_film(
        path, 12, rate=Fraction(6), size=(96, 64), frames=moving_square(12), sound=clicks([0.25, 1.75], 2)
    )


def test_the_studio_makes_it_and_makes_it_again_the_same(studio, film: Path) -> None:
    job = studio.wait(studio.submit({"mode": "interpolate", "clip": str(film), "factor": 4, "seed": 1}).id)
    assert job.state == "done", job.error
    path = Path(job.files[0])
    facts = probe(path)
    assert (facts.frames, facts.fps) == (48, 24)
    assert heard(path)[0] == pytest.approx([0.25, 1.75], abs=0.01)
    assert Path(job.poster).is_file()
    recipe = read_recipe(path)
    assert recipe["facts"]["interpolation"]["frames"] == [12, 48]
    again = studio.wait(studio.submit(recipe["request"]).id)
    assert Path(again.files[0]).read_bytes() == path.read_bytes()


@pytest.fixture
def rife(studio) -> str:
    """RIFE's id, with weights that were never trained."""
    torch.manual_seed(0)
    folder = studio.settings.models / "rife"
    folder.mkdir(parents=True)
    save_file(RifeNet("4.25").state_dict(), folder / "network.safetensors")
    return "rife"


def test_a_model_with_weights_makes_the_same_file_again_after_other_jobs(studio, rife: str, film: Path) -> None:
    given = {"mode": "interpolate", "clip": str(film), "variant": rife, "seed": 1}
    first = studio.wait(studio.submit(given).id)
    assert first.state == "done", first.error
    again = studio.wait(studio.submit(given).id)
    assert read_recipe(Path(again.files[0])) == read_recipe(Path(first.files[0]))
    assert Path(again.files[0]).read_bytes() == Path(first.files[0]).read_bytes()


def test_a_clip_of_another_mode_ends_smooth(studio, small) -> None:
    job = studio.wait(studio.submit({**small, "export_fps": 6.0, "finish": ["smooth:24"]}).id)
    assert job.state == "done", job.error
    assert (probe(Path(job.files[0])).frames, probe(Path(job.files[0])).fps) == (16, 24)


@pytest.mark.parametrize(
    ("name", "data"),
    [("playlist.mp4", b"#EXTM3U\nfile:///etc/passwd\n"), ("empty.mp4", b""), ("junk.webm", b"\x1a\x45\xdf\xa3" * 50)],
)
def test_a_file_that_is_no_clip_never_becomes_a_job(studio, name: str, data: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(BadInput) as caught:
        studio.submit({"mode": "interpolate", "clip": str(tmp_path / name)})
    assert caught.value.field == "clip"
    assert studio.history() == []


def test_a_clip_that_is_cut_off_fails_with_a_sentence_and_leaves_nothing(studio, tmp_path: Path) -> None:
    drawn = np.random.default_rng(0).integers(0, 255, (24, 48, 64, 3), np.uint8)
    path = write_clip(Clip(drawn, 12.0), tmp_path / "film.mp4", recipe=make_recipe({}, "flow"))
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    job = studio.wait(studio.submit({"mode": "interpolate", "clip": str(path)}).id)
    assert job.state == "failed"
    assert "is damaged" in str(job.error)
    assert not list(studio.settings.outputs.rglob("*.*"))


def test_read_back_it_shows_the_clips_own_frames_among_those_that_were_made(studio, film: Path) -> None:
    job = studio.wait(studio.submit({"mode": "interpolate", "clip": str(film)}).id)
    own, made = read_clip(film).frames.astype(int), read_clip(Path(job.files[0])).frames.astype(int)
    assert abs(made[::2] - own).mean() < 2


@pytest.mark.parametrize("make", ["between", "loop", "continue"])
def test_svd_makes_clips_between_pictures_and_goes_on_with_one(
    make: str, tiny_svd: str, studio, film: Path, tmp_path: Path
) -> None:
    start, end = (saved(tmp_path / f"{i}.png", f) for i, f in enumerate(moving_square(2)))
    given = {"mode": "interpolate", "make": make, "variant": tiny_svd, "steps": 2, "seed": 3}
    given |= {"clip": str(film), "overlap": 2} if make == "continue" else {"start": str(start), "end": str(end)}
    job = studio.wait(studio.submit(given).id)
    assert job.state == "done", job.error
    path = Path(job.files[0])
    assert probe(path).frames == {"between": 4, "loop": 3, "continue": 12 + 2}[make]
    facts = read_recipe(path)["facts"]
    assert ("seam" in facts) is (make == "loop")
    assert ("drift" in facts) is (make == "continue")
