"""What has arrived at the broker so far: a live table in a terminal, and a page at the end."""

import datetime as dt
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from edge.errors import EdgeError
from edge.evidence.sealing import NotSealed, sealed_to
from edge.output import write_file
from edge.page import Entry, render
from edge.story import printable, words_of
from edge.uplink.messages import (
    ClosedEvent,
    OpenedEvent,
    State,
    decode_event,
    decode_health,
    decode_state,
    encode,
)
from edge.uplink.signals import Received
from edge.uplink.twin_messages import decode_reported
from edge.uplink.wire import InvalidMessage

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions
    from rich.table import Table

ROWS = 16
KEPT = 1000
"""Infractions, and pictures, that are remembered: the newest."""
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,63}\Z")
"""An event id that may name a file."""
_JPEG = b"\xff\xd8"
"""How a JPEG begins (SOI)."""
_Item = TypeVar("_Item")


class NoTable(EdgeError):
    """The live table needs rich: pip install 'deskwatch[demo]', or use --json."""


@dataclass(slots=True)
class Board:
    """Pairs the messages of each infraction, whatever order they come in, and saves the pictures."""

    root: str
    """The topics of the unit, without a slash at the end."""
    out: Path
    state: State | None = None
    opened: dict[str, OpenedEvent] = field(default_factory=dict)
    closed: dict[str, ClosedEvent] = field(default_factory=dict)
    """By the id of the opened event."""
    pictures: dict[str, bytes] = field(default_factory=dict)
    sealed: dict[str, str] = field(default_factory=dict)
    """The key that a picture is sealed to, by event id: nobody here can look at it."""
    messages: int = 0
    garbage: int = 0
    """Messages that are not what the contract says."""

    @property
    def offline(self) -> bool:
        """Whether the unit has said goodbye."""
        return self.state is not None and not self.state.online

    def take(self, message: Received) -> None:
        """Note one message; a picture is written to a file named for its event. Raises OutputUnwritable."""
        self.messages += 1
        try:
            match message.topic.removeprefix(f"{self.root}/").split("/"):
                case ["state"]:
                    self.state = decode_state(message.payload)
                case ["event"]:
                    event = decode_event(message.payload)
                    dt.datetime.fromisoformat(event.time)
                    if isinstance(event, OpenedEvent):
                        _keep(self.opened, event.id, event)
                    elif isinstance(event, ClosedEvent):
                        _keep(self.closed, event.data.opened_id, event)
                case ["config", "reported"]:
                    decode_reported(message.payload)
                case ["health"]:
                    decode_health(message.payload)
                case ["thumb", event_id] if _FILE_NAME.match(event_id) and message.payload[:2] == _JPEG:
                    write_file(self.out / f"{event_id}.jpg", message.payload)
                    _keep(self.pictures, event_id, message.payload)
                case ["thumb", event_id] if _FILE_NAME.match(event_id):
                    _keep(self.sealed, event_id, sealed_to(message.payload))
                    write_file(self.out / f"{event_id}.sealed", message.payload)
                case _:
                    self.garbage += 1
        except (InvalidMessage, NotSealed, ValueError):
            self.garbage += 1

    @contextmanager
    def live(self) -> Iterator["LiveTable"]:
        """Show the table in the terminal for the length of the `with`. Raises NoTable without rich."""
        try:
            from rich.live import Live  # noqa: PLC0415  an extra
        except ImportError as error:
            raise NoTable("wanted the package rich for the live table, got none") from error
        table = LiveTable(self)
        with Live(table, refresh_per_second=8):
            yield table

    def summary(self) -> str:
        """Return the counts, in words."""
        counts = f"{len(self.opened)} opened, {len(self.closed)} closed, {len(self.pictures)} pictures"
        if self.sealed:
            counts += f", {len(self.sealed)} sealed"
        if self.garbage:
            counts += f", {self.garbage} not understood"
        return f"{self.messages} messages arrived: {counts}"

    def write_page(self, footer: str) -> Path:
        """Write the page of all infractions, and return where."""
        lead = (
            "What arrived at the broker. The picture of an object is sharp only inside the evidence box; "
            "that of people, or of a covered lens, nowhere."
        )
        entries = [self._entry(event) for event in self.opened.values()]
        path = self.out / "page.html"
        write_file(path, render("deskwatch: infractions", lead, entries, footer).encode())
        return path

    def _entry(self, event: OpenedEvent) -> Entry:
        closed = self.closed.get(event.id)
        return Entry(
            rule=event.subject,
            kind=event.data.rule.kind,
            what=words_of(event),
            opened_at=dt.datetime.fromisoformat(event.time),
            closed_at=dt.datetime.fromisoformat(closed.time) if closed else None,
            duration_s=closed.data.duration_s if closed else None,
            reason=closed.data.reason if closed else None,
            picture=self.pictures.get(event.id),
            sealed_to=self.sealed.get(event.id),
            event_id=event.id,
            payload=json.dumps(json.loads(encode(event)), indent=2),
        )


class LiveTable:
    """The board as rich draws it."""

    def __init__(self, board: Board) -> None:
        self._board = board

    def show(self, message: Received) -> None:
        """Nothing to do: the table reads the board when it is drawn."""

    def __rich_console__(self, _console: "Console", options: "ConsoleOptions") -> Iterator["Table"]:
        # The terminal writes ^C at the end of the last line: with room there, it does not tear the table.
        yield self._table(max(40, options.max_width - 8))

    def _table(self, width: int) -> "Table":
        from rich.table import Table  # noqa: PLC0415  an extra
        from rich.text import Text  # noqa: PLC0415

        board = self._board
        state = "waiting for the unit"
        if board.state:
            state = ": ".join(filter(None, (board.state.capture, board.state.reason)))
        title = Text(f"deskwatch at the broker: {printable(state)}")
        table = Table(title=title, caption=board.summary(), width=width)
        for column in ("opened", "rule", "what", "lasted", "picture"):
            table.add_column(column, no_wrap=column != "what")
        for event in list(board.opened.values())[-ROWS:]:
            closed = board.closed.get(event.id)
            lasted = Text("open", "bold red")
            if closed:
                lasted = Text(f"{closed.data.duration_s:.1f} s ({closed.data.reason})")
            picture = board.pictures.get(event.id)
            sealed = "sealed" if event.id in board.sealed else ""
            size = f"{len(picture) / 1000:.1f} kB" if picture else sealed
            # Text, not str: what came over the wire is no markup.
            rule, what = Text(printable(event.subject)), Text(printable(words_of(event)))
            table.add_row(event.time[11:19], rule, what, lasted, size)
        return table


def _keep(store: dict[str, _Item], key: str, item: _Item) -> None:
    store[key] = item
    if len(store) > KEPT:
        del store[next(iter(store))]
