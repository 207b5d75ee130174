"""How often something may happen: a rate with a burst, counted by the generic cell rate algorithm (ITU-T I.371, annex A).

One moment per key is all that is remembered: when its allowance is whole again. Time is nanoseconds of a clock that never
steps back, in integers, so that the law is exact: in any span of t minutes no more than ``burst + per_minute * t`` pass.
"""

from ipaddress import IPv6Address, ip_address
from typing import Annotated, Final

import msgspec
from msgspec import Meta

FRESH: Final = 0
"""When the allowance of a key that nothing is known of was whole."""
_MINUTE: Final = 60 * 10**9
_SECOND: Final = 10**9
_SUBNET_BITS: Final = 64


class Rate(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``burst`` at once, and ``per_minute`` for ever; one in 100 minutes is the slowest."""

    per_minute: Annotated[float, Meta(ge=0.01, le=60_000_000)]
    burst: Annotated[int, Meta(ge=1, le=100_000_000)]

    @property
    def interval(self) -> int:
        """Nanoseconds after which one more may pass; rounded up, so never faster than the rate."""
        return -int(-_MINUTE // self.per_minute)


class Rates(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What one API process lets through."""

    requests: Rate
    """New signing requests, per requester."""
    replays: Rate
    """Attestations that bring nothing new or are refused once verified, per address of the peer."""
    payloads: Rate
    """New payloads, per operator."""


def wait_before(rate: Rate, whole_at: int, now: int, *, held: int = 0) -> int:
    """Nanoseconds until one more may pass beside *held* that are under way; 0 is now."""
    return max(0, max(whole_at, now) + (held + 1 - rate.burst) * rate.interval - now)


def after_one(rate: Rate, whole_at: int, now: int) -> int:
    """When the allowance is whole again once one more has passed *now*."""
    return max(whole_at, now) + rate.interval


def retry_after(wait: int) -> int:
    """A wait as ``Retry-After`` says it (RFC 9110 §10.2.3): whole seconds, at least one."""
    return max(1, -(-wait // _SECOND))


def peer_of(address: str) -> str:
    """Whom an address counts as: an IPv6 host has its whole /64 to itself, anything else is its own."""
    try:
        read = ip_address(address)
    except ValueError:
        return address
    if not isinstance(read, IPv6Address):
        return str(read)
    if read.ipv4_mapped is not None:
        return str(read.ipv4_mapped)
    return f"{IPv6Address(int(read) >> _SUBNET_BITS << _SUBNET_BITS)}/{_SUBNET_BITS}"
