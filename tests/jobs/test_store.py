"""The journal: what was submitted is found again."""

import sqlite3
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from studio.errors import BadInput, StudioError
from studio.events import Failed
from studio.jobs.job import Job
from studio.jobs.migrations import MIGRATIONS
from studio.jobs.store import Journal


@pytest.fixture
def journal(tmp_path):
    journal = Journal(tmp_path / "journal.sqlite")
    yield journal
    journal.close()


def a_job(job_id: str, created_at: float, **more) -> Job:
    values = {"mode": "image-to-video", "state": "queued", "request": {"seed": 1}, "request_hash": "h", **more}
    return Job(id=job_id, created_at=created_at, **values)


def add(journal: Journal, job: Job, *, owner: str = "me", session: str = "", target: str = "clip.mp4") -> None:
    journal.add(job, target=Path(target), owner=owner, session=session)


def test_a_job_comes_back_as_it_was_added(journal):
    job = a_job("a", 1.0, notices=("cropped",), asked={"seed": 1}, request={"seed": 1, "image": "input:x"})
    add(journal, job)
    assert journal.get("a") == job.model_copy(update={"position": 1})


def test_an_unknown_job_is_named_in_the_error(journal):
    with pytest.raises(BadInput, match="no job 'nope'"):
        journal.get("nope")


def test_the_queue_is_in_order_of_submission_and_counts_positions(journal):
    for job_id, at in (("b", 2.0), ("a", 1.0), ("c", 3.0)):
        add(journal, a_job(job_id, at))
    assert [(j.id, j.position) for j in journal.queue()] == [("a", 1), ("b", 2), ("c", 3)]
    assert journal.get("c").position == 3
    journal.update("a", state="running")
    assert journal.get("c").position == 2


def test_an_update_with_the_wrong_state_changes_nothing(journal):
    add(journal, a_job("a", 1.0, state="done"))
    before = journal.get("a")
    assert not journal.update("a", if_state=("queued",), state="cancelled")
    assert journal.get("a") == before


def test_history_is_newest_first_and_pages_by_time(journal):
    for i in range(5):
        add(journal, a_job(str(i), float(i), state="done" if i % 2 else "failed"))
    assert [j.id for j in journal.history(limit=2)] == ["4", "3"]
    assert [j.id for j in journal.history(limit=2, before=3.0)] == ["2", "1"]
    assert [j.id for j in journal.history(limit=9, states=("done",))] == ["3", "1"]


def test_what_a_dead_owner_ran_is_interrupted_and_what_waited_is_adopted(journal):
    add(journal, a_job("ran", 1.0, state="running"), owner="dead", target="ran.mp4")
    add(journal, a_job("waits", 2.0), owner="dead")
    add(journal, a_job("other", 3.0, state="running"), owner="alive")
    assert journal.interrupt("dead") == [("ran", Path("ran.mp4"))]
    journal.adopt("dead", "heir")
    assert journal.get("ran").state == "interrupted"
    assert journal.get("other").state == "running"
    assert [j.id for j in journal.queue("heir")] == ["waits"]


def test_an_error_survives_the_journal(journal):
    add(journal, a_job("a", 1.0))
    error = Failed(job_id="a", error="bad-input", message="frames: 40 is more", remedy="Lower frames.", field="frames")
    journal.update("a", state="failed", error=error.model_dump_json())
    assert journal.get("a").error == error


def test_the_same_words_from_one_session_are_a_twin_only_while_open_and_recent(journal):
    add(journal, a_job("a", 100.0, asked={"seed": 5}), session="s")
    assert journal.twin("s", {"seed": 5}, 99.5).id == "a"
    assert journal.twin("s", {"seed": 6}, 99.5) is None
    assert journal.twin("other", {"seed": 5}, 99.5) is None
    assert journal.twin("s", {"seed": 5}, 100.5) is None
    journal.update("a", state="done")
    assert journal.twin("s", {"seed": 5}, 99.5) is None


def test_inputs_in_use_are_those_of_any_request(journal):
    add(journal, a_job("a", 1.0, request={"image": "input:abc.png", "seed": 1}))
    add(journal, a_job("b", 2.0, request={"image": "photo.png"}))
    assert journal.inputs_in_use() == {"input:abc.png"}


def test_an_older_journal_is_brought_up_to_date_and_keeps_its_rows(tmp_path):
    path = tmp_path / "journal.sqlite"
    db = sqlite3.connect(path, isolation_level=None)
    MIGRATIONS[0](db)
    db.execute("PRAGMA user_version=1")
    db.execute(
        "INSERT INTO jobs (id, mode, state, asked, request, request_hash, target, owner, session, created_at) "
        "VALUES ('old', 'image-to-video', 'done', '{}', '{}', 'h', 'clip.mp4', 'o', '', 1.0)"
    )
    db.close()
    journal = Journal(path)
    assert journal.get("old").state == "done"
    journal.keep_profile("k", {"render": 2.0})
    assert journal.profile("k") == {"render": 2.0}
    journal.close()


def test_a_newer_journal_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "journal.sqlite"
    db = sqlite3.connect(path)
    db.execute(f"PRAGMA user_version={len(MIGRATIONS) + 1}")
    db.close()
    with pytest.raises(StudioError, match="newer studio"):
        Journal(path)


def test_a_file_that_is_no_journal_is_refused_in_one_sentence(tmp_path):
    path = tmp_path / "journal.sqlite"
    path.write_bytes(b"not a database, certainly" * 100)
    with pytest.raises(StudioError, match="can't be read as a journal"):
        Journal(path)
    assert path.read_bytes().startswith(b"not a database")


def test_many_threads_lose_no_update(journal):
    add(journal, a_job("a", 1.0))

    def work():
        for _ in range(25):
            journal.update("a", state="running")

    threads = [threading.Thread(target=work) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert journal.get("a").version == 100


def test_two_processes_views_of_one_file_agree(tmp_path):
    one, two = Journal(tmp_path / "j.sqlite"), Journal(tmp_path / "j.sqlite")
    add(one, a_job("a", 1.0))
    assert two.get("a").state == "queued"
    two.update("a", cancel_asked=1)
    assert [j.id for j in one.cancel_asked("me")] == ["a"]
    one.close()
    two.close()


def test_a_full_disk_is_one_sentence_and_the_journal_goes_on_when_there_is_room_again(tmp_path):
    code = textwrap.dedent(
        """
        import pathlib, resource, signal, sys
        from studio.errors import WriteFailed
        from studio.jobs.job import Job
        from studio.jobs.store import Journal
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        journal = Journal(pathlib.Path(sys.argv[1]))
        def add(name):
            job = Job(id=name, mode="m", state="queued", request={"a": "x" * 20000}, request_hash="h", created_at=1)
            journal.add(job, target=pathlib.Path("c"), owner="o", session="")
        resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, resource.RLIM_INFINITY))
        try:
            for i in range(20):
                add(str(i))
        except WriteFailed as e:
            print(len(journal.queue()), e)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        add("last")
        print(journal.get("last").id)
        """
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "j.sqlite")], capture_output=True, text=True)
    first, last = done.stdout.splitlines()
    assert "The journal can't be written" in first, done.stderr
    assert last == "last"
