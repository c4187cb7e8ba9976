"""The ledgers of several processes: who lives is read, who is asked answers."""

import threading
import time

import pytest

from studio.jobs.ledgers import LedgerFile, ask_unload, read_ledgers
from studio.jobs.owner import Owner

HELD = {"components": [{"component": "unet", "device_bytes": 5}], "decisions": []}


@pytest.fixture
def owner(tmp_path):
    owner = Owner(tmp_path / "owners")
    yield owner
    owner.close()


def test_a_ledger_is_read_while_its_process_lives_and_removed_after_it(tmp_path, owner):
    dead = Owner(tmp_path / "owners")
    for one in (owner, dead):
        LedgerFile(tmp_path, one.id).keep(HELD)
    assert {x["owner"] for x in read_ledgers(tmp_path)} == {owner.id, dead.id}
    dead.close()
    (found,) = read_ledgers(tmp_path)
    assert (found["owner"], found["components"]) == (owner.id, HELD["components"])
    assert [p.stem for p in (tmp_path / "ledgers").iterdir()] == [owner.id]


def test_it_is_written_only_when_it_says_something_else(tmp_path, owner):
    file = LedgerFile(tmp_path, owner.id)
    file.keep(HELD)
    first = read_ledgers(tmp_path)[0]["at"]
    file.keep(dict(HELD))
    assert read_ledgers(tmp_path)[0]["at"] == first
    file.keep({"components": []})
    assert read_ledgers(tmp_path)[0]["at"] > first


def test_who_is_asked_to_unload_says_how_much_was_freed(tmp_path, owner):
    file = LedgerFile(tmp_path, owner.id)
    file.keep(HELD)

    def answer():
        while not file.unload_wanted:
            time.sleep(0.01)
        file.unloaded(5, {"components": []})

    thread = threading.Thread(target=answer)
    thread.start()
    (told,) = ask_unload(tmp_path)
    thread.join()
    assert (told["freed_bytes"], told["components"]) == (5, [])
    assert not file.unload_wanted


def test_who_does_not_answer_in_time_keeps_the_wish(tmp_path, owner):
    file = LedgerFile(tmp_path, owner.id)
    file.keep(HELD)
    (told,) = ask_unload(tmp_path, within_s=0.2)
    assert told["freed_bytes"] is None
    assert file.unload_wanted
    file.close()
    assert list((tmp_path / "ledgers").iterdir()) == []


def test_where_nothing_runs_nobody_is_asked(tmp_path):
    assert read_ledgers(tmp_path) == []
    assert ask_unload(tmp_path) == []


def test_a_disk_that_is_full_costs_the_file_only(tmp_path, owner, caplog):
    (tmp_path / "ledgers").touch()  # no folder can be made here
    LedgerFile(tmp_path, owner.id).keep(HELD)
    assert "can't be written" in caplog.text
