"""What a traced program did to files and sockets, and what of that it must not do.

Pure: calls in, findings out. Whatever moves bytes in a way that is not followed here (io_uring, splice,
another program) is a finding of its own.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from tests.trace_lines import (
    BELLS,
    COPIES,
    EXIT,
    MAKES,
    MOVES,
    NAMES,
    OPENS,
    PROCESSES,
    REACHES,
    READS,
    SIZES,
    WRITES,
    Call,
)


@dataclass(slots=True)
class Opened:
    """A file, socket or pipe, from its open to its last close."""

    kind: str
    """file, memory, socket, pipe, bell (eventfd and its like), or stdio where it was there at the start."""
    path: str
    from_s: float
    to_s: float = float("inf")
    flags: str = ""
    read_bytes: int = 0
    written_bytes: int = 0
    last_read_s: float = 0.0
    holders: int = 1


@dataclass(frozen=True, slots=True)
class Written:
    """What was written by one call."""

    at_s: float
    to: Opened
    data: bytes
    size: int
    cut: bool


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that must not have been."""

    kind: str
    what: str


@dataclass(slots=True)
class Story:
    """All that was opened and written, and what is wrong with it."""

    opened: list[Opened] = field(default_factory=list)
    written: list[Written] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    programs: int = 0
    calls: int = 0

    @property
    def kinds(self) -> set[str]:
        return {finding.kind for finding in self.findings}

    def of(self, path: str) -> list[Opened]:
        """Return each time that a file was open, in order."""
        return [each for each in self.opened if each.path == path]

    def file_bytes(self) -> int:
        """Return how much was written to files."""
        return sum(each.written_bytes for each in self.opened if each.kind in ("file", "memory"))


@dataclass(frozen=True, slots=True)
class Limits:
    """What is allowed."""

    frame_bytes: int
    """A picture of the camera, raw: nothing that is written, mapped or sized at once may be so large."""
    may_write: Callable[[str], bool]
    """Whether a path may be opened for writing, or be the new name of something."""
    may_reach: Callable[[str, str], bool] = lambda _call, _address: False
    """Whether it may connect to, bind to or send to an address, as strace shows it, its strings decoded."""
    pictures: tuple[bytes, ...] = ()
    """JPEGs that may be written: the redacted ones."""


def follow(calls: Iterable[Call], limits: Limits) -> Story:
    """Follow every descriptor of every process; the first to be seen was there from the start."""
    calls = list(calls)
    return _Following(calls, limits).story


_WRITABLE = ("O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC", "O_APPEND", "O_TMPFILE")
_HEADERS = {"PNG": b"\x89PNG\r\n\x1a\n", "GIF": b"GIF89a", "GIF ": b"GIF87a", "WebP": b"WEBPVP8"}
_LEADS = {"BMP": re.compile(rb"BM.{4}\0{4}", re.DOTALL), "PNM": re.compile(rb"P[56]\s+\d+\s+\d+\s+\d+\s")}
_JPEG = b"\xff\xd8\xff"
_ALIKE_BYTES = 256
"""So much of a picture has to be there to be told from another: a page of a database may hold no more."""


