"""The signing request's life as a table; anything that is not in it is a ``Conflict`` (design §6)."""

from enum import StrEnum
from typing import Final

from attestor.core.errors import Conflict


class State(StrEnum):
    """Where a signing request stands."""

    WAITING = "waiting"
    QUEUED = "queued"
    CLAIMED = "claimed"
    SIGNED = "signed"
    REFUSED = "refused"
    ASIDE = "aside"
    WITHDRAWN = "withdrawn"


class Event(StrEnum):
    """What moves a signing request."""

    REACHED = "reached"
    LOST = "lost"
    CLAIM = "claim"
    YIELD = "yield"
    SIGN = "sign"
    REFUSE = "refuse"
    SET_ASIDE = "set-aside"
    RETRY = "retry"
    WITHDRAW = "withdraw"


TRANSITIONS: Final = {
    (State.WAITING, Event.REACHED): State.QUEUED,
    # The signer looks again for bytes that were not there; nothing else tells when a file appears below a pull root.
    (State.WAITING, Event.CLAIM): State.CLAIMED,
    (State.WAITING, Event.REFUSE): State.REFUSED,
    (State.WAITING, Event.WITHDRAW): State.WITHDRAWN,
    (State.QUEUED, Event.LOST): State.WAITING,
    (State.QUEUED, Event.CLAIM): State.CLAIMED,
    (State.QUEUED, Event.REFUSE): State.REFUSED,
    (State.QUEUED, Event.SET_ASIDE): State.ASIDE,
    (State.QUEUED, Event.WITHDRAW): State.WITHDRAWN,
    (State.CLAIMED, Event.YIELD): State.QUEUED,
    (State.CLAIMED, Event.LOST): State.WAITING,
    (State.CLAIMED, Event.SIGN): State.SIGNED,
    (State.CLAIMED, Event.REFUSE): State.REFUSED,
    (State.CLAIMED, Event.SET_ASIDE): State.ASIDE,
    (State.ASIDE, Event.RETRY): State.QUEUED,
}

LIVE: Final = frozenset({State.WAITING, State.QUEUED, State.CLAIMED, State.ASIDE})
"""Asking again joins a request in one of these states, or a signed one; after the others it opens a new one."""


def moved(state: State, event: Event) -> State:
    """Where *event* leads from *state*; raises ``Conflict`` ``request-state`` where the table has no such step."""
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise Conflict(
            "request-state", f"A request that is {state} cannot take the step '{event}'; read it again."
        ) from None
