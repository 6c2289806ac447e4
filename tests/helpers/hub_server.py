"""A Hugging Face hub on this machine: the HTTP answers that downloads and uploads need."""

import contextlib
import hashlib
import http.server
import json
import threading
import urllib.parse

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(http.server.ThreadingHTTPServer):
    """Serves models from memory and records the requests.

    Attributes:
      models: "org/name" -> name of a file -> its bytes; all revisions are the same.
      revisions: those that exist.
      requests: method and path of every request.
      status: answered to everything, if not None.
    """

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.models = {}
        self.revisions = {"main", COMMIT}
        self.requests = []
        self.status = None
        self.address = f"http://127.0.0.1:{self.server_port}"


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Hub

    def log_message(self, *_):
        pass

    def answer(self, status, body=b"", **headers):
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def refuse(self, status, code):
        self.answer(status, b'{"error": "no"}', X_Error_Code=code, X_Error_Message="no")

    def do_GET(self):
        path = urllib.parse.unquote(urllib.parse.urlparse(self.path).path)
        self.server.requests.append((self.command, path))
        if self.server.status is not None:
            self.answer(self.server.status)
            return
        parts = path.strip("/").split("/")
        if parts[:2] == ["api", "models"]:
            self.describe("/".join(parts[2:4]), parts[4:])
        elif "resolve" in parts:
            self.give("/".join(parts[:2]), parts[3], "/".join(parts[4:]))
        else:
            self.refuse(404, "RepoNotFound")

    do_HEAD = do_GET  # noqa: N815

    def describe(self, model, rest):
        files = self.server.models.get(model)
        view, revision = rest if len(rest) == 2 else ("revision", "main")
        if files is None:
            self.refuse(404, "RepoNotFound")
        elif revision not in self.server.revisions:
            self.refuse(404, "RevisionNotFound")
        elif view == "tree":
            entries = [
                {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
                for name, content in files.items()
            ]
            self.answer(200, json.dumps(entries).encode(), Content_Type="application/json")
        else:
            siblings = [{"rfilename": name, "size": len(files[name])} for name in files]
            values = {"id": model, "modelId": model, "sha": COMMIT, "private": False, "siblings": siblings}
            self.answer(200, json.dumps(values).encode(), Content_Type="application/json")

    def give(self, model, revision, name):
        files = self.server.models.get(model, {})
        if name not in files:
            self.refuse(404, "EntryNotFound")
            return
        etag = f'"{hashlib.sha1(files[name]).hexdigest()}"'
        self.answer(200, files[name], ETag=etag, X_Repo_Commit=COMMIT)


@contextlib.contextmanager
def running():
    """Runs a hub during the block."""
    hub = Hub()
    thread = threading.Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        thread.join()
        hub.server_close()