class _Following:
    def __init__(self, calls: list[Call], limits: Limits) -> None:
        self.story, self._limits = Story(calls=len(calls)), limits
        self._parents = {
            call.result: (call.pid, "CLONE_FILES" in call.text)
            for call in calls
            if call.name in ("clone", "clone3", "fork", "vfork") and call.result > 0
        }
        self._tables: dict[int, dict[int, Opened]] = {}
        self._ended: set[int] = set()
        self._takers: dict[str, Callable[[Call, dict[int, Opened]], None]] = {
            **dict.fromkeys((*OPENS, *NAMES, *MAKES, *BELLS), self._new),
            **dict.fromkeys(MOVES, self._move),
            **dict.fromkeys(WRITES, self._wrote),
            **dict.fromkeys(READS, self._was_read),
            **dict.fromkeys(COPIES, lambda call, _table: self._find("copied", call)),
            **dict.fromkeys(SIZES, self._sized),
            **dict.fromkeys(REACHES, self._reached),
            **dict.fromkeys(PROCESSES, self._multiplied),
            EXIT: self._exit,
        }
        for call in calls:
            self._take(call)

    def _table(self, pid: int) -> dict[int, Opened]:
        """Return a process's descriptors; threads share theirs."""
        if pid not in self._tables:
            parent, shared = self._parents.get(pid, (None, False))
            if parent is None:
                self._tables[pid] = {fd: Opened("stdio", f"<{fd}>", 0.0) for fd in range(3)}
            elif shared:
                self._tables[pid] = self._table(parent)
            else:
                self._tables[pid] = dict(self._table(parent))
                for each in self._tables[pid].values():
                    each.holders += 1
        return self._tables[pid]

    def _exit(self, call: Call, table: dict[int, Opened]) -> None:
        """Close what a process had open, when the last of its threads has ended."""
        del self._tables[call.pid]
        self._ended.add(call.pid)
        if not any(other is table for other in self._tables.values()):
            for fd in list(table):
                self._drop(table, fd, call.at_s)

    def _find(self, kind: str, call: Call, what: str = "") -> None:
        self.story.findings.append(Finding(kind, f"{call.at_s:.6f} {call.name}({call.text[:120]}) {what}"))

    def _take(self, call: Call) -> None:
        table, name = self._table(call.pid), call.name
        if name in self._takers and (call.result >= 0 or name == "connect"):
            self._takers[name](call, table)

    def _multiplied(self, call: Call, _table: dict[int, Opened]) -> None:
        if call.name in ("execve", "execveat"):
            self.story.programs += 1
        elif call.result not in self._ended:
            self._table(call.result)  # now: it has what its parent has at this moment

    def _new(self, call: Call, table: dict[int, Opened]) -> None:
        name, path = call.name, call.strings[-1].decode(errors="replace") if call.strings else ""
        if name in OPENS:
            writable = name == "creat" or any(flag in call.text for flag in _WRITABLE)
            if writable and not self._limits.may_write(path):
                self._find("path", call, path)
            self._put(table, call.result, Opened("file", path, call.at_s, flags=call.text))
        elif name in BELLS:
            self._put(table, call.result, Opened("bell", name, call.at_s))
        elif name == "memfd_create":
            self._put(table, call.result, Opened("memory", path, call.at_s))
        elif name in ("socket", "accept", "accept4"):
            self._put(table, call.result, Opened("socket", call.text, call.at_s))
        elif name in ("socketpair", "pipe", "pipe2"):
            for fd in re.findall(r"\d+", call.text[call.text.index("[") :].partition("]")[0]):
                self._put(table, int(fd), Opened("pipe", call.text, call.at_s))
        elif not self._limits.may_write(path):  # a new name
            self._find("path", call, path)

    def _put(self, table: dict[int, Opened], fd: int, what: Opened) -> None:
        self._drop(table, fd, what.from_s)
        table[fd] = what
        self.story.opened.append(what)

    @staticmethod
    def _drop(table: dict[int, Opened], fd: int, at_s: float) -> None:
        gone = table.pop(fd, None)
        if gone is not None:
            gone.holders -= 1
            if gone.holders == 0:
                gone.to_s = at_s

    def _move(self, call: Call, table: dict[int, Opened]) -> None:
        numbers = [int(number) for number in re.findall(r"-?\b\d+\b", call.text)]
        if call.name == "close":
            self._drop(table, call.first, call.at_s)
        elif call.name == "close_range":
            for fd in [fd for fd in table if numbers[0] <= fd <= numbers[1]]:
                self._drop(table, fd, call.at_s)
        elif call.name != "fcntl" or "F_DUPFD" in call.text:
            old = table.get(call.first)
            if old is not None and call.result != call.first:
                self._drop(table, call.result, call.at_s)
                old.holders += 1
                table[call.result] = old

    @staticmethod
    def _was_read(call: Call, table: dict[int, Opened]) -> None:
        if (from_ := table.get(call.first)) is not None and call.result > 0:
            from_.read_bytes += call.result
            from_.last_read_s = call.at_s

    def _wrote(self, call: Call, table: dict[int, Opened]) -> None:
        to = table.get(call.first) or Opened("unknown", f"<{call.first}>", 0.0)
        if call.name in ("sendto", "sendmsg", "sendmmsg") and "sa_family" in call.text:
            self._reached(call, table)
        size = max(call.result, sum(map(len, call.strings))) if call.name == "sendmmsg" else call.result
        data = b"".join(call.strings)[:size]
        to.written_bytes += size
        self.story.written.append(Written(call.at_s, to, data, size, call.cut))
        if to.kind == "unknown":
            self._find("unknown", call, "no such descriptor was opened")
        if call.cut or (size >= self._limits.frame_bytes and any(data)):
            self._find("frame", call, f"{size} bytes to {to.path}")
        if name := self._picture(data):
            self._find("picture", call, f"{name} to {to.path}")

    def _picture(self, data: bytes) -> str | None:
        """Return what kind of picture is in the data that may not be."""
        for name, header in _HEADERS.items():
            if header in data:
                return name.strip()
        for name, lead in _LEADS.items():
            if lead.match(data):
                return name
        at = data.find(_JPEG)
        while at >= 0:
            if not any(_alike(data[at:], picture) for picture in self._limits.pictures):
                return "JPEG"
            at = data.find(_JPEG, at + 1)
        return None

    def _sized(self, call: Call, table: dict[int, Opened]) -> None:
        """Look at memory that others share. A file that is given a size holds nothing by that."""
        numbers = [int(number) for number in re.findall(r"\b\d+\b", call.text)]
        if call.name == "mmap":
            parts = call.text.split(", ")
            if "MAP_SHARED" not in parts[3] or "PROT_WRITE" not in parts[2]:
                return
            size = int(parts[1])
            to = table.get(int(parts[4]))
            if to is not None and to.kind == "file" and not self._limits.may_write(to.path):
                self._find("path", call, to.path)
        else:
            to = table.get(call.first)
            is_memory = call.name == "shmget" or to is None or to.kind == "memory"
            size = max(numbers, default=0) if is_memory else 0
        if size >= self._limits.frame_bytes:
            self._find("mapped" if call.name == "mmap" else "sized", call)

    def _reached(self, call: Call, table: dict[int, Opened]) -> None:
        strings = iter(call.strings)
        text = re.sub(r"\$", lambda _: next(strings, b"").decode(errors="replace"), call.text)
        address = text[text.index("{") :].partition("}")[0] + "}" if "{" in text else text
        if not self._limits.may_reach(call.name, address):
            self._find("socket", call, address)


def _alike(data: bytes, picture: bytes) -> bool:
    length = min(len(data), len(picture), _ALIKE_BYTES)
    return data[:length] == picture[:length]
