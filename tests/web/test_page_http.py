"""The page over HTTP, in a separate process: results for programs, and refusals."""

import http.client
import importlib.util
import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from web_server import noise, served, wav

pytestmark = [
    pytest.mark.extras,
    pytest.mark.web,
    pytest.mark.skipif(importlib.util.find_spec("gradio") is None, reason="the extra web is not installed"),
]


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    with served(tmp_path_factory.mktemp("page"), "--max-seconds", "20", "--max-megabytes", "2") as page:
        yield page


def decoded(body):
    return soundfile.read(io.BytesIO(body), dtype="int32", always_2d=True)


@pytest.mark.parametrize(("rate", "channels", "subtype"), [(16_000, 1, "PCM_16"), (44_100, 2, "PCM_24")])
def test_estimate_and_residual_come_back_and_are_the_mixture(page, rate, channels, subtype):
    content = wav(noise(1.5, rate, channels=channels), rate, subtype)
    status, path = page.upload(content)
    assert status == 200
    answer = page.separate(path, "a dog barking", "rain falling")
    assert (answer["seconds"], answer["sample_rate_hz"], answer["channels"]) == (1.5, rate, channels)
    mixture = decoded(content)[0]
    sounds = {}
    for name in ("mixture", "estimate", "residual"):
        headers, body = page.get(answer[name])
        assert headers["content-type"] in ("audio/x-wav", "audio/wav")
        assert soundfile.info(io.BytesIO(body)).subtype == subtype
        sounds[name], sample_rate_hz = decoded(body)
        assert (sounds[name].shape, sample_rate_hz) == (mixture.shape, rate)
    assert np.array_equal(sounds["mixture"], mixture)
    assert np.array_equal(sounds["estimate"] + sounds["residual"], mixture)
    assert np.abs(sounds["residual"]).max() > 0
    headers, picture = page.get(answer["picture"])
    assert headers["content-type"] == "image/png"
    assert picture.startswith(b"\x89PNG")


def test_several_queries_of_one_upload(page):
    _, path = page.upload(wav(noise(0.5)))
    first, again, but = (page.separate(path, *words) for words in (("a dog",), ("rain",), ("", "rain")))
    assert len({answer["estimate"] for answer in (first, again, but)}) == 3
    estimate, residual = (decoded(page.get(but[part])[1])[0] for part in ("estimate", "residual"))
    assert np.array_equal(residual, decoded(page.get(again["estimate"])[1])[0])
    assert np.abs(estimate).max() > 0


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_documented_calls_work(page, tmp_path):
    text = (Path(__file__).parents[2] / "docs" / "web.md").read_text("utf-8")
    (script,) = re.findall(r"```sh\nPAGE=\S+\n(.*?)```", text, re.S)
    (tmp_path / "street.wav").write_bytes(wav(noise(0.5)))
    command = ["sh", "-c", f"PAGE={page.address}\n{script}"]
    said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    answer = json.loads(said.partition("data: ")[2])[-1]
    for name in ("estimate", "residual", "mixture", "picture"):
        page.get(answer.pop(name))
    assert set(answer) == {"seconds", "sample_rate_hz", "channels", "level_db", "warning"}


