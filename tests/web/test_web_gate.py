"""The gate alone, with an application behind it that records what reached it."""

import asyncio
import json

import pytest

from audiosep_jax.web.gate import POLICY, Gate
from audiosep_jax.web.limits import Limits
from audiosep_jax.web.storage import Storage

DIGEST = "0123456789abcdef" * 4
HOST = "127.0.0.1:7860"
INPUTS = {0: 3, 1: 1, 2: 0}


class Behind:
    """Answers every request, after it has read the whole body."""

    def __init__(self):
        self.bodies = []

    async def __call__(self, scope, receive, send):
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body, more = body + message.get("body", b""), message.get("more_body", False)
        self.bodies.append(body)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"behind"})


class Door:
    """A gate that takes requests."""

    def __init__(self, storage, *, local=True):
        self.behind = Behind()
        hosts = frozenset({"127.0.0.1", "localhost", "[::1]"}) if local else None
        self.gate = Gate(
            self.behind, storage=storage, limits=Limits(upload_bytes=1000), hosts=hosts, inputs=INPUTS
        )
        self.headers = {}

    def __call__(self, method, path, body=b"", parts=None, **headers):
        chunks = list(parts or [body])
        sent = []

        async def receive():
            assert chunks, "the gate waits for a body that has ended"
            chunk = chunks.pop(0)
            return {"type": "http.request", "body": chunk, "more_body": bool(chunks)}

        async def send(message):
            sent.append(message)

        headers = {"host": HOST, **{name.replace("_", "-"): value for name, value in headers.items()}}
        raw = [(name.encode(), value.encode()) for name, value in headers.items()]
        scope = {"type": "http", "method": method, "path": path, "headers": raw}
        asyncio.run(self.gate(scope, receive, send))
        if not sent:
            return None, ""
        self.headers = dict(sent[0]["headers"])
        answer = b"".join(message.get("body", b"") for message in sent[1:])
        if answer == b"behind":
            return sent[0]["status"], "behind"
        return sent[0]["status"], json.loads(answer)["detail"]


@pytest.fixture
def storage(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with Storage(Limits(upload_bytes=1000)) as storage:
        yield storage


@pytest.fixture
def door(storage):
    return Door(storage)


@pytest.fixture
def upload(storage):
    path = storage.uploads / DIGEST / "street.wav"
    path.parent.mkdir()
    path.write_bytes(b"sound")
    return str(path)


@pytest.mark.parametrize(
    "path",
    ["/", "/config", "/theme.css", "/assets/index.js", "/static/js/a.js", "/result/abc/estimate.wav"]
    + [f"/gradio_api/{name}" for name in ("info", "queue/data", "heartbeat/abc", "call/separate/abc")],
)
def test_needed_addresses_pass_with_the_content_policy(door, path):
    assert door("GET", path) == (200, "behind")
    assert door.headers[b"content-security-policy"].decode() == POLICY
    assert door.headers[b"x-content-type-options"] == b"nosniff"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/gradio_api/proxy=https://example.org/"),
        ("GET", "/gradio_api/file/etc/passwd"),
        ("GET", "/gradio_api/runs"),
        ("GET", "/monitoring"),
        ("GET", "/docs"),
        ("GET", "/openapi.json"),
        ("GET", "/gradio_api/openapi.json"),
        ("GET", "/gradio_api/deep_link"),
        ("GET", "/result/abc"),
        ("GET", "/result/abc/def/ghi"),
        ("POST", "/gradio_api/run/separate"),
        ("POST", "/gradio_api/api/separate"),
        ("POST", "/gradio_api/call/check"),
        ("POST", "/gradio_api/component_server"),
        ("POST", "/gradio_api/cancel"),
        ("POST", "/gradio_api/reset"),
        ("POST", "/gradio_api/process_recording"),
        ("POST", "/gradio_api/vibe-edit/"),
        ("POST", "/login"),
        ("POST", "/"),
        ("PUT", "/gradio_api/upload"),
        ("DELETE", "/"),
        ("OPTIONS", "/"),
    ],
)
def test_other_addresses_are_not_found(door, method, path):
    assert door(method, path) == (404, "There is nothing at this address.")
    assert door.behind.bodies == []


