from types import SimpleNamespace

import pytest

from studio.errors import BadInput, Cancelled, DownloadFailed, StudioError
from studio.models import installed, source
from tests.models.hub_server import serving
from tests.models.thing import REVISION, SPEC, files, make_spec


@pytest.fixture
def models(tmp_path):
    return tmp_path / "models"


@pytest.fixture
def find(models, tmp_path):
    def run(spec=SPEC, **given):
        return installed.find(spec, **{"models_dir": models, "hub_cache": tmp_path / "no-cache", **given})

    return run


@pytest.fixture
def hub():
    with serving(
        {f"maker/thing/resolve/{REVISION}/{n}": d for d_ in ("fp16", "fp32") for n, d in files(d_).items()}
    ) as hub:
        yield hub


@pytest.fixture
def pull(hub, models, monkeypatch):
    monkeypatch.setattr(source, "time", SimpleNamespace(sleep=lambda s: None))

    def run(spec=SPEC, **given):
        return source.pull(spec, models_dir=models, environ={"HF_ENDPOINT": hub.endpoint}, **given)

    return run


def test_pull_brings_what_the_spec_names_and_nothing_else(pull, hub, models):
    heard = []
    got = pull(report=lambda *said: heard.append(said))
    assert got.dtype == "fp16"
    for name, data in files("fp16").items():
        assert (models / "thing" / name).read_bytes() == data
    assert not list(models.rglob("*.part"))
    assert not any("fp32" in p or "model.safetensors" in p for p in hub.sent())
    total = sum(map(len, files().values()))
    assert heard[-1][1:] == (total, total)
    assert [d for _, d, _ in heard] == sorted(d for _, d, _ in heard)
    assert {c.ok for c in installed.verify(got)} == {True}


def test_pull_takes_the_asked_precision_and_skips_what_is_there(pull, hub):
    assert pull(precision="fp32").dtype == "fp32"
    before = len(hub.sent())
    pull(precision="fp32")
    assert len(hub.sent()) == before
    both = pull(precision="fp16")
    assert both.dtype == "fp16"
    assert {c.ok for c in installed.verify(both)} == {True}


def test_a_transfer_that_breaks_off_goes_on_from_where_it_was(pull, hub):
    hub.cut = [3000]
    assert pull() is not None
    ranges = [h["Range"] for m, _, h in hub.asked if m == "GET" and "Range" in h]
    assert ranges == ["bytes=3000-"]


def test_a_transfer_that_breaks_off_again_and_again_is_said_and_continued_next_time(pull, hub, find, models):
    hub.cut = [1000, 1000, 1000]
    with pytest.raises(DownloadFailed, match=r"can't be reached|broke off") as caught:
        pull()
    assert "goes on" in caught.value.remedy
    assert find() is None
    before = len(hub.asked)
    assert pull() is not None
    assert [h["Range"] for m, _, h in hub.asked[before:] if "Range" in h] == ["bytes=3000-"]


def test_a_file_with_another_hash_is_dropped(pull, hub, find, models):
    hub.wrong_hash = True
    with pytest.raises(DownloadFailed, match="sha256 differs"):
        pull()
    assert find() is None
    assert not list(models.rglob("*.safetensors"))
    assert not list(models.rglob("*.part"))


@pytest.mark.parametrize("status", [401, 403])
def test_a_gate_is_answered_with_the_page_and_the_command(pull, hub, status):
    hub.status = status
    with pytest.raises(DownloadFailed, match="Its licence") as caught:
        pull()
    assert f"{hub.endpoint}/maker/thing" in caught.value.remedy
    assert "hf auth login" in caught.value.remedy
    assert "HF_TOKEN" in caught.value.remedy


@pytest.mark.parametrize(("status", "says"), [(404, "has no image_encoder/config.json"), (503, "answered 503")])
def test_other_answers_are_one_sentence(pull, hub, status, says):
    hub.status = status
    with pytest.raises(DownloadFailed, match=says) as caught:
        pull()
    assert "\n" not in str(caught.value)


def test_a_hub_that_is_not_there_is_one_sentence(models):
    with serving({}) as hub:
        gone = hub.endpoint
    with pytest.raises(DownloadFailed, match=r"127\.0\.0\.1:\d+ can't be reached"):
        source.pull(SPEC, models_dir=models, environ={"HF_ENDPOINT": gone})


def test_offline_is_said_before_anything_is_asked(hub, models):
    environ = {"HF_ENDPOINT": hub.endpoint, "HF_HUB_OFFLINE": "1"}
    with pytest.raises(DownloadFailed, match="HF_HUB_OFFLINE"):
        source.pull(SPEC, models_dir=models, environ=environ)
    assert hub.asked == []


def test_cancelling_keeps_what_came_so_far_and_nothing_looks_installed(pull, find, models):
    def report(file, done, total):
        if done > 12_000:
            raise Cancelled()

    with pytest.raises(Cancelled):
        pull(report=report)
    assert find() is None
    assert sum(p.stat().st_size for p in models.rglob("*.part")) > 0
    assert pull() is not None


def test_too_little_room_is_said_before_the_download(pull, hub, monkeypatch):
    monkeypatch.setattr(source, "_SPARE_BYTES", 1 << 60)
    with pytest.raises(DownloadFailed, match="GB are free"):
        pull()
    assert hub.sent() == []


def test_the_download_is_as_large_as_its_source_says():
    assert source.download_bytes(SPEC, "fp16") == 1000
    assert source.download_bytes(make_spec(sources=[{"kind": "bundled"}])) == 0


def test_a_variant_without_a_download_is_refused(models):
    bundled = make_spec(sources=[{"kind": "bundled"}])
    with pytest.raises(BadInput, match="nothing to download"):
        source.pull(bundled, models_dir=models)
    assert installed.find(bundled, models_dir=models).layout == "bundled"


def test_verify_tells_changed_bytes_from_those_that_nobody_published(pull, find, models):
    got = pull()
    file = models / "thing" / "unet" / "model.fp16.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(StudioError, match=r"thing/unet/model\.fp16\.safetensors \(differs") as caught:
        installed.verify(got)
    assert "vae" not in caught.value.message
    (models / "thing" / "pulled.json").unlink()
    assert {c.ok for c in installed.verify(find())} == {None}
