"""unit.toml: what ships parses, and each mistake is named."""

import datetime as dt
import errno
import itertools
import os
from importlib import resources
from pathlib import Path

import pytest

from edge.cameras import make_camera
from edge.capture.picamera import PiCamera
from edge.clock import SteppedClock
from edge.config import CameraTable, ConfigDenied, ConfigError, read_config
from edge.link_settings import broker_config
from edge.policy.document import read_policy
from edge.vision.model_file import DEFAULT_CARD

EXAMPLE = resources.files("edge.defaults").joinpath("unit.toml").read_text("utf-8")


def config(tmp_path, text):
    path = tmp_path / "unit.toml"
    path.write_text(text, "utf-8")
    return read_config(path)


def test_the_example_that_ships_is_taken(tmp_path):
    settings = config(tmp_path, EXAMPLE)
    assert (settings.unit.tenant, settings.unit.id) == ("acme", "cam-0042")
    assert settings.broker.encrypted
    assert settings.model.card == DEFAULT_CARD
    # Each line that is commented out is taken too, as it stands.
    full = "\n".join(
        line.removeprefix("# ") if " = " in line else line
        for line in EXAMPLE.splitlines()
        if "replay" not in line
    )
    assert config(tmp_path, full).broker.key_file is not None


def test_the_policy_that_ships_is_taken():
    with resources.as_file(resources.files("edge.defaults").joinpath("policy.json")) as path:
        assert [rule.id for rule in read_policy(path).rules] == [
            "phone",
            "paper",
            "eating",
            "extra-person",
            "absent",
            "camera-blocked",
        ]


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("port = 8883", "port = 70000", r"broker\.port: wanted a whole number <= 65535, got 70000"),
        ("port = 8883", "prot = 8883", r"broker\.prot: wanted one of the keys .*port.*; got 'prot'"),
        ('id = "cam-0042"', 'id = "cam/0042"', r"unit\.id"),
        ('kind = "pi"', 'kind = "ip"', r"camera\.kind: wanted one of pi, replay, usb; got 'ip'"),
        ('kind = "pi"', 'kind = "usb"', r"camera\.device: wanted a path such as /dev/video0, got '0'"),
        ("port = 8883", 'tls = false\nca_file = "/ca.pem"', r"broker\.tls: wanted true beside ca_file"),
        ('kind = "pi"', 'kind = "replay"', r"source: wanted with kind"),
        ('device = "0"', 'device = "/dev/video0"', r"number of a Pi camera"),
        ("threads = 2", "threads = 0", r"model\.threads"),
        ('# key_file = "/etc/deskwatch/unit.key"', 'key_file = "/k"', "both or neither"),
        (
            '# password_file = "/etc',
            'password_file = "/etc',
            r"broker.username: wanted one beside password_file",
        ),
        (
            "width_px = 640",
            "width_px = 700",
            r"width_px x height_px: wanted the shape.*1280x960, got 700x480",
        ),
        ("width_px = 640", "width_px = 641", r"camera.width_px: wanted an even.*641"),
        ("evidence_height_px = 960", "evidence_height_px = 4000", r"evidence_height_px: wanted at most 3456"),
        ("evidence_width_px = 1280", "evidence_width_px = 320", r"wanted at most.*320x960, got 640x480"),
        ('device = "0"', f'device = "{"9" * 5000}"', r"camera\.device"),
        ('device = "0"', 'device = "12345"', r"number of a Pi camera"),
        ('host = "broker.example.com"', 'host = "a b"', r"broker\.host"),
        ('state = "/var/lib/deskwatch"', 'state = "/a\\u0000b"', r"paths\.state: wanted a path"),
        ("port = 8883", f"port = {'9' * 5000}", "wanted TOML"),
        ("[unit]", f"x = {'[' * 5000}{']' * 5000}\n[unit]", "wanted TOML"),
        ("[unit]", "[unit", "wanted TOML"),
        ("[paths]", "[path]", "path"),
        ("# pin = 17", "pin = 3", r"led\.pin: wanted a GPIO that .*, got 3"),
        ("# pin = 17", "pin = 28", r"led\.pin: wanted a whole number <= 27, got 28"),
        ("# pin = 17", "pin = true", r"led\.pin: wanted .*got true"),
        ("# sense_pin", "sense_pin", r"led\.sense_pin: wanted led\.pin beside it, got none"),
        ("# pin = 17", "pin = 27\nsense_pin = 27", r"led\.sense_pin: wanted another pin.*got 27 for both"),
        ("# pin = 17", "pin = 17\nsense_pin = 2", r"led\.sense_pin: wanted a GPIO that .*, got 2"),
        ("# pin = 22", "pin = 1", r"button\.pin: wanted a whole number >= 2, got 1"),
        ("# pin = 22", "pin = 2\npull_up = false", r"button\.pull_up: wanted true.*GPIO 2 up, got false"),
        ("# hold_s = 3 ", "hold_s = 0.5", r"button\.hold_s: wanted .*>= 1.*got 0\.5"),
        ("# hold_s = 3 ", "hold_s = 11", r"button\.hold_s: wanted .*<= 10.*got 11"),
    ],
)
def test_each_mistake_names_the_file_and_the_key(tmp_path, old, new, says):
    assert old in EXAMPLE
    with pytest.raises(ConfigError, match=says) as refused:
        config(tmp_path, EXAMPLE.replace(old, new))
    assert "unit.toml" in str(refused.value)


