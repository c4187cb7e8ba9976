"""A device process whose device is lost to it in its first run: ``python -m tests.jobs.losing_worker``."""

from pathlib import Path

from studio.errors import DeviceLost
from studio.jobs.worker import Worker, main


class Losing(Worker):
    def _run(self, task):
        told = Path("lost-once")  # in the home folder, where device processes are started
        if not told.exists():
            told.touch()
            raise DeviceLost("The device stopped working.")
        super()._run(task)


if __name__ == "__main__":
    main(Losing)
