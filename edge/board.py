"""What has arrived at the broker so far: a live table in a terminal, and a page at the end."""

import datetime as dt
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from edge.errors import EdgeError
from edge.offline import OutputUnwritable, words_of
from edge.page import Entry, render
from edge.uplink.messages import (
    ClosedEvent,
    InvalidMessage,
    OpenedEvent,
    State,
    decode_event,
    decode_state,
    encode,
)
from edge.uplink.signals import Received

if TYPE_CHECKING:
    from rich.table import Table

ROWS = 16


class NoTable(EdgeError):
    """The live table needs rich: pip install 'deskwatch[demo]', or use --json."""


@dataclass(slots=True)
class Board:
    """Pairs the messages of each infraction, whatever order they come in, and saves the pictures."""

    out: Path
    started_at: dt.datetime = field(default_factory=lambda: dt.datetime.now(dt.UTC))
    state: State | None = None
    opened: dict[str, OpenedEvent] = field(default_factory=dict)
    closed: dict[str, ClosedEvent] = field(default_factory=dict)
    """By the id of the opened event."""
    pictures: dict[str, bytes] = field(default_factory=dict)
    messages: int = 0
    garbage: int = 0

    @property
    def offline(self) -> bool:
        """Whether the unit has said goodbye."""
        return self.state is not None and not self.state.online

    def take(self, message: Received) -> None:
        """Note one message; a picture is written to a file named for its event."""
        self.messages += 1
        level, _, rest = message.topic.split("/", 4)[4].partition("/")
        try:
            match level:
                case "state":
                    self.state = decode_state(message.payload)
                case "event":
                    event = decode_event(message.payload)
                    if isinstance(event, OpenedEvent):
                        self.opened[event.id] = event
                    else:
                        self.closed[event.data.opened_id] = event
                case "thumb":
                    self.pictures[rest] = message.payload
                    _write(self.out / f"{rest}.jpg", message.payload)
                case _:
                    pass
        except InvalidMessage:
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
        return f"{self.messages} messages arrived: {counts}"

    def write_page(self, footer: str) -> Path:
        """Write the page of all infractions, and return where."""
        lead = "What arrived at the broker. A picture is sharp only inside the evidence box."
        entries = [self._entry(event) for event in self.opened.values()]
        path = self.out / "page.html"
        _write(path, render("deskwatch: infractions", lead, entries, footer).encode())
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
            event_id=event.id,
            payload=json.dumps(json.loads(encode(event)), indent=2),
        )


class LiveTable:
    """The board as rich draws it."""

    def __init__(self, board: Board) -> None:
        self._board = board

    def show(self, message: Received) -> None:
        """Nothing to do: the table reads the board when it is drawn."""

    def __rich__(self) -> "Table":
        from rich.table import Table  # noqa: PLC0415  an extra

        board = self._board
        state = f"{board.state.capture} {board.state.reason}" if board.state else "waiting for the unit"
        table = Table(title=f"deskwatch at the broker: {state}", caption=board.summary(), expand=True)
        for column in ("opened", "rule", "what", "lasted", "picture"):
            table.add_column(column, no_wrap=column != "what")
        for event in list(board.opened.values())[-ROWS:]:
            closed = board.closed.get(event.id)
            lasted = (
                f"{closed.data.duration_s:.1f} s ({closed.data.reason})" if closed else "[bold red]open[/]"
            )
            picture = board.pictures.get(event.id)
            size = f"{len(picture) / 1000:.1f} kB" if picture else ""
            table.add_row(event.time[11:19], event.subject, words_of(event), lasted, size)
        return table


def _write(path: Path, data: bytes) -> None:
    try:
        path.write_bytes(data)
    except OSError as error:
        raise OutputUnwritable(f"{path}: wanted to write it, got: {error.strerror}") from error
