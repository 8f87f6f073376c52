"""The reading of traces, on lines that are made up: each kind of thing that must not be is found."""

import pytest

from tests.trace import Limits, follow
from tests.trace_lines import parse

FRAME = 640 * 480 * 3


def internet(address, port=1883):
    return f"{{sa_family=AF_INET, sin_port=htons({port}), sin_addr=inet_addr({hexed(address)})}}"


THUMBNAIL = b"\xff\xd8\xff\xe0\0\x10JFIF\0" + bytes(range(1, 250)) * 4


def hexed(data):
    return (
        '"' + "".join(f"\\x{byte:02x}" for byte in (data if isinstance(data, bytes) else data.encode())) + '"'
    )


def story(*lines):
    limits = Limits(
        frame_bytes=FRAME,
        may_write=lambda path: path.startswith("/state/"),
        may_reach=lambda call, address: (
            call == "connect" and "htons(1883)" in address and "127.0.0.1" in address
        ),
        pictures=(THUMBNAIL,),
    )
    stamped = [line if line[:1].isdigit() else f"10 {100 + n}.000000 {line}" for n, line in enumerate(lines)]
    return follow(parse(stamped), limits)


def opened(path, flags="O_RDONLY|O_CLOEXEC", fd=3):
    return f"openat(AT_FDCWD, {hexed(path)}, {flags}, 0644) = {fd}"


WRITABLE = opened("/state/spool.db", "O_RDWR|O_CREAT")


def write(data, fd=3):
    data = data if isinstance(data, bytes) else data.encode()
    return f"write({fd}, {hexed(data)}, {len(data)}) = {len(data)}"


def test_what_a_unit_does_is_no_finding():
    told = story(
        opened("/clip.mkv", fd=4),
        'read(4, "\\x00", 4096) = 4096',
        WRITABLE,
        write("an event"),
        write(b"page" + THUMBNAIL + b"\0\0"),
        write(THUMBNAIL[:300]),
        "mmap(NULL, 32768, PROT_READ|PROT_WRITE, MAP_SHARED, 3, 0) = 0x7f0000000000",
        "mmap(NULL, 1754856, PROT_READ, MAP_SHARED, 4, 0) = 0x7f0000000000",
        "mmap(NULL, 8392704, PROT_NONE, MAP_PRIVATE|MAP_ANONYMOUS|MAP_STACK, -1, 0) = 0x7f0000000000",
        "socket(AF_INET, SOCK_STREAM|SOCK_CLOEXEC, IPPROTO_IP) = 5",
        f"connect(5, {internet('127.0.0.1')}, 16) = -1 EINPROGRESS (Operation now in progress)",
        "fallocate(3, 0, 0, 1048576) = 0",
        write(bytes(1 << 20)),
        f"sendto(5, {hexed(THUMBNAIL)}, {len(THUMBNAIL)}, MSG_NOSIGNAL, NULL, 0) = {len(THUMBNAIL)}",
        f"openat(AT_FDCWD, {hexed('/root/x')}, O_RDONLY) = -1 ENOENT (No such file or directory)",
        "close(4) = 0",
        write("a line of the log", fd=1),
    )
    assert told.findings == []
    (clip,) = told.of("/clip.mkv")
    assert (clip.from_s, clip.to_s, clip.read_bytes) == (100.0, 115.0, 4096)
    assert told.file_bytes() == (1 << 20) + len("an event") + 4 + len(THUMBNAIL) + 2 + 300


