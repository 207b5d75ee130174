"""What Prometheus sees of dissent: how much each operator dissented, and who does too much."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from attestor.service.dissent import DissentRate


class DissentMetrics(Collector):
    """Of one process; operators are names of its policies, so the labels are bounded."""

    def __init__(self, registry: CollectorRegistry, rate: DissentRate) -> None:
        labels = ("operator",)
        self._rate = rate
        self._recorded = Counter("attestor_dissents", "Releases dissented on", labels, registry=registry)
        self._late = Counter("attestor_late_dissents", "Dissents that came after a decision", labels, registry=registry)
        registry.register(self)

    def recorded(self, operator: str) -> None:
        self._recorded.labels(operator).inc()

    def late(self, operator: str) -> None:
        self._late.labels(operator).inc()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        hour = GaugeMetricFamily("attestor_dissents_last_hour", "Of this process", labels=("operator",))
        alarm = GaugeMetricFamily(
            "attestor_dissent_alarm", "1 where an operator is over the limit", labels=("operator",)
        )
        over = self._rate.over()
        for operator, count in self._rate.counts().items():
            hour.add_metric((operator,), count)
            alarm.add_metric((operator,), int(operator in over))
        yield hour
        yield alarm
        yield GaugeMetricFamily(
            "attestor_dissent_limit", "Dissents of one operator in an hour that are borne", self._rate.limit
        )
