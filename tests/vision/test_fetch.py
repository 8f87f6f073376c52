"""Fetching a model from a real HTTP server: it comes whole and right, or nothing is left behind."""

import contextlib
import hashlib
import io
import os
import pty
import re
import subprocess
import sys
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import msgspec
import pytest

from edge.vision.card import Card, Provenance, load_card
from edge.vision.fetch import (
    FetchError,
    FetchOffline,
    FetchRefused,
    FetchTooLarge,
    FetchTruncated,
    FetchUnwritable,
    fetch,
)
from edge.vision.model_file import ModelHashWrong, ModelNotTflite, ModelTruncated, find_card

MODEL = b"\x1c\0\0\0TFL3" + bytes(range(256)) * 1000


def zipped(members: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


GOOD_ZIP = zipped({"labelmap.txt": b"person", "detect.tflite": MODEL})
BOMB = zipped({"detect.tflite": MODEL + bytes(50_000_000)})
PAGES = {
    "/model": MODEL,
    "/zip": GOOD_ZIP,
    "/zip-without": zipped({"other.tflite": MODEL}),
    "/zip-cut": GOOD_ZIP[:-100],
    "/zip-spoilt": GOOD_ZIP[:200] + bytes(50) + GOOD_ZIP[250:],
    "/bomb": BOMB,
    "/wrong": MODEL[:-1] + b"\0",
    "/short": MODEL[:1000],
    "/big": MODEL * 3,
    "/html": b"<html>sign in to the hotel's wifi</html>",
}


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Page)
        self.asked: list[str] = []
        self.closing = threading.Event()

    def handle_error(self, request, client_address):
        pass  # a client that hangs up early is what some of the tests are about


