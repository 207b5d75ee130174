"""What Prometheus sees: of HTTP routes, statuses and problem codes, each a bounded set of labels; how signers and log stand."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from prometheus_client import CollectorRegistry, Histogram
from prometheus_client import Counter as EventCounter
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from attestor.service.keyports import KeyStanding
from attestor.service.ports import HeldRequests, SignerStatus

_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60)
_MAX_CODES: Final = 1000
"""More than the program has."""
_MAX_REASONS: Final = 100
_OTHER: Final = "other"


@dataclass(frozen=True, slots=True)
class PolicyKeyEnd:
    """When a key of the policy ends; negative seconds, where it has."""

    role: Literal["operator", "approver"]
    name: str
    key: str
    """Its fingerprint."""
    seconds: float


@dataclass(frozen=True, slots=True)
class KeyFigures:
    """How release keys stand, and when keys end; all by the names that the deployment and the policy give."""

    canary_ages: Mapping[str, float]
    """Seconds since the last canary that verified."""
    certificate_ends: Mapping[str, float]
    """Seconds; infinite where the certificate does not end."""
    policy_ends: Sequence[PolicyKeyEnd]
    standings: Sequence[KeyStanding]
    read_ages: Mapping[str, float]
    """Seconds since a signer last held what the HSM says against the count."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How signers and log stand at one moment; tree sizes in entries."""

    signers: Sequence[SignerStatus]
    policy_serial: int
    """Of the policy in force in this process."""
    policy_digest: str
    size: int
    published: int
    backlog_seconds: float
    refused: int
    keys: KeyFigures | None = None
    held: Sequence[HeldRequests] = ()


class _StandingGauges(Collector):
    """What is not known is not shown: a gauge that stays as it was would hide that nobody can say."""

    known: Standing | None = None

    def collect(self) -> Iterator[Metric]:
        if self.known is None:
            return
        halted = GaugeMetricFamily(
            "attestor_signer_halted", "1 where a signer refuses to sign", labels=("instance", "code")
        )
        for signer in self.known.signers:
            halted.add_metric((signer.instance, signer.code), int(signer.halted))
        yield halted
        serial = GaugeMetricFamily("attestor_policy_serial", "Serial of the policy in force", labels=("role",))
        serial.add_metric(("api",), self.known.policy_serial)
        yield serial
        agreed = GaugeMetricFamily(
            "attestor_policy_agreed", "1 where a signer has the policy of this process", labels=("instance",)
        )
        for signer in self.known.signers:
            agreed.add_metric((signer.instance,), int(signer.policy_digest == self.known.policy_digest))
        yield agreed
        yield GaugeMetricFamily("attestor_log_size", "Entries that the log holds", self.known.size)
        yield GaugeMetricFamily("attestor_log_published", "Entries that readers are shown", self.known.published)
        waits = "Seconds for which the oldest entry waits to be appended"
        yield GaugeMetricFamily("attestor_log_backlog_seconds", waits, self.known.backlog_seconds)
        yield GaugeMetricFamily("attestor_log_refused", "Rows that could be no entry", self.known.refused)
        yield from _of_held(self.known.held)
        if self.known.keys is not None:
            yield from _of_keys(self.known.keys)


def _of_held(held: Sequence[HeldRequests]) -> Iterator[Metric]:
    now: Counter[tuple[str, str]] = Counter()
    ever: Counter[str] = Counter()
    for number, each in enumerate(held):
        # Reasons are the program's own, and the rows are the database's.
        reason = each.reason if number < _MAX_REASONS else _OTHER
        now[each.state, reason] += each.count
        if each.state == "refused":
            ever[reason] += each.ever
    what = "Requests that wait, were set aside, or were refused in the last day"
    family = GaugeMetricFamily("attestor_requests_held", what, labels=("state", "reason"))
    for labels, count in now.items():
        family.add_metric(labels, count)
    yield family
    refusals = CounterMetricFamily("attestor_refusals", "Requests that were refused for good", labels=("reason",))
    for reason, count in ever.items():
        refusals.add_metric((reason,), count)
    yield refusals


def _of_keys(keys: KeyFigures) -> Iterator[GaugeMetricFamily]:
    age = "Seconds since the key signed the canary's string, verified by its certificate"
    yield _by_key("attestor_canary_age_seconds", age, keys.canary_ages)
    ends = "Seconds until the release key's certificate ends; +Inf where it does not"
    yield _by_key("attestor_certificate_expiry_seconds", ends, keys.certificate_ends)
    of_policy = GaugeMetricFamily(
        "attestor_key_expiry_seconds", "Seconds until a key of the policy ends", labels=("role", "name", "key")
    )
    for end in keys.policy_ends:
        of_policy.add_metric((end.role, end.name, end.key), end.seconds)
    yield of_policy
    counted = {key.name: float(key.counted) for key in keys.standings}
    yield _by_key("attestor_hsm_counted", "Uses of the release key that were counted before they were made", counted)
    read = {key.name: float(key.operations) for key in keys.standings if key.operations is not None}
    yield _by_key("attestor_hsm_operations", "Uses of the release key that the HSM says", read)
    looked = "Seconds since a signer held what the HSM says against the count"
    yield _by_key("attestor_hsm_read_age_seconds", looked, keys.read_ages)
    stopped = {key.name: float(key.stopped) for key in keys.standings}
    yield _by_key(
        "attestor_hsm_key_stopped", "1 where the HSM was above the count, so that the key signs nothing", stopped
    )


def _by_key(name: str, what: str, values: Mapping[str, float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, what, labels=("key",))
    for key, value in values.items():
        family.add_metric((key,), value)
    return family


class Metrics:
    """Counters and times of one process, in a registry that other rooms may share."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry: Final = registry
        requests = EventCounter("attestor_http_requests", "Answers", ("method", "route", "status"), registry=registry)
        seconds = Histogram(
            "attestor_http_seconds", "Time to the whole answer", ("route",), buckets=_BUCKETS, registry=registry
        )
        problems = EventCounter("attestor_http_problems", "Problems answered", ("code",), registry=registry)
        self._standing = _StandingGauges()
        registry.register(self._standing)
        self._requests = requests
        self._seconds = seconds
        self._problems = problems
        # labels() builds and looks up a key under a lock; each child is found once.
        self._counters: dict[tuple[str, str, int], EventCounter] = {}
        self._times: dict[str, Histogram] = {}
        self._codes: dict[str, EventCounter] = {}

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one answer; *method* and *route* are the row's own, never the client's text."""
        counter = self._counters.get((method, route, status))
        if counter is None:
            counter = self._counters[method, route, status] = self._requests.labels(method, route, str(status))
        counter.inc()
        timer = self._times.get(route)
        if timer is None:
            timer = self._times[route] = self._seconds.labels(route)
        timer.observe(seconds)

    def stands(self, standing: Standing | None) -> None:
        """Show this at the next scrape; ``None`` is not known."""
        self._standing.known = standing

    def refused(self, code: str) -> None:
        """Count one problem, by its code."""
        counter = self._codes.get(code)
        if counter is None:
            known = code if len(self._codes) < _MAX_CODES else _OTHER
            counter = self._codes[known] = self._problems.labels(known)
        counter.inc()
