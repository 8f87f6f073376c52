"""Which policy the unit follows, and which link it names, also where no unit runs to be asked."""

from dataclasses import dataclass

from edge.config import Config
from edge.link_settings import broker_config, redirected, trusted_keys
from edge.policy.document import Policy, read_policy
from edge.state_folder import TWIN_FOLDER
from edge.uplink.broker_config import BrokerConfig
from edge.uplink.envelope import open_envelope
from edge.uplink.inbox import Refusal
from edge.uplink.twin_check import Checks
from edge.uplink.twin_start import Recovered, recover
from edge.uplink.twin_state import Notes
from edge.uplink.twin_store import Loaded, ReadOnlyDisk, TwinStore
from edge.vision.card import load_card
from edge.vision.model_file import find_card


@dataclass(frozen=True, slots=True)
class InForce:
    """What the unit would run if it started now."""

    policy: Policy
    notes: Notes
    fault: Refusal | None
    """Why a policy that was confirmed is not in force."""
    trial: Policy | None
    """On trial, or cut short in it."""
    damaged: bool
    """The notes on the policies cannot be read."""


def policy_in_force(config: Config) -> InForce:
    """Read it from the disk. Raises EdgeError for settings, keys, model or own policy that cannot be used."""
    keys = trusted_keys(config.twin.trusted_keys)
    own = read_policy(config.paths.policy)
    labels = load_card(find_card(config.model.card)).named_labels
    checks = Checks(config.unit.id, labels, not config.broker.encrypted)
    store = TwinStore(config.paths.state / TWIN_FOLDER, ReadOnlyDisk())
    loaded = store.load(lambda envelope: open_envelope(envelope, keys))
    found: Recovered = recover(loaded, checks)
    return InForce(found.policy or own, found.state.notes, found.fault, _trial(loaded, checks), loaded.lost)


def links(config: Config) -> list[BrokerConfig]:
    """Return the links that the unit may use: first the one of the policy in force. Raises EdgeError."""
    own = broker_config(config.broker, config.unit.id)
    found = policy_in_force(config)
    named = [policy.broker for policy in (found.policy, found.trial) if policy is not None]
    return [own if broker is None else redirected(own, broker) for broker in named] + [own]


def _trial(loaded: Loaded, checks: Checks) -> Policy | None:
    try:
        return None if loaded.trial is None else checks.read(loaded.trial.document)
    except Refusal:
        return None
