"""`audiosep web` in a separate process, and a client of its HTTP interface."""

import contextlib
import http.client
import json
import os
import re
import secrets
import signal
import subprocess
import sys
import tempfile
import time
import urllib.parse
from pathlib import Path

import numpy as np
import soundfile


@contextlib.contextmanager
def served(folder, *options):
    """Starts `audiosep web` on a free port, yields a `Page`, and ends it with SIGTERM."""
    log = folder / "web.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "audiosep_jax.cli.main", "web", "--port", "0", *options],
            stdout=out,
            stderr=subprocess.STDOUT,
            env=os.environ | {"TMPDIR": str(folder), "JAX_PLATFORMS": "cpu"},
        )
    try:
        deadline = time.monotonic() + 240
        while not (found := re.search(r"http://[\d.]+:(\d+)", log.read_text("utf-8"))):
            assert process.poll() is None, log.read_text("utf-8")
            assert time.monotonic() < deadline, log.read_text("utf-8")
            time.sleep(0.2)
        yield Page(int(found[1]), folder, log, process)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


class Page:
    """A client of a running page."""

    def __init__(self, port, folder, log, process):
        self.port, self.folder, self._log, self.process = port, folder, log, process
        self.address = f"http://127.0.0.1:{port}"

    @property
    def said(self):
        """The output of the server."""
        return self._log.read_text("utf-8")

    def request(self, method, path, body=None, headers=None, *, port=None):
        """Returns status, headers and body of a response; the path is sent unchanged."""
        connection = http.client.HTTPConnection("127.0.0.1", port or self.port, timeout=300)
        with contextlib.closing(connection):
            connection.request(method, path, body=body, headers=headers or {})
            response = connection.getresponse()
            return response.status, dict(response.getheaders()), response.read()

    def post(self, path, value, headers=None):
        headers = {"content-type": "application/json", **(headers or {})}
        status, _, body = self.request("POST", path, json.dumps(value).encode(), headers)
        return status, json.loads(body)

    def upload(self, content, name="street.wav", headers=None):
        """Uploads bytes; returns the status, and the path or the error."""
        boundary = secrets.token_hex(16)
        shown = name.replace("\\", "\\\\").replace('"', '\\"').replace("\r", " ").replace("\n", "%0A")
        body = (
            f'--{boundary}\r\ncontent-disposition: form-data; name="files"; filename="{shown}"\r\n'
            "content-type: audio/wav\r\n\r\n"
        ).encode("utf-8", "surrogateescape")
        body += content + f"\r\n--{boundary}--\r\n".encode()
        headers = {"content-type": f"multipart/form-data; boundary={boundary}", **(headers or {})}
        status, _, answer = self.request("POST", "/gradio_api/upload", body, headers)
        value = json.loads(answer) if answer[:1] in (b"[", b"{") else answer.decode()
        return status, value[0] if isinstance(value, list) else value

    def separate(self, path, query="a dog barking", without=""):
        """Separates an upload; returns the result for programs."""
        recording = None if path is None else {"path": path, "meta": {"_type": "gradio.FileData"}}
        status, answer = self.post("/gradio_api/call/separate", {"data": [recording, query, without]})
        if status != 200:
            return {"status": status, "error": answer["detail"]}
        status, _, body = self.request("GET", f"/gradio_api/call/separate/{answer['event_id']}")
        assert status == 200, body
        name, data = re.findall(r"event: (\w+)\ndata: (.*)", body.decode())[-1]
        assert name == "complete", body
        return json.loads(data)[-1]

    def get(self, address):
        """Downloads a file of a result."""
        status, headers, body = self.request("GET", "/" + urllib.parse.quote(address))
        assert status == 200, body
        return headers, body

    def left(self):
        """The files of uploads and results on disk."""
        # os.walk instead of a pattern, because the page may be deleting them.
        return sorted(
            Path(folder, name)
            for part in ("uploads", "results")
            for page in self.folder.glob("audiosep-web-*")
            for folder, _, names in os.walk(page / part)
            for name in names
        )

    def wait_until_nothing_is_left(self, seconds=40):
        deadline = time.monotonic() + seconds
        while self.left() and time.monotonic() < deadline:
            time.sleep(0.2)
        assert self.left() == []


def wav(waveform, rate=16000, subtype="PCM_16", form="WAV"):
    """A sound file as bytes; the waveform is [samples] or [channels, samples]."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sound"
        soundfile.write(path, np.asarray(waveform).T, rate, format=form, subtype=subtype)
        return path.read_bytes()


def noise(seconds=1.0, rate=16000, channels=None, seed=0):
    shape = (round(seconds * rate),) if channels is None else (channels, round(seconds * rate))
    return 0.1 * np.random.default_rng(seed).standard_normal(shape)