@pytest.mark.parametrize("path", ["/etc/passwd", "https://example.org/a.wav", "../../a", "", "a.wav"])
def test_only_uploads_are_read(door, storage, upload, path):
    assert door("GET", f"/gradio_api/file={upload}") == (200, "behind")
    for asked in (path, f"{storage.uploads}/{path}", f"{storage.uploads}/{DIGEST}/../{path}"):
        assert door("GET", f"/gradio_api/file={asked}")[0] == 403
        assert door("HEAD", f"/gradio_api/file={asked}")[0] == 403
    assert len(door.behind.bodies) == 1


@pytest.mark.parametrize("event", ["queue/join", "call/separate"])
def test_only_uploads_are_separated(door, upload, event):
    def ask(path):
        value = {"data": [{"path": path, "meta": {"_type": "gradio.FileData"}}, "a dog", ""]}
        return door("POST", f"/gradio_api/{event}", json.dumps(value).encode())

    assert ask(upload) == (200, "behind")
    assert json.loads(door.behind.bodies[0])["data"][0]["path"] == upload
    for path in ("/etc/passwd", "../../etc/passwd", f"{upload}/../../../x", "http://example.org/a.wav"):
        assert ask(path) == (403, "The recording was not uploaded to this page: upload it first.")
    for path in (7, True, ["/etc/passwd"], {"path": "/etc/passwd"}):
        assert ask(path)[0] == 403
    assert ask(upload + "x") == (410, "The recording was deleted: upload it again.")
    assert len(door.behind.bodies) == 1


@pytest.mark.parametrize("event", ["queue/join", "call/separate"])
def test_malformed_events_are_refused(door, upload, event):
    def ask(value):
        return door("POST", f"/gradio_api/{event}", json.dumps(value).encode())

    recording = {"path": upload, "meta": {"_type": "gradio.FileData"}}
    for inputs in (
        ["/etc/passwd", "dog", ""],
        [upload, "dog", ""],
        [7, "dog", ""],
        [True, "dog", ""],
        [[recording], "dog", ""],
        [{}, "dog", ""],
        [{"path": None}, "dog", ""],
        [{"url": "http://example.org/a.wav"}, "dog", ""],
        [recording, 7, ""],
        [recording, "dog", ["rain"]],
        [recording, recording, ""],
        [recording, "dog"],
        [recording, "dog", "", ""],
        "dog",
        {"0": recording},
        7,
    ):
        status, said = ask({"data": inputs})
        assert (status, said[:56]) == (400, "The request does not name a recording and two sentences:")
    for value in (7, "dog", [recording], None):
        assert ask(value)[0] == 400
    assert door.behind.bodies == []
    for inputs, index in (
        ([], 2),
        ([None], 1),
        ([recording], 1),
        ([None, "dog", ""], 0),
        ([recording, None, ""], 0),
    ):
        assert ask({"data": inputs, "fn_index": index})[0] == (200 if "join" in event or index == 0 else 400)
    for index in (1, 2, 3, -1, 999, "0", 0.0, [0]):
        expected = 400 if "join" in event else 200
        assert ask({"data": [recording, "dog", ""], "fn_index": index})[0] == expected
    assert json.loads(door.behind.bodies[0])["data"] == ([] if "join" in event else [None, "dog", ""])


def test_only_the_path_of_a_recording_is_passed_on(door, upload):
    given = {"path": upload, "meta": 7, "size": "x", "url": "http://example.org/a.wav", "is_stream": True}
    assert door("POST", "/gradio_api/queue/join", json.dumps({"data": [given]}).encode())[0] == 200
    recording = {"path": upload, "meta": {"_type": "gradio.FileData"}}
    assert json.loads(door.behind.bodies[-1]) == {"data": [recording]}


