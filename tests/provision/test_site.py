"""deskwatch.toml on the boot partition: all of it or nothing, once, and then it is gone."""

import datetime as dt
import os
import shutil
import stat
import subprocess
import tomllib

import pytest

from edge.cli import main
from edge.config import ConfigError, read_config
from edge.daemon import check_settings
from edge.evidence.sealing import new_private_key, read_recipient
from edge.provision.pairs import Identity
from edge.provision.site import (
    Places,
    PrivateKeyFound,
    SettingsThere,
    SiteError,
    SiteMissing,
    import_site,
    read_site,
)
from edge.provision.wifi import keyfile
from tests.certificates import Authority
from tests.provision.ca import openssl
from tests.provision.cuts import at_every_step

PASSWORD = "correct horse \\ battery"
SITE = """
[unit]
tenant = "acme"
id = "cam-7"
[broker]
host = "broker.acme.example"
port = 8884
ca_pem = '''
{ca}'''
[operator]
key_pem = '''
{operator}'''
[wifi]
ssid = "Café ;home"
password = 'correct horse \\ battery'
hidden = true
"""


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    openssl("genpkey", "-algorithm", "ed25519", "-out", folder / "operator.key")
    operator = openssl("pkey", "-pubout", "-in", folder / "operator.key").decode()
    return SITE.format(ca=Authority(folder).pem, operator=operator)


@pytest.fixture
def places(tmp_path):
    (tmp_path / "wifi").mkdir()
    config = tmp_path / "etc" / "unit.toml"
    return Places(config, Identity(config.parent / "identity", "", None), tmp_path / "wifi")


@pytest.fixture
def card(tmp_path, text):
    path = tmp_path / "boot" / "deskwatch.toml"
    path.parent.mkdir()
    path.write_text(text)
    return path


def files(places):
    return " ".join(
        sorted(str(path.relative_to(places.config.parent)) for path in places.config.parent.rglob("*"))
    )


def complete(places):
    config = read_config(places.config)
    assert (config.unit.tenant, config.unit.id) == ("acme", "cam-7")
    broker = config.broker
    assert (broker.host, broker.port, broker.encrypted) == ("broker.acme.example", 8884, True)
    assert files(places) == "ca.pem identity identity/awaited operator.pub policy.json unit.toml"
    network = keyfile("Café ;home", PASSWORD, hidden=True)
    assert (places.wifi / "deskwatch.nmconnection").read_text() == network
    assert len(list(places.wifi.iterdir())) == 1


def test_an_import_sets_a_unit_up_and_wipes_the_file(card, places, text, ca):
    with card.open("rb") as held:  # whoever reads the disk itself
        import_site(card, places)
        left = held.read()
    assert len(left) == len(text.encode())
    assert left.strip(b"\0") == b""
    assert not card.exists()
    complete(places)
    assert stat.S_IMODE((places.wifi / "deskwatch.nmconnection").stat().st_mode) == 0o600
    assert stat.S_IMODE(places.config.stat().st_mode) & 0o007 == 0
    assert "# " in places.config.read_text()  # the comments that ship stay
    config = read_config(places.config)
    assert config.broker.key_file == places.identity.folder / "unit.key"
    with pytest.raises(ConfigError, match="certificate_file"):
        check_settings(places.config)  # the daemon's own look: policy, keys, model
    identity = Identity(places.identity.folder, "cam-7")
    identity.install(ca.sign(identity.request()), ca.file.read_text(), dt.datetime.now(dt.UTC), "unit.pem")
    check_settings(places.config)


def test_what_is_not_given_is_as_it_ships(places, tmp_path):
    card = tmp_path / "card.toml"
    card.write_text('﻿[unit]\r\ntenant = "acme"\r\nid = "cam-7"\r\n[broker]\r\nhost = "10.0.0.2"\r\n')
    import_site(card, places)
    config = read_config(places.config)
    assert (config.broker.port, config.broker.ca_file, config.twin.trusted_keys) == (8883, None, ())
    assert not list(places.wifi.iterdir())


