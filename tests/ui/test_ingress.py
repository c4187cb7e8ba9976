import json

import httpx
import pytest

from studio.ui import ingress
from studio.ui.ingress import Ingress

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend():
    return "asyncio"


async def echo(scope, receive, send):
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body += message.get("body", b"")
        more = message.get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(len(body)).encode()})


def client(*, local_only=True, host="127.0.0.1:7860", free_bytes=lambda: 2**40, address="127.0.0.1", app=None):
    app = app or Ingress(echo, local_only=local_only, free_bytes=free_bytes)
    transport = httpx.ASGITransport(app=app, client=(address, 1234))
    return httpx.AsyncClient(transport=transport, base_url=f"http://{host}")


async def test_a_flood_from_one_address_is_turned_away_and_others_are_served():
    app = Ingress(echo, local_only=True, free_bytes=lambda: 2**40)
    async with client(app=app) as c:
        codes = [(await c.post("/gradio_api/queue/join", content=b"{}")).status_code for _ in range(400)]
        assert codes[: ingress.BURST] == [200] * ingress.BURST
        assert codes.count(429) > 100
        assert (await c.get("/")).status_code == 200
    async with client(app=app, address="10.0.0.7") as other:
        assert (await other.post("/x", content=b"{}")).status_code == 200


async def test_nothing_is_uploaded_onto_a_nearly_full_disk():
    async with client(free_bytes=lambda: 1000) as c:
        answer = await c.post("/gradio_api/upload", content=b"x" * 1000)
        assert answer.status_code == 507
        assert "disk is nearly full" in answer.json()["detail"]
        assert (await c.post("/gradio_api/queue/join", content=b"{}")).status_code == 200


async def test_requests_to_this_machine_pass_and_carry_the_headers():
    for host in ("127.0.0.1:7860", "localhost:7860", "[::1]:7860"):
        async with client(host=host) as c:
            answer = await c.get("/")
        assert answer.status_code == 200
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"


async def test_another_hosts_name_is_refused_only_where_the_studio_is_local():
    async with client(host="rebound.example") as c:
        assert (await c.get("/")).status_code == 403
    async with client(host="rebound.example", local_only=False) as c:
        assert (await c.get("/")).status_code == 200


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1.evil.example"])
async def test_a_post_from_another_site_is_refused(origin):
    async with client() as c:
        assert (await c.post("/gradio_api/upload", headers={"origin": origin}, content=b"x")).status_code == 403
        assert (await c.post("/x", headers={"origin": "http://localhost:1234"}, content=b"x")).status_code == 200


@pytest.mark.parametrize(
    "path",
    ["/gradio_api/file=https://example.invalid/", "/gradio_api/file=HTTP://x", "/gradio_api/proxy=https://x.hf.space",
     "/gradio_api/process_recording", "/gradio_api/file= ftp://x"],
)  # fmt: skip
async def test_routes_that_fetch_or_transcode_are_closed(path):
    async with client() as c:
        assert (await c.get(path)).status_code == 403


async def test_a_file_of_the_studios_is_served():
    async with client() as c:
        for path in ("/home/a/clip.mp4", "C:/Users/a/clip.mp4"):
            assert (await c.get(f"/gradio_api/file={path}")).status_code == 200


async def test_a_body_over_the_limit_is_refused_with_and_without_an_announced_length():
    big = b"x" * (ingress.BODY_LIMIT + 1)

    async def pieces():
        for at in range(0, len(big), 65536):
            yield big[at : at + 65536]

    async with client() as c:
        assert (await c.post("/gradio_api/queue/join", content=big)).status_code == 413
        assert (await c.post("/gradio_api/queue/join", content=pieces())).status_code == 413
        fine = await c.post("/gradio_api/queue/join", content=big[:-1])
    assert (fine.status_code, fine.text) == (200, str(ingress.BODY_LIMIT))


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b"[" * 100 + b"]" * 100,
        b"{nonsense",
        b'{"data": [NaN]}',
        json.dumps({"data": [{"path": "http://169.254.169.254/", "meta": {"_type": "gradio.FileData"}}]}).encode(),
        json.dumps({"data": {"a": [{"path": " FILE:///etc/passwd", "meta": {}}]}}).encode(),
    ],
)
async def test_json_that_can_not_be_meant_is_refused_in_a_sentence(body):
    async with client() as c:
        answer = await c.post("/gradio_api/queue/join", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400
    assert answer.json()["detail"].endswith(".")


async def test_json_with_an_uploaded_file_passes_whole():
    body = {"data": [{"path": "/home/uploads/a.png", "url": "http://127.0.0.1/x", "meta": {}}, 3, None, "ü"]}
    async with client() as c:
        answer = await c.post("/gradio_api/queue/join", json=body)
    assert answer.status_code == 200
    assert int(answer.text) > 20


async def test_an_upload_may_be_larger_than_other_bodies_up_to_its_own_limit(monkeypatch):
    monkeypatch.setattr(ingress, "UPLOAD_LIMIT", 3 * 2**20)
    async with client() as c:
        assert (await c.post("/gradio_api/upload", content=b"x" * (ingress.BODY_LIMIT + 1))).status_code == 200
        assert (await c.post("/gradio_api/upload", content=b"x" * (3 * 2**20 + 1))).status_code == 413
