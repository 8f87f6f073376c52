"""What the kernel saw of an aim: its picture goes to whoever asks at the control socket, and nowhere else."""

import base64
import signal
import time

import pytest

from edge.control.client import ask
from edge.control.protocol import AimEnd, AimLook
from tests.broker import until
from tests.test_aim_daemon import Unit
from tests.test_strace import is_whole, limits, traceable
from tests.trace import follow
from tests.trace_lines import command, parse

__all__ = ["traceable"]


def needles_of(grid, cols):
    """Parts of a picture in the forms that somebody might write it in."""
    rows = [grid[at : at + cols] for at in range(0, len(grid), cols)]
    parts = [row[4:36] for row in rows if len(set(row[4:36])) > 8]
    encoded = base64.b64encode(grid)
    plain = [b", ".join(b"%d" % level for level in part) for part in parts]
    texts = [repr(part)[2:-1].encode() for part in parts]
    return {*parts, *(part.hex().encode() for part in parts), *plain, *texts, encoded[400:480]}


@pytest.mark.timeout(240)
def test_its_picture_goes_to_no_disk_and_to_no_socket_but_that_of_whoever_asks(
    daemon, mosquitto, tmp_path, traceable, monkeypatch
):
    mosquitto.start()
    trace = tmp_path / "aim.trace"
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    unit = Unit(daemon)
    unit.under = command(trace)
    unit.start()
    token, needles = unit.granted(), set()
    for _ in range(10):
        picture = ask(unit.state, AimLook(token)).picture
        if picture is not None:
            needles |= needles_of(picture.grid, picture.cols)
        time.sleep(0.2)
    assert len(needles) > 40
    ask(unit.state, AimEnd(token))
    unit.becomes("between-checks")
    daemon.process.stdin.close()
    daemon.process.send_signal(signal.SIGTERM)
    assert daemon.process.wait(60) == 0, daemon.said()
    until(lambda: is_whole(trace), "the trace to be written", 60)
    with trace.open() as lines:
        story = follow(parse(lines), limits(daemon, mosquitto.port, ()))
    assert story.findings == []
    said = [one for one in story.written if any(needle in one.data for needle in needles)]
    assert said  # what was asked for came, and it is seen in the trace
    for one in said:
        assert one.to.kind == "socket", one
        assert "AF_UNIX" in one.to.path, one  # accepted at the control socket: nothing else listens
    assert not any(needle in daemon.log.read_bytes() for needle in needles)
