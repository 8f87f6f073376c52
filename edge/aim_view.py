"""`deskwatch aim`: a live, coarse picture in the terminal, once the worker agreed at the button.

0 it was lined up; 1 the unit says why not, or nobody agreed; 2 it could not be asked (an error, raised).
"""

import argparse
import os
import select
import shutil
import sys
import termios
import tty
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from edge.aim_picture import BELOW_ROWS, Depth, advice, figures_of, grid_of, lines_of
from edge.config import read_config
from edge.control.client import ask
from edge.control.protocol import AimAnswer, AimAsk, AimEnd, AimLook, AimPicture, Refused, Request
from edge.errors import EdgeError
from edge.output import StdoutUnwritable, complain, put
from edge.stopping import Stop, stop_on_signal
from edge.story import printable

GOOD, REFUSED = 0, 1
LOOK_EVERY_S: Final = 0.2
SAY_EVERY: Final = 10
"""Looks between two lines of figures, where there is no terminal."""
_ENTER, _LEAVE = "\x1b[?1049h\x1b[?25l\x1b[2J", "\x1b[0m\x1b[2J\x1b[?25h\x1b[?1049l"
"""To a terminal's other screen, and back: of it nothing stays among the lines that one can scroll back to."""
_ASKING = (
    "The light of the unit flashes three times, again and again: it asks the worker.",
    "Press its button, shortly, to agree to a coarse picture of the desk, here, for",
    "five minutes at most. It is neither kept nor sent. To say no, hold the button.",
)
_NO_TERMINAL = "No picture, as this is no terminal: it is never written to a file. Its figures follow."


class AnswerUnexpected(EdgeError):
    """The unit answers another question: restart it, so that it runs the same version as this command."""


def run(arguments: argparse.Namespace) -> int:
    """Ask, show, and end it; return the exit code."""
    folder = read_config(arguments.config).paths.state
    asked = _answer(folder, AimAsk())
    if isinstance(asked, Refused):
        complain(printable(asked.problem))
        return REFUSED
    with stop_on_signal() as stop, _screen() as screen:
        try:
            why, agreed = _follow(folder, asked, stop, screen)
        finally:
            with suppress(EdgeError):  # a unit that hears nothing ends it in five seconds
                ask(folder, AimEnd(asked.token), 2.0)
    if not agreed:
        complain(f"the camera was not lined up: {printable(why)}")
        return REFUSED
    put(f"It is over: {printable(why)}. The worker's log says so: deskwatch log")
    return GOOD


class _Screen:
    """Where it is shown: a terminal, or lines of text that hold no picture."""

    def __init__(self, depth: Depth | None, keys: int | None) -> None:
        self._depth, self._keys = depth, keys
        self._said, self._looks = "", 0

    def show(self, answer: AimAnswer) -> None:
        """Show how it stands."""
        if self._depth is not None:
            size = shutil.get_terminal_size()
            _write(frame_of(answer, size.columns, size.lines, self._depth))
            return
        self._looks += 1
        if answer.phase != self._said:
            self._said = answer.phase
            for line in _ASKING if answer.phase == "asked" else (_NO_TERMINAL,):
                put(line)
        if answer.picture is not None and self._looks % SAY_EVERY == 0:
            put("; ".join([*figures_of(answer.picture), advice(answer.picture)]))

    def wait(self, stop: Stop) -> bool:
        """Wait until the next look is due; return whether somebody had enough."""
        if self._keys is None:
            return stop.wait(LOOK_EVERY_S)
        with suppress(InterruptedError):
            if select.select([self._keys], [], [], LOOK_EVERY_S)[0]:
                return os.read(self._keys, 64)[:1] in (b"q", b"Q", b"\x03", b"\x1b", b"")
        return stop.is_set()


@contextmanager
def _screen() -> Iterator[_Screen]:
    """Take the terminal for the length of the `with`, and leave it as it was."""
    if not sys.stdout.isatty():
        yield _Screen(None, None)
        return
    keys = sys.stdin.fileno() if sys.stdin is not None and sys.stdin.isatty() else None
    before = None if keys is None else termios.tcgetattr(keys)
    try:
        if keys is not None:
            tty.setcbreak(keys)
        _write(_ENTER)
        yield _Screen(depth_of(os.environ, sys.stdout.encoding), keys)
    finally:
        with suppress(StdoutUnwritable):
            _write(_LEAVE)
        if keys is not None and before is not None:
            with suppress(termios.error):
                termios.tcsetattr(keys, termios.TCSAFLUSH, before)


def depth_of(environ: Mapping[str, str], encoding: str) -> Depth:
    """Return what the terminal can show."""
    if environ.get("NO_COLOR") or environ.get("TERM", "dumb") == "dumb" or "utf" not in encoding.lower():
        return Depth.PLAIN
    return Depth.TRUE if environ.get("COLORTERM") in ("truecolor", "24bit") else Depth.GREYS


def frame_of(answer: AimAnswer, cols: int, rows: int, depth: Depth) -> str:
    """Return what draws one whole screen in the place of the one before."""
    drawn = _lines(answer, cols, rows, depth)
    return "\x1b[H" + "\x1b[K\r\n".join(drawn[:rows]) + "\x1b[K\x1b[J"


def _lines(answer: AimAnswer, cols: int, rows: int, depth: Depth) -> list[str]:
    left = f"{int(answer.left_s) // 60}:{int(answer.left_s) % 60:02d} left"
    if answer.phase == "asked":
        return [text[:cols] for text in (f"aim: {left}; q gives up", "", *_ASKING)]
    title = f"aim: {left}; q ends it; a press of the unit's button ends it too, by a break"
    if answer.picture is None:
        return [text[:cols] for text in (title, "", printable(answer.text) or "no picture yet")]
    picture = answer.picture
    shown = lines_of(grid_of(picture), cols, rows - BELOW_ROWS, depth)
    return [title[:cols], *shown, *_told(picture, cols)]


def _told(picture: AimPicture, cols: int) -> Sequence[str]:
    return [text[:cols] for text in (*figures_of(picture), f"> {advice(picture)}")]


def _follow(folder: Path, asked: AimAnswer, stop: Stop, screen: _Screen) -> tuple[str, bool]:
    """Show it until it ends; return why it did, and whether the worker ever agreed."""
    last, agreed = asked, False
    while last.phase != "ended":
        agreed = agreed or last.phase == "granted"
        screen.show(last)
        if screen.wait(stop):
            return "it was ended here", agreed
        answer = _answer(folder, AimLook(asked.token))
        if isinstance(answer, Refused):
            return answer.problem, agreed
        last = answer
    return last.text, agreed


def _answer(folder: Path, request: Request) -> AimAnswer | Refused:
    """Return what the unit answers. Raises EdgeError where it cannot be asked."""
    answer = ask(folder, request)
    if not isinstance(answer, AimAnswer | Refused):
        raise AnswerUnexpected(f"wanted how the aim stands, or refused, got {type(answer).__name__}")
    return answer


def _write(text: str) -> None:
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        raise StdoutUnwritable(f"the terminal: wanted to draw, got: {error.strerror}") from error
