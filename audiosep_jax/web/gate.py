"""The gate between browsers and Gradio: it refuses every request that the page does not need."""

import json
import math
import os
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from audiosep_jax.web.limits import Limits
from audiosep_jax.web.storage import FULL, NOT_KEPT, Storage

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

# Browsers load nothing from elsewhere, and no other page may frame this one.
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; worker-src 'self' blob:; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; media-src 'self' data: blob:; "
    "font-src 'self' data:; connect-src 'self' data: blob:; object-src 'none'; base-uri 'self'; "
    "form-action 'self'; frame-ancestors 'none'"
)
_HEADERS = (
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)
_READ = re.compile(
    r"/|/config|/theme\.css|/favicon\.ico|/manifest\.json|/robots\.txt|/(?:static|assets)/.+|/result/[^/]+/[^/]+"
    r"|/gradio_api/(?:info|startup-events|queue/data|queue/status|upload_progress|heartbeat/[^/]+|theme\.css"
    r"|call/separate/[^/]+)"
)
_FILE = "/gradio_api/file="
_UPLOAD = "/gradio_api/upload"
_WRITTEN = re.compile(r"/gradio_api/(?:queue/join|call/separate)")
_LARGEST_JSON = 1_000_000
_EXPECTED = (
    'The request does not name a recording and two sentences: [{"path": "…"}, "a dog", ""] is expected.'
)
# For the boundaries and names of the form, beside the file itself.
_FORM_BYTES = 20_000


