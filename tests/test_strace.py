"""What the kernel saw of a unit: footage open only while it watches, no frame on any disk, one broker."""

import datetime as dt
import hashlib
import json
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import time

import cv2
import pytest

from edge.uplink.messages import OpenedEvent, decode_event
from tests.broker import collect, free_port, rest, subscribed, until
from tests.clip import CLIP, frame_at, phase
from tests.daemon import COMMAND
from tests.trace import Limits, follow
from tests.trace_lines import command, parse

FRAME_BYTES = 640 * 480 * 3
CLOSES_WITHIN_S = 1.0
"""A frame of the footage is 0.125 s; the rest is for a machine that has much else to do, and strace."""
SNIFF_BYTES = 16_384
"""What kind of file the footage is, is told by its first bytes, before anything is watched."""
ZONE = "Test/Soon"


@pytest.fixture(scope="module")
def traceable():
    """Skip where nothing can be traced."""
    why = "strace is missing: apt install strace"
    if shutil.which("strace"):
        tried = subprocess.run(
            ["strace", "-o", "/dev/null", "true"], capture_output=True, text=True, check=False, timeout=30
        )
        why = f"ptrace is not permitted here: {tried.stderr.strip()[:200]}" if tried.returncode else ""
    if why and os.environ.get("CI"):
        pytest.fail(f"CI needs strace: {why}")
    if why:
        pytest.skip(why)


@pytest.fixture
def footage(tmp_path):
    """Five seconds of a phone in use, in a file that no other test opens."""
    path, shown = tmp_path / "footage.mkv", phase("phone in use")
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 8.0, (640, 480))
    for number in range(40):
        writer.write(frame_at(shown.from_s + number / 8))
    writer.release()
    return path


def write_zone(folder, ends_at):
    """Write a time zone whose clocks show noon at a moment: shifts end at whole minutes of their zone."""
    second = ends_at.hour * 3600 + ends_at.minute * 60 + ends_at.second
    path = folder / ZONE
    path.parent.mkdir(parents=True, exist_ok=True)
    header = (
        b"TZif" + bytes(16) + struct.pack(">6l", 0, 0, 0, 0, 1, 4)
    )  # RFC 9636, version 1: one type of time
    path.write_bytes(header + struct.pack(">lBB", 43_200 - second, 0, 0) + b"TST\0")


def limits(daemon, broker_port, pictures):
    """Return what a unit may do: write what it keeps in its state folder, and reach one broker."""
    kept = r"spool\.(db(-wal|-shm|-journal|\.lock)?|mark|reserve)|(break|notice|repair)\.(json|json\.new|new)"
    kept += r"|\.?unit\.toml(\.part)?"  # the settings that were good last
    logged = r"log\.lock|log/(head|segment-\d+\.jsonl|pictures/[0-9a-f-]{36}\.\d+\.(jpg|undated))(\.new)?"
    fresh = r"log/(head|pictures/[0-9a-f-]{36}\.\d+)\.new|twin/[a-z-]+\.(json|jws|new)"
    state = re.compile(rf"{re.escape(str(daemon.state))}/({kept}|{logged}|{fresh})")
    socket = re.compile(r"/proc/self/fd/\d+/control\.sock(\.new)?")

    def may_write(path):
        return path in ("/dev/null", "/dev/tty") or bool(state.fullmatch(path) or socket.fullmatch(path))

    def may_reach(call, address):
        broker = f"sin_port=htons({broker_port}), sin_addr=inet_addr(127.0.0.1)"
        if call == "bind":  # the control socket; and any port of its own, to call the broker from
            own = "sin_port=htons(0), sin_addr=inet_addr(0.0.0.0)" in address
            return own or bool(re.fullmatch(rf"{{sa_family=AF_UNIX, sun_path={socket.pattern}}}", address))
        return call == "connect" and broker in address

    return Limits(FRAME_BYTES, may_write, may_reach, pictures)


