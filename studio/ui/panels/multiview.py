"""Multiview's tab: the planned orbit; a turntable to drag, the mesh, the views by their score, the files."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from studio.errors import StudioError
from studio.jobs.job import Job
from studio.modes.multiview import orbit_of
from studio.ui import say
from studio.ui.files import file_url
from studio.ui.mode_form import ModeForm
from studio.ui.panels import HIDDEN, Panel
from studio.ui.panels.orbit_plot import orbit_figure
from studio.ui.watch import find_job

PLANNED = ("orbit", "elevation_deg", "amplitude_deg", "keys", "seed", "frames")
"""Request fields that the plot of the orbit follows."""

UNSEEN = "hidden"
"""There but not shown: a Model3D that was not there when it gets its file stays empty (Gradio 6.31)."""

GOOD, FAIR = 0.97, 0.93
"""Scores from which a view is shown as good, and as fair."""

PICK_JS = """
element.addEventListener('click', (event) => {
  const view = event.target.closest('[data-view]')
  if (!view) return
  element.querySelectorAll('[data-view]').forEach((e) => e.setAttribute('aria-pressed', e === view))
  trigger('select', {value: view.dataset.view, index: 0})
})
"""


class Tab(Panel):
    """Build it with a tab; see `Panel`."""

    def draw_asks(self, form: ModeForm) -> None:
        """Draws the plot of the orbit."""
        self.form = form
        with gr.Accordion("Orbit", open=True, elem_id=f"{self.name}-planner"):
            self.plot = gr.Plot(show_label=False, elem_id=f"{self.name}-plot", container=False)
            self.plot_says = gr.HTML("", elem_id=f"{self.name}-plot-says")
        self.preview_cut = gr.Button("Show the cut-out", elem_id=f"{self.name}-cut")

    def draw_answers(self) -> None:
        """Draws the turntable, the mesh, the views and the files."""
        name = self.name
        self.scrub = gr.HTML("", visible=False, elem_id=f"{name}-scrub", elem_classes=["scrub"])
        self.mesh = gr.Model3D(
            label="Mesh", visible=UNSEEN, elem_id=f"{name}-mesh", interactive=False, height=360,
            clear_color=(0.94, 0.94, 0.93, 1.0),
        )  # fmt: skip
        self.solid, self.picked = gr.State(""), gr.State("")
        self.views = gr.HTML("", visible=False, elem_id=f"{name}-scores", js_on_load=PICK_JS)
        self.replace = gr.Button("Put my photo in place of this view", visible=False, elem_id=f"{name}-replace")
        self.files = gr.Files(label="Files", visible=False, elem_id=f"{name}-files", interactive=False)

    @property
    def outputs(self) -> list[Any]:
        """What `show` and `hide` write to."""
        return [self.scrub, self.solid, self.views, self.replace, self.files, self.picked]

    def hide(self) -> dict[Any, Any]:
        """Updates that take all of it away."""
        return {
            self.scrub: gr.update(value="", visible=False),
            self.solid: "",
            self.views: gr.update(value="", visible=False),
            self.replace: HIDDEN,
            self.files: gr.update(value=None, visible=False),
            self.picked: "",
        }

    def show(self, job: Job) -> dict[Any, Any]:
        """Updates for an orbit; a cut-out alone has none of it."""
        folder, report = report_of(job)
        if folder is None or not report:
            return self.hide()
        mesh = folder / "mesh.glb"
        return {
            self.scrub: gr.update(value=turntable(folder, report), visible=True),
            self.solid: str(mesh) if mesh.is_file() else "",
            self.views: gr.update(value=scored(folder, report), visible=True),
            self.replace: gr.update(visible=True),
            self.files: gr.update(value=self._downloads(job, folder), visible=True),
            self.picked: "",
        }

    def _downloads(self, job: Job, folder: Path) -> list[str]:
        """All of it as one ZIP, and what people open most by itself."""
        whole = self.uploads / job.id / f"{folder.name}.zip"
        if not whole.is_file():
            _zip(whole, {str(p.relative_to(folder)): p for p in sorted(folder.rglob("*")) if p.is_file()})
        alone = [folder / n for n in ("mesh.glb", "mesh.obj", "mesh.ply", "mesh.stl", "transforms.json", "sheet.png")]
        return [str(whole), *(str(path) for path in alone if path.is_file())]

    # -- events

    def wire(self, tab: Any, opened: Any) -> None:
        """Connects the plot, the cut-out's button and the views."""
        from studio.ui.mode_tab import PRIVATE

        form = self.form
        planned = [form.controls[n] for n in PLANNED]
        gr.on(
            [opened, form.models["variant"].change, *(c.change for c in planned)],
            self._plan, form.inputs, [self.plot, self.plot_says],
            preprocess=False, trigger_mode="always_last", **PRIVATE,
        )  # fmt: skip
        tab.submit_with(self.preview_cut, {"make": "cut-out", "format": "webp"})
        self.views.select(self._pick, None, [self.picked], **PRIVATE)
        self.status = tab.panel.status
        # In an update of its own: those of a watched job come twice at its end (generating, completed), and a Model3D
        # that gets its file a second time while it still loads its viewer never shows anything (Gradio 6.31).
        self.solid.change(self._show_mesh, [self.solid], [self.mesh], **PRIVATE)
        self.replace.click(self._replace, [tab.wanted, self.picked], [self.status, *form.outputs], **PRIVATE)

    def _show_mesh(self, path: str) -> Any:
        """The mesh, if there is one."""
        return gr.update(value=path, visible=True) if path else gr.update(value=None, visible=UNSEEN)

    def _pick(self, event: gr.SelectData) -> str:
        return str(event.value)

    def _plan(self, dice: Any, *raw: Any) -> tuple[Any, str]:
        """The orbit that the form asks for; or why it can't be."""
        try:
            request, _ = self.studio.check(self.form.request(dice, *raw, complete=False), files=False)
            wish = request.model_dump()
            orbit = orbit_of(
                wish["orbit"], wish["elevation_deg"], wish["amplitude_deg"], wish["keys"],
                wish["seed"] or 0, wish["frames"] or 21,
            )  # fmt: skip
        except StudioError as e:
            return gr.skip(), say.message(e.message, e.remedy, tone="bad") if e.field in PLANNED else ""
        return orbit_figure(orbit), say.notices(orbit.warnings())

    def _replace(self, wanted: str, picked: str) -> dict[Any, Any]:
        """Puts the views that are there into the form, so that only the mesh is made anew, with a photo for one."""
        job = find_job(self.studio, wanted)
        folder, report = report_of(job) if job is not None else (None, {})
        if folder is None or not picked:
            return {self.status: say.message("Choose a view first.")}
        views = self.uploads / job.id / "views.zip"
        if not views.is_file():
            _zip(views, {p.name: p for p in sorted((folder / "images").glob("*.png"))})
        azimuth = report["views"][int(picked)]["azimuth_deg"]
        wish = {**job.request, "views": str(views), "photo": None, "photo_azimuth_deg": azimuth}
        says = say.message(
            f"The views are in the form, the one at {azimuth:.0f}\N{DEGREE SIGN} to be replaced.",
            f"Add your own photo under Advanced, then press {self.mode.action}.",
        )
        return {**self.form.fill(wish), self.form.advanced: gr.update(open=True), self.status: says}


