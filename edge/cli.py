"""The `deskwatch` command. Exit codes: 0 good, 1 a finding or partial failure, 2 an error, 64 usage."""

import argparse
import contextlib
import datetime as dt
import io
import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edge.arguments import make_parser
from edge.errors import EdgeError
from edge.journal import JournalFormatter, to_journal
from edge.output import StdoutUnwritable, complain, make_folder, put

if TYPE_CHECKING:
    from edge.vision.detector import Detector

GOOD, FINDING, ERROR, INTERRUPTED = 0, 1, 2, 130
NOT_RUN = 3
"""Of `diagnose`, where 2 is that a check fails."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code."""
    _ready_streams()
    try:
        arguments = make_parser().parse_args(argv)
        _log_to_stderr(arguments)
        return _ACTIONS[arguments.action](arguments)
    except EdgeError as error:
        _explain(error)
        return ERROR
    except BrokenPipeError:  # the reader of our output went away: `deskwatch ... | head`
        _give_up_stdout()
        return ERROR
    except KeyboardInterrupt:
        return INTERRUPTED


def _ready_streams() -> None:
    """Let a file name that is no text be printed, and never a complaint go to standard output.

    Python has None for a standard stream that is closed; for standard error, argparse and `print` then choose
    standard output. The null device takes its number too, lest the next file that is opened does.
    """
    if sys.stdout is None:
        sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115  open to the end
    if sys.stderr is None:
        sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115  open to the end
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _log_to_stderr(arguments: argparse.Namespace) -> None:
    form = "%(levelname)s %(name)s: %(message)s" if arguments.verbose else "%(levelname)s: %(message)s"
    handler = logging.StreamHandler()
    handler.setFormatter(JournalFormatter(form) if to_journal() else logging.Formatter(form))
    level = logging.INFO if arguments.verbose or arguments.command == "run" else logging.WARNING
    logging.basicConfig(level=level, handlers=[handler])


def _explain(error: EdgeError) -> None:
    recovery = " ".join((type(error).__doc__ or "").partition(": ")[2].split())
    complain(f"{error}\n  what to do: {recovery}" if recovery else str(error))
    if isinstance(error, StdoutUnwritable):
        _give_up_stdout()


