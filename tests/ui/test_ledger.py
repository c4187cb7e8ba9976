"""What is in memory, as the Models tab shows it."""

from studio.ui.ledger import ledgers

ROW = {
    "component": "unet",
    "variants": ["svd", "svd-xt"],
    "device_bytes": 3_000_000_000,
    "host_bytes": 3_100_000_000,
    "tier": "device",
    "leases": 1,
    "next_use": 2,
}
DEVICE = {"title": "A GPU", "dtype": "fp16", "total_bytes": 24_000_000_000, "budget_bytes": 8_000_000_000}


def test_bytes_by_component_and_tier_with_room_leases_next_use_and_reasons():
    rows = [ROW, {**ROW, "component": "vae", "tier": "host", "device_bytes": 0, "leases": 0}]
    health = {"rss_bytes": 2_000_000_000, "host_drift_bytes": 100_000_000}
    decisions = [{"at": 0.0, "what": "displaced unet", "why": "makes room"}]
    html = ledgers([{"device": DEVICE, "components": rows, "health": health, "decisions": decisions}])
    for part in (
        "A GPU, fp16",
        "Weights take 3.0 GB of the 8.0 GB",
        '<meter min="0" max="8000000000" value="3000000000"',
        '<th scope="row">unet</th><td>svd, svd-xt</td><td>On the device</td><td>3.0 GB</td><td>3.1 GB</td><td>Now</td>',
        "<td>In host memory</td><td></td><td>3.1 GB</td><td>In 2 phases</td>",
        "2.0 GB of host memory, 100 MB more",
        "displaced unet: makes room",
        "<details>",
    ):
        assert part in html


def test_where_nothing_is_held_it_says_so():
    assert "No weights are in memory" in ledgers([])
    assert "No weights are in memory" in ledgers([{"device": None, "components": [], "decisions": []}])
    told = ledgers([{"device": None, "components": [], "decisions": [{"at": 0, "what": "unloaded", "why": "idle"}]}])
    assert "unloaded: idle" in told
    assert "No weights are in memory" in told


def test_all_text_is_escaped():
    bad = "<b>x"
    row = {**ROW, "component": bad, "variants": [bad], "tier": bad}
    decisions = [{"at": 0.0, "what": bad, "why": bad}]
    html = ledgers([{"device": {**DEVICE, "title": bad}, "components": [row], "decisions": decisions}])
    assert "<b>" not in html
    assert html.count("&lt;b&gt;x") == 6
