"""A key made on the unit, a certificate that must fit, and a pair that no power cut breaks."""

import datetime as dt
import os
import shutil
import ssl
import stat

import pytest

from edge.cli import main
from edge.provision.certificates import CertificateRefused
from edge.provision.folder import IdentityUnwritable
from edge.provision.pairs import (
    Identity,
    IdentityMissing,
    IdentityUnsafe,
    NothingBefore,
    Standing,
)
from edge.uplink.tls import Tls
from tests.broker import subscribed
from tests.certificates import Authority
from tests.provision.ca import OpensslCa, openssl
from tests.provision.cuts import at_every_step

NOW = dt.datetime.now(dt.UTC)
DAY = dt.timedelta(days=1)


def provisioned(identity, ca, **more):
    pem = ca.sign(identity.request(), **more)
    identity.install(pem, ca.file.read_text(), NOW, "unit.pem")
    return pem


def in_force(folder):
    """The pair that a unit would load, certificate and key; None where there is none."""
    if not (folder / "unit.pem").exists() and not (folder / "unit.key").exists():
        return None
    ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(folder / "unit.pem", folder / "unit.key")
    return (folder / "unit.pem").read_bytes(), (folder / "unit.key").read_bytes()


def modes(folder):
    return {
        str(path.relative_to(folder)): stat.S_IMODE(path.stat().st_mode)
        for path in sorted(folder.rglob("*"))
        if not path.is_symlink()
    }


def test_the_request_is_for_this_unit_and_a_key_that_stays(identity):
    os.umask(0)
    try:
        request = identity.request()
    finally:
        os.umask(0o022)
    said = openssl("req", "-noout", "-text", "-verify", data=request).decode()
    assert "CN = cam-1" in said or "CN=cam-1" in said
    assert "prime256v1" in said
    assert "TLS Web Client Authentication" in said
    assert b"PRIVATE" not in request
    assert modes(identity.folder) == {"pending": 0o750, "pending/unit.csr": 0o644, "pending/unit.key": 0o600}
    assert identity.request() == request  # asked again: the same
    assert (identity.folder / "unit.csr").read_bytes() == request
    assert identity.request(fresh=True) != request


def test_a_certificate_comes_into_force_with_its_key(identity, ca):
    pem = provisioned(identity, ca)
    certificate, standing = identity.check(NOW)
    assert standing is Standing.GOOD
    assert certificate.common_names == ("cam-1",)
    assert in_force(identity.folder)[0] == pem
    assert not (identity.folder / "pending").exists()
    assert not (identity.folder / "unit.csr").is_symlink()
    keys = [mode for name, mode in modes(identity.folder).items() if name.endswith(".key")]
    assert keys == [0o600]