def tell(*arguments, daemon):
    """Do something at the unit; return when it was asked, and when it was answered."""
    asked_s = time.time()
    said = subprocess.run(
        [COMMAND, *arguments, "--config", daemon.config],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert said.returncode == 0, said.stderr
    return asked_s, time.time()


def start(daemon, footage, ends_at, trace):
    zones = daemon.folder / "zones"
    write_zone(zones, ends_at)
    shift = {"days": ["mon", "tue", "wed", "thu", "fri", "sat", "sun"], "start": "00:00", "end": "12:00"}
    (daemon.folder / "policy.json").write_text(
        json.dumps({**daemon.policy, "timezone": ZONE, "shifts": [shift]})
    )
    daemon.config.write_text(re.sub(r'source = ".*"', f'source = "{footage}"', daemon.config.read_text()))
    daemon.accept_notice()
    environment = {**os.environ, "PYTHONTZPATH": str(zones), "PYTHONDONTWRITEBYTECODE": "1"}
    with daemon.log.open("a") as log:
        daemon.process = subprocess.Popen(
            [*command(trace), COMMAND, "run", "--config", daemon.config],
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            env=environment,
        )


def says(daemon, word, times=1):
    return lambda: len(re.findall(rf"^INFO: {word}$", daemon.said(), re.MULTILINE)) >= times


def overlap(opened, from_s, to_s):
    return [each for each in opened if each.from_s < to_s and each.to_s > from_s]


class TooSlow(Exception):
    """The shift ended before all was done in it: this machine has much else to do."""


def day(daemon, footage, mosquitto, trace, length_s):
    """Watch, take a break, resume, and see the shift end, `length_s` from now; return what came, and when."""
    ends_at = dt.datetime.now(dt.UTC).replace(microsecond=0) + dt.timedelta(seconds=length_s)
    over = says(daemon, "off-shift")

    def wait(condition, what):
        until(lambda: condition() or over(), what, length_s + 60)
        if over():
            raise TooSlow(what)

    with subscribed(mosquitto) as listener:
        start(daemon, footage, ends_at, trace)
        wait(says(daemon, "watching"), "the watch to begin")
        came = collect(
            listener, lambda got: any("/thumb/" in one.topic for one in got) or over(), length_s + 60
        )
        taken = tell("break", "--reason", "water", daemon=daemon)
        wait(says(daemon, "break"), "the break")
        time.sleep(CLOSES_WITHIN_S + 1.0)  # a while in which it is to be seen that nothing is seen
        resumed = tell("resume", daemon=daemon)
        wait(says(daemon, "watching", 2), "the watch to go on")
        until(over, "the end of the shift", length_s + 60)
        time.sleep(CLOSES_WITHIN_S + 1.0)
        assert daemon.stop(signal.SIGTERM) == 0, daemon.said()
        came += rest(listener)
    return ends_at.timestamp(), taken, resumed, came


def a_day(daemon, footage, mosquitto, folder):
    """Return the trace of a day, and of the day what `day` does; a slow machine gets a longer one."""
    for length_s in (20, 90):
        trace = folder / f"run-{length_s}.trace"
        try:
            seen = day(daemon, footage, mosquitto, trace, length_s)
        except TooSlow:
            daemon.process.kill()
            daemon.process.wait()
            shutil.rmtree(daemon.state)
            daemon.log.unlink()
        else:
            until(lambda trace=trace: is_whole(trace), "the trace to be written", 60)
            return trace, *seen
    pytest.fail("even 90 s are too short for a break: is this machine alive?")


@pytest.mark.timeout(240)
def test_the_kernel_s_view_of_a_day(daemon, mosquitto, footage, tmp_path, traceable, capsys):
    mosquitto.start()
    trace, ends_s, taken, resumed, came = a_day(daemon, footage, mosquitto, tmp_path)
    stopped_s = trace.stat().st_mtime
    thumbnails = pictures_of(came)
    allowed = limits(daemon, mosquitto.port, tuple(thumbnails.values()))
    with trace.open() as lines:
        story = follow(parse(lines), allowed)
    assert story.findings == []
    assert story.programs == 1

    # The footage is open only while it is watched.
    opened = story.of(str(footage))
    sniffs = [each for each in opened if each.read_bytes <= SNIFF_BYTES]
    watched = [each for each in opened if each not in sniffs]
    assert all(each.read_bytes > SNIFF_BYTES for each in watched)
    assert overlap(watched, resumed[1], ends_s)
    assert overlap(watched, 0.0, taken[0])
    for from_s, to_s in ((taken[1] + CLOSES_WITHIN_S, resumed[0]), (ends_s + CLOSES_WITHIN_S, stopped_s)):
        assert to_s > from_s
        assert overlap(opened, from_s, to_s) == []
    for said in (b"INFO: break\n", b"INFO: off-shift\n"):  # it is closed by the time that the log says so
        (line,) = [one for one in story.written if said in one.data and one.to.kind == "stdio"]
        assert overlap(opened, line.at_s, line.at_s + 0.1) == []

    # No frame is written, whole or in parts: all writes together are less than one.
    assert story.file_bytes() < FRAME_BYTES
    frames = sum(each.to_s - each.from_s for each in watched) * 8
    assert frames > 50
    pictures = list((daemon.state / "log" / "pictures").iterdir())
    assert pictures
    for path in pictures:
        assert path.read_bytes() == thumbnails[path.name.partition(".")[0]]

    closed_s = max(each.to_s for each in watched if each.to_s <= taken[1] + CLOSES_WITHIN_S)
    over_s = max(each.to_s for each in watched) - ends_s
    within = re.compile(rf"{re.escape(str(daemon.state))}/|[0-9a-f-]{{36}}")
    written = {within.sub("", one.to.path) for one in story.written if one.to.kind in ("file", "memory")}
    with capsys.disabled():
        print(f"\n{story.calls} calls traced; the footage was open for about {frames:.0f} frames")
        print(f"closed {closed_s - taken[0]:.3f} s after `deskwatch break` was started,")
        print(f"{closed_s - taken[1]:+.3f} s from its answer; {over_s:+.3f} s from the shift's end")
        print(f"{story.file_bytes()} bytes to files in all (a frame: {FRAME_BYTES}), {len(pictures)} picture")
        print(f"written to: {', '.join(sorted(written))}")


def is_whole(trace):
    """Whether strace, which runs beside the program, has written to its end: that of the last process."""
    last = trace.read_bytes()[-400:].rstrip().rpartition(b"\n")[2]
    return re.search(rb"\+\+\+ (exited|killed) ", last) is not None


def pictures_of(came):
    """Return the thumbnails that were published, by event: each is the one that its event names."""
    events = [decode_event(one.payload) for one in came if one.topic.endswith("/event")]
    named = {e.id: e.data.thumbnail for e in events if isinstance(e, OpenedEvent) and e.data.thumbnail}
    pictures = {one.topic.rpartition("/")[2]: one.payload for one in came if "/thumb/" in one.topic}
    assert pictures
    for event_id, picture in pictures.items():
        assert hashlib.sha256(picture).hexdigest() == named[event_id].sha256
    return pictures


def replay(folder, *program):
    """Trace a replay through a break, from 3 to 8 s, and the end of a shift, at 20 s; return what it said."""
    trace, footage = folder / "replay.trace", folder / "footage.mp4"
    shutil.copy(CLIP, footage)
    policy = {
        "schema": "policy/1",
        "version": 1,
        "issued_at": "2026-01-01T00:00:00Z",
        "expires_at": "2026-11-25T00:00:00Z",  # with it the replay ends, and no shift comes again
        "timezone": "UTC",
        "shifts": [{"days": ["tue"], "start": "08:00", "end": "12:00"}],
        "watch": {"mode": "continuous"},
        "rules": [{"id": "phone", "kind": "object", "labels": ["cell phone"], "hold_s": 1}],
    }
    (folder / "policy.json").write_text(json.dumps(policy))
    arguments = ["--policy", folder / "policy.json", "--break", "3-8", "--at", "2026-11-24T11:59:40"]
    done = subprocess.run(
        [*command(trace), *program, "replay", footage, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert done.returncode == 1, done.stderr  # a finding: a phone
    until(lambda: is_whole(trace), "the trace to be written", 60)
    with trace.open() as lines:
        story = follow(parse(lines), Limits(FRAME_BYTES, lambda path: path == "/dev/null"))
    watched = [each for each in story.of(str(footage)) if each.read_bytes > SNIFF_BYTES]
    return done.stdout, story, watched


def said_at(story, *words):
    """Return when the program said something, in order."""
    return [
        one.at_s
        for said in words
        for one in story.written
        if said.encode() in one.data and one.to.path == "<1>"
    ]


def test_the_kernel_s_view_of_a_replay(tmp_path, traceable, capsys):
    said, story, (before, after) = replay(tmp_path, COMMAND)
    assert story.findings == []
    assert [each for each in story.opened if each.kind == "socket"] == []
    assert story.programs == 1
    assert story.file_bytes() < 1000

    began_s, ended_s, over_s = said_at(story, "started break", "ended   break", "(off-shift)")
    # The camera closes first: to tell of it may take its time.
    assert before.last_read_s < before.to_s < began_s < ended_s < after.from_s
    assert after.last_read_s < after.to_s < over_s
    assert "0:03.0  started break" in said
    assert re.search(r"0:20\.\d  closed  phone .*\(off-shift\)", said)
    frames = int(re.search(r"^(\d+) frames", said, re.MULTILINE)[1])
    assert frames == pytest.approx((3 + 12) * 8, abs=2)
    with capsys.disabled():
        print(f"\n{said}{story.calls} calls traced; no socket; {story.file_bytes()} bytes to files;")
        print(f"closed {1e3 * (began_s - before.to_s):.1f} ms before the break was told of")


BLIND = """
import dataclasses, sys
import edge.policy.gate, edge.shutter
from edge.cli import main
whole = edge.policy.gate.forbidden
blind = lambda conditions: whole(dataclasses.replace(conditions, scheduled=None))
edge.policy.gate.forbidden = edge.shutter.forbidden = blind
sys.exit(main(sys.argv[1:]))
"""


def test_a_gate_that_ignores_breaks_is_seen_in_the_trace(tmp_path, traceable):
    """The same replay with a gate that is broken on purpose: the footage stays open."""
    _, story, watched = replay(tmp_path, sys.executable, "-c", BLIND)
    began_s, ended_s = said_at(story, "started break", "ended   break")
    assert any(each.from_s < began_s and ended_s < each.to_s for each in watched)


LEAK = """
import mmap, os, socket, sys, time
footage = open(sys.argv[1], "rb", buffering=0)
footage.read(100_000)
os.dup2(footage.fileno(), 50)
footage.close()
frame = os.urandom(640 * 480 * 3)
with open(sys.argv[2] + "/allowed", "wb", buffering=0) as file:
    file.write(frame)
    os.ftruncate(file.fileno(), 0)
    for at in range(0, len(frame), 60_000):
        file.write(frame[at:at + 60_000])
open(sys.argv[2] + "/elsewhere", "wb").write(b"\\xff\\xd8\\xff\\xe0" + frame[:1000])
memory = os.memfd_create("hidden")
os.ftruncate(memory, len(frame))
mmap.mmap(memory, len(frame), mmap.MAP_SHARED).write(frame)
try:
    socket.create_connection(("127.0.0.1", int(sys.argv[3])), 1)
except OSError:
    pass
if os.fork() == 0:
    time.sleep(0.3)
    os._exit(0)
os.close(50)
os.wait()
"""


def test_a_program_that_leaks_is_seen_to(tmp_path, traceable):
    """The same reading of a real trace: else a change of strace's words would find nothing for ever."""
    trace, footage = tmp_path / "leak.trace", tmp_path / "footage"
    footage.write_bytes(bytes(200_000))
    program = [sys.executable, "-I", "-c", LEAK, footage, tmp_path, str(free_port())]
    subprocess.run([*command(trace), *program], check=True, timeout=60)
    until(lambda: is_whole(trace), "the trace to be written", 60)
    with trace.open() as lines:
        story = follow(parse(lines), Limits(FRAME_BYTES, lambda path: path.endswith("/allowed")))
    assert story.kinds == {"frame", "path", "picture", "sized", "mapped", "socket"}
    assert story.file_bytes() >= 2 * FRAME_BYTES
    (opened,) = story.of(str(footage))
    assert opened.read_bytes == 100_000
    assert opened.to_s - opened.from_s > 0.3  # a copy of its descriptor lived on in another process
