"""What may be typed behind `deskwatch`. Each command names its action; `cli.py` has the actions."""

import argparse
import sys
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from edge import __version__, operator_arguments, provision_arguments, technician_arguments, typed
from edge.output import put
from edge.vision.model_file import DEFAULT_CARD

if TYPE_CHECKING:
    from _typeshed import SupportsWrite

USAGE = 64
"""EX_USAGE of sysexits.h."""

_ABOUT = "The firmware of a smart webcam that watches a desk against a clean-desk policy."
_EXIT = "Exit codes: 0 good, 1 a finding or partial failure, 2 an error, 64 wrong usage."
_CARD_HELP = "a name in models/, or the path of a card"
_CONFIG_HELP = "identity, broker, camera, paths; a commented example: edge/defaults/unit.toml"


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(USAGE, f"{self.prog}: {message}\nTry: {self.prog} --help\n")

    def _print_message(self, message: str, file: "SupportsWrite[str] | None" = None) -> None:
        """Write --help and --version as all output is written: argparse would swallow that it could not."""
        if file is sys.stdout:
            put(message.removesuffix("\n"))
        else:
            super()._print_message(message, file)


_Commands = argparse._SubParsersAction  # noqa: SLF001  argparse has no public name for it


def make_parser() -> argparse.ArgumentParser:
    """Return the parser; what it parses has `action`, such as `policy check`."""
    parser = _Parser(prog="deskwatch", description=_ABOUT, epilog=_EXIT)
    parser.add_argument("--version", action="version", version=f"deskwatch {__version__}")
    parser.add_argument("-v", "--verbose", action="store_true", help="say more on standard error")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=_Parser)
    _demo(commands)
    run = _command(commands, "run", "watch: the daemon of a unit")
    run.add_argument("--config", type=Path, required=True, metavar="unit.toml", help=_CONFIG_HELP)
    safe_help = "with the camera off: deliver what waits, and answer; what the service falls back to"
    run.add_argument("--safe", action="store_true", help=safe_help)
    _at_unit(commands)
    _log(commands)
    technician_arguments.add(lambda name, about: _command(commands, name, about))
    provision_arguments.add(lambda name, about: _command(commands, name, about))
    _replay(commands)
    _detect(commands)
    _bench(commands)
    _policy(_group(commands, "policy", "check a policy document"))
    _model(_group(commands, "model", "check or fetch a model"))
    _operator(_group(commands, "operator", "the other end: keys, policies, a fleet, its events and pictures"))
    return parser


def _demo(commands: "_Commands[_Parser]") -> None:
    demo = _command(commands, "demo", "see it work: a clip, a broker, and what arrives there")
    demo.add_argument("--for", dest="for_s", type=typed.seconds, metavar="S", help="stop after S seconds")
    demo.add_argument(
        "--source",
        type=Path,
        nargs="+",
        metavar="SOURCE",
        help="images, folders or clips to play (the project's own clip)",
    )
    _model_options(demo)
    _threads_option(demo)
    _policy_option(demo)
    demo.add_argument(
        "--out", type=Path, default=Path("out/demo"), help="for pictures and page (%(default)s)"
    )
    _json_option(demo, "one line per message received at the broker")


def _at_unit(commands: "_Commands[_Parser]") -> None:
    """Add what is typed at a unit: a socket in its state folder leads to it."""
    take = _command(commands, "break", "start a break at this unit: the camera closes at once")
    reason_help = "a few words; your employer reads them too (none)"
    take.add_argument("--reason", default="", metavar="TEXT", help=reason_help)
    resume = _command(commands, "resume", "end the break")
    notice = _command(commands, "notice", "what the worker is told, and accepts before anything is captured")
    word = notice.add_mutually_exclusive_group()
    word.add_argument("--accept", action="store_true", help="accept it, having read it")
    word.add_argument("--withdraw", action="store_true", help="take that back: nothing is captured any more")
    repair = _command(commands, "repair", "keep the camera closed until a repair is done")
    which = repair.add_mutually_exclusive_group(required=True)
    which.add_argument("--reason", type=typed.words, metavar="TEXT", help="begin one, for this reason")
    which.add_argument("--done", action="store_true", help="it is done")
    for parser in (take, resume, notice, repair):
        _config_option(parser, "of the unit that runs here (%(default)s)")


def _log(commands: "_Commands[_Parser]") -> None:
    log = _command(commands, "log", "what this unit saw and sent: the worker's own log")
    _config_option(log, "of the unit whose log it is (%(default)s)")
    form = log.add_mutually_exclusive_group()
    form.add_argument("--verify", action="store_true", help="say only whether it is whole")
    form.add_argument("--html", type=Path, metavar="FILE", help="save it as a page, pictures included")
    _json_option(form, "one entry a line, as it is stored")
    head_help = "say whether an entry noted before is still in it, unchanged"
    form.add_argument("--head", nargs="+", metavar="HASH", help=head_help)


