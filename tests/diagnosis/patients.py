"""A unit that does not run, or says what a test has it say; with broker, policy and spool of its own."""

import datetime as dt
from pathlib import Path

from edge.clock import Clock, SystemClock
from edge.config import BrokerTable, Config, PathsTable, SpoolTable, TwinTable, UnitTable
from edge.diagnosis.check import Patient
from tests.diagnosis.machine import At
from tests.uplink.policies import document

UNIT = "cam-1"
DAY = dt.timedelta(days=1)


def days_on(days: float) -> Clock:
    """A clock that is wrong, or a test that has no patience."""
    return At(dt.datetime.now(dt.UTC) + days * DAY)


def patient(
    folder: Path,
    *,
    broker: dict | None = None,
    twin: dict | None = None,
    spool: dict | None = None,
    policy: bytes | None = None,
    clock: Clock | None = None,
    **more: object,
) -> Patient:
    state = folder / "state"
    state.mkdir(mode=0o700, exist_ok=True)
    own = folder / "policy.json"
    if policy is not None or not own.exists():
        own.write_bytes(document(1, expires_at="2036-01-01T00:00:00Z") if policy is None else policy)
    config = Config(
        unit=UnitTable(tenant="acme", id=UNIT),
        broker=BrokerTable(**{"host": "127.0.0.1", "port": 1883, **(broker or {})}),
        paths=PathsTable(state=state, policy=own),
        twin=TwinTable(**(twin or {})),
        spool=SpoolTable(**(spool or {})),
    )
    return Patient(clock or SystemClock(), folder / "unit.toml", config, **more)
