"""Whether a clock went on as clocks do: who sets it may open a quota's next period early, or an approval's window again (P7)."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from attestor.core.errors import Halted

MAX_STEP: Final = timedelta(seconds=60)
"""How far the time of day may part from the seconds that went by."""
MAX_ABSENCE: Final = timedelta(days=7)
"""How long a machine may have been off before a person is asked whether its clock is right."""


@dataclass(frozen=True, slots=True)
class ClockMark:
    """The time of day beside the seconds since the machine started, sleep included, and which start that was."""

    boot: str
    since_boot: float
    moment: datetime


def refuse_jump(known: ClockMark, now: ClockMark) -> None:
    """Raise ``Halted`` ``clock-jumped`` when the time of day went elsewhere than the seconds since *known*."""
    passed = now.moment - known.moment
    if now.boot == known.boot:
        expected = timedelta(seconds=now.since_boot - known.since_boot)
        if abs(passed - expected) > MAX_STEP:
            raise _jumped(f"The time of day moved by {_days(passed)} while {_days(expected)} went by.")
    elif not -MAX_STEP <= passed <= MAX_ABSENCE:
        raise _jumped(
            f"The time of day moved by {_days(passed)} since this signer ran last, before the machine started."
        )


def _jumped(sentence: str) -> Halted:
    return Halted(
        "clock-jumped",
        f"{sentence} Nothing is signed. Look at the clock (date --utc), set it right, then remove the file `clock` from the signer's "
        "anchor folder, which says that you have looked.",
    )


def _days(span: timedelta) -> str:
    return f"{span.total_seconds() / 86400:.3f} days"