def _give_up_stdout() -> None:
    """Let what is still buffered go nowhere: Python's own last flush would complain of it once more."""
    with contextlib.suppress(OSError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


# Each command imports what it needs: `--help` and `policy check` need no model, and `run` no table.


def _run(arguments: argparse.Namespace) -> int:
    from edge.daemon import run_unit
    from edge.stopping import stop_on_signal

    with stop_on_signal() as stop:
        run_unit(arguments.config, stop, safe=arguments.safe)
    return GOOD


def _replay(arguments: argparse.Namespace) -> int:
    from edge import offline
    from edge.policy.document import read_policy
    from edge.story import line_of
    from edge.uplink.records import Record

    policy = read_policy(arguments.policy)
    start_at = offline.start_of_watch(policy, arguments.at or dt.datetime.now(dt.UTC))
    out: Path | None = arguments.out
    if out is not None:
        make_folder(out)

    def tell(record: Record) -> None:
        event = offline.event_of(record)
        picture = offline.save_picture(record, out) if out is not None else None
        if arguments.json:
            put(record.messages[0].payload.decode())
        else:
            suffix = f"  -> {picture}" if picture else ""
            put(f"{line_of(event, start_at)}{suffix}")

    detector = _detector(arguments)
    done = offline.replay(
        arguments.source,
        detector,
        policy,
        start_at,
        tell,
        seed=arguments.seed,
        hold_s=arguments.hold,
        breaks=[offline.PlannedBreak(*span) for span in arguments.breaks],
    )
    if not arguments.json:
        found = f"{done.opened} infraction{'' if done.opened == 1 else 's'}"
        shown = f"{done.counts.frames} frames, {done.counts.inferences} inferences, {found}"
        put(f"{shown}, watched from {start_at:%Y-%m-%d %H:%M} UTC")
    for problem in done.problems:
        complain(problem)
    return FINDING if done.opened or done.problems else GOOD


def _detect(arguments: argparse.Namespace) -> int:
    from edge import detect
    from edge.capture.footage import read_image
    from edge.capture.frame import FootageError

    images: list[Path] = arguments.images
    drawings: Sequence[Path | None] = [None] * len(images)
    if arguments.draw:
        drawings = paths = detect.drawing_paths(arguments.draw, images)
        detect.prepare(paths, images)
    detector = _detector(arguments)
    read = 0
    for path, drawing in zip(images, drawings, strict=True):
        try:
            pixels = read_image(path)
        except FootageError as error:
            complain(str(error))
            continue
        read += 1
        found = detector.detect(detector.view(pixels))
        put(detect.detections_json(path, found) if arguments.json else detect.table(path, found))
        if drawing is not None:
            detect.save_drawing(drawing, detect.draw(pixels, found))
    if not read:
        return ERROR
    return GOOD if read == len(images) else FINDING


def _demo(arguments: argparse.Namespace) -> int:
    from edge import demo

    problems = demo.run(
        arguments.source,
        arguments.model,
        arguments.policy,
        arguments.out,
        arguments.for_s,
        as_json=arguments.json,
        threads=arguments.threads,
        backend=arguments.interpreter,
    )
    for problem in problems:
        complain(problem)
    return FINDING if problems else GOOD


def _bench(arguments: argparse.Namespace) -> int:
    from edge.bench.report import measure, table

    report = measure(
        arguments.model,
        seconds=arguments.seconds,
        frames=arguments.frames,
        backend=arguments.interpreter,
    )
    put(report.json() if arguments.json else table(report))
    return FINDING if report.void else GOOD


def _operator(arguments: argparse.Namespace) -> int:
    from edge.operator_commands import run

    return run(arguments)


def _at_unit(arguments: argparse.Namespace) -> int:
    from edge.at_unit import run

    return run(arguments)


def _log(arguments: argparse.Namespace) -> int:
    from edge.logbook.command import run

    return run(arguments)


def _aim(arguments: argparse.Namespace) -> int:
    from edge.aim_view import run

    return run(arguments)


def _diagnose(arguments: argparse.Namespace) -> int:
    from edge.diagnosis.command import run

    try:
        return run(arguments)
    except EdgeError as error:
        _explain(error)
        return NOT_RUN


def _status(arguments: argparse.Namespace) -> int:
    from edge.status.command import run

    return run(arguments)


def _support_bundle(arguments: argparse.Namespace) -> int:
    from edge.support.command import run

    return run(arguments)


def _provision(arguments: argparse.Namespace) -> int:
    from edge.provision.command import run

    return run(arguments)


def _reset(arguments: argparse.Namespace) -> int:
    from edge.reset import run

    return run(arguments)


def _policy_check(arguments: argparse.Namespace) -> int:
    from edge.file_commands import check_policy

    return check_policy(arguments)


def _model_check(arguments: argparse.Namespace) -> int:
    from edge.file_commands import check_model

    return check_model(arguments)


def _model_fetch(arguments: argparse.Namespace) -> int:
    from edge.file_commands import fetch_model

    return fetch_model(arguments)


def _detector(arguments: argparse.Namespace) -> "Detector":
    from edge.vision.detector import Detector
    from edge.vision.model_file import find_card

    return Detector.load(find_card(arguments.model), threads=arguments.threads, backend=arguments.interpreter)


_ACTIONS: dict[str, Callable[[argparse.Namespace], int]] = {
    "aim": _aim,
    "bench": _bench,
    "break": _at_unit,
    "demo": _demo,
    "detect": _detect,
    "diagnose": _diagnose,
    "log": _log,
    "model check": _model_check,
    "model fetch": _model_fetch,
    "notice": _at_unit,
    "operator": _operator,
    "policy check": _policy_check,
    "provision": _provision,
    "repair": _at_unit,
    "replay": _replay,
    "reset": _reset,
    "resume": _at_unit,
    "run": _run,
    "support-bundle": _support_bundle,
    "status": _status,
}

if __name__ == "__main__":
    sys.exit(main())