@pytest.mark.parametrize(
    ("kind", "lines"),
    [
        ("path", [opened("/root/frame", "O_WRONLY|O_CREAT|O_TRUNC")]),
        ("path", [f"creat({hexed('/tmp/x')}, 0600) = 3"]),
        ("path", [f"rename({hexed('/state/a')}, {hexed('/home/a')}) = 0"]),
        ("path", [f"openat(AT_FDCWD, {hexed('/tmp')}, O_WRONLY|O_TMPFILE, 0600) = 3"]),
        ("path", [opened("/x", fd=4), "mmap(NULL, 4096, PROT_READ|PROT_WRITE, MAP_SHARED, 4, 0) = 0x7f00"]),
        ("frame", [WRITABLE, f'write(3, "\\x00\\x01"..., {FRAME}) = {FRAME}']),
        ("frame", [WRITABLE, f'pwrite64(3, "\\x00"..., {FRAME}, 0) = {FRAME}']),
        ("frame", [WRITABLE, f'writev(3, [{{iov_base="\\x00"..., iov_len={FRAME}}}], 1) = {FRAME}']),
        ("picture", [WRITABLE, write(b"\x89PNG\r\n\x1a\n\0")]),
        ("picture", [WRITABLE, write(b"BM\x36\x10\x0e\0\0\0\0\0\x36\0\0\0")]),
        ("picture", [WRITABLE, write(b"P6\n640 480\n255\n")]),
        ("picture", [WRITABLE, write(b"..." + THUMBNAIL[:100] + b"another picture" * 20)]),
        ("picture", [write(b"\xff\xd8\xff\xdb" + bytes(300), fd=1)]),  # standard output may be a file
        ("copied", [WRITABLE, f"sendfile(3, 4, NULL, {FRAME}) = {FRAME}"]),
        ("copied", [f"copy_file_range(4, NULL, 3, NULL, {FRAME}, 0) = {FRAME}"]),
        ("copied", ["io_uring_setup(8, {flags=0}) = 5"]),
        (
            "mapped",
            [WRITABLE, f"mmap(NULL, {FRAME}, PROT_READ|PROT_WRITE, MAP_SHARED, 3, 0) = 0x7f0000000000"],
        ),
        ("mapped", [f"mmap(NULL, {FRAME}, PROT_WRITE, MAP_SHARED|MAP_ANONYMOUS, -1, 0) = 0x7f0000000000"]),
        ("sized", [f"memfd_create({hexed('x')}, MFD_CLOEXEC) = 3", f"ftruncate(3, {FRAME}) = 0"]),
        ("frame", [WRITABLE, write(bytes(FRAME - 1) + b"1")]),
        ("sized", [f"shmget(IPC_PRIVATE, {FRAME}, IPC_CREAT|0600) = 1"]),
        ("socket", [f"connect(5, {internet('8.8.8.8')}, 16) = 0"]),
        ("socket", [f"connect(5, {internet('127.0.0.1', 80)}, 16) = 0"]),
        ("socket", [f"bind(5, {internet('127.0.0.1')}, 16) = 0"]),
        ("socket", [f"connect(5, {{sa_family=AF_UNIX, sun_path={hexed('/run/other')}}}, 16) = 0"]),
        (
            "socket",
            ["socket(AF_INET, SOCK_DGRAM, 0) = 5", f'sendto(5, "", 0, 0, {internet("9.9.9.9", 53)}, 16) = 0'],
        ),
        ("unknown", [write("to a descriptor that nobody opened", fd=9)]),
    ],
)
def test_what_must_not_be_is_found(kind, lines):
    assert kind in story(*lines).kinds


def test_a_file_is_open_until_the_last_of_its_descriptors_is_closed():
    told = story(
        opened("/clip.mkv"),
        "dup(3) = 4",
        "close(3) = 0",
        opened("/other", fd=3),
        "fcntl(4, F_DUPFD_CLOEXEC, 10) = 10",
        "dup2(3, 4) = 4",
        "close_range(10, 4294967295, 0) = 0",
    )
    assert [(each.from_s, each.to_s) for each in told.of("/clip.mkv")] == [(100.0, 106.0)]
    assert told.of("/other")[0].to_s == float("inf")


def test_threads_share_descriptors_and_processes_have_copies():
    told = story(
        "11 50.000000 close(3) = 0",  # not yet its own
        "10 100.000000 " + opened("/clip.mkv"),
        "10 101.000000 clone3({flags=CLONE_VM|CLONE_FS|CLONE_FILES|CLONE_THREAD}, 88) = 11",
        "10 102.000000 clone(child_stack=NULL, flags=CLONE_CHILD_SETTID|SIGCHLD) = 12",
        "12 103.000000 getppid() = 10",
        "11 104.000000 close(3) = 0",
        "12 105.000000 close(3) = 0",
    )
    assert [(each.from_s, each.to_s) for each in told.of("/clip.mkv")] == [(100.0, 105.0)]


def test_what_is_left_open_closes_with_the_last_thread_of_the_last_process():
    told = story(
        "10 100.000000 " + opened("/clip.mkv"),
        "10 101.000000 clone3({flags=CLONE_VM|CLONE_FILES|CLONE_THREAD}, 88) = 11",
        "10 102.000000 clone(child_stack=NULL, flags=SIGCHLD) = 12",
        "11 103.000000 close(3) = 0",
        "10 104.000000 +++ exited with 0 +++",
        "11 105.000000 +++ exited with 0 +++",
        "12 106.000000 +++ killed by SIGKILL +++",
    )
    assert [(each.from_s, each.to_s) for each in told.of("/clip.mkv")] == [(100.0, 106.0)]


def test_calls_that_others_interrupt_are_put_together():
    told = story(
        f"10 100.000000 openat(AT_FDCWD, {hexed('/clip.mkv')},  <unfinished ...>",
        "11 100.500000 close(4) = 0",
        "10 101.000000 <... openat resumed>O_RDONLY) = 3",
        "10 102.000000 close(3 <unfinished ...>",
        f"11 102.500000 {opened('/other')}",
        "10 103.000000 <... close resumed>) = 0",
        "10 104.000000 +++ exited with 0 +++",
    )
    assert [(each.from_s, each.to_s) for each in told.of("/clip.mkv")] == [(101.0, 102.0)]
    assert len(told.of("/other")) == 1


@pytest.mark.parametrize("line", ["nonsense", "10 100.0 no call", "strace: Process 10 attached"])
def test_a_line_that_is_not_understood_is_not_passed_over(line):
    with pytest.raises(ValueError, match="wanted a"):
        list(parse([line]))