class RefusedError(Exception):
    """A request is refused; its text is one clear sentence."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


class Gate:
    """An ASGI application that passes on the requests that the page needs, and refuses all others.

    Addresses are compared with a list. A path from a browser, in an address or in the data of an event, must
    have the form of an upload's path; the text alone decides, before anything looks at the disk. Bodies have
    a largest size. Requests from pages of other sites are refused, and so are names that are not in `hosts`
    (None allows any). `inputs` is the number of values of each event, by the event's number; the event with
    most values separates.
    """

    def __init__(
        self,
        app: App,
        *,
        storage: Storage,
        limits: Limits,
        hosts: frozenset[str] | None,
        inputs: Mapping[int, int],
    ) -> None:
        self._app, self._storage, self._limits, self._hosts = app, storage, limits, hosts
        self._receiving = 0  # uploads
        self._inputs, self._separate = inputs, max(inputs, key=lambda index: inputs[index])

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answers a request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return  # the server closes connections that are not accepted
        body = _Body(receive)

        async def send_guarded(message: Message) -> None:
            if body.gone:
                return
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *_HEADERS]
            await send(message)

        try:
            checked = await self._checked(scope, body)
            uploads = scope["path"] == _UPLOAD
            self._receiving += uploads
            try:
                await self._app(scope, checked, send_guarded)
            except Exception:
                if not body.gone:  # a page that closes while it sends is no defect
                    raise
            finally:
                self._receiving -= uploads
            if body.refusal is not None:
                raise body.refusal
        except RefusedError as refused:
            await body.discard(2 * self._limits.upload_bytes)
            await _answer(send, refused)

    async def _checked(self, scope: Message, body: "_Body") -> Receive:
        """Checks a request, and returns the `receive` from which the application reads its body."""
        headers = {
            name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]
        }
        self._check_host(headers)
        path, reads, posts = scope["path"], scope["method"] in ("GET", "HEAD"), scope["method"] == "POST"
        if reads and path.startswith(_FILE):
            if not self._storage.is_upload(path.removeprefix(_FILE)):
                raise RefusedError(403, "This is not a file that was uploaded to this page.")
            return body
        if reads and _READ.fullmatch(path):
            return body
        if posts and path == _UPLOAD:
            return self._check_upload(headers, body)
        if posts and _WRITTEN.fullmatch(path):
            return await self._check_json(body, joins=path.endswith("join"))
        raise RefusedError(404, "There is nothing at this address.")

    def _check_host(self, headers: dict[str, str]) -> None:
        host = headers.get("host", "")
        name = re.sub(r":\d*$", "", host).lower()  # without the port
        if self._hosts is not None and name not in self._hosts:
            raise RefusedError(
                421, "The page is not served under this name: use the address that it printed."
            )
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != host:
            raise RefusedError(403, "This request comes from another site: open the page at its own address.")

    def _check_upload(self, headers: dict[str, str], body: "_Body") -> Receive:
        most = self._limits.upload_bytes + _FORM_BYTES
        too_large = RefusedError(
            413, f"The file is too large: this page takes up to {self._limits.upload_bytes / 1e6:g} MB."
        )
        promised = headers.get("content-length", "0")
        if not promised.isdigit() or int(promised) > most:
            raise too_large
        if self._storage.is_full(self._receiving):
            raise RefusedError(507, FULL)
        # Gradio measures single files without a stated size; this limit is for many files at once.
        body.limit(2 * most, too_large)
        return body

    async def _check_json(self, receive: Receive, *, joins: bool) -> Receive:
        body = b""
        while True:
            message = await receive()
            if message["type"] != "http.request":
                return _replayed(message, receive)
            body += message.get("body", b"")
            if len(body) > _LARGEST_JSON:
                raise RefusedError(413, "The request is too large: shorten the descriptions.")
            if not message.get("more_body", False):
                break
        try:
            data = json.loads(body)
        except (ValueError, RecursionError):
            raise RefusedError(400, "The request is not valid JSON.") from None
        for path in _paths(data):
            if not (isinstance(path, str) and self._storage.is_upload(path)):
                raise RefusedError(403, "The recording was not uploaded to this page: upload it first.")
            if not os.path.isfile(path):
                raise RefusedError(410, NOT_KEPT)
        event = _checked_event(data)
        index = event.get("fn_index") if joins else self._separate
        if index is not None and (
            not isinstance(index, int) or len(event["data"]) != self._inputs.get(index, -1)
        ):
            raise RefusedError(400, _EXPECTED)
        body = json.dumps(event).encode()
        return _replayed({"type": "http.request", "body": body, "more_body": False}, receive)


class _Body:
    """A request's body up to its limit; it never reads beyond its end."""

    def __init__(self, receive: Receive) -> None:
        self._receive, self._ended = receive, False
        self._left, self._too_large = math.inf, None
        self.gone = False  # the client has disconnected, or the body was too large
        self.refusal = None  # the error, if the body was too large

    def limit(self, most: int, refusal: RefusedError) -> None:
        """Sets the largest size, and the error for a larger body."""
        self._left, self._too_large = most, refusal

    async def __call__(self) -> Message:
        message = await self._next()
        self._left -= len(message.get("body", b""))
        if self._left < 0:
            self.refusal = self._too_large
            message = {"type": "http.disconnect"}
        self.gone = self.gone or message["type"] == "http.disconnect"
        return message

    async def discard(self, most: int) -> None:
        """Reads the rest, because a client that is still sending does not read the answer yet."""
        while most > 0 and not self._ended:
            most -= len((await self._next()).get("body", b""))

    async def _next(self) -> Message:
        message = await self._receive()
        self._ended = message["type"] != "http.request" or not message.get("more_body", False)
        return message


def _paths(data: Any) -> Iterator[Any]:
    """Yields the values of all keys `path`, at any depth of an event's data."""
    waiting = [data]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            if value.get("path") is not None:
                yield value["path"]
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value


def _checked_event(event: Any) -> dict[str, Any]:
    """Returns an event as Gradio expects it: no values, a recording, or a recording and two sentences.

    Only the path of a recording is kept, because Gradio might fail on its other fields. Any other form is
    refused.
    """
    inputs = event.get("data") or [] if isinstance(event, dict) else None
    if not isinstance(inputs, list) or len(inputs) not in (0, 1, 3):
        raise RefusedError(400, _EXPECTED)
    recording, sentences = inputs[:1], inputs[1:]
    named = all(one is None or (isinstance(one, dict) and one.get("path")) for one in recording)
    if not named or not all(one is None or isinstance(one, str) for one in sentences):
        raise RefusedError(400, _EXPECTED)
    found = [one and {"path": one["path"], "meta": {"_type": "gradio.FileData"}} for one in recording]
    return {**event, "data": [*found, *sentences]}


def _replayed(message: Message, receive: Receive) -> Receive:
    first: list[Message] = [message]

    async def again() -> Message:
        return first.pop() if first else await receive()

    return again


async def _answer(send: Send, refused: RefusedError) -> None:
    body = json.dumps({"detail": str(refused)}).encode()
    headers = [
        *_HEADERS,
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": refused.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
