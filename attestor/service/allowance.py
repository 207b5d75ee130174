"""What each requester, peer and operator may still do: the rule of :mod:`attestor.core.limits` with its memory.

Held per API process, and lost with it: several processes let through several times the rates.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Final

from attestor.core.errors import Conflict, OverRate, Rejected
from attestor.core.limits import FRESH, Rate, Rates, after_one, retry_after, wait_before

MAX_KEYS: Final = 1 << 16
"""Keys whose allowance is not whole, as many as one process remembers."""

Ticks = Callable[[], int]
"""Nanoseconds of a clock that never steps back."""
Refusal = Callable[[str, int], OverRate]
"""The error for a key that has to wait so many seconds."""


class Allowance:
    """One rate for each key; a key that nothing is remembered of has its whole burst."""

    def __init__(self, rate: Rate, ticks: Ticks, refusal: Refusal, *, keys: int = MAX_KEYS) -> None:
        self._rate = rate
        self._ticks = ticks
        self._refusal = refusal
        # Two generations: what was not looked at while half as many others came in is forgotten, which makes it fresh.
        self._half = keys // 2
        self._young: dict[str, int] = {}
        self._old: dict[str, int] = {}
        self._held: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def refuse_spent(self, key: str) -> None:
        """Raise the ``OverRate`` of this allowance when *key* has nothing left; uses up nothing."""
        now = self._ticks()
        if wait := wait_before(self._rate, self._whole_at(key, now), now, held=self._held[key]):
            raise self._refusal(key, retry_after(wait))

    def spend(self, key: str) -> None:
        """Use up one, also where nothing is left: what was done is owed, and who owes is refused until it is made good."""
        now = self._ticks()
        self._remember(key, after_one(self._rate, self._whole_at(key, now), now))

    @contextmanager
    def holding(self) -> "Iterator[Hold]":
        """For what is done only when a transaction commits: what is held is used up at the end, and free after an error."""
        hold = Hold(self._take)
        try:
            yield hold
        except BaseException:
            self._give_back(hold.keys)
            raise
        self._give_back(hold.keys)
        for key in hold.keys:
            self.spend(key)

    @contextmanager
    def answering(self, key: str) -> Iterator[None]:
        """Do work for *key*, which pays for what is refused. Raises the ``OverRate`` of this allowance when nothing is left."""
        self.refuse_spent(key)
        try:
            yield
        except (Rejected, Conflict) as error:
            if not isinstance(error, OverRate):
                self.spend(key)
            raise

    def _take(self, keys: Iterable[str]) -> None:
        for key in keys:
            self.refuse_spent(key)
        self._held.update(keys)

    def _give_back(self, keys: Iterable[str]) -> None:
        self._held.subtract(keys)
        self._held = +self._held

    def _whole_at(self, key: str, now: int) -> int:
        known = self._young.get(key)
        if known is None:
            known = self._old.pop(key, None)
            if known is None or known <= now:
                return FRESH
            self._remember(key, known)
        return known

    def _remember(self, key: str, whole_at: int) -> None:
        if key not in self._young and len(self._young) >= self._half:
            self._old, self._young = self._young, {}
        self._young[key] = whole_at


class Hold:
    """What one transaction is about to use up."""

    def __init__(self, take: Callable[[Iterable[str]], None]) -> None:
        self._take = take
        self.keys: list[str] = []

    def take(self, keys: frozenset[str]) -> None:
        """Hold one of each key, or none of any: raises the allowance's ``OverRate``."""
        self._take(keys)
        self.keys += keys


class Allowances:
    """Those of one API process."""

    def __init__(self, rates: Rates, ticks: Ticks) -> None:
        self.requesters = Allowance(rates.requests, ticks, _requester)
        self.peers = Allowance(rates.replays, ticks, _peer)
        self.operators = Allowance(rates.payloads, ticks, _operator)
        self.approvers = Allowance(rates.payloads, ticks, _approver)


def _requester(name: str, seconds: int) -> OverRate:
    return OverRate(
        "requester-limit",
        f"Requester {name} has opened as many signing requests as it may for now; ask again in {seconds} s.",
        retry_after=seconds,
    )


def _peer(address: str, seconds: int) -> OverRate:
    return OverRate(
        "peer-limit",
        f"{address} has sent as many replayed or refused attestations or approvals as it may for now; send this again in {seconds} s.",
        retry_after=seconds,
    )


def _operator(name: str, seconds: int) -> OverRate:
    return OverRate(
        "operator-limit",
        f"Operator {name} has stated as many new payloads as it may for now; send this again in {seconds} s.",
        retry_after=seconds,
    )


def _approver(name: str, seconds: int) -> OverRate:
    return OverRate(
        "approver-limit",
        f"Approver {name} has given as many new approvals as it may for now; send this again in {seconds} s.",
        retry_after=seconds,
    )