def test_wifi_alone_comes_to_a_unit_that_is_set_up(card, places):
    import_site(card, places)
    before = places.config.read_bytes()
    card.write_text('[wifi]\nssid = "new home"\npassword = "12345678"\n')
    import_site(card, places)
    assert places.config.read_bytes() == before
    assert "psk=12345678" in (places.wifi / "deskwatch.nmconnection").read_text()


def test_a_card_does_not_move_a_unit_to_another_broker(card, places, text):
    import_site(card, places)
    before = {path: path.read_bytes() for path in places.config.parent.rglob("*") if path.is_file()}
    card.write_text(text.replace("broker.acme.example", "broker.evil.example").replace("Café", "Evil"))
    with pytest.raises(SettingsThere, match="wanted none yet"):
        import_site(card, places)
    assert {path: path.read_bytes() for path in before} == before
    assert card.exists()


WRONG = {
    "unknown": ("[unit]\n", "[unit]\ncolour = 1\n", "unit.colour: wanted one of the keys id, tenant"),
    "id": ('id = "cam-7"', 'id = "cam/7"', "unit.id: wanted 1 to 64 letters"),
    "host": ("broker.acme.example", 'evil\\"\\nkey', "broker.host: wanted a host name"),
    "port": ("8884", "88840", "broker.port: wanted"),
    "plain": ("8884", "1883", "broker.port: wanted one with TLS, such as 8883, got 1883"),
    "ca": ("BEGIN CERTIFICATE", "BEGIN CERTIFICAT", "broker.ca_pem: wanted certificates in PEM"),
    "operator": ("BEGIN PUBLIC", "BEGIN PUBLIK", "operator.key_pem: wanted a public key in PEM"),
    "no broker": ("[broker]", "[wifi_]", "wanted"),
    "no unit": ('[unit]\ntenant = "acme"\nid = "cam-7"\n', "", r"unit: wanted \[unit\] beside \[broker\]"),
    "ssid": ("Café ;home", "ä" * 17, "wifi.ssid: wanted 1 to 32 bytes in UTF-8, got 34"),
    "password": (
        r"correct horse \\ battery",
        "tooshort"[:7],
        "wifi.password: wanted 8 to 63 plain",
    ),
    "toml": ("[wifi]", "[wifi", "wanted TOML, got something else"),
    "empty": (None, "", "wanted .unit. and .broker., or .wifi."),
    "binary": (None, "\udcff", "wanted TOML in UTF-8"),
    "large": (None, "#" * 70_000, "more than 64000 bytes"),
}


@pytest.mark.parametrize("fault", WRONG)
def test_one_wrong_value_and_nothing_is_imported(card, places, fault, text, capsys):
    old, new, said = WRONG[fault]
    old = old and old.replace("\\\\", "\\")
    assert old is None or old in text
    made = new if old is None else text.replace(old, new)
    card.write_bytes(made.encode("utf-8", "surrogateescape"))
    with pytest.raises(SiteError, match=said) as caught:
        import_site(card, places)
    assert str(card) in str(caught.value)
    assert "tooshor" not in str(caught.value)
    assert "battery" not in str(caught.value)
    assert card.read_bytes() == made.encode("utf-8", "surrogateescape")
    assert not places.config.parent.exists()
    assert not list(places.wifi.iterdir())