@pytest.mark.parametrize(("pin", "name"), [(17, r"led\.pin"), (27, r"led\.sense_pin")])
def test_light_and_button_share_no_pin(tmp_path, pin, name):
    wired = EXAMPLE.replace("# pin = 17", "pin = 17\nsense_pin = 27")
    assert config(tmp_path, wired.replace("# pin = 22", "pin = 22")).button.pin == 22
    with pytest.raises(ConfigError, match=rf"button: wanted a pin of its own, got {pin}, which is {name}"):
        config(tmp_path, wired.replace("# pin = 22", f"pin = {pin}"))


SIDES = [64, 65, 480, 640, 960, 1280, 3456, 3458]


@pytest.mark.parametrize("kind", ["pi", "usb"])
def test_a_camera_takes_all_sizes_that_the_settings_take_and_no_others(kind):
    clock = SteppedClock(dt.datetime(2026, 1, 1, tzinfo=dt.UTC))
    taken = 0
    for width, height, evidence_width, evidence_height in itertools.product(SIDES, repeat=4):
        sizes = {
            "width_px": width,
            "height_px": height,
            "evidence_width_px": evidence_width,
            "evidence_height_px": evidence_height,
        }
        try:
            table = CameraTable(kind=kind, device="0" if kind == "pi" else "/dev/video0", **sizes)
        except ValueError:
            with pytest.raises(ValueError, match="wanted"):
                PiCamera(clock, evidence_px=(evidence_width, evidence_height), detect_px=(width, height))
        else:
            make_camera(table, clock)
            taken += 1
    assert taken > 10


def refusing(tmp_path, broker, says):
    """The settings are good, and what they point at is not."""
    text = EXAMPLE.replace('# username = "cam-0042"', f'username = "cam-0042"\n{broker}')
    with pytest.raises(ConfigError, match=says):
        broker_config(config(tmp_path, text).broker, "cam-0042")


def test_a_file_that_the_settings_name_is_looked_at_before_the_watch_begins(tmp_path):
    word, junk = tmp_path / "word", tmp_path / "junk"
    junk.write_text("junk")
    refusing(tmp_path, f'ca_file = "{word}"', f"broker.ca_file: wanted a readable file, got {word}: No such")
    refusing(tmp_path, f'ca_file = "{junk}"', f"broker.ca_file: wanted certificates in PEM, got {junk}")
    pair = f'certificate_file = "{junk}"\nkey_file = "{word}"'
    refusing(tmp_path, pair, f"broker.key_file: wanted a readable file, got {word}")
    refusing(tmp_path, f'password_file = "{word}"', "broker.password_file: wanted a readable file")
    for secret in ("", "x" * 70_000):
        word.write_text(secret + "\n")
        refusing(tmp_path, f'password_file = "{word}"', "broker.password_file: wanted 1 to 65535 bytes, got")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"absent\.toml"):
        read_config(tmp_path / "absent.toml")


def test_only_a_file_of_a_sane_size_is_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(ConfigError, match=f"{path}: wanted .* neither a file nor a folder"):
            read_config(path)
    with pytest.raises(ConfigError, match="Is a directory"):
        read_config(tmp_path)
    with pytest.raises(ConfigError, match=r"unit\.toml: .* more than 256000 bytes"):
        config(tmp_path, EXAMPLE + "#" * 256_000)
    (tmp_path / "unit.toml").write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="UTF-8"):
        read_config(tmp_path / "unit.toml")


def test_whoever_may_not_read_the_settings_is_told_to_use_sudo_and_not_to_correct_a_line(
    tmp_path, monkeypatch
):
    """Root, who runs some tests, reads everything."""

    def denied(*_what):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("edge.config.read_bounded", denied)
    with pytest.raises(ConfigDenied, match="Permission denied") as why:
        read_config(tmp_path / "unit.toml")
    assert "sudo" in type(why.value).__doc__
