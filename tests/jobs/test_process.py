"""The device process: its death costs one retry, the studio's death costs nothing that waited."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from studio.events import Notice, Started, Step
from studio.service import Studio
from studio.settings import Settings

LONG = {"frames": 120, "width": 512, "height": 512}


@pytest.fixture
def settings(tmp_path):
    return Settings(home=tmp_path / "home", device="cpu", runner="process")


def worker_pids(parent: int) -> list[int]:
    """Children of a process that are device processes."""
    listed = subprocess.run(["ps", "-eo", "pid,ppid,args"], capture_output=True, text=True).stdout
    rows = [line.split(None, 2) for line in listed.splitlines()[1:]]
    return [int(pid) for pid, ppid, args in rows if int(ppid) == parent and "studio.jobs.worker" in args]


def gone(pid: int, within_s: float = 10) -> bool:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


def until_step(studio, job_id, stage="render"):
    events = studio.events(job_id)
    for event in events:
        if isinstance(event, Step) and event.stage == stage and event.done >= 1:
            return events
    raise AssertionError("the job ended before it got there")


def test_a_job_runs_in_a_child_of_its_own(settings, small):
    with Studio(settings) as studio:
        job = studio.wait(studio.submit(small).id)
        assert job.state == "done", job.error
        (pid,) = worker_pids(os.getpid())
    assert gone(pid)


def test_killing_the_device_process_costs_one_retry(settings, small):
    with Studio(settings) as studio:
        job = studio.submit({**small, **LONG, "frames": 40})
        events = until_step(studio, job.id)
        (pid,) = worker_pids(os.getpid())
        os.kill(pid, signal.SIGKILL)
        rest = list(events)
        done = studio.job(job.id)
        assert (done.state, done.attempt) == ("done", 2), done.error
        assert any(isinstance(e, Notice) and "once more" in e.message for e in rest)
        assert [e.attempt for e in rest if isinstance(e, Started)] == [2]
        assert not list(settings.outputs.rglob(".*part*"))


def test_killing_it_twice_fails_that_job_alone(settings, small):
    with Studio(settings) as studio:
        job = studio.submit({**small, **LONG})
        other = studio.submit(small)
        events = until_step(studio, job.id)
        os.kill(worker_pids(os.getpid())[0], signal.SIGKILL)
        for event in events:
            if isinstance(event, Step) and event.stage == "render":
                break
        os.kill(worker_pids(os.getpid())[0], signal.SIGKILL)
        failed = studio.wait(job.id)
        assert (failed.state, failed.error.error) == ("failed", "device-lost")
        assert studio.wait(other.id).state == "done"


def test_cancelling_reaches_the_child_within_a_step(settings, small):
    with Studio(settings) as studio:
        job = studio.submit({**small, **LONG})
        until_step(studio, job.id)
        asked = time.monotonic()
        studio.cancel(job.id)
        assert studio.wait(job.id).state == "cancelled"
        assert time.monotonic() - asked < 5
        assert studio.wait(studio.submit(small).id).state == "done"


def test_a_killed_studio_leaves_an_interrupted_job_and_a_queue_that_goes_on(settings, small):
    code = textwrap.dedent(
        """
        import json, sys
        from studio.events import Step
        from studio.service import Studio
        from studio.settings import Settings
        settings, long, short = json.loads(sys.argv[1])
        studio = Studio(Settings.model_validate(settings), serve=True)
        job, waiting = studio.submit(long), studio.submit(short)
        for event in studio.events(job.id):
            if isinstance(event, Step) and event.stage == "render":
                print(job.id, waiting.id, flush=True)
                sys.stdin.read()
        raise SystemExit("the job ended before it got there")
        """
    )
    given = json.dumps([settings.model_dump(mode="json"), {**small, **LONG}, small])
    with subprocess.Popen(
        [sys.executable, "-c", code, given],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    ) as child:
        running, waiting = child.stdout.readline().split()
        (pid,) = worker_pids(child.pid)
        child.kill()
        child.wait()
    assert gone(pid), "the device process outlived its studio"
    with Studio(settings, serve=True) as studio:
        assert studio.job(running).state == "interrupted"
        assert studio.wait(waiting).state == "done"
        assert not list(settings.outputs.rglob(".*part*"))
        again = studio.rerun(running)
        until_step(studio, again.id)
        studio.cancel(again.id)
        assert studio.wait(again.id).state == "cancelled"