@pytest.mark.parametrize("how", ["comment", "value", "escaped", "sec1", "openssh"])
def test_a_private_key_is_refused_wherever_it_stands(card, places, text, tmp_path, how):
    key = openssl("genpkey", "-algorithm", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1").decode()
    if how == "sec1":
        key = openssl("ec", data=key.encode()).decode()
    if how == "openssh":
        key = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjE=\n-----END OPENSSH PRIVATE KEY-----\n"
    if how == "value":
        bad = text.replace("ca_pem = '''\n", f"ca_pem = '''\n{key}")
    elif how == "escaped":
        spelt = key.replace("PRIVATE", "PRIV\\u0041TE").replace("\n", "\\n")
        bad = text.replace("[wifi]", f'more_pem = "{spelt}"\n[wifi]')
    else:
        bad = text + "".join(f"# {line}\n" for line in key.splitlines())
    assert bad != text
    card.write_text(bad)
    with pytest.raises(PrivateKeyFound) as caught:
        import_site(card, places)
    assert key.splitlines()[1] not in str(caught.value)
    assert not places.config.parent.exists()
    assert card.read_text() == bad


def test_a_cut_at_any_step_of_an_import_and_the_next_start_does_the_rest(card, places, text, tmp_path):
    def check():
        if not card.exists():
            complete(places)
        elif card.read_bytes().strip(b"\0"):
            import_site(card, places)
            complete(places)
        else:  # cut between the wiping and the removal
            with pytest.raises(SiteMissing):
                import_site(card, places)
            assert not card.exists()
            complete(places)
        shutil.rmtree(places.config.parent)
        shutil.rmtree(places.wifi)
        places.wifi.mkdir()
        card.write_text(text)

    steps = at_every_step(tmp_path / "none", tmp_path / "no", lambda: import_site(card, places), check)
    assert steps > 12


def test_no_message_has_the_password_and_none_is_printed(card, places, capsys, monkeypatch):
    words = ["provision", "--import", "--site", card, "--config", places.config, "--wifi", places.wifi]
    assert main([*map(str, words)]) == 0
    said = capsys.readouterr()
    assert "imported and wiped" in said.out
    assert "battery" not in said.out + said.err
    assert main([*map(str, words)]) == 2
    assert "wanted a file, got none" in capsys.readouterr().err


def test_a_card_that_cannot_be_written_is_told(card, places):
    if os.geteuid() == 0 and shutil.which("chattr") is None:
        pytest.skip("root writes everywhere, and there is no chattr")
    made = subprocess.run(["chattr", "+i", card], capture_output=True, check=False)
    if made.returncode:
        pytest.skip("this file system knows no immutable files")
    try:
        words = ["provision", "--import", "--site", card, "--config", places.config, "--wifi", places.wifi]
        assert main([*map(str, words)]) == 2
        assert card.exists()
        complete(places)
    finally:
        subprocess.run(["chattr", "-i", card], check=True)
    assert main([*map(str, words)]) == 0
    assert not card.exists()


def test_nothing_there_is_told(places, tmp_path):
    with pytest.raises(SiteMissing):
        import_site(tmp_path / "deskwatch.toml", places)


def test_every_setting_of_a_site_reaches_the_unit(card, places, text):
    """Whoever gives the file a key must give it a place to go, too."""
    site = read_site(card)
    import_site(card, places)
    made = tomllib.loads(places.config.read_text())
    assert made["unit"] == {"tenant": site.unit.tenant, "id": site.unit.id}
    assert made["broker"]["protocol"] == site.broker.protocol
    assert made["twin"]["trusted_keys"] == [str(places.config.with_name("operator.pub"))]
    assert places.config.with_name("operator.pub").read_text() == site.operator.key_pem
    assert places.config.with_name("ca.pem").read_text() == site.broker.ca_pem


def test_the_support_s_key_reaches_the_unit_and_another_kind_of_key_does_not(card, places, text):
    support = new_private_key()
    card.write_text(f"{text}[support]\nkey_pem = '''\n{read_site(card).operator.key_pem}'''\n")
    with pytest.raises(SiteError, match=r"support\.key_pem: wanted an X25519 public key"):
        import_site(card, places)
    card.write_text(f"{text}[support]\nkey_pem = '''\n{support.public_pem().decode()}'''\n")
    import_site(card, places)
    path = read_config(places.config).support.key_file
    assert path == places.config.with_name("support.pub")
    assert read_recipient(path) == support.recipient


@pytest.mark.parametrize("password", ["12345678", " both ends ", "back\\slash;#=[x]", "0" * 64, None])
def test_networkmanager_reads_the_same_network(password):
    if shutil.which("nmcli") is None:
        pytest.skip("no nmcli here: apt install network-manager")
    ssid = "Café ;home\\ "
    done = subprocess.run(
        ["nmcli", "--offline", "connection", "modify", "connection.autoconnect-priority", "11"],
        input=keyfile(ssid, password, hidden=False).encode(),
        capture_output=True,
        check=False,
        timeout=20,
    )
    assert done.returncode == 0, done.stderr.decode()
    back = done.stdout.decode()
    if password is not None:
        line = next(line for line in back.splitlines() if line.startswith("psk="))
        assert line in keyfile(ssid, password, hidden=False).splitlines()
    assert "uuid=" in back
