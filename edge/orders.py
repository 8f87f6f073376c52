"""What is done for a command. It runs in the uplink's thread: nothing here waits."""

from collections.abc import Callable
from dataclasses import dataclass

from edge.device.indicator import Indicator
from edge.errors import EdgeError
from edge.examination import Examination
from edge.requests import Requests
from edge.uplink.command_messages import (
    BreakResult,
    CommandError,
    IdentifyResult,
    ReloadResult,
    ResumeResult,
)
from edge.uplink.commands import Answer, NotDone


@dataclass(frozen=True, slots=True)
class Orders:
    """Hands on what the watch has to do, and does the rest."""

    requests: Requests
    examination: Examination
    indicator: Indicator
    reload_settings: Callable[[], None] | None
    """Checks the settings and has the unit start over with them; raises EdgeError."""

    def start_break(self, reason: str) -> BreakResult:
        """Stop watching."""
        return self.requests.start_break(reason)

    def end_break(self, reason: str) -> ResumeResult:
        """Watch again. Raises NotDone where there is no break."""
        return self.requests.end_break(reason)

    def look_now(self, answer: Answer) -> None:
        """Have the watch look, and answer with what it sees. Raises NotDone."""
        self.requests.look_now(answer)

    def diagnose(self, answer: Answer) -> None:
        """Have the unit looked over, and answer later with how it is. Raises NotDone."""
        self.examination.begin(answer)

    def identify(self, for_s: float, answer: Answer) -> None:
        """Blink. Raises NotDone where there is no LED."""
        if not self.indicator.fitted:
            raise NotDone(CommandError.NO_LED, "wanted led.pin in unit.toml, got none")
        self.indicator.identify(for_s)
        answer(IdentifyResult(for_s=for_s))

    def reload(self, answer: Answer) -> None:
        """Start over with the settings as they stand in the file. Raises NotDone where they are not good."""
        if self.reload_settings is None:
            raise NotDone(CommandError.FAILED, "wanted a unit that was started from unit.toml, got another")
        try:
            self.reload_settings()
        except EdgeError as error:
            raise NotDone(CommandError.FAILED, str(error)) from error
        answer(ReloadResult())
