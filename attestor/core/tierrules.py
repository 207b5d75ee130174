"""The numbers of a tier beyond agreement: which exceptions people may let through, and how many of them it takes (design §7)."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

MAX_APPROVERS: Final = 8
"""Of one action: five of them have their place in a decision entry."""
MAX_APPROVAL_HOURS: Final = 31 * 24


class Action(StrEnum):
    """What an approval lets through."""

    RELEASE = "release"
    """One of a tier where every release needs approval."""
    DOWNGRADE = "downgrade"
    RE_SIGN = "re-sign"
    DISPUTE = "dispute"
    QUOTA = "quota"


@dataclass(frozen=True, slots=True)
class ApprovalRules:
    """How many people must approve each action; 0 is: that is no exception which anybody could make, or none is needed."""

    hours: int
    """How long an approval may last at most."""
    release: int = 0
    downgrade: int = 0
    re_sign: int = 0
    dispute: int = 0
    quota: int = 0

    def needed(self, action: Action) -> int:
        match action:
            case Action.RELEASE:
                return self.release
            case Action.DOWNGRADE:
                return self.downgrade
            case Action.RE_SIGN:
                return self.re_sign
            case Action.DISPUTE:
                return self.dispute
            case Action.QUOTA:
                return self.quota
