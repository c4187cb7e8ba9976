"""A job, a plan, a variant in words and small pieces of HTML. Pure functions: text in it is escaped here, once."""

from __future__ import annotations

import base64
import time
from datetime import datetime
from html import escape
from pathlib import Path

from studio import events
from studio.jobs.job import Job
from studio.media.preview import still_of
from studio.models.spec import VariantSpec
from studio.ui.files import file_url

STAGES = {
    "cut-out": "Cutting the object out",
    "shape": "Blowing it up",
    "measure": "Measuring the views",
    "look": "Looking at the clip",
    "interpolate": "Making frames",
    "smooth": "Making frames between",
    "keyframe": "Painting keyframes",
    "depth": "Estimating depth",
    "encode": "Encoding the picture",
    "sample": "Sampling",
    "decode": "Decoding frames",
    "render": "Rendering frames",
    "finish": "Finishing",
}
"""A stage's word -> what the page says; a stage that is not here is shown as it is named."""

STATES = {
    "queued": "Waiting",
    "running": "Running",
    "done": "Done",
    "failed": "Failed",
    "cancelled": "Cancelled",
    "interrupted": "Interrupted",
}


def duration(seconds: float) -> str:
    """A length of time as one says it: "8 s", "3 min 20 s", "1 h 5 min"."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest and minutes < 10 else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def ago(then: float, now: float | None = None) -> str:
    """How long ago that was; a date where it was before yesterday."""
    passed = (time.time() if now is None else now) - then
    if passed < 60:
        return "just now"
    if passed < 3600:
        return f"{int(passed // 60)} min ago"
    if passed < 86400:
        return f"{int(passed // 3600)} h ago"
    return datetime.fromtimestamp(then).strftime("%d %b %Y")


def size(count: float) -> str:
    """Bytes for a person: "4.5 GB"."""
    for unit in ("B", "KB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def eta(seconds: float | None) -> str:
    """An estimate without false exactness."""
    if seconds is None:
        return ""
    if seconds < 2:
        return "almost done"
    rough = round(seconds) if seconds < 15 else round(seconds / 5) * 5 if seconds < 120 else round(seconds / 30) * 30
    return f"about {duration(rough)} left"


def stage(job: Job) -> tuple[str, str, float | None]:
    """What it is doing: the stage, how far (in words), and the part of it that is done (0..1; None while unknown)."""
    if job.state == "queued":
        return "Waiting", "next in the queue" if job.position <= 1 else f"number {job.position} in the queue", None
    p = job.progress
    if isinstance(p, events.Loading):
        part = p.done_bytes / p.total_bytes if p.total_bytes else None
        return f"Loading {p.component}", f"{size(p.done_bytes)} of {size(p.total_bytes)}", part
    if isinstance(p, events.Step):
        part = p.done / p.total if p.total else None
        return STAGES.get(p.stage, p.stage.capitalize()), f"{p.done} of {p.total}", part
    if isinstance(p, events.Writing):
        part = p.done / p.total if p.total else None
        return "Writing the file", f"{p.done} of {p.total} frames", part
    return "Starting", "", None


def status(job: Job) -> str:
    """The line of a job that is open, with its bar."""
    what, far, part = stage(job)
    left = eta(getattr(job.progress, "eta_s", None)) if job.state == "running" else ""
    again = f"attempt {job.attempt}, the device process had stopped" if job.attempt > 1 else ""
    says = " · ".join(escape(s) for s in (far, f"{part:.0%}" if part is not None else "", left, again) if s)
    bar = f'value="{part:.4f}"' if part is not None else ""
    return (
        f'<div class="job-status"><p><strong>{escape(what)}</strong> <span>{says}</span></p>'
        f'<progress max="1" {bar} aria-label="{escape(what)}"></progress></div>'
    )


def spoken(job: Job) -> str:
    """What a screen reader is told; changes with the stage and each quarter of it, not with every step."""
    if not job.open:
        return outcome(job)[0]
    what, far, part = stage(job)
    if part is None:
        return f"{what}. {far}".strip()
    return f"{what}, {int(part * 4) * 25} percent."


def outcome(job: Job) -> tuple[str, str]:
    """How it ended: the sentence and, where there is one, what to do."""
    if job.state == "done":
        took = f" in {duration(job.elapsed_s)}" if job.elapsed_s is not None else ""
        return f"Done{took}.", ""
    if job.state == "cancelled":
        return "Cancelled. Nothing was left behind.", ""
    if job.state == "interrupted":
        return "The studio stopped while this ran.", "Run it again: the settings are kept."
    if job.error is not None:
        return job.error.message, job.error.remedy
    return STATES[job.state] + ".", ""


def ended(job: Job) -> str:
    """The line of a job that is over, with its notices."""
    sentence, remedy = outcome(job)
    tone = {"done": "good", "failed": "bad", "interrupted": "bad"}.get(job.state, "calm")
    seed = f" Seed {job.request['seed']}." if job.state == "done" and "seed" in job.request else ""
    return message(sentence + seed, remedy, tone=tone) + notices(job.notices)


def message(sentence: str, remedy: str = "", *, tone: str = "calm") -> str:
    """One sentence in a box. `tone` is good, bad or calm."""
    role = ' role="alert"' if tone == "bad" else ""
    more = f" <span>{escape(remedy)}</span>" if remedy else ""
    return f'<div class="says {tone}"{role}><p>{escape(sentence)}{more}</p></div>'


def plan(sentence: str, *, fits: bool = True) -> str:
    """What a request will need, in one line under the form."""
    says = escape(sentence[:1].upper() + sentence[1:])
    return f"<p>{says}.</p>" if fits else f'<p class="unfit">{says}.</p>'


def notices(sentences: tuple[str, ...] | list[str]) -> str:
    """What the user should know although it went on."""
    if not sentences:
        return ""
    return '<ul class="notices">' + "".join(f"<li>{escape(s)}</li>" for s in sentences) + "</ul>"


def wrong(sentence: str, remedy: str = "") -> str:
    """The message that stands under a field. The field's name before the colon is dropped: its label is right there."""
    field, colon, rest = sentence.partition(": ")
    if colon and " " not in field:
        sentence = rest[:1].upper() + rest[1:]
    return f'<p class="wrong" role="alert">{escape(f"{sentence} {remedy}".strip())}</p>'