def _replay(commands: "_Commands[_Parser]") -> None:
    replay = _command(commands, "replay", "the whole watch on an image, a folder of images, or a clip")
    replay.add_argument(
        "source", type=Path, metavar="SOURCE", help="an image, a folder of images, a video or GIF"
    )
    _model_options(replay)
    _threads_option(replay)
    _policy_option(replay)
    replay.add_argument("--out", type=Path, metavar="FOLDER", help="save thumbnails there")
    at_help = "when the footage begins, ISO 8601 (now, or the next shift)"
    replay.add_argument("--at", type=typed.moment, metavar="TIME", help=at_help)
    replay.add_argument(
        "--hold", type=typed.seconds, default=5.0, metavar="S", help="show an image so long (%(default)s)"
    )
    replay.add_argument(
        "--break",
        dest="breaks",
        type=typed.span,
        action="append",
        default=[],
        metavar="START-END",
        help="take a break, in seconds from the begin: 3-8; the footage runs on unseen (none)",
    )
    replay.add_argument("--seed", type=int, metavar="N", help="repeat the random spot checks and event ids")
    _json_option(replay, "one CloudEvent a line, as a unit publishes it")


def _detect(commands: "_Commands[_Parser]") -> None:
    detect = _command(commands, "detect", "what the model sees in images")
    detect.add_argument("images", type=Path, nargs="+", metavar="IMAGE")
    _model_options(detect)
    _threads_option(detect)
    detect.add_argument(
        "--draw", type=Path, metavar="OUT", help="save with boxes: a file, or a folder for several"
    )
    _json_option(detect, "one line per image, boxes as x0, y0, x1, y1 in 0-1")


def _bench(commands: "_Commands[_Parser]") -> None:
    bench = _command(commands, "bench", "the watch beside the bare interpreter, on one thread and on two")
    _model_options(bench)
    bench.add_argument(
        "--seconds",
        type=typed.measured_seconds,
        default=60.0,
        metavar="S",
        help="so long (%(default)s)",
    )
    bench.add_argument(
        "--frames", type=typed.count, default=0, metavar="N", help="also replay N frames and watch memory"
    )
    _json_option(bench, "all figures as one object")


def _policy(verbs: "_Commands[_Parser]") -> None:
    check = _command(verbs, "check", "say whether a policy is good, or where it is wrong", of="policy")
    check.add_argument("file", type=Path, metavar="FILE")
    _model_option(check)


def _model(verbs: "_Commands[_Parser]") -> None:
    check = _command(verbs, "check", "load a model and compare it with its card", of="model")
    check.add_argument("card", metavar="CARD", help=_CARD_HELP)
    fetch = _command(verbs, "fetch", "download the model of a card and verify it", of="model")
    fetch.add_argument("name", metavar="NAME", help=_CARD_HELP)
    fetch.add_argument("--into", type=Path, metavar="FOLDER", help="default: beside the card")


def _operator(verbs: "_Commands[_Parser]") -> None:
    def verb(name: str, about: str) -> argparse.ArgumentParser:
        parser = _command(verbs, name, about, of="operator")
        parser.set_defaults(action="operator")
        return parser

    operator_arguments.add(verb, _model_option, typed.seconds)


def _command(commands: "_Commands[_Parser]", name: str, about: str, of: str = "") -> argparse.ArgumentParser:
    parser = commands.add_parser(
        name, help=about, description=f"{about[0].upper()}{about[1:]}.", epilog=_EXIT
    )
    parser.set_defaults(action=f"{of} {name}".strip())
    return parser


def _group(commands: "_Commands[_Parser]", name: str, about: str) -> "_Commands[_Parser]":
    group = commands.add_parser(name, help=about, description=f"{about[0].upper()}{about[1:]}.")
    return group.add_subparsers(dest="verb", required=True, metavar="VERB", parser_class=_Parser)


def _config_option(parser: argparse.ArgumentParser, about: str) -> None:
    default = Path("/etc/deskwatch/unit.toml")
    parser.add_argument("--config", type=Path, default=default, metavar="unit.toml", help=about)


def _model_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", metavar="CARD", default=DEFAULT_CARD, help=f"{_CARD_HELP} (%(default)s)")


def _model_options(parser: argparse.ArgumentParser) -> None:
    _model_option(parser)
    parser.add_argument(
        "--interpreter", choices=("auto", "litert", "tflite"), default="auto", help="(%(default)s)"
    )


def _threads_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--threads", type=int, choices=range(1, 17), default=2, metavar="N", help="(%(default)s)"
    )


def _policy_option(parser: argparse.ArgumentParser) -> None:
    default = Path(str(resources.files("edge.defaults").joinpath("policy.json")))
    parser.add_argument("--policy", type=Path, default=default, help="default: the one that ships")


def _json_option(parser: "argparse._ActionsContainer", about: str) -> None:
    parser.add_argument("--json", action="store_true", help=about)
