"""The shipped examples are complete, small, free of metadata and say whose they are."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from PIL import Image

from studio.finish import parse_steps
from studio.media.read import read_picture
from studio.modes import all_modes
from studio.settings import shipped

EXAMPLES = sorted(shipped("examples").glob("*.yaml"))
PICTURES = sorted((shipped("examples") / "pictures").glob("*.[jp][pn]g"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.stem)
def test_every_example_is_a_valid_request(path: Path) -> None:
    data = yaml.safe_load(path.read_text(encoding="utf-8"))
    mode = all_modes()[data["mode"]]
    given = [field for field in mode.inputs if field in data]
    data |= {field: str(path.parent / data[field]) for field in given}
    request = mode.request.model_validate(data)
    for field in given:
        assert mode.inputs[field](Path(data[field])) == Path(data[field]).suffix
        if Path(data[field]) in PICTURES:
            assert read_picture(Path(data[field])).notices == ()
    assert request.seed is not None
    parse_steps(request.finish)


@pytest.mark.parametrize("path", PICTURES, ids=lambda p: p.stem)
def test_every_picture_is_small_and_without_metadata(path: Path) -> None:
    assert path.stat().st_size <= 300_000
    with Image.open(path) as image:
        assert max(image.size) <= 1600
        assert not {"exif", "icc_profile", "comment", "xmp", "photoshop"} & set(image.info)


def test_every_picture_is_used_and_its_licence_named() -> None:
    licences = (shipped("examples") / "pictures" / "LICENCES.md").read_text(encoding="utf-8")
    used = {yaml.safe_load(path.read_text(encoding="utf-8")).get("image") for path in EXAMPLES}
    assert len(PICTURES) >= 4
    for path in PICTURES:
        (row,) = [line for line in licences.splitlines() if f"`{path.name}`" in line]
        assert "CC" in row or "public domain" in row or "this project" in row
        assert f"pictures/{path.name}" in used
