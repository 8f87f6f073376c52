"""Many units in one process: the real spool and uplink of each, with the uplink's own backoff."""

import contextlib
import logging
import multiprocessing
import random
import resource
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from edge.clock import SystemClock
from edge.uplink.carry import Uplink
from edge.uplink.link import BrokerConfig
from edge.uplink.messages import Capture, Model, State
from edge.uplink.spool import Spool
from edge.uplink.topics import Topics
from edge.uplink.wire import timestamp

STACK_BYTES = 256 * 1024
SPOOL_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class Squad:
    """What one process runs."""

    first: int
    units: int
    port: int
    folder: Path
    over_s: float
    """They start over so long a time, as chance has it."""


def files_allowed(wanted: int) -> bool:
    """Allow this process `wanted` open files, if its limit lets it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < wanted:
        return False
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return True


def run(squad: Squad) -> None:
    """Run the units until whoever started this process is gone."""
    logging.disable(logging.ERROR)  # 500 units that lose their broker are 500 lines
    files_allowed(squad.units * 16 + 256)
    threading.stack_size(STACK_BYTES)
    starts_s = sorted(random.uniform(0.0, squad.over_s) for _ in range(squad.units))
    began_s, parent = time.monotonic(), multiprocessing.parent_process()
    with contextlib.ExitStack() as stack:
        for number, start_s in enumerate(starts_s, squad.first):
            spool, uplink = _unit(number, squad)
            stack.enter_context(spool)
            time.sleep(max(0.0, began_s + start_s - time.monotonic()))
            uplink.start()
        while parent is None or parent.is_alive():
            time.sleep(0.5)


def _unit(number: int, squad: Squad) -> tuple[Spool, Uplink]:
    name = f"unit-{number}"
    clock = SystemClock()
    birth = State(
        online=True,
        boot_id="fleet",
        firmware="fleet",
        model=Model(name="none", sha256="0" * 64),
        policy_version=1,
        capture=Capture.WATCHING,
        at=timestamp(clock.now_at()),
    )
    spool = Spool.open(squad.folder / name / "spool.db", max_bytes=SPOOL_BYTES)
    config = BrokerConfig("127.0.0.1", squad.port, name)
    return spool, Uplink(spool, config, Topics("fleet", name), birth, clock=clock)
