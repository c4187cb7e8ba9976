"""`Ingress`: what is turned away before Gradio sees it. ASGI middleware.

Refused, each in one sentence:

- a Host or Origin that is not this machine's, where the studio listens on this machine only (a web page elsewhere
  must not drive it, neither through a rebound name nor by posting across sites);
- bodies over their limit (uploads and everything else have one each), also where no length was announced;
- more requests than a person makes, from one address; uploads while the disk is nearly full;
- JSON that is no JSON, is nested beyond reason, or names a web address where a file belongs;
- Gradio's routes that fetch other sites or transcode uploads: nothing here uses them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from studio.ui.rates import Rates

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
Receive = Callable[[], Awaitable[Message]]

UPLOAD_LIMIT = 256 * 1024 * 1024
"""Bytes of one upload request; a file's own limit is below (`MAX_FILE`)."""

MAX_FILE = 200 * 1024 * 1024
"""Bytes of one uploaded file."""

BODY_LIMIT = 2 * 1024 * 1024
"""Bytes of any other request."""

DRAIN_LIMIT = 32 * 1024 * 1024
"""Bytes of a refused request that are read, and forgotten, so that its client hears the refusal."""

PER_SECOND, BURST = 10.0, 200
"""Requests other than reading that one address may make: steadily, and at once."""

SPARE_BYTES = 512 * 1024 * 1024
"""Free space under which nothing more is uploaded: what runs still has to be written."""

MAX_DEPTH = 64
"""Levels of lists and objects in a JSON body."""

_FORBIDDEN = re.compile(r"/(file=\s*[a-z][\w+.\-]+:|proxy=|process_recording|stream/)", re.IGNORECASE)
_LOOPBACK = ("localhost", "127.0.0.1", "[::1]", "::1")
_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)


def is_loopback(host: str) -> bool:
    """True for an address that only this machine reaches."""
    return host in _LOOPBACK or re.fullmatch(r"127(\.\d{1,3}){3}", host) is not None


class Ingress:
    """Wraps the app.

    Args:
        local_only: hold Host and Origin to this machine's names.
        free_bytes: free space where uploads go.
    """

    def __init__(self, app: Callable[..., Awaitable[None]], *, local_only: bool, free_bytes: Callable[[], int]) -> None:
        self.app = app
        self.local_only = local_only
        self._free_bytes = free_bytes
        self._rates = Rates(PER_SECOND, BURST)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        send = _with_headers(send)
        refusal = self._refusal(scope)
        if refusal is not None:
            await _answer(send, *refusal)
            return
        if scope["method"] in ("GET", "HEAD", "OPTIONS"):
            await self.app(scope, receive, send)
        elif scope["path"].rstrip("/").endswith("/upload"):
            await self._upload(scope, receive, send)
        else:
            await self._small(scope, receive, send)

    def _refusal(self, scope: Message) -> tuple[int, str] | None:
        if _FORBIDDEN.search(scope["path"]):
            return 403, "This studio does not fetch other sites."
        reading = scope["method"] in ("GET", "HEAD", "OPTIONS")
        if not reading and not self._rates.allow((scope.get("client") or ("",))[0]):
            return 429, "Too many requests; wait a moment."
        if not self.local_only:
            return None
        if _name(_header(scope, b"host")) not in _LOOPBACK:
            return 403, "This studio answers to localhost only."
        origin = _header(scope, b"origin")
        if origin and scope["method"] not in ("GET", "HEAD") and _name(origin.partition("://")[2]) not in _LOOPBACK:
            return 403, "Requests from other sites are not taken."
        return None

    async def _upload(self, scope: Message, receive: Receive, send: Send) -> None:
        """Streams through; past the limit the connection just ends, as the length is checked up front."""
        if _announced(scope) > UPLOAD_LIMIT:
            await _answer(send, 413, f"An upload may have {UPLOAD_LIMIT // 2**20} MB.")
            return
        if self._free_bytes() < SPARE_BYTES:
            await _drain(receive)
            await _answer(send, 507, "The disk is nearly full; free some space first.")
            return
        taken = 0

        async def counted() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            return message if taken <= UPLOAD_LIMIT else {"type": "http.disconnect"}

        await self.app(scope, counted, send)

    async def _small(self, scope: Message, receive: Receive, send: Send) -> None:
        """Reads the whole body, judges it, and hands it on."""
        body = None if _announced(scope) > BODY_LIMIT else await _whole(receive)
        if body is None:
            await _drain(receive)
            await _answer(send, 413, f"A request may have {BODY_LIMIT // 2**20} MB.")
            return
        refusal = _judge(body) if b"json" in _header(scope, b"content-type").encode("latin-1") else None
        if refusal is not None:
            await _answer(send, 400, refusal)
            return
        waiting = [{"type": "http.request", "body": body, "more_body": False}]

        async def replay() -> Message:
            return waiting.pop() if waiting else await receive()

        await self.app(scope, replay, send)


async def _whole(receive: Receive) -> bytes | None:
    """The body, or None where it is over the limit or was given up."""
    parts, taken = [], 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        parts.append(message.get("body", b""))
        taken += len(parts[-1])
        if taken > BODY_LIMIT:
            return None
        if not message.get("more_body"):
            return b"".join(parts)


async def _drain(receive: Receive) -> None:
    """Reads on for a while: a client that still sends when it is refused sees a broken connection, not the refusal."""
    taken = 0
    while taken < DRAIN_LIMIT:
        message = await receive()
        taken += len(message.get("body", b""))
        if message["type"] != "http.request" or not message.get("more_body"):
            return


def _judge(body: bytes) -> str | None:
    """Why the JSON won't do, or None."""
    if not body:
        return None
    try:
        return _walk(json.loads(body, parse_constant=_no_constant), 0)
    except RecursionError:
        return "The JSON is nested too deep."
    except ValueError:
        return "This is not JSON."


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _walk(value: Any, depth: int) -> str | None:
    if depth > MAX_DEPTH:
        return "The JSON is nested too deep."
    if isinstance(value, dict):
        path = value.get("path")
        if "meta" in value and isinstance(path, str) and re.match(r"\s*[a-z][a-z0-9+.\-]*://", path, re.IGNORECASE):
            return "Web addresses are not taken as files. Upload the file."
        value = list(value.values())
    if isinstance(value, list):
        return next((says for says in (_walk(v, depth + 1) for v in value) if says), None)
    return None


def _header(scope: Message, name: bytes) -> str:
    return next((v.decode("latin-1") for k, v in scope["headers"] if k == name), "")


def _announced(scope: Message) -> int:
    text = _header(scope, b"content-length")
    return int(text) if text.isdigit() else 0


def _name(host: str) -> str:
    """The host without its port."""
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.partition(":")[0].lower()


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            have = {k.lower() for k, _ in message.get("headers", ())}
            added = [(k, v) for k, v in _HEADERS if k not in have]
            message = {**message, "headers": [*message.get("headers", ()), *added]}
        await send(message)

    return sending


async def _answer(send: Send, code: int, sentence: str) -> None:
    body = json.dumps({"detail": sentence}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": code, "headers": headers})
    await send({"type": "http.response.body", "body": body})
