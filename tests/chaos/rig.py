"""The unit, the wire, the broker and the ingester, and who among them lives."""

import contextlib
import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from edge.worklog import reading
from edge.worklog.entries import Pruned, Sent
from tests.broker import Mosquitto
from tests.chaos.check import Fed, Verdict, check
from tests.chaos.disk import Disk, NoDisk
from tests.chaos.ingester import Holdings, IngesterOrders, ingest
from tests.chaos.journal import read
from tests.chaos.unit import CRASHED, LOG, Orders, Told, live
from tests.chaos.wire import Wire

KILL = "SIGKILL of the unit"
SPOOL_BYTES = 3 << 20
EVENTS_PER_S = 15.0
CRASHES_MAX = 3
_LOOK_S = 0.02


class StillWaiting(Exception):
    """The unit did not get rid of all that it holds, with everything healed: see the journals and logs."""


class KeepsCrashing(Exception):
    """The unit dies by its own fault, again and again: nothing can be learnt until that is mended."""


@dataclass(frozen=True, slots=True)
class Episode:
    """A fault, and when it was on. Monotonic seconds."""

    fault: str
    from_s: float
    to_s: float


class Rig:
    """Everything that is tormented. Time passes in `live_on` only; that keeps the unit going, or kills it."""

    def __init__(
        self,
        folder: Path,
        chance: random.Random,
        *,
        kills_per_s: float,
        protocol: str = "5",
        haste: float = 1.0,
    ) -> None:
        """Faults last `haste` times as long as they would."""
        self._folder, self._chance, self._protocol = folder, chance, protocol
        self._kills_per_s, self._haste = kills_per_s, haste
        self.spool_bytes, self.events_per_s = SPOOL_BYTES, EVENTS_PER_S
        self._processes = multiprocessing.get_context("forkserver")
        self._processes.set_forkserver_preload(["tests.chaos.unit", "tests.chaos.ingester"])
        self.broker = _broker(folder)
        self.disk: Disk | None = None
        self.no_disk: str | None = None
        try:
            self.disk = Disk(folder)
        except NoDisk as error:
            self.no_disk = str(error)
        self._state = self.disk.mount_point if self.disk else folder
        self.start_broker()
        self.wire = Wire(self.broker.port)
        self.told = Told()
        self._told_path = folder / "told.json"
        self.tell(self.told)
        self._unit: ForkServerProcess | None = None
        self._ingester: ForkServerProcess | None = None
        self._lives = 0
        self.holdings = Holdings(folder / "kept.db")
        self._kill_due_s = self._next_kill_s()
        self.episodes: list[Episode] = []
        self.crashes = 0
        self.start_ingester()

    # The broker

    def start_broker(self, *lines: str, persistent: bool = True, acl: str = "") -> None:
        """Start it, on its port, with more lines of configuration."""
        (self._folder / "acl").write_text(acl or ALL_ALLOWED)
        keep = ["persistence true", f"persistence_location {self._folder}/", "autosave_on_changes true"]
        keep += ["autosave_interval 1"]
        if not persistent:
            (self._folder / "mosquitto.db").unlink(missing_ok=True)
            keep = []
        self.broker.start(f"acl_file {self._folder / 'acl'}", *keep, *lines)

    def allow(self, acl: str) -> None:
        """Change who may do what, and have the running broker read it."""
        (self._folder / "acl").write_text(acl)
        self.broker.process.send_signal(signal.SIGHUP)

    # The ingester

    def start_ingester(self) -> None:
        """Start it; its store stays what it was."""
        orders = IngesterOrders(
            self._folder / "kept.db",
            self._folder / "received.jsonl",
            self._folder / "ingester.log",
            self.broker.port,
        )
        self._ingester = self._processes.Process(target=ingest, args=(orders,), daemon=True)
        self._ingester.start()

    def _keep_ingester_going(self) -> None:
        if self._ingester is not None and not self._ingester.is_alive():
            self.start_ingester()

    def kill_ingester(self) -> None:
        """SIGKILL."""
        self._ingester.kill()
        self._ingester.join()
        self._ingester = None

    # The unit

    def tell(self, told: Told) -> None:
        """Change what the unit is told."""
        self.told = told
        told.write(self._told_path)

    def kill_unit(self) -> None:
        """SIGKILL; wait until it is gone."""
        if self._unit is not None:
            self._unit.kill()
            self._unit.join()
            self._unit = None

    @contextlib.contextmanager
    def frozen_unit(self) -> Iterator[None]:
        """Stop the unit between two system calls, and let it go on.

        ext4 tells an fsync that is under way while it is shut down that all is well: SQLite alone lost one
        commit by that in 13 tries of 80. A disk that breaks, or a power cut, has nobody left to tell.
        """
        unit = self._unit
        if unit is None or not unit.is_alive():
            yield
            return
        os.kill(unit.pid, signal.SIGSTOP)
        tasks = Path(f"/proc/{unit.pid}/task")
        while unit.is_alive() and not all(_state(task) in "TtZX" for task in tasks.iterdir()):
            time.sleep(0.001)
        yield
        with contextlib.suppress(ProcessLookupError):
            os.kill(unit.pid, signal.SIGCONT)

    def stop_unit(self) -> None:
        """Let it end cleanly."""
        self.tell(replace(self.told, stop=True))
        if self._unit is not None:
            self._unit.join(20)
            self.kill_unit()
        self.tell(replace(self.told, stop=False))

    def _keep_unit_going(self) -> None:
        if self._unit is not None and self._unit.is_alive():
            return
        if self._unit is not None and self._unit.exitcode == CRASHED:
            self.crashes += 1
            if self.crashes >= CRASHES_MAX:
                raise KeepsCrashing(f"{self.crashes} times: see the traces")
        self._lives += 1
        orders = Orders(
            spool=self._state / "state" / "spool.db",
            journal=self._folder / "fed.jsonl",
            told=self._told_path,
            log=self._folder / "unit.log",
            port=self.wire.port,
            seed=self._lives,
            protocol=self._protocol,
            max_bytes=self.spool_bytes,
            events_per_s=self.events_per_s,
        )
        self._unit = self._processes.Process(target=live, args=(orders,), daemon=True)
        self._unit.start()

    # Time

    def live_on(
        self, seconds: float, until: Callable[[], bool] = lambda: False, *, kills: bool = True
    ) -> None:
        """Let time pass; the unit is started again whenever it is dead, and killed at random, if `kills`."""
        end_s = time.monotonic() + seconds
        while (now_s := time.monotonic()) < end_s and not until():
            self._keep_unit_going()
            self._keep_ingester_going()
            if kills and now_s >= self._kill_due_s:
                self.kill_at_random()
            time.sleep(_LOOK_S)

    def live_a_while(self, least_s: float, most_s: float, *, kills: bool = True) -> None:
        """Let a time of the fault pass."""
        self.live_on(self._haste * self._chance.uniform(least_s, most_s), kills=kills)

    def kill_at_random(self) -> None:
        """SIGKILL, and count it."""
        self.kill_unit()
        self._kill_due_s = self._next_kill_s()
        self.episodes.append(Episode(KILL, time.monotonic(), time.monotonic()))

    @contextlib.contextmanager
    def fault(self, name: str) -> Iterator[None]:
        """All that is fed meanwhile is set down to this fault."""
        from_s = time.monotonic()
        try:
            yield
        finally:
            self.episodes.append(Episode(name, from_s, time.monotonic()))

    def _next_kill_s(self) -> float:
        return time.monotonic() + (self._chance.expovariate(self._kills_per_s) if self._kills_per_s else 1e9)

    # The end

    def drain(self, deadline_s: float = 120.0) -> None:
        """With all faults healed, wait until the unit holds nothing more. Raises StillWaiting."""
        self.tell(Told(feeding=False))
        end_s = time.monotonic() + deadline_s
        empty_since_s: float | None = None
        while True:
            self.live_on(0.25, kills=False)
            status = self._status()
            empty = status is not None and not any(
                status[key] for key in ("events", "thumbnails", "refused", "waiting")
            )
            now_s = time.monotonic()
            empty_since_s = (empty_since_s or now_s) if empty else None
            # Gaps are written once there is a connection, so an empty spool may fill once more.
            if empty_since_s is not None and now_s - empty_since_s > 2.5:
                return
            if now_s > end_s:
                raise StillWaiting(f"after {deadline_s:g} s with everything healed, the unit says {status}")

    def _status(self) -> dict | None:
        last = None
        for line in read(self._folder / "fed.jsonl"):
            if line["act"] == "status":
                last = line
            elif line["act"] in ("kept", "begun"):
                last = None
        return last

    def verdict(self) -> tuple[Verdict, list[Fed]]:
        """Compare what was fed with what the ingester holds."""
        lines = list(read(self._folder / "fed.jsonl"))
        fed = [Fed(x["id"], x["epoch"], x["seq"], x["at_s"]) for x in lines if x["act"] == "kept"]
        begun = frozenset(x["id"] for x in lines if x["act"] == "begun")
        received = [x["id"] for x in read(self._folder / "received.jsonl") if x["act"] == "received"]
        return check(fed, begun, self.holdings.kept(), self.holdings.holes(), received), fed

    def log_troubles(self) -> list[str]:
        """Return what is wrong with the worker's log, and what came that does not stand in it."""
        folder = self._state / "state" / LOG
        troubles = [x["damage"] for x in read(self._folder / "fed.jsonl") if x["act"] == "log-damaged"]
        if (problem := reading.verify(folder).problem) is not None:
            troubles.append(problem)
        notes = [entry.note for entry in reading.read(folder)]
        if any(isinstance(note, Pruned) for note in notes):  # it is too late to tell what stood in it
            return troubles
        sent = [(note.topic, note.sha256) for note in notes if isinstance(note, Sent)]
        if len(sent) != len(set(sent)):
            troubles.append(f"{len(sent) - len(set(sent))} messages stand in it more than once")
        came = {
            (x["topic"], x["sha256"]) for x in read(self._folder / "received.jsonl") if x["act"] == "came"
        }
        if unlogged := came - set(sent):
            troubles.append(f"{len(unlogged)} of {len(came)} messages came that do not stand in it")
        return troubles

    def crash_traces(self) -> list[str]:
        """Return what the unit died of by its own fault."""
        return [x["trace"] for x in read(self._folder / "fed.jsonl") if x["act"] == "crashed"]

    def fault_at(self, at_s: float) -> str:
        """Return which fault was on; of several, the one that began last; without one, the next kill."""
        on = [e for e in self.episodes if e.from_s <= at_s <= e.to_s and e.fault != KILL]
        return max(on, key=lambda e: e.from_s).fault if on else KILL

    def times(self) -> dict[str, int]:
        """Return how often each fault was on."""
        count = {KILL: 0}
        for episode in self.episodes:
            count[episode.fault] = count.get(episode.fault, 0) + 1
        return count

    def close(self) -> None:
        self.kill_unit()
        if self._ingester is not None:
            self.kill_ingester()
        self.wire.close()
        self.broker.stop(signal.SIGKILL)
        if self.disk is not None:
            self.disk.close()


ALL_ALLOWED = "topic readwrite #\n"


def _state(task: Path) -> str:
    """Return the letter of a thread's state; X once it is gone."""
    try:
        return (task / "stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "X"


def _broker(folder: Path) -> Mosquitto:
    (folder / "mosquitto").mkdir()
    return Mosquitto(folder / "mosquitto")
