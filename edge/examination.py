"""`cmd/diagnose`: the checks run in a thread of their own, as the uplink's thread never waits."""

import logging
import threading
from collections.abc import Callable

from edge.errors import EdgeError
from edge.facts import Facts, facts_afar
from edge.uplink.allowance import Allowance
from edge.uplink.check_messages import CheckResult
from edge.uplink.command_messages import CommandError, DiagnoseResult
from edge.uplink.commands import Answer, NotDone
from edge.uplink.wire import Problem

log = logging.getLogger(__name__)

AT_ONCE, EVERY_S = 10, 300.0
"""So many answers with the checks, then one in so long: each takes some 10 kB of the worker's log."""
Examine = Callable[[Facts], tuple[CheckResult, ...]]


class Examination:
    """One at a time; `begin` is called in one thread."""

    def __init__(self, facts: Callable[[], Facts], examine: Examine | None, allowance: Allowance) -> None:
        """`examine` runs the checks; None: there are none, and facts alone are the answer."""
        self._facts, self._examine, self._allowance = facts, examine, allowance
        self._thread: threading.Thread | None = None

    def begin(self, answer: Answer) -> None:
        """Have the unit looked over, and answer when that is done. Raises NotDone where one goes on."""
        if self._examine is None:
            answer(DiagnoseResult(facts=facts_afar(self._facts())))
            return
        if self._thread is not None and self._thread.is_alive():
            raise NotDone(CommandError.BUSY, "wanted one diagnosis at a time, got another that goes on")
        if not self._allowance.spend():
            wanted = f"wanted at most {AT_ONCE} diagnoses at once, and one in {EVERY_S:g} s after that"
            raise NotDone(CommandError.BUSY, f"{wanted}, got more")
        self._thread = threading.Thread(
            target=self._run, args=(self._examine, answer), name="diagnosis", daemon=True
        )
        try:
            self._thread.start()
        except RuntimeError as error:  # no memory, or too many threads
            raise NotDone(CommandError.FAILED, f"wanted a thread for the diagnosis, got: {error}") from error

    def _run(self, examine: Examine, answer: Answer) -> None:
        try:
            facts = self._facts()
            found = DiagnoseResult(facts=facts_afar(facts), checks=examine(facts))
        except EdgeError as error:
            answer(Problem(code=CommandError.FAILED, problem=str(error)[:1024]))
        except Exception as error:
            log.exception("the diagnosis broke")
            answer(Problem(code=CommandError.FAILED, problem=f"the diagnosis broke: {type(error).__name__}"))
        else:
            answer(found)
