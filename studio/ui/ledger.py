"""What the studio holds in memory, as HTML for the Models tab. Text in it is escaped here, once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from html import escape
from typing import Any

from studio.ui import say

TIERS = {"device": "On the device", "host": "In host memory", "stream": "Streamed to the device"}
"""A tier's word -> what the page says; a tier that is not here is shown as it is named."""


def ledgers(found: Sequence[Mapping[str, Any]]) -> str:
    """The ledgers of all studio processes on this home (`studio.jobs.ledgers.read_ledgers`)."""
    shown = [_ledger(ledger) for ledger in found if ledger.get("components") or ledger.get("decisions")]
    return '<div class="models">' + ("".join(shown) or '<p class="quiet">No weights are in memory.</p>') + "</div>"


def _ledger(ledger: Mapping[str, Any]) -> str:
    device, components = ledger.get("device"), ledger.get("components", [])
    title = f"{device['title']}, {device['dtype']}" if device else "Embedded engines only"
    return (
        f'<section class="model ledger"><h3>{escape(title)}</h3>{_room(device, components)}{_table(components)}'
        f"{_health(ledger.get('health'))}{_decisions(ledger.get('decisions', []))}</section>"
    )


def _room(device: Mapping[str, Any] | None, components: Sequence[Mapping[str, Any]]) -> str:
    held = sum(row["device_bytes"] for row in components)
    most = (device or {}).get("budget_bytes") or (device or {}).get("total_bytes")
    if not most:
        return ""
    says = f"Weights take {say.size(held)} of the {say.size(most)} that the studio may use there."
    return (
        f'<p>{escape(says)}</p><meter min="0" max="{most}" value="{held}" aria-label="Weights on the device"></meter>'
    )


def _table(components: Sequence[Mapping[str, Any]]) -> str:
    if not components:
        return "<p>No weights are in memory.</p>"
    heads = "".join(f'<th scope="col">{head}</th>' for head in ("Part", "Of", "Where", "Device", "Host", "Use"))
    return f"<table><thead><tr>{heads}</tr></thead><tbody>{''.join(map(_row, components))}</tbody></table>"


def _row(row: Mapping[str, Any]) -> str:
    tier, phases = str(row["tier"]), row["next_use"]
    use = "Now" if row["leases"] else "Idle" if phases is None else "Next" if phases <= 1 else f"In {phases} phases"
    cells = (
        ", ".join(row["variants"]),
        TIERS.get(tier, tier),
        *(say.size(row[held]) if row[held] else "" for held in ("device_bytes", "host_bytes")),
        use,
    )
    more = "".join(f"<td>{escape(cell)}</td>" for cell in cells)
    return f'<tr><th scope="row">{escape(row["component"])}</th>{more}</tr>'


def _health(health: Mapping[str, Any] | None) -> str:
    if not health:
        return ""
    grown = max(0, health["host_drift_bytes"])
    says = f"The process takes {say.size(health['rss_bytes'])} of host memory"
    says += f", {say.size(grown)} more than after its first jobs." if grown else "."
    return f'<p class="quiet">{escape(says)}</p>'


def _decisions(decisions: Sequence[Mapping[str, Any]]) -> str:
    if not decisions:
        return ""
    lines = "".join(
        f"<li>{datetime.fromtimestamp(told['at']):%H:%M:%S} {escape(told['what'])}: {escape(told['why'])}</li>"
        for told in reversed(decisions)
    )
    return f"<details><summary>What was decided, and why ({len(decisions)})</summary><ul>{lines}</ul></details>"