class Page(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(self.path)
        path, _, how = self.path.partition("?")
        if path not in PAGES:
            self.send_error(404)
            return
        body = PAGES[path]
        self.send_response(200)
        if how != "unsized":
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if how in ("broken", "stalled"):
            self.wfile.write(body[: len(body) // 2])
            self.wfile.flush()
            if how == "stalled":
                self.server.closing.wait(20)
            return
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield running
        running.closing.set()
        running.shutdown()
        thread.join()


def card(server: Server | None, page: str, member: str | None = None) -> Card:
    real = load_card(find_card("ssd-mobilenet-v1-coco"))
    url = f"http://127.0.0.1:{server.server_port}{page}" if server else None
    return msgspec.structs.replace(
        real,
        file="toy.tflite",
        sha256=hashlib.sha256(MODEL).hexdigest(),
        size_bytes=len(MODEL),
        provenance=Provenance(url=url, member=member, trained_on="nothing", notices="none"),
    )


@pytest.mark.parametrize(
    ("page", "member"), [("/model", None), ("/model?unsized", None), ("/zip", "detect.tflite")]
)
def test_it_comes_whole(server, tmp_path, page, member):
    steps = []
    into = tmp_path / "new" / "folder"
    path = fetch(card(server, page, member), into, progress=lambda done, total: steps.append((done, total)))
    assert path == into / "toy.tflite"
    assert path.read_bytes() == MODEL
    assert path.stat().st_mode & 0o777 == 0o644
    assert [left.name for left in into.iterdir()] == ["toy.tflite"]
    sent = len(PAGES[page.partition("?")[0]])
    assert steps[-1] == (sent, None if "unsized" in page else sent)


def test_a_right_file_is_not_fetched_again_and_a_wrong_one_is_replaced(server, tmp_path):
    wanted = card(server, "/model")
    (tmp_path / "toy.tflite").write_bytes(b"stale")
    fetch(wanted, tmp_path)
    fetch(wanted, tmp_path)
    assert (tmp_path / "toy.tflite").read_bytes() == MODEL
    assert server.asked == ["/model"]


@pytest.mark.parametrize(
    ("page", "member", "error", "says"),
    [
        ("/gone", None, FetchRefused, "HTTP 404"),
        ("/model?broken", None, FetchTruncated, f"{len(MODEL)}"),
        ("/model?stalled", None, FetchTruncated, "timed out"),
        ("/zip?broken", "detect.tflite", FetchTruncated, "/zip?broken"),
        ("/short", None, ModelTruncated, f"wanted {len(MODEL)} bytes, got 1000"),
        ("/wrong", None, ModelHashWrong, hashlib.sha256(MODEL).hexdigest()),
        ("/html", None, ModelNotTflite, "<html>"),
        ("/big", None, FetchTooLarge, f"at most {len(MODEL)} bytes"),
        ("/big?unsized", None, FetchTooLarge, f"at most {len(MODEL)} bytes"),
        ("/zip", None, ModelNotTflite, "TFL3"),
        ("/html", "detect.tflite", FetchRefused, "wanted a zip with detect.tflite"),
        ("/zip-without", "detect.tflite", FetchRefused, "no item named 'detect.tflite'"),
        ("/zip-cut", "detect.tflite", FetchRefused, "wanted a zip"),
        ("/zip-spoilt", "detect.tflite", FetchRefused, "wanted a zip"),
        ("/bomb", "detect.tflite", FetchTooLarge, f"at most {len(MODEL)} bytes"),
    ],
)
@pytest.mark.parametrize("before", [None, b"an older model"])
def test_on_any_failure_the_folder_is_as_it_was(server, tmp_path, page, member, error, says, before):
    if before:
        (tmp_path / "toy.tflite").write_bytes(before)
    with pytest.raises(error, match=re.escape(says)) as caught:
        fetch(card(server, page, member), tmp_path, timeout_s=0.3)
    assert "127.0.0.1" in str(caught.value)
    left = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert left == ({"toy.tflite": before} if before else {})


def test_offline_is_told_from_refused(tmp_path):
    with Server() as server:
        unheard = card(server, "/model")  # bound and then closed: a port on which nobody listens
    with pytest.raises(FetchOffline, match="refused"):
        fetch(unheard, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_card_without_an_address_says_so(tmp_path):
    with pytest.raises(FetchError, match=r"wanted a provenance\.url"):
        fetch(card(None, ""), tmp_path)


@pytest.mark.parametrize("url", ["http://[::1", "http://127.0.0.1:9/é", "http://a..b/", "http://a:b/"])
def test_an_address_that_is_none_is_an_error(tmp_path, url):
    wanted = card(None, "")
    provenance = Provenance(url=url, trained_on="nothing", notices="none")
    with pytest.raises(FetchError, match=re.escape(url)):
        fetch(msgspec.structs.replace(wanted, provenance=provenance), tmp_path, timeout_s=1.0)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_is_an_error(server, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(FetchUnwritable, match="file"):
        fetch(card(server, "/model"), tmp_path / "file" / "models")
    with pytest.raises(FetchUnwritable, match="too long"):
        fetch(card(server, "/model"), tmp_path / ("a" * 300))
    assert server.asked == []


TOY = """
name = "toy"
file = "toy.tflite"
sha256 = "{sha256}"
size_bytes = {size_bytes}
licence = "Apache-2.0"
labels = ["person"]
input = {{width_px = 64, height_px = 48, dtype = "uint8"}}
layout = {{kind = "ssd-postprocess"}}
threshold = {{default = 0.5}}
provenance = {{trained_on = "nothing", notices = "none", url = "{url}"}}
"""


def test_the_command_shows_on_a_terminal_how_much_has_come_and_elsewhere_only_the_end(server, tmp_path):
    url = f"http://127.0.0.1:{server.server_port}/model"
    sha256 = hashlib.sha256(MODEL).hexdigest()
    (tmp_path / "toy.toml").write_text(TOY.format(sha256=sha256, size_bytes=len(MODEL), url=url))
    command = [Path(sys.executable).parent / "deskwatch", "model", "fetch", tmp_path / "toy.toml", "--into"]
    terminal, theirs = pty.openpty()
    done = subprocess.run([*command, tmp_path / "a"], stdout=subprocess.PIPE, stderr=theirs, check=True)
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # EIO: its other end is closed, and all of it was read
        while part := os.read(terminal, 10_000):
            shown += part
    os.close(terminal)
    assert b"0.1 of 0.3 MB" in shown
    assert shown.endswith(b"\r\x1b[K")
    path = tmp_path / "a" / "toy.tflite"
    assert done.stdout.decode() == f"{path}: in place and verified\n"
    quiet = subprocess.run([*command, tmp_path / "b"], capture_output=True, check=True)
    assert quiet.stderr == b""
