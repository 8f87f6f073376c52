"""Keys and signatures from the command line, and as openssl reads them."""

import hashlib
import shutil
import stat
import subprocess

import pytest

from edge.cli import main
from edge.operator.signing import read_key
from edge.uplink.envelope import KeyUnusable, open_envelope, read_public_key, trust


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_a_key_pair_is_made_and_the_line_for_the_unit_is_told(tmp_path, capsys):
    out = tmp_path / "acme.2026"
    assert main(["operator", "keygen", str(out)]) == 0
    private, public = tmp_path / "acme.2026.key", tmp_path / "acme.2026.pub"
    assert (mode(private), mode(public)) == (0o600, 0o644)
    kid = read_public_key(public).kid
    said = capsys.readouterr().out
    assert f"key id: {kid}\n" in said
    assert said.endswith('[twin]\ntrusted_keys = ["/etc/deskwatch/acme.2026.pub"]\n')
    assert "PRIVATE" not in said
    assert read_key(private, None).kid == kid


@pytest.mark.parametrize("there", ["op.key", "op.pub"])
def test_a_key_is_never_written_over(tmp_path, there, capsys):
    (tmp_path / there).write_text("mine")
    assert main(["operator", "keygen", str(tmp_path / "op")]) == 2
    assert f"{tmp_path / there}: wanted a new file, got one that is there" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == [there]
    assert (tmp_path / there).read_text() == "mine"


@pytest.mark.parametrize("out", ["", ".", "/"])
def test_a_name_is_wanted_for_the_keys(tmp_path, out, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["operator", "keygen", out]) == 2
    assert "wanted a name for the keys, got a folder" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_folder_where_a_file_is_wanted_is_named_as_such(tmp_path, policy_file, key, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    sign = ["operator", "sign", str(policy_file), "--key"]
    assert main([*sign, str(tmp_path)]) == 2
    assert f"{tmp_path}: wanted a readable key file, got: Is a directory" in capsys.readouterr().err
    assert main([*sign, str(tmp_path / "op.key"), "-o", ""]) == 2
    assert "wanted the name of a file, got a folder" in capsys.readouterr().err
    assert not list(tmp_path.glob(".*"))


def test_a_passphrase_protects_the_key(tmp_path, policy_file, capsys):
    secret, wrong = tmp_path / "secret", tmp_path / "wrong"
    secret.write_text("open sesame\n")
    wrong.write_text("open barley\n")
    assert main(["operator", "keygen", str(tmp_path / "op"), "--passphrase-file", str(secret)]) == 0
    assert b"ENCRYPTED" in (tmp_path / "op.key").read_bytes()
    sign = ["operator", "sign", str(policy_file), "--key", str(tmp_path / "op.key"), "--passphrase-file"]
    assert main([*sign, str(wrong)]) == 2
    assert main([*sign, str(secret)]) == 0
    assert "open sesame" not in "".join(capsys.readouterr())
    with pytest.raises(KeyUnusable):
        read_key(tmp_path / "op.key", wrong)


def test_a_policy_is_signed_byte_for_byte(tmp_path, policy_file, key, capsys):
    options = ["operator", "sign", str(policy_file), "--key", str(tmp_path / "op.key")]
    out = tmp_path / "other.jws"
    assert main([*options, "-o", str(out)]) == 0
    digest = hashlib.sha256(policy_file.read_bytes()).hexdigest()
    assert capsys.readouterr().out == f"{out}: version 8, sha256 {digest}, signed by key {key.kid}\n"
    assert open_envelope(out.read_bytes(), trust(key.public)).document == policy_file.read_bytes()
    assert main([*options, "-o", str(out)]) == 0  # a policy is corrected and signed again
    assert main(["operator", "sign", str(out), "--key", str(tmp_path / "op.key")]) == 2
    assert "signed already" in capsys.readouterr().err


def test_a_policy_that_no_unit_would_take_is_not_signed(tmp_path, policy_file, key, capsys):
    policy_file.write_bytes(policy_file.read_bytes().replace(b'"cell phone"', b'"unicorn"'))
    assert main(["operator", "sign", str(policy_file), "--key", str(tmp_path / "op.key")]) == 2
    assert "$.rules[0].labels[0]" in capsys.readouterr().err
    assert not policy_file.with_suffix(".jws").exists()


def test_openssl_reads_the_keys_and_its_own_can_sign(tmp_path, policy_file, key, capsys):
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("no openssl here")
    own = tmp_path / "own.key"
    subprocess.run([openssl, "pkey", "-in", tmp_path / "op.key", "-noout"], check=True)
    subprocess.run(
        [openssl, "genpkey", "-algorithm", "ed25519", "-out", own], check=True, capture_output=True
    )
    subprocess.run([openssl, "pkey", "-in", own, "-pubout", "-out", tmp_path / "own.pub"], check=True)
    assert main(["operator", "sign", str(policy_file), "--key", str(own)]) == 0
    kid = read_public_key(tmp_path / "own.pub").kid
    assert f"signed by key {kid}" in capsys.readouterr().out
