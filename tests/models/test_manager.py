"""The manager over real tiny networks on the CPU: what is shared, planned, foreseen, dropped and told."""

import shutil
import threading
from types import SimpleNamespace

import pytest

from benchmarks.svd_models import made_picture, quiet_context, request
from studio.engines import family_module
from studio.errors import Cancelled, DoesNotFit, NotInstalled
from studio.models.catalog import Catalog
from studio.models.installed import find
from studio.models.limits import Limits
from studio.models.manager import ModelManager
from studio.models.memory import Device
from tests.tiny import tiny_spec_yaml, tiny_weights, write_tiny_svd

VARIANTS = ("first", "second")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two variants whose UNets differ and whose image encoders and VAEs are equal, byte for byte but in other files."""
    root = tmp_path_factory.mktemp("variants")
    for number, variant in enumerate(VARIANTS):
        write_tiny_svd(root / "models" / variant, frames=4, seed=0)
        tiny_spec_yaml(variant, root / "configs", frames=4)
        if number:
            other = write_tiny_svd(root / "other", frames=4, seed=5)
            shutil.copy(other / tiny_weights()["unet"], root / "models" / variant / tiny_weights()["unet"])
    return root


@pytest.fixture
def make(folder, tmp_path):
    def make(**limits) -> ModelManager:
        return ModelManager(
            Catalog(folder / "configs"),
            lambda: Device("cpu", "CPU", "fp32"),
            find=lambda spec: find(spec, models_dir=folder / "models", hub_cache=folder),
            family=family_module,
            limits=Limits(**limits),
            home=tmp_path,
        )

    return make


def animate(manager, variant, **wish):
    wish = request(**{"width": 64, "height": 64, "frames": 4, "steps": 1, "decode_chunk": 4, **wish})
    ctx = quiet_context()
    with manager.lease(variant, ctx.loading) as engine:
        return engine.animate(made_picture(64, 64), wish, ctx).frames


def held(manager):
    return {row["component"]: row for row in manager.ledger()["components"]}


def test_a_swap_of_variants_moves_the_component_that_differs_and_copies_nothing_back(make):
    manager = make()
    animate(manager, "first")
    before = manager.ledger()["moved"]
    animate(manager, "second")
    rows = manager.ledger()["components"]
    unets = [row for row in rows if row["component"] == "unet"]
    assert len(rows) == 4
    assert [row["variants"] for row in unets] == [["first"], ["second"]]
    assert unets[0]["identity"] != unets[1]["identity"]
    assert held(manager)["vae"]["variants"] == ["first", "second"]
    after = manager.ledger()["moved"]
    assert after["host_to_device_bytes"] - before["host_to_device_bytes"] == unets[1]["device_bytes"]
    assert after["device_to_host_bytes"] == 0


def test_the_ledger_says_what_lies_where_and_why(make):
    manager = make()
    assert manager.ledger()["device"] is None
    animate(manager, "first")
    ledger = manager.ledger()
    assert ledger["device"]["name"] == "cpu"
    assert {row["tier"] for row in ledger["components"]} == {"device"}
    assert {row["leases"] for row in ledger["components"]} == {0}
    assert ledger["decisions"][0]["what"].startswith("planned first")
    assert all(d["why"] for d in ledger["decisions"])


def test_unloading_frees_what_is_idle_and_spares_what_is_leased(make):
    manager = make()
    animate(manager, "first")
    spec = manager.catalog.get("first")
    holding = manager.pin(spec, manager._find(spec), "vae", lambda *_: None)
    assert manager.unload() > 0
    assert set(held(manager)) == {"vae"}
    assert held(manager)["vae"]["leases"] == 1
    manager.unpin(holding)
    manager.unload()
    assert held(manager) == {}
    assert animate(manager, "first").shape == (4, 64, 64, 3)


@pytest.mark.parametrize("policy", ["normal", "low", "none"])
def test_a_policy_bounds_what_stays_and_leaves_the_frames_as_they_are(make, policy):
    wanted = animate(make(), "first")
    manager = make(policy=policy)
    frames = animate(manager, "first")
    assert set(held(manager)) == {"vae"}
    assert abs(frames.astype(int) - wanted).max() <= 1
    assert manager.plans_taken["first"].residency == ("swap" if policy == "normal" else "stream")


def test_a_budget_in_which_nothing_fits_is_refused_before_anything_is_read(make):
    manager = make(device_bytes=1000)
    with pytest.raises(DoesNotFit) as e:
        animate(manager, "first")
    assert e.value.remedy
    assert held(manager) == {}
    assert manager.ledger()["moved"]["read_bytes"] == 0


def test_what_is_not_installed_is_said_with_the_command(make, folder):
    manager = make()
    manager._find = lambda spec: None
    with pytest.raises(NotInstalled, match="not installed") as e, manager.lease("first", lambda *_: None):
        pass
    assert "models pull first" in e.value.remedy


def test_a_cancelled_load_leaves_nothing_and_can_be_made_again(make):
    manager = make()

    def stop(component, done, total):
        if component == "unet" and 0 < done < total:
            raise Cancelled()

    spec = manager.catalog.get("first")
    with pytest.raises(Cancelled):
        manager.pin(spec, manager._find(spec), "unet", stop)
    assert held(manager) == {}
    manager.unpin(manager.pin(spec, manager._find(spec), "unet", lambda *_: None))
    assert held(manager)["unet"]["leases"] == 0


def test_what_the_queue_will_need_is_known_and_prefetched_beside_the_last_phase(make):
    manager = make()
    animate(manager, "second")
    manager.unload()
    manager.expect([("second", request(width=64, height=64, frames=4, steps=1, decode_chunk=4))])
    animate(manager, "first")
    manager._prefetching.join(timeout=60)
    assert {row["variants"][0] for row in manager.ledger()["components"] if row["component"] == "unet"} == set(VARIANTS)
    assert any(d["what"].startswith("prefetched unet of second") for d in manager.ledger()["decisions"])
    assert held(manager)["unet"]["next_use"] is not None


def test_a_waiting_job_that_can_not_be_foreseen_is_passed_over(make):
    manager = make()
    manager.expect([("gone", None), ("first", SimpleNamespace(frames=None))])
    assert animate(manager, "first").shape == (4, 64, 64, 3)


def test_two_that_want_one_component_load_it_once(make):
    manager = make()
    spec = manager.catalog.get("first")
    manager.key(spec, manager._find(spec), "unet", lambda *_: None)
    got = []

    def take():
        got.append(manager.pin(spec, manager._find(spec), "unet", lambda *_: None))

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert len({id(holding.thing) for holding in got}) == 1
    assert manager.ledger()["moved"]["host_to_device_bytes"] == got[0].device_bytes
    assert held(manager)["unet"]["leases"] == 4


def test_what_a_phase_took_is_kept_for_the_next_start(make, tmp_path):
    animate(make(), "first")
    assert list((tmp_path / "devices").glob("*.json"))
    assert make().learned.flop_per_s("svd", "sample", "both branches") is not None