def preview(path: str | Path) -> str:
    """The preview as a picture in the page itself; still for those who asked their system for less motion.

    Raises:
        OSError: it is being replaced, or is gone with its job.
    """
    moving = Path(path).read_bytes()
    first, width, height = still_of(moving)
    return (
        '<picture class="preview">'
        f'<source media="(prefers-reduced-motion: reduce)" srcset="{_data(first)}">'
        f'<img src="{_data(moving)}" width="{width}" height="{height}" '
        'alt="Preview: all frames of the clip as they look now"></picture>'
    )


def _data(webp: bytes) -> str:
    return "data:image/webp;base64," + base64.b64encode(webp).decode()


def picture(path: str | Path, alt: str) -> str:
    """A gif, webp or poster of the studio's."""
    return f'<img class="clip" src="{escape(file_url(path))}" alt="{escape(alt)}">'


def title_of(job: Job) -> str:
    """The job in a few words: its model and its seed."""
    seed = job.request.get("seed")
    return f"{job.variant}, seed {seed}" if seed is not None else job.variant


def licence(spec: VariantSpec) -> str:
    """Name of the licence, linked, and what is to know about it, in one line of HTML."""
    name = escape(spec.licence.name)
    if spec.licence.url.startswith("https://"):
        name = f'<a href="{escape(spec.licence.url)}" target="_blank" rel="noopener noreferrer">{name}</a>'
    note = f" {escape(spec.licence.note)}" if spec.licence.note else ""
    return f"{name}.{note}"
