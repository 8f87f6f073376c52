"""What a running unit asks of its identity: is a new certificate due, and is there a pair before this one."""

import datetime as dt
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from edge.border import read_bounded
from edge.errors import EdgeError
from edge.provision.certificates import (
    MAX_PEM_BYTES,
    Certificate,
    CertificateRefused,
    check_certificate,
    read_certificate,
)
from edge.provision.pairs import CERTIFICATE, KEY, PREVIOUS
from edge.uplink.broker_config import BrokerConfig
from edge.uplink.messages import Alarm, AlarmCode

LOOK_EVERY_S = 600.0

_log = logging.getLogger(__name__)


def certificate_at(path: Path) -> Certificate:
    """Return the certificate in a file. Raises CertificateRefused, OSError."""
    return read_certificate(read_bounded(path, MAX_PEM_BYTES), str(path))


def with_pair_before(config: BrokerConfig, now_at: dt.datetime) -> BrokerConfig | None:
    """Return the same link with the pair before the one in force; None where none is there that is valid."""
    tls = config.tls
    if tls is None or tls.certificate_file is None:
        return None
    folder = tls.certificate_file.parent / PREVIOUS
    path, key = folder / CERTIFICATE, folder / KEY
    try:
        before = certificate_at(path)
        check_certificate(before, config.client_id, now_at, str(path))
        if before.pem == read_bounded(tls.certificate_file, MAX_PEM_BYTES) or not key.is_file():
            return None
    except (CertificateRefused, OSError) as error:
        _log.debug("no pair before this one can serve: %s", error)
        return None
    return replace(config, tls=replace(tls, certificate_file=path, key_file=key))


class Reminder:
    """Says so in the unit's state when its certificate is due for renewal. For one thread at a time."""

    def __init__(
        self, path: Path | None, now_at: Callable[[], dt.datetime], now_s: Callable[[], float]
    ) -> None:
        """`path` is the certificate's; None: the unit has none."""
        self._path, self._now_at, self._now_s = path, now_at, now_s
        self._due_s = now_s()
        self._alarms: tuple[Alarm, ...] = ()

    def alarms(self) -> tuple[Alarm, ...]:
        """Return what somebody should see to; the file is looked at every ten minutes."""
        if self._path is not None and self._now_s() >= self._due_s:
            self._due_s = self._now_s() + LOOK_EVERY_S
            self._alarms = self._look(self._path)
        return self._alarms

    def _look(self, path: Path) -> tuple[Alarm, ...]:
        try:
            certificate = certificate_at(path)
        except (EdgeError, OSError) as error:
            _log.warning("the unit's certificate cannot be read: %s", error)
            return ()  # without it there is no connection over which to say so
        now_at = self._now_at()
        if now_at < certificate.renew_at:
            return ()
        over = "expired" if now_at >= certificate.until_at else "expires"
        detail = f"it {over} on {certificate.until_at:%Y-%m-%d %H:%M} UTC: deskwatch provision --request"
        return (Alarm(code=AlarmCode.CERTIFICATE_EXPIRES, detail=detail),)
