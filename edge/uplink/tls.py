"""TLS to the broker: which files, and what is wrong with them, by their names in unit.toml."""

import ssl
from dataclasses import dataclass
from pathlib import Path

from edge.uplink.signals import LinkError


class TlsUnusable(LinkError):
    """A certificate or key cannot be used: put the file that the message names right, or its line."""


class _Socket(ssl.SSLSocket):
    """Closes itself when its handshake fails: paho forgets it open."""

    def do_handshake(self, block: bool = False) -> None:
        try:
            super().do_handshake(block)
        except BaseException:
            self.close()
            raise


@dataclass(frozen=True, slots=True)
class Tls:
    """Files in PEM. Without `ca_file` the system's authorities count; the other two are the unit's own."""

    ca_file: Path | None = None
    certificate_file: Path | None = None
    key_file: Path | None = None

    def context(self) -> ssl.SSLContext:
        """Read the files. Raises TlsUnusable."""
        for name in ("ca_file", "certificate_file", "key_file"):
            path: Path | None = getattr(self, name)
            try:
                if path is not None:
                    path.open("rb").close()
            except OSError as error:
                raise TlsUnusable(
                    f"broker.{name}: wanted a readable file, got {path}: {error.strerror}"
                ) from error
        try:
            context = ssl.create_default_context(cafile=self.ca_file)
        except OSError as error:  # an SSLError is one
            raise TlsUnusable(
                f"broker.ca_file: wanted certificates in PEM, got {self.ca_file}: {error}"
            ) from error
        context.sslsocket_class = _Socket
        if self.certificate_file is not None:
            try:
                # A passphrase, so that nobody is asked for one at a terminal that a unit does not have.
                context.load_cert_chain(self.certificate_file, self.key_file, password="")
            except OSError as error:
                raise TlsUnusable(
                    "broker.certificate_file and broker.key_file: wanted a certificate in PEM and its own key"
                    f" without a passphrase, got {self.certificate_file} and {self.key_file}: {error}"
                ) from error
        return context
