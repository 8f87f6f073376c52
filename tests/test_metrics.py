"""The Prometheus text file: what its format wants, and what a reader of it sees."""

import re
import shutil
import stat
import subprocess
import threading

import msgspec
import pytest

from edge.metrics import METRICS, Textfile, exposition
from edge.uplink.messages import Capture
from tests.uplink.test_health import HEALTH
from tests.worklog.test_faults import MS_RDONLY, MS_REMOUNT, fill, libc, small_disk  # noqa: F401  a fixture

WHOLE = msgspec.structs.replace(
    HEALTH,
    frames=1 << 40,
    inference_p50_s=0.125,
    inference_p95_s=0.25,
    inference_p99_s=0.5,
    throttled=0x50001,
    under_voltage=True,
    disk_free_bytes=1 << 33,
    memory_available_bytes=1 << 27,
)
SAMPLE = re.compile(r'([a-z_]+)(?:\{([a-z]+="[a-z0-9. -]*"(?:,[a-z]+="[a-z0-9. -]*")*)\})? (\S+)\Z')


def samples(text):
    """Read the format by its specification: a HELP, a TYPE, then the samples of that name alone."""
    assert text.endswith("\n")
    found, name, seen = {}, None, set()
    for line in text.splitlines():
        if line.startswith("# HELP "):
            name = line.split(" ", 3)[2]
            assert name not in seen
            seen.add(name)
            assert line.split(" ", 3)[3]
        elif line.startswith("# TYPE "):
            assert line.split(" ")[2:] in ([name, "gauge"], [name, "counter"])
            assert line.endswith("counter") == name.endswith("_total")
        else:
            sample = SAMPLE.match(line)
            assert sample, line
            assert sample[1] == name
            key = (name, sample[2] or "")
            assert key not in found
            found[key] = float(sample[3])
    return found


def test_every_figure_is_there_once_with_help_type_and_base_units():
    found = samples(exposition(WHOLE))
    for metric in METRICS:
        assert found[metric.name, ""] == float(metric.value(WHOLE))
        assert metric.name.startswith("deskwatch_")
    assert found["deskwatch_temperature_celsius", ""] == 54.5
    assert found["deskwatch_frames_total", ""] == float(1 << 40)
    assert found["deskwatch_inference_seconds", 'percentile="95"'] == 0.25
    assert found["deskwatch_throttled", 'reason="under-voltage",since="now"'] == 1
    assert found["deskwatch_throttled", 'reason="throttled",since="now"'] == 0
    assert found["deskwatch_throttled", 'reason="throttled",since="boot"'] == 1
    states = {key[1]: value for key, value in found.items() if key[0] == "deskwatch_capture_state"}
    assert len(states) == len(Capture)
    assert [key for key, value in states.items() if value] == ['state="watching"']


def test_what_is_not_known_is_left_out():
    found = samples(exposition(HEALTH))
    names = {name for name, _ in found}
    assert not {"deskwatch_throttled", "deskwatch_inference_seconds", "deskwatch_under_voltage"} & names
    assert "nan" not in exposition(HEALTH).lower()


@pytest.mark.skipif(shutil.which("promtool") is None, reason="needs promtool, of Debian's prometheus")
@pytest.mark.parametrize("health", [HEALTH, WHOLE])
def test_promtool_has_nothing_to_say(health):
    said = subprocess.run(
        ["promtool", "check", "metrics"],
        input=exposition(health),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (said.returncode, said.stdout, said.stderr) == (0, "", "")


def test_it_is_written_whole_and_readable_for_the_exporter(tmp_path):
    path = tmp_path / "deskwatch.prom"
    textfile, stop, read = Textfile(path), threading.Event(), []

    def reading():
        while not stop.is_set():
            if path.exists():
                read.append(path.read_text())

    reader = threading.Thread(target=reading)
    reader.start()
    for frames in range(300):
        textfile.write(msgspec.structs.replace(WHOLE, frames=frames))
    stop.set()
    reader.join()
    whole = exposition(WHOLE).count("\n")
    assert {text.count("\n") for text in read} <= {whole}
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert [one.name for one in tmp_path.iterdir()] == ["deskwatch.prom"]


def test_a_folder_that_takes_nothing_is_said_once(tmp_path, caplog):
    textfile = Textfile(tmp_path / "none" / "deskwatch.prom")
    textfile.write(HEALTH)
    textfile.write(HEALTH)
    assert caplog.text.count("health.textfile") == 1
    assert textfile.trouble
    (tmp_path / "none").mkdir()
    textfile.write(HEALTH)
    assert textfile.trouble is None


def left_in(folder):
    return sorted(one.name for one in folder.iterdir() if one.name != "ballast")


def test_on_a_full_disk_the_last_whole_one_stays_and_no_part_of_another(small_disk, caplog):  # noqa: F811
    path = small_disk / "deskwatch.prom"
    textfile = Textfile(path)
    textfile.write(WHOLE)
    before = path.read_bytes()
    fill(small_disk)
    for _ in range(3):
        textfile.write(HEALTH)
    assert caplog.text.count("health.textfile") == 1
    assert "No space left" in textfile.trouble
    assert (left_in(small_disk), path.read_bytes()) == (["deskwatch.prom"], before)
    (small_disk / "ballast").unlink()
    textfile.write(HEALTH)
    assert (textfile.trouble, path.read_text()) == (None, exposition(HEALTH))


def test_a_disk_that_turns_read_only_is_said_once(small_disk, caplog):  # noqa: F811
    textfile = Textfile(small_disk / "deskwatch.prom")
    textfile.write(WHOLE)
    assert libc.mount(None, str(small_disk).encode(), None, MS_REMOUNT | MS_RDONLY, None) == 0
    textfile.write(HEALTH)
    textfile.write(HEALTH)
    assert caplog.text.count("health.textfile") == 1
    assert left_in(small_disk) == ["deskwatch.prom"]
    assert libc.mount(None, str(small_disk).encode(), None, MS_REMOUNT, None) == 0
    textfile.write(HEALTH)
    assert textfile.trouble is None


@pytest.mark.parametrize("name", ["deskwatch.prom", ".deskwatch.prom.new"])
def test_a_link_in_its_place_leads_nowhere(tmp_path, caplog, name):
    other, folder = tmp_path / "other", tmp_path / "folder"
    folder.mkdir()
    other.write_text("of somebody else")
    (folder / name).symlink_to(other)
    textfile = Textfile(folder / "deskwatch.prom")
    textfile.write(HEALTH)  # one in the part's place is taken away, and said
    textfile.write(HEALTH)
    assert caplog.text.count("health.textfile") == (name != "deskwatch.prom")
    assert other.read_text() == "of somebody else"
    assert left_in(folder) == ["deskwatch.prom"]
    assert not (folder / "deskwatch.prom").is_symlink()


def test_a_folder_in_its_place_is_said_once_and_no_part_is_left(tmp_path, caplog):
    (tmp_path / "deskwatch.prom").mkdir()
    textfile = Textfile(tmp_path / "deskwatch.prom")
    textfile.write(HEALTH)
    textfile.write(HEALTH)
    assert caplog.text.count("health.textfile") == 1
    assert left_in(tmp_path) == ["deskwatch.prom"]
