"""Every example is a complete request that runs, small."""

from pathlib import Path

import pytest
import yaml

from studio.media.probe import probe
from studio.modes import all_modes
from studio.settings import shipped

SMALLER = {
    "width": 160,
    "height": 96,
    "frames": 16,
    "size": 128,
    "mesh_grid": 32,
    "turntable_frames": 16,
    "turntable_size": 128,
}
"""So that an example runs in a moment, where it has these fields."""

EXAMPLES = sorted(shipped("examples").glob("*.yaml"))


def test_there_are_examples():
    assert len(EXAMPLES) >= 5


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.stem)
def test_it_runs_as_it_stands_only_smaller(studio, path):
    request = yaml.safe_load(path.read_text(encoding="utf-8"))
    mode = all_modes()[request["mode"]]
    for field in mode.inputs:
        if field in request:
            request[field] = str(path.parent / request[field])
    complete, notices = studio.check(request)
    assert notices == []
    smaller = {k: v for k, v in SMALLER.items() if getattr(complete, k, None) is not None}
    job = studio.wait(studio.submit({**request, **smaller}).id)
    assert job.state == "done", job.error
    assert Path(job.files[0]).suffix == f".{complete.format}"
    assert probe(Path(job.files[0])).frames >= 2


def test_the_service_offers_them_with_files_that_are_there(studio):
    offered = {mode: studio.examples(mode) for mode in all_modes()}
    assert {name for examples in offered.values() for name in examples} == {p.stem for p in EXAMPLES}
    for mode, examples in offered.items():
        assert examples, mode
        files = [
            request[field] for request in examples.values() for field in all_modes()[mode].inputs if field in request
        ]
        assert all(Path(file).is_file() for file in files)


def test_every_example_picture_has_its_licence_beside_it():
    pictures = shipped("examples") / "pictures"
    says = (pictures / "LICENCES.md").read_text(encoding="utf-8")
    for picture in (*pictures.glob("*.jpg"), *pictures.glob("*.png")):
        assert picture.name in says
        assert picture.stat().st_size <= 300_000
