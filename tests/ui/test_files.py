import pytest

from studio.errors import BadInput
from studio.ui.files import file_url, given_path


@pytest.fixture
def uploads(tmp_path):
    folder = tmp_path / "uploads"
    folder.mkdir()
    (folder / "a.png").write_bytes(b"x")
    (tmp_path / "secret.png").write_bytes(b"x")
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    return folder


def test_an_uploaded_file_is_its_path(uploads):
    path = uploads / "a.png"
    assert given_path({"path": str(path), "meta": {}}, [uploads], "image") == str(path.resolve())


def test_nothing_and_the_studios_own_reference_pass(uploads):
    assert given_path(None, [uploads], "image") is None
    reference = f"input:{'a' * 64}.png"
    assert given_path(reference, [uploads], "image") == reference


@pytest.mark.parametrize(
    "raw",
    [
        {"path": "/etc/passwd"},
        {"path": "{uploads}/../secret.png"},
        {"path": "{uploads}/link.png"},
        {"path": "{uploads}"},
        {"path": "{uploads}/gone.png"},
        {"path": "https://example.invalid/a.png"},
        {"path": "a\0b"},
        {"path": 3},
        {"url": "{uploads}/a.png"},
        {},
        "{uploads}/a.png",
        ["{uploads}/a.png"],
        7,
        True,
    ],
)
def test_anything_else_is_refused_in_one_sentence_that_names_the_field(uploads, raw):
    if isinstance(raw, dict):
        raw = {k: v.replace("{uploads}", str(uploads)) if isinstance(v, str) else v for k, v in raw.items()}
    with pytest.raises(BadInput) as e:
        given_path(raw, [uploads], "image")
    assert e.value.field == "image"
    assert "\n" not in str(e.value)


def test_a_files_address_is_relative_and_quoted():
    assert file_url("/a b/ü#.png") == "gradio_api/file=/a%20b/%C3%BC%23.png"
