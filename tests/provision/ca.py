"""A CA that signs what units request: openssl itself."""

import datetime as dt
import subprocess
from pathlib import Path

MOMENT = "%Y%m%d%H%M%SZ"


def openssl(*words: str | Path, data: bytes = b"") -> bytes:
    done = subprocess.run(["openssl", *words], input=data, capture_output=True, check=False, timeout=30)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


class OpensslCa:
    """Its certificate is `file`."""

    def __init__(self, folder: Path, name: str = "units CA") -> None:
        folder.mkdir(parents=True)
        self.folder = folder
        self.file = folder / "ca.pem"
        (folder / "index.txt").touch()
        (folder / "ca.cnf").write_text(
            f"[ca]\ndefault_ca = here\n[here]\ndatabase = {folder}/index.txt\nnew_certs_dir = {folder}\n"
            f"certificate = {self.file}\nprivate_key = {folder}/ca.key\nrand_serial = yes\n"
            "default_md = sha256\npolicy = any\nunique_subject = no\n"
            "copy_extensions = copy\nemail_in_dn = no\n"
            "[any]\ncommonName = supplied\n"
            "[server]\nextendedKeyUsage = serverAuth\n[none]\n"
        )
        openssl(
            *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-days", "3650", "-subj", f"/CN={name}", "-keyout", folder / "ca.key", "-out", self.file),
        )

    def sign(
        self,
        request: bytes,
        *,
        from_days: float = -1,
        until_days: float = 90,
        subject: str | None = None,
        extensions: str = "none",
    ) -> bytes:
        now_at = dt.datetime.now(dt.UTC)
        (self.folder / "unit.csr").write_bytes(request)
        words = [
            "ca",
            "-batch",
            "-notext",
            "-config",
            self.folder / "ca.cnf",
            "-in",
            self.folder / "unit.csr",
        ]
        words += ["-startdate", (now_at + dt.timedelta(days=from_days)).strftime(MOMENT)]
        words += ["-enddate", (now_at + dt.timedelta(days=until_days)).strftime(MOMENT)]
        words += ["-extensions", extensions, *(["-subj", subject] if subject else [])]
        return openssl(*words)