def report_of(job: Job) -> tuple[Path | None, Mapping[str, Any]]:
    """The job's own folder and its report; None where it has none (any more)."""
    folder = Path(job.files[0]).parent if job.files else None
    if folder is None or str(folder / "report.json") not in job.files:
        return None, {}
    try:
        return folder, json.loads((folder / "report.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None, {}


def turntable(folder: Path, report: Mapping[str, Any]) -> str:
    """The views on top of each other, of which `page.js` shows the one that is dragged to."""
    shown = [
        f'<img src="{escape(file_url(folder / view["image"]))}" alt="" draggable="false"{"" if i == 0 else " hidden"}>'
        for i, view in enumerate(report["views"])
    ]
    words = "Turntable: drag, or use the arrow keys"
    return (
        f'<div class="turntable" tabindex="0" role="slider" aria-label="{words}" aria-valuemin="0" '
        f'aria-valuemax="{len(shown) - 1}" aria-valuenow="0">{"".join(shown)}<p>{words}</p></div>'
    )


def scored(folder: Path, report: Mapping[str, Any]) -> str:
    """The views as buttons, coloured by how well each agrees with the others."""
    cells = []
    for i, view in enumerate(report["views"]):
        score = view["score"]
        grade = "good" if score >= GOOD else "fair" if score >= FAIR else "bad"
        where = f"{view['azimuth_deg']:.0f}\N{DEGREE SIGN}"
        cells.append(
            f'<button type="button" class="view {grade}" data-view="{i}" aria-pressed="false" '
            f'aria-label="View at {where}, agreement {score:.2f}">'
            f'<img src="{escape(file_url(folder / view["image"]))}" alt="" loading="lazy">'
            f"<small>{where} <b>{score:.2f}</b></small></button>"
        )
    found = report["consistency"]
    says = (
        f"Agreement of the views: {found['mean']:.2f} of 1 on average, worst at "
        f"{report['views'][found['worst_frame']]['azimuth_deg']:.0f}\N{DEGREE SIGN}; halves of the orbit alone "
        f"give meshes that overlap by {found['split_half']:.2f}."
    )
    return f'<p class="quiet">{escape(says)}</p><div class="views">{"".join(cells)}</div>'


def _zip(target: Path, files: Mapping[str, Path]) -> None:
    """`target`, whole or not there."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_suffix(".part")
    try:
        with zipfile.ZipFile(part, "w") as archive:
            for name, path in files.items():
                archive.write(path, name)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
