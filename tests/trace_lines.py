"""From the lines of `strace -f -ttt -xx` to system calls. `command` is how the lines are made."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

WRITES = ("write", "pwrite64", "writev", "pwritev", "pwritev2", "sendto", "sendmsg", "sendmmsg")
READS = ("read", "pread64", "readv", "preadv", "preadv2")
COPIES = ("sendfile", "copy_file_range", "splice", "tee", "vmsplice", "io_uring_setup", "process_vm_writev")
OPENS = ("open", "openat", "openat2", "creat")
NAMES = ("rename", "renameat", "renameat2", "link", "linkat", "symlink", "symlinkat", "mknod", "mknodat")
MOVES = ("close", "close_range", "dup", "dup2", "dup3", "fcntl")
MAKES = ("memfd_create", "socket", "socketpair", "accept", "accept4", "pipe", "pipe2")
BELLS = (
    "eventfd",
    "eventfd2",
    "epoll_create",
    "epoll_create1",
    "timerfd_create",
    "signalfd4",
    "inotify_init1",
)
SIZES = ("mmap", "ftruncate", "fallocate", "shmget")
REACHES = ("connect", "bind")
PROCESSES = ("clone", "clone3", "fork", "vfork", "execve", "execveat")
STRING_MAX = 2 << 20
EXIT = "+++"
"""What stands for the end of a thread among the calls."""


def command(output: object) -> list[str]:
    """Return what stands before the program to be traced; it stays the caller's child, the tracer is not."""
    names = (*WRITES, *READS, *COPIES, *OPENS, *NAMES, *MOVES, *MAKES, *BELLS, *SIZES, *REACHES, *PROCESSES)
    traced = ",".join(f"?{name}" for name in names)  # not every machine has all
    head = ["strace", "-D", "-f", "--seccomp-bpf", "-q", "-ttt", "-xx", "-s", str(STRING_MAX)]
    return [*head, "-e", f"trace={traced}", "-e", "signal=none", "-o", str(output)]


@dataclass(frozen=True, slots=True)
class Call:
    """A system call that returned."""

    pid: int
    at_s: float
    """Wall time at which it was begun; of an unfinished one, at which it ended."""
    name: str
    text: str
    """Its arguments, each string replaced by `$`."""
    strings: tuple[bytes, ...]
    result: int
    cut: bool = False
    """Whether a string was too long to be shown whole."""

    @property
    def first(self) -> int:
        """The first argument, a descriptor."""
        found = re.match(r"-?\d+", self.text)
        return int(found[0]) if found else -1


_LINE = re.compile(r"(\d+) +(\d+\.\d+) (.*)")
_CALL = re.compile(r"(\w+)\((.*)\) += (-?\d+|0x[0-9a-f]+|\?)", re.DOTALL)
_STRING = re.compile(r'"((?:\\x[0-9a-f]{2})*)"(\.\.\.)?')
_RESUMED = re.compile(r"<\.\.\. (\w+) resumed>(.*)", re.DOTALL)


def parse(lines: Iterable[str]) -> Iterator[Call]:
    """Give each call, in the order in which they ended. Raises ValueError for what is no such line."""
    begun: dict[int, str] = {}
    for line in lines:
        found = _LINE.match(line.rstrip("\n"))
        if found is None:
            raise ValueError(f"wanted a line of strace -f -ttt, got {line[:200]!r}")
        pid, at_s, rest = int(found[1]), float(found[2]), found[3]
        if rest.startswith("+++"):
            yield Call(pid, at_s, EXIT, "", (), 0)
            continue
        if rest.endswith("<unfinished ...>"):
            begun[pid] = rest.removesuffix("<unfinished ...>")
            if not rest.startswith("close("):
                continue
            rest = f"{begun[pid].rstrip()}) = 0"  # the kernel may give the number away before it returns
        elif resumed := _RESUMED.match(rest):
            rest = begun.pop(pid, f"{resumed[1]}(") + resumed[2]
            if resumed[1] == "close":
                continue
        call = _call(pid, at_s, rest)
        if call is None:
            raise ValueError(f"wanted a system call, got {line[:200]!r}")
        yield call


def _call(pid: int, at_s: float, rest: str) -> Call | None:
    found = _CALL.match(rest)
    if found is None:
        return None
    strings = [(bytes.fromhex(s[1].replace("\\x", "")), bool(s[2])) for s in _STRING.finditer(found[2])]
    return Call(
        pid,
        at_s,
        found[1],
        _STRING.sub("$", found[2]),
        tuple(data for data, _ in strings),
        -1 if found[3] == "?" else int(found[3], 0),
        any(cut for _, cut in strings),
    )
