"""`deskwatch operator open-bundle`: what a unit's support bundle says, at the other end."""

import argparse
from collections.abc import Iterator
from pathlib import Path

import msgspec

from edge.border import read_bounded
from edge.errors import EdgeError
from edge.evidence.sealing import OVERHEAD_BYTES, open_bundle
from edge.operator.opening import read_key
from edge.output import put
from edge.story import printable
from edge.support.bundle import MAX_BYTES, Bundle, Value, decode

GOOD = 0


class NoBundleFile(EdgeError):
    """The bundle cannot be read: give the file that `deskwatch support-bundle` wrote."""


def run(arguments: argparse.Namespace) -> int:
    """Print what is in a bundle; return the exit code. Raises EdgeError."""
    path: Path = arguments.file
    try:
        sealed = read_bounded(path, MAX_BYTES + OVERHEAD_BYTES)
    except OSError as error:
        raise NoBundleFile(f"{path}: wanted a support bundle, got: {error.strerror}") from error
    keys = [read_key(each, arguments.passphrase_file) for each in arguments.key]
    document = open_bundle(sealed, keys)
    bundle = decode(document)
    if arguments.json:
        put(msgspec.json.encode(bundle).decode())
        return GOOD
    for line in lines_of(bundle):
        put(printable(line))
    return GOOD


def lines_of(bundle: Bundle) -> Iterator[str]:
    """Give a bundle as a table, what is wrong before what is well."""
    what = "it ran" if bundle.running else "it did not run, so there are no facts"
    yield f"{bundle.unit} of {bundle.tenant}, {bundle.made_at}: {what}"
    yield from _part("versions", msgspec.structs.asdict(bundle.versions))
    bad = {"fail": 0, "warn": 1, "skip": 2, "pass": 3}
    yield from _title("checks", bundle.checks)
    for check in sorted(bundle.checks, key=lambda one: bad[one.status]):
        number = "" if check.number is None else f"{check.number:g} {check.unit}"
        yield f"  {check.status:<5} {check.name:<24} {check.code:<24} {number}".rstrip()
    yield from _title("errors", bundle.errors)
    for error in bundle.errors:
        yield f"  {error.count:>4} x {error.level:<8} {error.logger}: {error.template}"
    yield from _part("facts", bundle.facts)
    yield from _part("settings", bundle.settings)
    if bundle.policy is not None:
        rules = ", ".join(f"{count} {kind}" for kind, count in bundle.policy.rules.items())
        rest = {k: v for k, v in msgspec.structs.asdict(bundle.policy).items() if k != "rules"}
        yield from _part("policy", {**rest, "rules": rules})
    yield from _part("left out", msgspec.structs.asdict(bundle.left_out))


def _title(name: str, what: object) -> Iterator[str]:
    yield ""
    yield name if what else f"{name}: none"


def _part(name: str, values: dict[str, Value]) -> Iterator[str]:
    yield from _title(name, values)
    for key, value in values.items():
        yield f"  {key:<32} {_shown(value)}"


def _shown(value: Value) -> str:
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case str():
            return value
        case _:
            return f"{value:.0f}" if float(value).is_integer() else f"{value:.10g}"
