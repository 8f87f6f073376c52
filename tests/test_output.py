"""What a command writes is there whole or not at all, and a complaint never goes to standard output."""

import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edge.detect import DrawingUnwritable, prepare, save_drawing
from edge.output import OutputUnwritable, write_file

COMMAND = Path(sys.executable).parent / "deskwatch"


FULL = """
import resource, sys
from pathlib import Path
from edge.output import OutputUnwritable, write_file
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    write_file(Path(sys.argv[1]), bytes(10_000))
except OutputUnwritable as error:
    print(error)
"""


@pytest.mark.parametrize("name", ["old.jpg", "new.jpg"])
def test_a_full_disk_leaves_nothing_half_written_and_keeps_what_was_there(tmp_path, name):
    """In a process of its own, in which no file grows beyond 4096 bytes: the limit holds for every file."""
    (tmp_path / "old.jpg").write_bytes(b"good")
    command = [sys.executable, "-c", FULL, str(tmp_path / name)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert f"{name}: wanted to write it, got: " in done.stdout
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"old.jpg": b"good"}


def test_a_file_is_replaced_whole_with_the_usual_rights(tmp_path):
    path, plain = tmp_path / "a.jpg", tmp_path / "plain"
    plain.write_bytes(b"")
    for data in (b"one", b"two"):
        write_file(path, data)
        assert path.read_bytes() == data
    assert path.stat().st_mode == plain.stat().st_mode
    assert sorted(tmp_path.iterdir()) == [path, plain]


@pytest.mark.parametrize("name", ["a" * 300, "folder"])
def test_what_cannot_be_a_file_is_an_error_and_leaves_nothing(tmp_path, name):
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputUnwritable, match=name):
        write_file(tmp_path / name, b"data")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


@pytest.mark.parametrize("by", ["name", "link"])
@pytest.mark.parametrize("what", ["device", "pipe", "socket"])
def test_what_is_no_file_is_not_replaced(tmp_path, what, by):
    """As root, `--out /dev/null` would have put a file in its place, for the whole machine."""
    place = tmp_path / "place"
    if what == "device":
        if os.geteuid() != 0:
            pytest.skip("only root makes devices")
        os.mknod(place, stat.S_IFCHR | 0o666, os.makedev(1, 3))
    elif what == "pipe":
        os.mkfifo(place)
    else:
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(str(place))
    before = place.lstat()
    path = place if by == "name" else tmp_path / "link"
    if by == "link":
        path.symlink_to(place)
    with pytest.raises(OutputUnwritable, match="got a device, a pipe or a socket"):
        write_file(path, b"data")
    assert place.lstat() == before
    assert not list(tmp_path.glob(".*.part"))


def test_a_link_is_replaced_and_what_it_leads_to_is_left_alone(tmp_path):
    """Whoever may write in the folder leads no write of root's elsewhere."""
    precious, link = tmp_path / "precious", tmp_path / "a.bundle"
    precious.write_bytes(b"precious")
    link.symlink_to(precious)
    write_file(link, b"data")
    assert (precious.read_bytes(), link.read_bytes(), link.is_symlink()) == (b"precious", b"data", False)


def test_no_drawing_replaces_an_image(tmp_path):
    image, link = tmp_path / "a.jpg", tmp_path / "link.jpg"
    image.write_bytes(b"image")
    link.symlink_to(image)
    for drawing in (image, link, tmp_path / "." / "a.jpg"):
        with pytest.raises(DrawingUnwritable, match=r"wanted another file than the image, got .*a\.jpg"):
            prepare([drawing], [image])
    prepare([tmp_path / "folder" / "a.jpg"], [image])
    assert (tmp_path / "folder").is_dir()


def test_a_picture_that_its_kind_cannot_hold_is_an_error(tmp_path):
    with pytest.raises(DrawingUnwritable, match=r"wide\.webp"):
        save_drawing(tmp_path / "wide.webp", np.zeros((1, 20_000, 3), np.uint8))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("arguments", [["policy", "check", "absent.json"], ["policy"], ["nonsense"]])
def test_a_closed_standard_error_sends_nothing_to_standard_output(arguments):
    done = subprocess.run(
        ["sh", "-c", 'exec "$0" "$@" 2>&-', COMMAND, *arguments], stdout=subprocess.PIPE, check=False
    )
    assert done.returncode == (2 if "check" in arguments else 64)
    assert done.stdout == b""


def test_a_name_that_is_no_text_is_printed_all_the_same(tmp_path):
    policy = Path(__file__).parents[1] / "edge" / "defaults" / "policy.json"
    name = bytes(tmp_path) + b"/\xff\xfe.json"
    Path(name.decode(errors="surrogateescape")).write_bytes(policy.read_bytes())
    strict = {**os.environ, "PYTHONUTF8": "1", "PYTHONIOENCODING": "utf-8:strict"}
    done = subprocess.run([COMMAND, "policy", "check", name], capture_output=True, env=strict, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"\\udcff\\udcfe.json: good" in done.stdout
