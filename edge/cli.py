"""The `deskwatch` command. Exit codes: 0 good, 1 a finding or partial failure, 2 an error, 64 usage."""

import argparse
import datetime as dt
import logging
import sys
from collections.abc import Callable, Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from edge import __version__
from edge.errors import EdgeError

if TYPE_CHECKING:
    from edge.vision.detector import Detector

GOOD, FINDING, ERROR, USAGE = 0, 1, 2, 64

_EXIT = "Exit codes: 0 good, 1 a finding or partial failure, 2 an error, 64 wrong usage."


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        print(f"{self.prog}: {message}\nTry: {self.prog} --help", file=sys.stderr)
        raise SystemExit(USAGE)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code."""
    arguments = _parser().parse_args(argv)
    logging.basicConfig(
        level=logging.INFO if arguments.verbose or arguments.command == "run" else logging.WARNING,
        format="%(levelname)s %(name)s: %(message)s" if arguments.verbose else "%(levelname)s: %(message)s",
    )
    action: Callable[[argparse.Namespace], int] = arguments.action
    try:
        return action(arguments)
    except EdgeError as error:
        print(f"deskwatch: {error}", file=sys.stderr)
        recovery = (type(error).__doc__ or "").partition(": ")[2].strip()
        if recovery:
            print(f"  what to do: {' '.join(recovery.split())}", file=sys.stderr)
        return ERROR
    except BrokenPipeError:  # the reader of our output went away: `deskwatch ... | head`
        sys.stderr.close()
        return ERROR
    except KeyboardInterrupt:
        return 130


# Each command imports what it needs: `--help` and `policy check` need no model, and `run` no table.


def _run(arguments: argparse.Namespace) -> int:
    from edge.config import read_config
    from edge.unit import run_unit, stop_on_signal

    with stop_on_signal() as stop:
        run_unit(read_config(arguments.config), stop)
    return GOOD


def _replay(arguments: argparse.Namespace) -> int:
    from edge import offline
    from edge.policy.document import read_policy
    from edge.uplink.records import Record

    policy = read_policy(arguments.policy)
    start_at = offline.start_of_watch(policy, arguments.at or dt.datetime.now(dt.UTC))
    out: Path | None = arguments.out
    if out is not None:
        offline.make_folder(out)

    def tell(record: Record) -> None:
        event = offline.event_of(record)
        picture = offline.save_picture(record, out) if out is not None else None
        if arguments.json:
            print(record.messages[0].payload.decode(), flush=True)
        else:
            suffix = f"  -> {picture}" if picture else ""
            print(f"{offline.line_of(event, start_at)}{suffix}", flush=True)

    detector = _detector(arguments)
    done = offline.replay(
        arguments.source, detector, policy, start_at, tell, seed=arguments.seed, hold_s=arguments.hold
    )
    if not arguments.json:
        shown = f"{done.counts.frames} frames, {done.counts.inferences} inferences, {done.opened} infractions"
        print(f"{shown}, watched from {start_at:%Y-%m-%d %H:%M} UTC")
    for problem in offline.problems(done):
        print(f"deskwatch: {problem}", file=sys.stderr)
    return FINDING if done.opened or offline.problems(done) else GOOD


def _detect(arguments: argparse.Namespace) -> int:
    from edge import detect

    detector = _detector(arguments)
    read = 0
    for path in arguments.images:
        try:
            pixels = detect.read_image(path)
        except detect.ImageUnreadable as error:
            print(f"deskwatch: {error}", file=sys.stderr)
            continue
        read += 1
        found = detector.detect(detector.view(pixels))
        print(detect.detections_json(path, found) if arguments.json else detect.table(path, found))
        if arguments.draw is not None:
            detect.save_drawing(arguments.draw, path, detect.draw(pixels, found), len(arguments.images))
    if not read:
        return ERROR
    return GOOD if read == len(arguments.images) else FINDING


def _demo(arguments: argparse.Namespace) -> int:
    from edge import demo

    demo.run(
        arguments.source,
        arguments.model,
        arguments.policy,
        arguments.out,
        arguments.for_s,
        as_json=arguments.json,
    )
    return GOOD


def _bench(arguments: argparse.Namespace) -> int:
    from edge import bench

    return bench.run(
        arguments.model, seconds=arguments.seconds, frames=arguments.frames, as_json=arguments.json
    )


def _policy_check(arguments: argparse.Namespace) -> int:
    from edge.policy.document import PolicyError, check_labels, read_policy

    if not arguments.file.is_file():
        print(f"deskwatch: {arguments.file}: wanted a policy file, got none", file=sys.stderr)
        return ERROR
    try:
        policy = read_policy(arguments.file)
        if arguments.model is not None:
            from edge.vision.card import load_card
            from edge.vision.model_file import find_card

            check_labels(policy, load_card(find_card(arguments.model)).labels)
    except PolicyError as error:
        print(f"{error}")
        return FINDING
    watch = type(policy.watch).__name__.lower()
    print(f"{arguments.file}: good: version {policy.version}, {len(policy.rules)} rules, {watch}")
    return GOOD


def _model_check(arguments: argparse.Namespace) -> int:
    from edge.vision.card import CardMissing, ModelError
    from edge.vision.detector import Detector
    from edge.vision.model_file import find_card

    try:
        card_path = find_card(arguments.card)
        detector = Detector.load(card_path, threads=1)
    except CardMissing:
        raise
    except ModelError as error:
        print(f"{error}")
        return FINDING
    card, runtime = detector.card, detector.interpreter.runtime
    size = f"{card.input.width_px}x{card.input.height_px}"
    labels = sum(label != "???" for label in card.labels)
    print(f"{card_path}: good: {card.file}, {size}, {labels} labels, {runtime.name} {runtime.version}")
    return GOOD


def _model_fetch(arguments: argparse.Namespace) -> int:
    from edge.vision.card import load_card
    from edge.vision.fetch import fetch
    from edge.vision.model_file import find_card

    card_path = find_card(arguments.name)
    path = fetch(load_card(card_path), arguments.into or card_path.parent)
    print(f"{path}: fetched and verified")
    return GOOD


def _detector(arguments: argparse.Namespace) -> "Detector":
    from edge.vision.detector import Detector
    from edge.vision.model_file import find_card

    return Detector.load(find_card(arguments.model), threads=arguments.threads, backend=arguments.interpreter)


def _moment(text: str) -> dt.datetime:
    moment = dt.datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)


def _default(name: str) -> Path:
    return Path(str(resources.files("edge.defaults").joinpath(name)))


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="deskwatch", description=_ABOUT, epilog=_EXIT)
    parser.add_argument("--version", action="version", version=f"deskwatch {__version__}")
    parser.add_argument("-v", "--verbose", action="store_true", help="say more on standard error")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=_Parser)

    demo = _command(commands, "demo", _demo, "see it work: a clip, a broker, and what arrives there")
    demo.add_argument("--for", dest="for_s", type=_positive, metavar="S", help="stop after S seconds")
    demo.add_argument(
        "--source", type=Path, nargs="+", metavar="SOURCE", help="images, folders or clips to play"
    )
    _model_option(demo, required=False)
    demo.add_argument(
        "--policy", type=Path, default=_default("policy.json"), help="default: the one that ships"
    )
    demo.add_argument(
        "--out", type=Path, default=Path("out/demo"), help="for pictures and page (%(default)s)"
    )
    _json_option(demo, "one line per message received at the broker")

    run = _command(commands, "run", _run, "watch: the daemon of a unit")
    run.add_argument("--config", type=Path, required=True, metavar="unit.toml", help=_CONFIG_HELP)

    replay = _command(
        commands, "replay", _replay, "the whole watch on an image, a folder of images, or a clip"
    )
    replay.add_argument(
        "source", type=Path, metavar="SOURCE", help="an image, a folder of images, a video or GIF"
    )
    _model_option(replay)
    replay.add_argument(
        "--policy", type=Path, default=_default("policy.json"), help="default: the one that ships"
    )
    replay.add_argument("--out", type=Path, metavar="FOLDER", help="save thumbnails there")
    replay.add_argument(
        "--at",
        type=_moment,
        metavar="TIME",
        help="when the footage begins, ISO 8601 (now, or the next shift)",
    )
    replay.add_argument(
        "--hold", type=_positive, default=5.0, metavar="S", help="show an image so long (%(default)s)"
    )
    replay.add_argument("--seed", type=int, metavar="N", help="repeat the random spot checks and event ids")
    _json_option(replay, "one CloudEvent a line, as a unit publishes it")

    detect = _command(commands, "detect", _detect, "what the model sees in images")
    detect.add_argument("images", type=Path, nargs="+", metavar="IMAGE")
    _model_option(detect)
    detect.add_argument(
        "--draw", type=Path, metavar="OUT", help="save with boxes: a file, or a folder for several"
    )
    _json_option(detect, "one line per image, boxes as x0, y0, x1, y1 in 0-1")

    bench = _command(commands, "bench", _bench, "the watch beside the bare interpreter, in one process")
    _model_option(bench, required=False)
    bench.add_argument(
        "--seconds", type=_positive, default=60.0, metavar="S", help="how long to measure (%(default)s)"
    )
    bench.add_argument(
        "--frames", type=int, default=0, metavar="N", help="also replay N frames and watch memory"
    )
    _json_option(bench, "all figures as one object")

    policy = commands.add_parser(
        "policy", help="check a policy document", description="Check a policy document."
    )
    policies = policy.add_subparsers(dest="verb", required=True, metavar="VERB", parser_class=_Parser)
    check = _command(policies, "check", _policy_check, "say whether a policy is good, or where it is wrong")
    check.add_argument("file", type=Path, metavar="FILE")
    check.add_argument("--model", metavar="CARD", help="check its labels against this model too")

    model = commands.add_parser("model", help="check or fetch a model", description="Check or fetch a model.")
    models = model.add_subparsers(dest="verb", required=True, metavar="VERB", parser_class=_Parser)
    check = _command(models, "check", _model_check, "load a model and compare it with its card")
    check.add_argument("card", metavar="CARD", help=_CARD_HELP)
    fetch = _command(models, "fetch", _model_fetch, "download the model of a card and verify it")
    fetch.add_argument("name", metavar="NAME", help=_CARD_HELP)
    fetch.add_argument("--into", type=Path, metavar="FOLDER", help="default: beside the card")
    return parser


_ABOUT = "The firmware of a smart webcam that watches a desk against a clean-desk policy."
_CARD_HELP = "a name in models/, or the path of a card"
_CONFIG_HELP = "identity, broker, camera, paths; a commented example: edge/defaults/unit.toml"


def _command(
    commands: "argparse._SubParsersAction[_Parser]",
    name: str,
    action: Callable[[argparse.Namespace], int],
    about: str,
) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        name, help=about, description=f"{about[0].upper()}{about[1:]}.", epilog=_EXIT
    )
    parser.set_defaults(action=action)
    return parser


def _model_option(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    parser.add_argument("--model", metavar="CARD", required=required, help=_CARD_HELP)
    parser.add_argument(
        "--threads", type=int, choices=range(1, 17), default=2, metavar="N", help="(%(default)s)"
    )
    parser.add_argument(
        "--interpreter", choices=("auto", "litert", "tflite"), default="auto", help="(%(default)s)"
    )


def _json_option(parser: argparse.ArgumentParser, about: str) -> None:
    parser.add_argument("--json", action="store_true", help=about)


def _positive(text: str) -> float:
    value = float(text)
    if not 0.0 < value < 1e6:
        raise argparse.ArgumentTypeError(f"wanted seconds above 0, got {text}")
    return value


if __name__ == "__main__":
    sys.exit(main())
