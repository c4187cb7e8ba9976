"""A device process that loses 40 MB a job, and is let lose 30: ``python -m tests.jobs.leaking_worker``."""

from studio.jobs.health import LeakGuard
from studio.jobs.worker import Worker, main

MB = 10**6


class Leaking(Worker):
    def __init__(self, orders, messages, guard):
        super().__init__(orders, messages, LeakGuard(30 * MB, 30 * MB), measured_every=1)
        self.lost = []

    def _run(self, task):
        super()._run(task)
        self.lost.append(b"x" * (40 * MB))


if __name__ == "__main__":
    main(Leaking)
