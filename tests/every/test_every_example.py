"""Every example is a complete request that runs, small."""

from pathlib import Path

import pytest
import yaml

from studio.media.probe import probe
from studio.modes import all_modes
from studio.settings import shipped

EXAMPLES = sorted(shipped("examples").glob("*.yaml"))


def test_there_are_examples():
    assert len(EXAMPLES) >= 5


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.stem)
def test_it_runs_as_it_stands_only_smaller(studio, path):
    request = yaml.safe_load(path.read_text(encoding="utf-8"))
    for field in all_modes()[request["mode"]].inputs:
        request[field] = str(path.parent / request[field])
    complete, notices = studio.check(request)
    assert notices == []
    job = studio.wait(studio.submit({**request, "width": 160, "height": 96, "frames": 16}).id)
    assert job.state == "done", job.error
    assert Path(job.files[0]).suffix == f".{complete.format}"
    assert probe(Path(job.files[0])).frames >= 2


def test_the_service_offers_them_with_files_that_are_there(studio):
    offered = {mode: studio.examples(mode) for mode in all_modes()}
    assert {name for examples in offered.values() for name in examples} == {p.stem for p in EXAMPLES}
    for mode, examples in offered.items():
        assert examples, mode
        files = [request[field] for request in examples.values() for field in all_modes()[mode].inputs]
        assert all(Path(file).is_file() for file in files)


def test_every_example_picture_has_its_licence_beside_it():
    pictures = shipped("examples") / "pictures"
    says = (pictures / "LICENCES.md").read_text(encoding="utf-8")
    for picture in pictures.glob("*.jpg"):
        assert picture.name in says
        assert picture.stat().st_size <= 300_000
