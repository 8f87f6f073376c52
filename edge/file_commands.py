"""The commands on files at a desk: is a policy good, is a model; and fetching one."""

import argparse
import contextlib
import datetime as dt
import sys
from collections.abc import Iterator

from edge.offline import start_of_watch
from edge.output import put
from edge.policy.document import PolicyError, PolicyMissing, check_labels, read_policy
from edge.vision.card import CardMissing, ModelError, load_card
from edge.vision.detector import Detector
from edge.vision.fetch import Progress, fetch
from edge.vision.model_file import find_card

GOOD, FINDING = 0, 1


def check_policy(arguments: argparse.Namespace) -> int:
    """Say whether a policy is good for a model; return the exit code."""
    card = load_card(find_card(arguments.model))
    try:
        policy = read_policy(arguments.file)
        check_labels(policy, card.named_labels)
        start_at = start_of_watch(policy, dt.datetime.now(dt.UTC)).astimezone(policy.zone)
    except PolicyMissing:
        raise
    except PolicyError as error:
        put(f"{error}")
        return FINDING
    watch = type(policy.watch).__name__.lower()
    good = f"good: version {policy.version}, {len(policy.rules)} rules, {watch}"
    put(f"{arguments.file}: {good}, on labels of {card.name}")
    expires = f"{policy.expires_at:%Y-%m-%d %H:%M %Z}"
    if (recipient := policy.thumbnail.sealed_to) is not None:
        put(f"  its pictures are sealed to key {recipient.kid}")
    put(f"  watches from {start_at:%a %Y-%m-%d %H:%M} {policy.timezone}, expires {expires}")
    return GOOD


def check_model(arguments: argparse.Namespace) -> int:
    """Say whether a model is what its card says; return the exit code."""
    try:
        card_path = find_card(arguments.card)
        detector = Detector.load(card_path, threads=1)
    except CardMissing:
        raise
    except ModelError as error:
        put(f"{error}")
        return FINDING
    card, runtime = detector.card, detector.interpreter.runtime
    size = f"{card.input.width_px}x{card.input.height_px}"
    labels = f"{len(card.named_labels)} labels"
    put(f"{card_path}: good: {card.file}, {size}, {labels}, {runtime.name} {runtime.version}")
    return GOOD


def fetch_model(arguments: argparse.Namespace) -> int:
    """Fetch a model and verify it; return the exit code."""
    card_path = find_card(arguments.name)
    with _progress() as progress:
        path = fetch(load_card(card_path), arguments.into or card_path.parent, progress=progress)
    put(f"{path}: in place and verified")
    return GOOD


@contextlib.contextmanager
def _progress() -> Iterator[Progress]:
    """Show on a terminal how many bytes have come, in one line that is gone at the end."""
    if sys.stderr is None or not sys.stderr.isatty():
        yield lambda _done, _total: None
        return

    def show(done: int, total: int | None) -> None:
        of = f" of {total / 1e6:.1f}" if total else ""
        sys.stderr.write(f"\r{done / 1e6:.1f}{of} MB")

    try:
        yield show
    finally:
        sys.stderr.write("\r\033[K")