REFUSED = {
    "another CN": (
        lambda ca, csr: ca.sign(csr, subject="/CN=cam-2"),
        "wanted one for CN 'cam-1', got 'cam-2'",
    ),
    "expired": (lambda ca, csr: ca.sign(csr, from_days=-9, until_days=-1), "got one that expired"),
    "not yet": (lambda ca, csr: ca.sign(csr, from_days=2), "got one valid from"),
    "a server's": (lambda ca, csr: ca.sign(csr, extensions="server"), "purpose"),
    "another CA": (lambda ca, csr: OpensslCa(ca.folder / "other", "other").sign(csr), "issuer certificate"),
    "the request": (lambda ca, csr: csr, "wanted a certificate in PEM"),
    "nothing": (lambda ca, csr: b"", "wanted a certificate in PEM"),
    "cut off": (lambda ca, csr: ca.sign(csr)[:-100], "wanted a certificate in PEM"),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_what_does_not_fit_changes_nothing(identity, ca, fault):
    provisioned(identity, ca)
    request = identity.request()
    before = {path: path.read_bytes() for path in identity.folder.rglob("*") if path.is_file()}
    make, said = REFUSED[fault]
    bad = make(ca, request)
    if fault == "a server's":  # the CA overrules the usage that was asked for
        assert b"SSL client : No" in openssl("x509", "-noout", "-purpose", data=bad)
    with pytest.raises(CertificateRefused, match=said):
        identity.install(bad, ca.file.read_text(), NOW, "new.pem")
    after = {path: path.read_bytes() for path in identity.folder.rglob("*") if path.is_file()}
    assert after == before


def test_one_of_another_key_is_refused(identity, ca, tmp_path):
    provisioned(identity, ca)
    other = ca.sign(Identity(tmp_path / "other", "cam-1").request())
    with pytest.raises(CertificateRefused, match="wanted one for a key in"):
        identity.install(other, None, NOW, "other.pem")


def test_the_first_one_wants_its_ca(identity, ca):
    pem = ca.sign(identity.request())
    with pytest.raises(CertificateRefused, match="wanted --ca"):
        identity.install(pem, None, NOW, "unit.pem")
    with pytest.raises(IdentityMissing):
        identity.check(NOW)


def test_renewal_is_due_at_two_thirds_and_the_old_pair_stays_behind(identity, ca):
    old = provisioned(identity, ca, from_days=-60, until_days=30)
    assert identity.check(NOW - DAY)[1] is Standing.GOOD
    assert identity.check(NOW + DAY)[1] is Standing.DUE
    old_pair = in_force(identity.folder)
    new = provisioned(identity, ca)
    assert in_force(identity.folder)[0] == new
    assert in_force(identity.folder)[1] != old_pair[1]  # a new key too
    assert in_force(identity.folder / "previous") == old_pair
    assert identity.check(NOW)[1] is Standing.GOOD
    identity.revert(NOW)
    assert in_force(identity.folder) == old_pair
    identity.revert(NOW)
    assert in_force(identity.folder)[0] == new
    with pytest.raises(CertificateRefused, match="expired"):
        identity.revert(NOW + 31 * DAY)
    third = provisioned(identity, ca, from_days=-2)
    assert in_force(identity.folder)[0] == third
    kept = {path.read_bytes() for path in identity.folder.rglob("unit.pem")}
    assert kept == {new, third}
    assert old not in kept


def test_with_no_pair_before_there_is_nothing_to_revert_to(identity, ca):
    provisioned(identity, ca)
    with pytest.raises(NothingBefore):
        identity.revert(NOW)


def test_the_key_may_stay_where_the_ca_renews_for_it(identity, ca):
    request = identity.request()
    identity.install(ca.sign(request), ca.file.read_text(), NOW, "unit.pem")
    key = in_force(identity.folder)[1]
    again = ca.sign(request, until_days=300)
    identity.install(again, None, NOW, "again.pem")
    assert in_force(identity.folder) == (again, key)


def test_a_key_that_others_can_read_is_not_good(identity, ca):
    provisioned(identity, ca)
    (identity.folder / "unit.key").chmod(0o640)
    with pytest.raises(IdentityUnsafe, match="wanted mode 0600, got 0640"):
        identity.check(NOW)


def test_a_key_put_beside_it_is_found(identity, ca, tmp_path):
    provisioned(identity, ca)
    other = Identity(tmp_path / "other", "cam-1")
    provisioned(other, ca)
    shutil.copy(other.folder / "unit.key", identity.folder / "current" / "unit.key")
    with pytest.raises(CertificateRefused, match="key beside it"):
        identity.check(NOW)


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(IdentityUnwritable, match="file"):
        Identity(tmp_path / "file", "cam-1").request()


def test_a_cut_at_any_step_of_a_renewal_leaves_a_whole_pair(identity, ca, tmp_path):
    old = provisioned(identity, ca)
    older = in_force(identity.folder)
    new = ca.sign(identity.request(), until_days=200)
    begin = tmp_path / "begin"
    identity.folder.rename(begin)
    seen = set()

    def check():
        pair = in_force(identity.folder)
        seen.add(pair[0])
        assert pair == older or pair[0] == new
        identity.check(NOW)
        identity.install(new, None, NOW, "new.pem")  # whoever comes back does it again
        assert in_force(identity.folder)[0] == new
        assert in_force(identity.folder / "previous") == older
        files = sorted(str(path.relative_to(identity.folder)) for path in identity.folder.rglob("*.key"))
        assert len(files) == 3, files  # the link, and one in each pair
        assert not list(identity.folder.rglob(".part-*"))

    steps = at_every_step(identity.folder, begin, lambda: identity.install(new, None, NOW, "new.pem"), check)
    assert seen == {old, new}
    assert steps > 15


def test_a_cut_at_any_step_of_the_first_pair_leaves_it_or_none(identity, ca, tmp_path):
    identity.await_first()
    request = identity.request()
    pem = ca.sign(request)
    begin = tmp_path / "begin"
    identity.folder.rename(begin)

    def install():
        identity.install(pem, ca.file.read_text(), NOW, "unit.pem")

    def check():
        assert (pair := in_force(identity.folder)) is None or pair[0] == pem
        if not (identity.folder / "awaited").exists():
            assert pair is not None  # the service starts on a pair, or waits
        install()
        assert in_force(identity.folder)[0] == pem
        assert not (identity.folder / "awaited").exists()

    at_every_step(identity.folder, begin, install, check)


def test_a_cut_at_any_step_of_a_request_leaves_one_that_can_be_answered(identity, ca, tmp_path):
    provisioned(identity, ca)
    pair = in_force(identity.folder)
    begin = tmp_path / "begin"
    identity.folder.rename(begin)

    def check():
        assert in_force(identity.folder) == pair
        request = identity.request()
        assert request == (identity.folder / "unit.csr").read_bytes()
        openssl("req", "-noout", "-verify", data=request)

    at_every_step(identity.folder, begin, identity.request, check)


def test_a_cut_at_any_step_of_going_back_leaves_a_whole_pair(identity, ca, tmp_path):
    old, new = provisioned(identity, ca), provisioned(identity, ca)
    begin = tmp_path / "begin"
    identity.folder.rename(begin)
    seen = set()
    at_every_step(
        identity.folder,
        begin,
        lambda: identity.revert(NOW),
        lambda: seen.add(in_force(identity.folder)[0]),
    )
    assert seen == {old, new}


def test_a_broker_knows_the_unit_by_its_certificate(identity, ca, mosquitto, tmp_path):
    """From the first request to a real broker that trusts the CA; and one that trusts another does not."""
    provisioned(identity, ca)
    brokers = Authority(tmp_path / "brokers", "brokers CA")
    server = brokers.issue("broker", host="127.0.0.1")
    lines = f"cafile {ca.file}\ncertfile {server.certificate}\nkeyfile {server.key}\nrequire_certificate true"
    acl = tmp_path / "acl"
    acl.write_text("pattern readwrite deskwatch/%u/#\npattern readwrite last/#\n")
    mosquitto.start(f"acl_file {acl}", listener=f"{lines}\nuse_identity_as_username true")
    tls = Tls(
        ca_pem=brokers.pem,
        certificate_file=identity.folder / "unit.pem",
        key_file=identity.folder / "unit.key",
    )
    with subscribed(mosquitto, "deskwatch/cam-1/#", tls=tls):
        pass
    assert "u'cam-1'" in mosquitto.said()
    provisioned(identity, ca)  # renewed: the same
    with subscribed(mosquitto, "deskwatch/cam-1/#", tls=tls):
        pass


def run(*words):
    return main(["provision", *map(str, words)])


def test_the_whole_way_as_it_is_typed(ca, tmp_path, capsys):
    config = tmp_path / "unit.toml"
    folder = tmp_path / "identity"
    at = ("--config", config)
    assert run("--request", *at) == 2
    assert "wanted the unit's id" in capsys.readouterr().err
    csr = tmp_path / "unit.csr"
    assert run("--request", "--unit", "cam-1", "--out", csr, *at) == 0
    assert run("--check", "--unit", "cam-1", *at) == 2
    assert "deskwatch provision --request" in capsys.readouterr().err
    (tmp_path / "new.pem").write_bytes(ca.sign(csr.read_bytes(), from_days=-80, until_days=10))
    assert run("--certificate", tmp_path / "new.pem", "--unit", "cam-1", *at) == 2
    assert "wanted --ca" in capsys.readouterr().err
    assert run("--certificate", tmp_path / "new.pem", "--ca", ca.file, "--unit", "cam-1", *at) == 0
    assert run("--check", "--unit", "cam-1", *at) == 1
    assert "renewal is due" in capsys.readouterr().out
    assert run("--request", "--unit", "cam-1", *at) == 0
    (tmp_path / "new.pem").write_bytes(ca.sign(capsys.readouterr().out.encode()))
    assert run("--certificate", tmp_path / "new.pem", "--unit", "cam-1", *at) == 0
    assert run("--check", "--unit", "cam-1", *at) == 0
    assert run("--check", "--unit", "cam-2", *at) == 2
    said = capsys.readouterr()
    assert "wanted one for CN 'cam-2', got 'cam-1'" in said.err
    assert in_force(folder) is not None
    assert run("--revert", "--unit", "cam-1", *at) == 0
    assert run("--check", "--unit", "cam-1", *at) == 1
