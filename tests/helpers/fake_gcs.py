"""A small Google Cloud Storage in memory: the part of its HTTP interface that gcsfs and TensorStore use.

Objects appear whole, have generations, and are listed by prefix and delimiter, as in the real one.
"""

import base64
import contextlib
import email.parser
import email.policy
import hashlib
import http.server
import json
import re
import threading
import urllib.parse
from collections.abc import Iterator


class Bucket:
    """Objects by name: a tuple of content and generation.

    Attributes:
      objects: what is stored.
      refuse: names that match this pattern cannot be written (HTTP 403), as over a quota.
      requests: method and path of all that was asked.
    """

    def __init__(self):
        self.objects: dict[str, tuple[bytes, int]] = {}
        self.refuse: str | None = None
        self.requests: list[str] = []
        self.lock = threading.Lock()
        self._generation = 0
        self._uploads: dict[str, tuple[str, bytearray]] = {}

    def put(self, name, content):
        with self.lock:
            self._generation += 1
            self.objects[name] = (bytes(content), self._generation)

    def begin_upload(self, name):
        with self.lock:
            key = str(len(self._uploads))
            self._uploads[key] = (name, bytearray())
        return key

    def upload(self, key):
        return self._uploads[key]

    def forbids(self, name):
        return self.refuse is not None and re.search(self.refuse, name) is not None