def test_players_can_seek(page):
    _, path = page.upload(wav(noise(1.0)))
    address = page.separate(path)["estimate"]
    _, whole = page.get(address)
    status, headers, part = page.request("GET", "/" + address, headers={"range": "bytes=1000-1999"})
    assert (status, part) == (206, whole[1000:2000])
    assert headers["content-security-policy"].startswith("default-src 'self'")


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "../../../../etc/passwd",
        "{upload}/../../../../../../etc/passwd",
        "{folder}/../{name}",
        "{uploads}/../examples/a_dog_in_the_rain.wav",
        "file:///etc/passwd",
        "http://127.0.0.1:{port}/config",
        "https://example.org/a.wav",
        "",
    ],
)
def test_no_path_of_a_program_reaches_the_disk(page, path):
    _, upload = page.upload(wav(noise(0.2)))
    folder, uploads = os.path.dirname(upload), os.path.dirname(os.path.dirname(upload))
    path = path.format(
        upload=upload, folder=folder, uploads=uploads, name=os.path.basename(folder), port=page.port
    )
    assert page.separate(path)["status"] == 403
    data = {"data": [{"path": path, "meta": {"_type": "gradio.FileData"}}, "a dog", ""]}
    for event in ({"fn_index": 0}, {"fn_index": 1}, {"fn_index": 2}):
        status, _ = page.post("/gradio_api/queue/join", {**data, **event, "session_hash": "abc"})
        assert status == 403
    for prefix in (
        "/gradio_api/file=",
        "/gradio_api/file/",
        "/file=",
        "/gradio_api/proxy=",
        "/gradio_api/stream/",
    ):
        assert page.request("GET", prefix + path)[0] in (403, 404)
        assert page.request("GET", prefix + path.replace("/", "%2F"))[0] in (403, 404)
    for way in ("/gradio_api/run/separate", "/gradio_api/api/separate", "/gradio_api/component_server"):
        assert page.post(way, data)[0] == 404
    assert page.separate(upload).get("estimate")


@pytest.mark.parametrize(
    "address",
    [
        "/result/../../../etc/passwd",
        "/result/x/..%2f..%2f..%2fetc%2fpasswd",
        "/result/%2e%2e/%2e%2e",
        "/result/x/estimate.wav",
        "/assets/../../../../etc/passwd",
        "/assets/..%2f..%2f..%2f..%2fetc%2fpasswd",
        "/static/%2e%2e/%2e%2e/__init__.py",
        "/static//etc/passwd",
        "//etc/passwd",
    ],
)
def test_addresses_cannot_reach_other_files(page, address):
    status, _, body = page.request("GET", address)
    assert status in (403, 404)
    assert b"root:" not in body


def test_upload_names_cannot_be_paths(page):
    content = wav(noise(0.2))
    for name in ("../../escaped.wav", "/etc/escaped.wav", "..", "a/../../b.wav", "..\\..\\c.wav", "\x00.wav"):
        status, path = page.upload(content, name)
        if status == 200:
            assert path.startswith(f"{next(page.folder.glob('audiosep-web-*'))}/uploads/")
            assert "estimate" in page.separate(path) or page.separate(path)["status"] == 403
    assert not list(page.folder.glob("*escaped*"))


def test_a_too_large_upload_is_refused(page):
    status, said = page.upload(bytes(3_000_000))
    assert (status, said["detail"]) == (413, "The file is too large: this page takes up to 2 MB.")
    # Without a stated size, the upload is cut off at the limit, and nothing of it remains.
    before = page.left()
    connection = http.client.HTTPConnection("127.0.0.1", page.port, timeout=60)
    head = b'--x\r\ncontent-disposition: form-data; name="files"; filename="a.wav"\r\n\r\n'
    chunks = (head, *(bytes(500_000) for _ in range(20)))
    try:
        connection.request(
            "POST",
            "/gradio_api/upload",
            body=iter(chunks),
            headers={"content-type": "multipart/form-data; boundary=x"},
            encode_chunked=True,
        )
        assert connection.getresponse().status in (400, 413)
    except (ConnectionError, http.client.HTTPException):
        pass  # the server need not wait for what it does not take
    finally:
        connection.close()
    deadline = time.monotonic() + 45
    while not set(page.left()) <= set(before) and time.monotonic() < deadline:
        time.sleep(0.5)
    assert set(page.left()) <= set(before)


