"""Lanes: which requests are taken first, so that a mass rebuild stands in nobody's way (design §6)."""

from enum import IntEnum

from attestor.core.naming import Kind


class Lane(IntEnum):
    """The lower, the sooner."""

    DATABASE = 0
    IMAGE = 1
    PACKAGE = 2
    BULK = 3


def lane_of(kind: Kind, *, bulk: bool) -> Lane:
    """Where a request for a release of this kind waits; *bulk* is the requester's own word that it is in no hurry."""
    if bulk:
        return Lane.BULK
    match kind:
        case Kind.DATABASE:
            return Lane.DATABASE
        case Kind.ISO | Kind.VM:
            return Lane.IMAGE
        case Kind.PACKAGE:
            return Lane.PACKAGE