@contextlib.contextmanager
def serving() -> Iterator[tuple[str, Bucket]]:
    """Serves one bucket under any name on a free port; yields the address and the bucket."""
    bucket = Bucket()
    handler = type("Handler", (_Handler,), {"bucket": bucket})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", bucket
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def environment(address: str) -> dict[str, str]:
    """The variables that direct gcsfs and TensorStore to that address."""
    return {
        "STORAGE_EMULATOR_HOST": address,
        "TENSORSTORE_GCS_HTTP_URL": address,
        # It would ask by gRPC, which is not served here, whether the bucket is one of the newer kinds.
        "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",
    }


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    bucket: Bucket

    def log_message(self, *_):
        pass

    def handle_any(self):
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # clients leave as they like
            self.reply()

    def reply(self):
        self.bucket.requests.append(f"{self.command} {self.path}")
        body = self._body()
        try:
            status, headers, content = self._answer(self.command, self.path, self.headers, body)
        except KeyError:
            status, headers, content = _json({"error": {"code": 404, "message": "no such object"}}, 404)
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = handle_any  # noqa: N815

    def _body(self):
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            parts = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _answer(self, method, path, headers, body):
        url = urllib.parse.urlsplit(path)
        query = {name: values[0] for name, values in urllib.parse.parse_qs(url.query).items()}
        if url.path.startswith("/batch/"):
            return self._batch(headers, body)
        if url.path.startswith("/upload/"):
            return self._upload(method, query, headers, body)
        found = re.fullmatch(r"(?:/download)?/storage/v1/b/([^/]+)(?:/o(?:/(.+))?)?/?", url.path)
        if found is None:
            return _json({"error": {"code": 400, "message": f"not served: {path}"}}, 400)
        if "/o" not in url.path:
            return _json({"name": found[1], "location": "NEARBY", "storageClass": "STANDARD"})
        if found[2] is None:
            return self._list(query)
        source, _, target = found[2].partition("/rewriteTo/b/")
        name = urllib.parse.unquote(source)
        if target:
            copied = urllib.parse.unquote(target.partition("/o/")[2])
            self.bucket.put(copied, self.bucket.objects[name][0])
            return _json({"done": True, "resource": self._metadata(copied)})
        if method == "DELETE":
            with self.bucket.lock:
                if not _matches(query, self.bucket.objects.get(name)):
                    return _json({"error": {"code": 412, "message": "other generation"}}, 412)
                del self.bucket.objects[name]
            return 204, {}, b""
        if query.get("alt") != "media":
            return _json(self._metadata(name))
        content, generation = self.bucket.objects[name]
        if query.get("ifGenerationNotMatch") == str(generation):
            return 304, {}, b""
        answer = {"x-goog-generation": str(generation), "Content-Type": "application/octet-stream"}
        wanted = re.fullmatch(r"bytes=(\d*)-(\d*)", headers.get("Range", ""))
        if wanted is None:
            return 200, answer, content
        if not wanted[1]:
            first, last = max(0, len(content) - int(wanted[2])), len(content) - 1
        else:
            first, last = int(wanted[1]), min(int(wanted[2] or len(content)), len(content) - 1)
        if first >= len(content):
            return 416, answer | {"Content-Range": f"bytes */{len(content)}"}, b""
        answer["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
        return 206, answer, content[first : last + 1]

    def _upload(self, method, query, headers, body):
        if method == "PUT" or "upload_id" in query:
            name, received = self.bucket.upload(query["upload_id"])
            received += body
            if headers.get("Content-Range", "").endswith("/*"):
                return 308, {"Range": f"bytes=0-{len(received) - 1}"}, b""
            content = received
        elif query["uploadType"] == "resumable":
            name = query.get("name") or json.loads(body)["name"]
            if self.bucket.forbids(name):
                return _json({"error": {"code": 403, "message": "the quota is used up"}}, 403)
            key = self.bucket.begin_upload(name)
            place = f"http://{headers['Host']}/upload/storage/v1/b/bucket/o?upload_id={key}"
            return 200, {"Location": place}, b""
        elif query["uploadType"] == "multipart":
            described, payload = _parts(headers["Content-Type"], body)
            name, content = json.loads(described)["name"], payload
        else:
            name, content = query["name"], body
        if self.bucket.forbids(name):
            return _json({"error": {"code": 403, "message": "the quota is used up"}}, 403)
        if not _matches(query, self.bucket.objects.get(name)):
            return _json({"error": {"code": 412, "message": "other generation"}}, 412)
        self.bucket.put(name, content)
        return _json(self._metadata(name))

    def _list(self, query):
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        items, prefixes = [], set()
        for name in sorted(self.bucket.objects):
            if not name.startswith(prefix) or name < query.get("startOffset", ""):
                continue
            if query.get("endOffset") and name >= query["endOffset"]:
                continue
            below = name[len(prefix) :]
            if delimiter and delimiter in below:
                prefixes.add(prefix + below.partition(delimiter)[0] + delimiter)
            else:
                items.append(self._metadata(name))
        return _json({"kind": "storage#objects", "items": items, "prefixes": sorted(prefixes)})

    def _batch(self, headers, body):
        answers = []
        boundary = "answers"
        for part in _parts(headers["Content-Type"], body):
            request, _, _ = part.decode().strip().partition("\n")
            method, path = request.split()[:2]
            try:
                status, _, content = self._answer(method, path, {}, b"")
            except KeyError:
                status, content = 404, b"{}"
            answers.append(
                f"--{boundary}\r\nContent-Type: application/http\r\n\r\nHTTP/1.1 {status} done\r\n"
                f"Content-Type: application/json\r\n\r\n{content.decode()}\r\n"
            )
        text = "".join(answers) + f"--{boundary}--"
        return 200, {"Content-Type": f"multipart/mixed; boundary={boundary}"}, text.encode()

    def _metadata(self, name):
        content, generation = self.bucket.objects[name]
        return {
            "kind": "storage#object",
            "bucket": "bucket",
            "name": name,
            "size": str(len(content)),
            "generation": str(generation),
            "metageneration": "1",
            "md5Hash": base64.b64encode(hashlib.md5(content).digest()).decode(),
            "timeCreated": "2026-01-01T00:00:00.000Z",
            "updated": "2026-01-01T00:00:00.000Z",
        }


def _matches(query, stored):
    """Whether a condition on the generation holds; 0 is the generation of a missing object."""
    wanted = query.get("ifGenerationMatch")
    return wanted is None or int(wanted) == (0 if stored is None else stored[1])


def _parts(content_type, body):
    parser = email.parser.BytesParser(policy=email.policy.HTTP)
    message = parser.parsebytes(b"Content-Type: " + content_type.encode() + b"\r\n\r\n" + body)
    return [part.get_payload(decode=True) for part in message.iter_parts()]


def _json(values, status=200):
    return status, {"Content-Type": "application/json"}, json.dumps(values).encode()
