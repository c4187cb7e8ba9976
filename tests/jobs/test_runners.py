"""`ProcessRunner` against a child that says what the test says: who is lost with it, and who is begun anew."""

import sys
import textwrap

import pytest

from studio.jobs.runners import RECYCLED, ProcessRunner
from studio.jobs.task import Task
from studio.settings import Settings
from tests.until import until

CHILD = """
import json, pathlib, sys
home = pathlib.Path.cwd()
life = len(list(home.glob("life-*")))
(home / f"life-{life}").touch()
def hear():
    order = json.loads(sys.stdin.readline())
    with open(home / "heard", "a") as file:
        print(life, order["do"], order.get("job_id") or order.get("task", {}).get("job_id", ""), file=file)
def say(**message):
    print(json.dumps(message), flush=True)
def finished(job_id):
    say(event={"kind": "finished", "job_id": job_id, "files": [], "elapsed_s": 1})
hear(), hear(), hear()
"""


@pytest.fixture
def runner(tmp_path, monkeypatch):
    def of(script):
        code = CHILD + textwrap.dedent(script)
        monkeypatch.setattr(ProcessRunner, "_command", lambda self: [sys.executable, "-S", "-c", code])
        heard = []
        runner = ProcessRunner(Settings(home=tmp_path), heard.append, lambda job_id: heard.append(("lost", job_id)))
        made.append(runner)
        return runner, heard

    made = []
    yield of
    for one in made:
        one.close()


def task(tmp_path, job_id):
    return Task(job_id=job_id, mode="m", request={}, target=tmp_path / job_id, poster=tmp_path / f"{job_id}.webp")


def test_all_that_a_process_ran_is_lost_with_it_and_nothing_that_was_over(tmp_path, runner):
    run, heard = runner("""
        say(freed="a"), hear(), finished("a"), say(freed="b"), hear()
        sys.exit(1)
    """)
    freed = []
    for count, job_id in enumerate(("a", "b", "c")):
        until(lambda count=count: len(freed) == count)
        run.run(task(tmp_path, job_id), lambda job_id=job_id: freed.append(job_id))
    until(lambda: ("lost", "c") in heard)
    assert [e if isinstance(e, tuple) else e.job_id for e in heard] == ["a", ("lost", "b"), ("lost", "c")]


def test_what_a_recycled_process_has_not_begun_is_begun_by_the_next_one_cancelled_where_it_was(tmp_path, runner):
    run, heard = runner(f"""
        if life == 0:
            say(freed="a"), hear(), hear(), finished("a")
            sys.exit({RECYCLED})
        hear(), finished("b"), hear()
    """)
    freed = []
    run.run(task(tmp_path, "a"), lambda: freed.append("a"))
    until(lambda: freed)
    run.run(task(tmp_path, "b"), lambda: freed.append("b"))
    run.cancel("b")
    until(lambda: len(heard) == 2)
    assert [e.job_id for e in heard] == ["a", "b"]
    told = [line.split(maxsplit=1)[1].strip() for line in (tmp_path / "heard").read_text().splitlines()]
    assert told[:5] == ["start", "expect", "run a", "run b", "cancel b"]
    assert told[5:9] == ["start", "expect", "run b", "cancel b"]
