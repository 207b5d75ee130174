"""What Prometheus sees of HTTP: routes, statuses and problem codes, each a bounded set of labels."""

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram

_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60)
_MAX_CODES: Final = 200


class Metrics:
    """Counters and times of one process, in a registry that other rooms may share."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry: Final = registry
        requests = Counter("attestor_http_requests", "Answers", ("method", "route", "status"), registry=registry)
        seconds = Histogram(
            "attestor_http_seconds", "Time to the whole answer", ("route",), buckets=_BUCKETS, registry=registry
        )
        problems = Counter("attestor_http_problems", "Problems answered", ("code",), registry=registry)
        self._requests = requests
        self._seconds = seconds
        self._problems = problems
        # labels() builds and looks up a key under a lock; each child is found once.
        self._counters: dict[tuple[str, str, int], Counter] = {}
        self._times: dict[str, Histogram] = {}
        self._codes: dict[str, Counter] = {}

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

    def refused(self, code: str) -> None:
        """Count one problem; after 200 codes, which the program does not have, the rest are ``other``."""
        counter = self._codes.get(code)
        if counter is None:
            known = code if len(self._codes) < _MAX_CODES else "other"
            counter = self._codes[known] = self._problems.labels(known)
        counter.inc()