def test_a_too_long_recording_is_refused(page):
    _, path = page.upload(wav(np.zeros(8000 * 21), 8000, form="FLAC"), "night.flac")
    said = page.separate(path)["error"]
    assert said.startswith("night.flac is 21.0 s long: the page takes up to 20.0 s of sound. The command")
    deadline = time.monotonic() + 60
    while os.path.exists(path):
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_a_deleted_upload_is_an_error(page):
    _, path = page.upload(wav(noise(0.2)))
    os.unlink(path)
    assert page.separate(path)["error"] == "The recording was deleted: upload it again."


def test_other_sites_and_invented_host_names_are_refused(page):
    for headers in ({"origin": "https://evil.example"}, {"origin": "null"}):
        status, said = page.upload(wav(noise(0.2)), headers=headers)
        assert (status, said["detail"]) == (
            403,
            "This request comes from another site: open the page at its own address.",
        )
    assert page.request("GET", "/config", headers={"host": f"evil.example:{page.port}"})[0] == 421


def test_it_listens_on_this_machine_only(page):
    with socket.create_connection(("127.0.0.1", page.port)):
        pass
    own = socket.gethostbyname(socket.gethostname())
    if not own.startswith("127."):
        with pytest.raises(OSError, match="refused"):
            socket.create_connection((own, page.port), timeout=5)
    assert "Traceback" not in page.said
    assert "share" not in page.said
    assert page.said.count("\n") == 1


def test_the_page_carries_no_analytics_and_no_share_links(page):
    config = json.loads(page.request("GET", "/config")[2])
    assert config["analytics_enabled"] is False
    assert config["space_id"] is None
    for component in config["components"]:
        assert "share" not in (component["props"].get("buttons") or [])


def test_ctrl_c_cancels_a_separation_and_leaves_no_files(tmp_path):
    with served(tmp_path) as page:
        _, path = page.upload(wav(noise(290.0)))
        recording = {"path": path, "meta": {"_type": "gradio.FileData"}}
        page.post("/gradio_api/call/separate", {"data": [recording, "a dog", ""]})
        deadline = time.monotonic() + 120
        while not list(tmp_path.glob("audiosep-web-*/results/*/.*")):  # the estimate, half written
            assert time.monotonic() < deadline
            time.sleep(0.1)
        page.process.send_signal(signal.SIGINT)
        assert page.process.wait(60) == 130
    assert page.said.endswith("audiosep: interrupted\n")
    assert "Traceback" not in page.said
    assert not list(tmp_path.glob("audiosep-web-*"))


def test_a_full_queue_refuses_and_recovers_and_open_hosts_warn(tmp_path):
    with served(tmp_path, "--max-waiting", "1", "--host", "0.0.0.0") as page:
        assert "warning: whoever reaches 0.0.0.0 can use this page" in page.said
        assert page.request("GET", "/config", headers={"host": "studio.example"})[0] == 200
        assert page.request("GET", "/config", headers={"origin": "https://evil.example"})[0] == 403
        _, path = page.upload(wav(noise(20.0)))
        recording = {"path": path, "meta": {"_type": "gradio.FileData"}}
        asked = [page.post("/gradio_api/call/separate", {"data": [recording, "a dog", ""]}) for _ in range(6)]
        assert asked[0][0] == 200
        refused = [said for status, said in asked if status == 503]
        assert refused
        assert all("full" in said["detail"].lower() for said in refused)
        for status, said in asked:
            if status == 200:
                body = page.request("GET", f"/gradio_api/call/separate/{said['event_id']}")[2]
                assert b"event: complete" in body
        assert "estimate" in page.separate(path)


def test_files_are_deleted_after_their_time_and_at_the_end(tmp_path):
    with served(tmp_path, "--keep-minutes", "0.25") as page:
        _, path = page.upload(wav(noise(0.2)))
        page.separate(path)
        page.wait_until_nothing_is_left()
        page.upload(wav(noise(0.2)))
        assert list(tmp_path.glob("audiosep-web-*"))
    assert page.process.returncode == 143
    assert not list(tmp_path.glob("audiosep-web-*"))
    assert "Traceback" not in page.said
