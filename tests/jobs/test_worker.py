"""The device process's two threads, in this process: one job is written while the next one has the device."""

import json
import os
import threading
import time

import pytest

from studio.errors import DeviceLost
from studio.jobs import execute as execution
from studio.jobs.health import LeakGuard
from studio.jobs.runners import LOST
from studio.jobs.task import Task
from studio.jobs.worker import Worker
from tests.until import until


class Process:
    """A `Worker` on a thread, with its two pipes; a job whose id starts with "slow" is written when the test says."""

    def __init__(self, settings, small, monkeypatch):
        self.settings, self.small = settings, small
        self.write = threading.Event()
        self.said = []
        monkeypatch.setattr(execution, "deliver", self.deliver)
        theirs, ours = os.pipe()
        self.orders = os.fdopen(ours, "wb", buffering=0)
        hears, says = os.pipe()
        self.worker = Worker(os.fdopen(theirs, "rb"), os.fdopen(says, "wb"), LeakGuard.usual())
        self.hears = os.fdopen(hears, "rb")
        self.code = None
        self.threads = [threading.Thread(target=self.serve), threading.Thread(target=self.listen)]
        for thread in self.threads:
            thread.start()
        self.say("start", settings=settings.model_dump(mode="json"))

    def deliver(self, result, task, layout, recipe, on_frame, whole=execution.deliver):
        while task.job_id.startswith("slow") and not self.write.wait(0.02):
            on_frame(0, 1)
        return whole(result, task, layout, recipe, on_frame)

    def serve(self):
        self.code = self.worker.serve()
        self.worker._messages.close()

    def listen(self):
        for line in self.hears:
            self.said.append(json.loads(line))

    def say(self, do, **order):
        self.orders.write(json.dumps({"do": do, **order}).encode() + b"\n")

    def run(self, job_id, **change):
        request = {"camera_move": "push-in", "amount": 1.0, "easing": "linear", "export_fps": 7.0, **self.small}
        target, poster = self.settings.outputs / f"{job_id}.mp4", self.settings.home / f"{job_id}.webp"
        task = Task(job_id=job_id, mode="image-to-video", request={**request, **change}, target=target, poster=poster)
        self.say("run", task=task.model_dump(mode="json"))

    def freed(self):
        return [message["freed"] for message in self.said if "freed" in message]

    def kinds(self, job_id):
        return [m["event"]["kind"] for m in self.said if "event" in m and m["event"]["job_id"] == job_id]

    def until_made(self, job_id):
        """Until nothing but its writing is left of the job."""
        until(lambda: self.kinds(job_id).count("step") > self.small["frames"])
        time.sleep(0.1)

    def end(self):
        self.write.set()
        if not self.orders.closed:
            self.orders.close()
        for thread in self.threads:
            thread.join(timeout=20)
            assert not thread.is_alive()


@pytest.fixture
def process(settings, small, monkeypatch):
    process = Process(settings, small, monkeypatch)
    yield process
    process.end()
    process.hears.close()


def test_the_next_job_is_made_while_one_is_written_and_hands_over_once_that_is_done(process):
    process.run("slow")
    until(lambda: process.freed() == ["slow"])
    process.run("next")
    process.until_made("next")
    assert process.freed() == ["slow"]
    assert "writing" not in process.kinds("next")
    process.write.set()
    until(lambda: process.kinds("next")[-1:] == ["finished"])
    assert process.kinds("slow")[-1] == "finished"
    whole = [m.get("freed") or m["event"]["job_id"] for m in process.said if "freed" in m or "finished" in str(m)]
    assert whole == ["slow", "slow", "next", "next"]


def test_a_job_that_waits_to_hand_over_is_cancelled_at_once_and_the_one_being_written_is_not(process):
    process.run("slow")
    until(lambda: process.freed() == ["slow"])
    process.run("next")
    process.until_made("next")
    process.say("cancel", job_id="next")
    until(lambda: process.kinds("next")[-1] == "cancelled")
    assert not {"finished", "cancelled"} & set(process.kinds("slow"))
    process.write.set()
    until(lambda: process.kinds("slow")[-1] == "finished")
    assert [path.name for path in process.settings.outputs.iterdir()] == ["slow.mp4"]


def test_the_job_being_written_is_cancelled_and_the_one_that_is_made_is_not(process):
    process.run("slow")
    until(lambda: process.freed() == ["slow"])
    process.run("next", frames=24)
    process.say("cancel", job_id="slow")
    until(lambda: process.kinds("next")[-1:] == ["finished"])
    assert process.kinds("slow")[-1] == "cancelled"
    assert [path.name for path in process.settings.outputs.iterdir()] == ["next.mp4"]


def test_memory_is_measured_when_nothing_is_written_and_after_some_jobs_even_if_that_means_waiting(process):
    def measured():
        return [m["ledger"]["health"] for m in process.said if "ledger" in m and m["ledger"]["health"]]

    process.worker._measured_every = 2
    process.run("slow")
    until(lambda: process.freed() == ["slow"])
    process.run("cancelled")
    process.say("cancel", job_id="cancelled")
    until(lambda: process.kinds("cancelled")[-1:] == ["cancelled"])
    process.run("third")
    assert not measured()
    process.write.set()
    until(measured)
    until(lambda: process.kinds("third")[-1:] == ["finished"])
    until(lambda: len(measured()) == 2)


def test_the_end_of_the_studio_ends_the_job_being_written_and_leaves_no_part_of_it(process):
    process.run("slow")
    until(lambda: process.freed() == ["slow"])
    process.orders.close()
    until(lambda: process.code is not None)
    assert process.code == 0
    assert process.kinds("slow")[-1] == "cancelled"
    assert list(process.settings.outputs.glob("*")) == []
    assert list(process.settings.scratch.iterdir()) == []


def test_a_lost_device_waits_for_what_is_being_written(process, monkeypatch):
    def lose(*args):
        raise DeviceLost("The device stopped working.")

    process.run("slow")
    until(lambda: process.freed() == ["slow"])
    monkeypatch.setattr(process.worker, "_run", lose)
    process.run("next")
    process.write.set()
    until(lambda: process.code is not None)
    assert process.code == LOST
    assert process.kinds("slow")[-1] == "finished"
    assert process.kinds("next") == []
