"""The device process: its death costs one retry, the studio's death costs nothing that waited."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from studio.events import Notice, Started, Step
from studio.jobs.health import SETTLING_JOBS
from studio.jobs.ledgers import read_ledgers
from studio.jobs.resume import resume_file
from studio.jobs.runners import ProcessRunner
from studio.service import Studio
from studio.settings import Settings
from tests.until import until

ROOT = Path(__file__).resolve().parents[2]
LONG = {"frames": 120, "width": 512, "height": 512}


@pytest.fixture
def settings(tmp_path):
    return Settings(home=tmp_path / "home", device="cpu", runner="process")


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    """Tiny networks on several threads mostly wait for each other; the device processes inherit this."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def worker_pids(parent: int, module: str = "studio.jobs.worker") -> list[int]:
    """Children of a process that are device processes."""
    found = []
    for child in psutil.Process(parent).children():
        with suppress(psutil.NoSuchProcess):  # it has just ended
            if module in child.cmdline():
                found.append(child.pid)
    return found


def gone(pid: int, within_s: float = 10) -> bool:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


def sha(job) -> str:
    return hashlib.sha256(Path(job.files[0]).read_bytes()).hexdigest()


def models(settings, *args):
    """What ``python -m studio models ... `` says in another process."""
    command = [sys.executable, "-m", "studio", "--home", str(settings.home), "models", *args]
    return json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)


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


def test_killing_it_while_a_folder_is_written_leaves_one_whole_folder_and_nothing_else(settings, photo, tmp_path):
    request = {"mode": "multiview", "image": str(photo), "mask": str(photo), "frames": 16, "size": 256, "seed": 1,
               "mesh_grid": 32, "format": "webm", "finish": ["boomerang"]}  # fmt: skip
    where = tmp_path / "orbits"
    with Studio(settings) as studio:
        job = studio.submit(request, output=where / "cup")
        while not list(where.glob(".cup.folder-*/*")):
            assert studio.job(job.id).open, "the job ended before it got there"
            time.sleep(0.002)
        os.kill(worker_pids(os.getpid())[0], signal.SIGKILL)
        done = studio.wait(job.id)
        assert (done.state, done.attempt) == ("done", 2), done.error
    assert [path.name for path in where.iterdir()] == ["cup"]
    assert {str(path) for path in where.rglob("*") if path.is_file()} == set(done.files)


def test_a_sampling_that_was_killed_goes_on_from_its_last_kept_step_and_makes_the_same_bytes(settings, small, tiny_svd):
    request = {k: small[k] for k in ("mode", "image", "seed")} | {"variant": tiny_svd, "steps": 16}
    with Studio(settings) as studio:
        job = studio.submit(request)
        kept = resume_file(settings.home, job.id)
        for event in studio.events(job.id):
            if isinstance(event, Step) and event.stage == "sample" and event.done >= 2 and kept.exists():
                break
        os.kill(worker_pids(os.getpid())[0], signal.SIGKILL)
        heard = list(studio.events(job.id))
        again = heard[heard.index(Started(job_id=job.id, attempt=2)) :]
        done = studio.job(job.id)
        assert (done.state, done.attempt) == ("done", 2), done.error
        assert any("going on from step" in notice for notice in done.notices)
        first = next(e for e in again if isinstance(e, Step))
        assert first.stage == "sample"
        assert first.done > 0
        assert not kept.exists()
        undisturbed = studio.wait(studio.submit(request).id)
        assert undisturbed.attempt == 1
        assert sha(done) == sha(undisturbed)


def test_a_process_whose_device_is_lost_ends_at_once_and_the_next_one_does_the_job(settings, small, monkeypatch):
    monkeypatch.setattr(ProcessRunner, "_command", lambda self: [sys.executable, "-m", "tests.jobs.losing_worker"])
    with Studio(settings) as studio:
        job = studio.wait(studio.submit(small).id)
        assert (job.state, job.attempt) == ("done", 2), job.error
        assert any("stopped unexpectedly" in notice for notice in job.notices)


def test_a_process_that_loses_memory_is_started_anew_between_two_jobs_and_no_job_notices(settings, small, monkeypatch):
    monkeypatch.setattr(ProcessRunner, "_command", lambda self: [sys.executable, "-m", "tests.jobs.leaking_worker"])
    with Studio(settings) as studio:
        pids, jobs = set(), [studio.submit({**small, "seed": seed}).id for seed in range(SETTLING_JOBS + 4)]
        for job_id in jobs:
            job = studio.wait(job_id)
            assert (job.state, job.attempt) == ("done", 1), job.error
            assert not any("stopped" in notice for notice in job.notices)
            pids |= set(worker_pids(os.getpid(), "tests.jobs.leaking_worker"))
        assert len(pids) == 2
        until(lambda: read_ledgers(settings.home)[0].get("decisions"))
        (decision,) = read_ledgers(settings.home)[0]["decisions"]
        assert "anew" in decision["what"]
        assert "MB of host memory" in decision["why"]


def test_weights_that_nobody_uses_for_a_while_are_dropped(settings, small, tiny_svd):
    request = {k: small[k] for k in ("mode", "image", "seed")} | {"variant": tiny_svd}
    with Studio(settings.model_copy(update={"idle_unload_s": 1.5})) as studio:
        job = studio.wait(studio.submit(request).id)
        assert job.state == "done", job.error
        assert set(studio.variant(tiny_svd).resident) == {"unet", "vae", "image_encoder"}
        until(lambda: not studio.variant(tiny_svd).resident)
        until(lambda: any(d["what"] == "unloaded what was idle" for d in read_ledgers(settings.home)[0]["decisions"]))
        assert studio.wait(studio.submit(request).id).state == "done"


@pytest.mark.slow
def test_another_process_reads_what_is_held_and_has_it_dropped(settings, small, tiny_svd):
    request = {k: small[k] for k in ("mode", "image", "seed")} | {"variant": tiny_svd}
    with Studio(settings) as studio:
        assert studio.wait(studio.submit(request).id).state == "done"
        # it is told every second while a job runs, and measured once the job is over
        until(lambda: read_ledgers(settings.home)[0].get("health") is not None)
        told = models(settings, "status", "--json")[0]
        assert {row["component"] for row in told["components"]} == {"unet", "vae", "image_encoder"}
        assert told["health"]["rss_bytes"] > 10**7
        (freed,) = models(settings, "unload", "--json")
        assert freed["freed_bytes"] > 10**6
        assert studio.variant(tiny_svd).resident == {}
    assert models(settings, "status", "--json") == []


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
        cwd=ROOT,
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
