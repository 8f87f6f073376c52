"""What `deskwatch operator` does: each verb an action that returns an exit code.

0 good; 1 not every unit did as told; 2 it could not be done (an error that is raised).
"""

import argparse
import datetime as dt
import time
from collections.abc import Callable, Collection
from pathlib import Path
from threading import Event

from edge.errors import EdgeError
from edge.operator import commanding, ingest, opening, pushing, views, watching
from edge.operator.access import ask, broker_config
from edge.operator.addresses import ANY
from edge.operator.files import key_files, read_secret
from edge.operator.push import Outcome, Progress, verdict
from edge.operator.signing import (
    NotAPolicy,
    SignedPolicy,
    check_time,
    check_units,
    is_envelope,
    make_keys,
    opened,
    read_document,
    read_key,
    sign,
)
from edge.operator.station import Station, heard_until_quiet
from edge.operator.store import Store
from edge.output import complain, put, write_file
from edge.stopping import stop_on_signal
from edge.story import printable
from edge.uplink.command_messages import DiagnoseResult
from edge.uplink.topics import Topics
from edge.uplink.wire import checked_id

GOOD, PARTLY = 0, 1
_SUMMARY_EVERY_S = 10.0


class WrongOptions(EdgeError):
    """Two options do not go together: see the verb's --help."""


class NoUnits(EdgeError):
    """There is no unit to push to: name them with --unit, or check --tenant."""


class PassphrasesDiffer(EdgeError):
    """What was typed differs: type the same passphrase twice."""


def run(arguments: argparse.Namespace) -> int:
    """Do what was typed; return the exit code."""
    return _ACTIONS[arguments.verb](arguments)


def _keygen(arguments: argparse.Namespace) -> int:
    passphrase = None
    if arguments.passphrase_file is not None:
        passphrase = read_secret(arguments.passphrase_file)
    elif arguments.passphrase:
        passphrase = ask("passphrase of the new key", "--passphrase-file")
        if ask("the same again", "--passphrase-file") != passphrase:
            raise PassphrasesDiffer("wanted the same passphrase twice, got two")
    if arguments.seal:
        sealing_key = opening.make_keys(arguments.out, passphrase or None)
        for line in opening.told(arguments.out, sealing_key, encrypted=bool(passphrase)):
            put(line)
        return GOOD
    key = make_keys(arguments.out, passphrase or None)
    private, public = key_files(arguments.out)
    put(f"key id: {key.kid}")
    put(f"{private}: signs policies; keep it here, {'encrypted' if passphrase else 'it has no passphrase'}")
    put(f"{public}: copy it to every unit that shall trust it, and name it in the unit's unit.toml:")
    put("")
    put("[twin]")
    put(f'trusted_keys = ["/etc/deskwatch/{public.name}"]')
    return GOOD


def _sign(arguments: argparse.Namespace) -> int:
    document = read_document(arguments.file)
    if is_envelope(document):
        raise NotAPolicy(f"{arguments.file}: wanted a policy, got one that is signed already")
    signed = sign(document, read_key(arguments.key, arguments.passphrase_file), _labels(arguments.model))
    check_time(signed.policy, dt.datetime.now(dt.UTC))
    out: Path = arguments.out or arguments.file.with_suffix(".jws")
    write_file(out, signed.envelope)
    put(f"{out}: {_described(signed)}")
    return GOOD


def _push(arguments: argparse.Namespace) -> int:
    signed = _signed(arguments)
    config = broker_config(arguments)
    units = sorted(set(arguments.unit or ()))
    for unit in units:
        checked_id("unit", unit)
    check_units(signed.policy, units)
    filters = pushing.filters(arguments.tenant, units, everyone=arguments.fleet)
    with (
        Station(config, filters, lost=lambda error: complain(str(error))) as station,
        stop_on_signal() as stop,
    ):
        heard = heard_until_quiet(station)
        if arguments.fleet:
            units = pushing.fleet(arguments.tenant, heard)
            check_units(signed.policy, units)
        if not units:
            raise NoUnits(f"tenant {arguments.tenant}: wanted units that have said how they are, got none")
        push = pushing.Push(arguments.tenant, signed, units, lambda _progress: None)
        push.note(heard)
        offline = sum(one.offline for one in push.progress.values())
        title = f"{_described(signed)}, to {_counted(len(units), 'unit')}, {offline} of them offline"
        with views.shown(title, push.progress, quiet=arguments.json) as view:
            if view is not None:
                push.changed = view.changed
            push.run(station, arguments.timeout, stop, offline_too=not arguments.no_wait_offline)
    return _result(push.progress.values(), arguments)


def _result(progress: Collection[Progress], arguments: argparse.Namespace) -> int:
    """Tell what became of it at each unit, those that confirmed only by their number."""
    left_out = [
        one
        for one in progress
        if arguments.no_wait_offline and one.offline and one.state is not None and not one.final
    ]
    confirmed = [one for one in progress if one.outcome is Outcome.CONFIRMED]
    for one in progress:
        if arguments.json:
            put(views.outcome_json(one))
        elif one.outcome is not Outcome.CONFIRMED:
            put(printable(f"{one.unit}: {verdict(one)}"))
    wanted = len(progress) - len(left_out)
    if not arguments.json:
        apart = f"; {_counted(len(left_out), 'unit')} offline, not waited for" if left_out else ""
        put(f"confirmed by {len(confirmed)} of {_counted(wanted, 'unit')}{apart}")
    return GOOD if len(confirmed) >= wanted else PARTLY


