"""Every error that a user can meet, in one tree.

    StudioError                  something a person can act on; never shows a trace
    |-- BadInput                 the user's mistake: a field, a file, an option       (exit code 2)
    |   |-- NotInstalled         the variant's weights are not on this machine        (exit code 2)
    |-- Cancelled                the user asked for it; not a failure                 (exit code 1)
    |-- DoesNotFit               not enough device or host memory                     (exit code 1)
    |-- WriteFailed              disk full, no permission, encoder refused            (exit code 1)
    |-- DownloadFailed           hub unreachable, gate not accepted, checksum wrong   (exit code 1)
    |-- DeviceLost               the device process died more often than its retry    (exit code 1)

A message says what was given and what is possible; the remedy says what to do. Anything that is not a
`StudioError` is a bug: it is logged whole with the job's id and shown as ``unexpected``, in one place
(`studio.jobs.execute`).
"""

from __future__ import annotations


class StudioError(Exception):
    """An error with one sentence for the user and, where there is one, a remedy."""

    kind = "failed"
    exit_code = 1

    def __init__(self, message: str, remedy: str = "", *, field: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy
        self.field = field

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}".strip()


class BadInput(StudioError):
    """The user's mistake. `field` names the request field at fault, so that a form can point at it."""

    kind = "bad-input"
    exit_code = 2


class NotInstalled(BadInput):
    """The variant is known, but its weights (or an optional package) are not on this machine."""

    kind = "not-installed"


class Cancelled(StudioError):
    """The user cancelled; raised at the next step, in every phase."""

    kind = "cancelled"

    def __init__(self, message: str = "Cancelled.") -> None:
        super().__init__(message)


class DoesNotFit(StudioError):
    """Device or host memory is not enough for the request, after everything that could be tried."""

    kind = "does-not-fit"


class WriteFailed(StudioError):
    """The result could not be written; nothing was left behind."""

    kind = "write-failed"


class DownloadFailed(StudioError):
    """Weights could not be fetched whole; what was there before is untouched."""

    kind = "download-failed"


class DeviceLost(StudioError):
    """The process that owns the device died while running the job, and its retry did too."""

    kind = "device-lost"
