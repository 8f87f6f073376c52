"""unit.toml: what ships parses, and each mistake is named."""

from importlib import resources

import pytest

from edge.config import ConfigError, read_config
from edge.policy.document import read_policy

EXAMPLE = resources.files("edge.defaults").joinpath("unit.toml").read_text("utf-8")


def config(tmp_path, text):
    path = tmp_path / "unit.toml"
    path.write_text(text, "utf-8")
    return read_config(path)


def test_the_example_that_ships_is_taken(tmp_path):
    settings = config(tmp_path, EXAMPLE)
    assert (settings.unit.tenant, settings.unit.id) == ("acme", "cam-0042")
    assert settings.broker.encrypted
    # Each line that is commented out is taken too, as it stands.
    full = "\n".join(
        line.removeprefix("# ") if " = " in line else line
        for line in EXAMPLE.splitlines()
        if "replay" not in line
    )
    assert config(tmp_path, full).broker.key_file is not None


def test_the_policy_that_ships_is_taken():
    with resources.as_file(resources.files("edge.defaults").joinpath("policy.json")) as path:
        assert len(read_policy(path).rules) == 5


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("port = 8883", "port = 70000", r"<= 65535.*broker\.port"),
        ("port = 8883", "prot = 8883", r"unknown field `prot`.*broker"),
        ('id = "cam-0042"', 'id = "cam/0042"', r"unit\.id"),
        ('kind = "pi"', 'kind = "ip"', r"'ip'.*camera\.kind"),
        ('kind = "pi"', 'kind = "replay"', r"source: wanted with kind"),
        ('device = "0"', 'device = "/dev/video0"', r"number of a Pi camera"),
        ("threads = 2", "threads = 0", r"model\.threads"),
        ('# key_file = "/etc/deskwatch/unit.key"', 'key_file = "/k"', "both or neither"),
        ("[unit]", "[unit", "wanted TOML"),
        ("[paths]", "[path]", "path"),
    ],
)
def test_each_mistake_names_the_file_and_the_key(tmp_path, old, new, says):
    assert old in EXAMPLE
    with pytest.raises(ConfigError, match=says) as refused:
        config(tmp_path, EXAMPLE.replace(old, new))
    assert "unit.toml" in str(refused.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"absent\.toml"):
        read_config(tmp_path / "absent.toml")
