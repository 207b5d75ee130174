"""What is said of dissent: to Prometheus, in the log, and at /readyz."""

import structlog
from prometheus_client import CollectorRegistry, generate_latest

from attestor.api.alarms import DissentMetrics
from attestor.app.dissent import DissentLookout, dissent_probe
from attestor.service.dissent import Dissent, DissentRate

HOUR = 3600 * 10**9


class Clock:
    now = 0

    def __call__(self):
        return self.now


def dissents(operator, count):
    return [Dissent(operator, f"{number:064x}") for number in range(count)]


def made(limit):
    clock, registry = Clock(), CollectorRegistry()
    rate = DissentRate(limit, clock)
    return clock, rate, DissentLookout(rate, DissentMetrics(registry, rate)), registry


def shown(registry):
    lines = generate_latest(registry).decode().splitlines()
    return {line for line in lines if not line.startswith("#") and "_created" not in line}


async def test_twenty_thousand_dissents_of_one_key_are_two_lines():
    _, rate, lookout, registry = made(100)
    with structlog.testing.capture_logs() as lines:
        for _ in range(80):
            lookout.dissented(dissents("carol", 250))
    assert [
        (line["log_level"], line["event"], line["operator"], line["last_hour"], line["limit"]) for line in lines
    ] == [
        ("warning", "dissent rate", "carol", 51, 100),
        ("critical", "dissent rate", "carol", 101, 100),
    ]
    assert shown(registry) == {
        'attestor_dissents_total{operator="carol"} 20000.0',
        'attestor_dissents_last_hour{operator="carol"} 20000.0',
        'attestor_dissent_alarm{operator="carol"} 1.0',
        "attestor_dissent_limit 100.0",
    }
    part = await dissent_probe(rate)()
    assert (part.part, part.ready) == ("dissent", True), "a stolen key takes the service away from nobody"
    assert "over 100 in the last hour: carol 20000" in part.detail


async def test_an_hour_later_all_is_quiet():
    clock, rate, lookout, registry = made(1)
    lookout.dissented(dissents("carol", 9))
    clock.now = HOUR
    assert shown(registry) == {'attestor_dissents_total{operator="carol"} 9.0', "attestor_dissent_limit 1.0"}
    assert (await dissent_probe(rate)()).detail == "no operator is over 1 an hour in this process"


def test_one_below_the_limit_alarms_nobody():
    _, _, lookout, registry = made(100)
    with structlog.testing.capture_logs() as lines:
        lookout.dissented([*dissents("carol", 50), *dissents("bob", 50)])
    assert lines == []
    assert {f'attestor_dissent_alarm{{operator="{name}"}} 0.0' for name in ("bob", "carol")} <= shown(registry)


def test_late_dissent_is_critical_at_once_one_line_for_each_operator_of_a_transaction():
    _, _, lookout, registry = made(100)
    with structlog.testing.capture_logs() as lines:
        lookout.dissented_late([*dissents("carol", 200), *dissents("bob", 1)])
    assert [(line["log_level"], line["event"], line["operator"], line["count"]) for line in lines] == [
        ("critical", "late dissent", "carol", 200),
        ("critical", "late dissent", "bob", 1),
    ]
    assert lines[0]["releases"] == [f"{number:064x}" for number in range(10)]
    assert {
        'attestor_late_dissents_total{operator="carol"} 200.0',
        'attestor_late_dissents_total{operator="bob"} 1.0',
    } <= shown(registry)