def _watch(arguments: argparse.Namespace) -> int:
    fleet = watching.Fleet(arguments.tenant)
    filters = watching.filters(arguments.tenant, arguments.unit or ANY, health=arguments.health)
    colour = views.coloured()
    with (
        Station(broker_config(arguments), filters, lost=lambda error: complain(str(error))) as station,
        stop_on_signal() as stop,
    ):
        connections = 1
        while not stop.is_set():
            heard = station.turn(0.5)
            if station.connections != connections:
                connections = station.connections
                complain("connected again; events that came meanwhile are not shown")
            now_at = dt.datetime.now(dt.UTC)
            for line in (line for message in heard for line in fleet.take(message)):
                said = views.json_of(line, now_at) if arguments.json else None
                put(said or views.line_of(line, now_at, colour=colour))
    return GOOD


def _ack(arguments: argparse.Namespace) -> int:
    if arguments.share and not arguments.client_id:
        raise WrongOptions("--share: wanted --client-id beside it, of its own for each member")
    if arguments.share:
        checked_id("--share", arguments.share)  # with a "/" in it, the group would hear other topics, or none
    config = broker_config(
        arguments, client_id=f"ingester-{arguments.tenant}", session_expiry_s=ingest.SESSION_EXPIRY_S
    )
    filters = ingest.filters(arguments.tenant, arguments.share)
    with Store.open(arguments.store, arguments.tenant) as store:
        if store.empty:
            floors = ingest.floors(config, arguments.tenant)
            store.settle_below(floors)
            if floors:
                complain(
                    f"a new store: what {_counted(len(floors), 'unit')} acknowledged before is not in it"
                )
        with (
            Station(config, filters, manual_ack=True, lost=lambda error: complain(str(error))) as station,
            stop_on_signal() as stop,
        ):
            put(f"{arguments.store}: storing what comes from {config.address}; Ctrl-C stops it")
            ingester = ingest.Ingester(arguments.tenant, station, store, complain)
            try:
                _ingest(ingester, stop)
            finally:
                put(_totals(ingester.totals))
    return GOOD


def _ingest(ingester: ingest.Ingester, stop: Event) -> None:
    """Ingest until stopped, and say now and then what came."""
    said, due_s = _totals(ingester.totals), time.monotonic()
    while not stop.is_set():
        ingester.turn(stop)
        totals = _totals(ingester.totals)
        if totals != said and time.monotonic() >= due_s:
            put(f"{dt.datetime.now(dt.UTC).astimezone():%H:%M:%S}  {totals}")
            said, due_s = totals, time.monotonic() + _SUMMARY_EVERY_S


def _command(arguments: argparse.Namespace) -> int:
    topics = Topics(arguments.tenant, arguments.unit)
    order = commanding.Order.new(
        arguments.name,
        arguments.timeout + commanding.MARGIN_S,
        reason=arguments.reason,
        for_s=arguments.for_s,
    )
    reply = commanding.order(broker_config(arguments), topics, order, arguments.timeout)
    if arguments.json:
        put(commanding.json_of(reply))
    elif reply.error is not None:
        error = reply.error
        put(printable(f"{arguments.unit}: refused {arguments.name}: {error.code}: {error.problem}"))
    elif isinstance(reply.result, DiagnoseResult) and reply.result.checks:
        for line in views.diagnosis_lines(arguments.unit, reply.result):
            put(line)
    else:
        for line in commanding.told(reply.result):
            put(printable(f"{arguments.unit}: {line}"))
    return GOOD if reply.error is None else PARTLY


def _open_bundle(arguments: argparse.Namespace) -> int:
    from edge.support.opening import run as open_bundle  # noqa: PLC0415  it brings the tables of the unit's facts

    return open_bundle(arguments)


def _signed(arguments: argparse.Namespace) -> SignedPolicy:
    data, labels = read_document(arguments.file), _labels(arguments.model)
    if is_envelope(data):
        if arguments.key is not None:
            raise WrongOptions(f"--key: {arguments.file} is signed already; leave --key out")
        signed = opened(data, labels)
    elif arguments.key is None:
        raise WrongOptions(f"{arguments.file}: not signed yet: give --key, or sign it first")
    else:
        signed = sign(data, read_key(arguments.key, arguments.passphrase_file), labels)
    check_time(signed.policy, dt.datetime.now(dt.UTC))
    return signed


def _labels(model: str) -> Collection[str]:
    from edge.vision.card import load_card  # noqa: PLC0415
    from edge.vision.model_file import find_card  # noqa: PLC0415

    return load_card(find_card(model)).named_labels


def _described(signed: SignedPolicy) -> str:
    return f"version {signed.policy.version}, sha256 {signed.sha256}, signed by key {signed.kid}"


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _totals(totals: ingest.Totals) -> str:
    said = f"stored {_counted(totals.events, 'event')} ({totals.twice} came again), "
    said += _counted(totals.pictures, "picture")
    if totals.deleted:
        said += f"; deleted {_counted(totals.deleted, 'picture')} at the end of their retention"
    if totals.unreadable:
        said += f"; {totals.unreadable} could not be read: see the table unreadable"
    return said


_ACTIONS: dict[str, Callable[[argparse.Namespace], int]] = {
    "ack": _ack,
    "command": _command,
    "keygen": _keygen,
    "open": opening.run,
    "open-bundle": _open_bundle,
    "push": _push,
    "sign": _sign,
    "watch": _watch,
}