def test_paths_at_any_depth_are_checked(door):
    value = {"path": "/etc/passwd"}
    for _ in range(300):
        value = {"data": [value, {"x": []}]}
    assert door("POST", "/gradio_api/queue/join", json.dumps(value).encode())[0] == 403
    bomb = b'{"data":' + b"[" * 200_000
    assert door("POST", "/gradio_api/queue/join", bomb) == (400, "The request is not valid JSON.")


def test_too_large_requests_are_refused(door):
    sentence = json.dumps({"data": [None, "word " * 10_000, ""]}).encode()
    assert door("POST", "/gradio_api/queue/join", sentence) == (200, "behind")
    status, said = door("POST", "/gradio_api/queue/join", parts=[bytes(300_000)] * 5)
    assert (status, said) == (413, "The request is too large: shorten the descriptions.")
    for body in (b"", b"{", b"\xff\xfe", b"NaN{"):
        assert door("POST", "/gradio_api/queue/join", body)[0] == 400


def test_too_large_uploads_are_refused_with_and_without_a_stated_size(door):
    assert door("POST", "/gradio_api/upload", bytes(900), content_length="900") == (200, "behind")
    status, said = door("POST", "/gradio_api/upload", parts=[bytes(50_000)] * 2, content_length="100000")
    assert (status, said) == (413, "The file is too large: this page takes up to 0.001 MB.")
    for length in ("-1", "1e3", "x"):
        assert door("POST", "/gradio_api/upload", b"", content_length=length)[0] == 413
    assert door("POST", "/gradio_api/upload", parts=[bytes(10_000)] * 9)[0] == 413  # without a stated size
    assert len(door.behind.bodies) == 1


def test_a_page_that_is_closed_while_it_sends_is_no_defect(storage):
    async def behind(scope, receive, send):
        await receive()
        await receive()
        raise ConnectionError("the client is gone")

    async def receive():
        return messages.pop(0)

    async def send(message):
        raise AssertionError(message)

    gate = Gate(behind, storage=storage, limits=Limits(), hosts=None, inputs=INPUTS)
    scope = {"type": "http", "method": "POST", "path": "/gradio_api/upload", "headers": []}
    messages = [{"type": "http.request", "body": b"x", "more_body": True}, {"type": "http.disconnect"}]
    asyncio.run(gate(scope, receive, send))
    messages = [{"type": "http.request", "body": b"x", "more_body": True}] * 2
    with pytest.raises(ConnectionError):
        asyncio.run(gate(scope, receive, send))


def test_nothing_is_uploaded_when_the_page_is_full(door, storage):
    (storage.uploads / "rest").write_bytes(bytes(20_000))
    status, said = door("POST", "/gradio_api/upload", bytes(900), content_length="900")
    assert (status, said) == (507, "The storage of this page is full: try again in some minutes.")


def test_invented_host_names_are_refused(door, storage):
    for host in (HOST, "localhost:1", "LOCALHOST", "[::1]:7860", "127.0.0.1"):
        assert door("GET", "/", host=host)[0] == 200
    for host in ("evil.example:7860", "127.0.0.1.evil.example", "", "0.0.0.0", "127.0.0.1:7860@evil.example"):
        assert door("GET", "/", host=host)[0] == 421
    assert Door(storage, local=False)("GET", "/", host="studio.example")[0] == 200


def test_requests_from_other_sites_are_refused(door):
    for origin in ("https://evil.example", "http://127.0.0.1:9999", "null", f"{HOST}"):
        assert door("POST", "/gradio_api/upload", b"", origin=origin) == (
            403,
            "This request comes from another site: open the page at its own address.",
        )
    assert door("POST", "/gradio_api/upload", b"", origin=f"http://{HOST}")[0] == 200


def test_websockets_are_refused(door):
    asyncio.run(door.gate({"type": "websocket", "path": "/", "headers": []}, None, None))
    assert door.behind.bodies == []
