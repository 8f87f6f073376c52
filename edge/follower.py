"""The unit follows the twin's policy: the watch woken for it, the link that it names, the log that has it."""

import logging

from edge.clock import Clock
from edge.diary import WorkersDiary
from edge.policy.document import Policy
from edge.unit_settings import Settings
from edge.uplink.broker_config import BrokerConfig
from edge.uplink.carry import Uplink
from edge.uplink.link_status import LinkStatus
from edge.uplink.twin import Twin
from edge.uplink.twin_state import Proof
from edge.watching import Evidence

log = logging.getLogger(__name__)

NOTE_EVERY_S = 86_400.0
"""The rules in force are noted daily: so a log that is pruned, or begun anew, has them."""


class Follower:
    """For the uplink's thread."""

    def __init__(self, twin: Twin, settings: Settings, clock: Clock, diary: WorkersDiary) -> None:
        self._twin, self._settings, self._clock, self._diary = twin, settings, clock, diary
        self._policy = twin.policy
        self.broker = self._link_of(self._policy)
        """The link that the policy in force names, else the unit's own."""
        self._noted, self._note_due_s = "", clock.now_s()

    def turn(self, uplink: Uplink, logs_begun: int) -> None:
        """Follow a new policy, and note it. `logs_begun`: how often the worker's log began anew."""
        self._follow(uplink)
        self._note(logs_begun)
        # What a broker on trial takes may be for another one.
        uplink.hold(held=self.broker != self._link_of(self._twin.confirmed))

    def proof(self, status: LinkStatus, seen: Evidence | None) -> Proof:
        """Gather what speaks for the policy in force; `seen` is the watch's, None before it begins."""
        there = self._policy is self._twin.policy and status.config == self.broker
        if seen is None or seen.policy is not self._twin.policy:
            frame_s, inference_s, off = None, None, False
        else:
            frame_s, inference_s, off = seen.frame_s, seen.inference_s, seen.off
        return Proof(
            connected=status.connected and there,
            puback_s=status.last_puback_s if there else None,
            frame_s=frame_s,
            inference_s=inference_s,
            off=off,
        )

    def _follow(self, uplink: Uplink) -> None:
        """Wake the watch for a new policy, and go to the broker that it names."""
        policy = self._twin.policy
        if policy is self._policy:
            return
        self._policy = policy
        self._clock.wake()
        broker = self._link_of(policy)
        if broker != self.broker:
            log.info("the policy's broker is %s", broker.address)
            self.broker = broker
            uplink.redial(broker)

    def _note(self, logs_begun: int) -> None:
        """Let the worker's log have each policy that took force, at each start, and once a day."""
        running, now_s = self._twin.reported.running, self._clock.now_s()
        noted = f"{running.sha256} in log {logs_begun}"
        if noted == self._noted and now_s < self._note_due_s:
            return
        if self._diary.policy_took(running, self._twin.policy):
            self._noted, self._note_due_s = noted, now_s + NOTE_EVERY_S

    def _link_of(self, policy: Policy) -> BrokerConfig:
        redirect = self._settings.redirect
        if policy.broker is None or redirect is None:
            return self._settings.broker
        return redirect(policy.broker)
