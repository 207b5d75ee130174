"""``attestor check``: try each part that a deployment stands on; one finding each, with the remedy."""

import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from shutil import disk_usage
from typing import Final

from cryptography import x509

from attestor.app import checklog
from attestor.app.finding import Finding, tried
from attestor.app.release_key import device_of, signing_keys_of
from attestor.config import Config, Role, RoleView, ServedListener
from attestor.core.errors import AttestorError, Unavailable
from attestor.core.governance import EXPIRES_SOON, govern
from attestor.hsm.check import KeyReport, NodeReport
from attestor.openpgp.certificate import parse_certificate
from attestor.store.migrate import pending
from attestor.store.pool import Settings, connect
from attestor.store.pool import clock as database_clock

MAX_CLOCK_SKEW: Final = timedelta(seconds=5)
_CERTIFICATE_ENDS_SOON: Final = timedelta(days=14)


async def check(config: Config, clock: Callable[[], datetime]) -> AsyncIterator[Finding]:
    """Try every part, each as the role that needs it. A part that fails is a finding, never an exception."""
    for warning in config.warnings:
        yield Finding("configuration", ok=True, detail=f"warning: {warning}")
    for finding in _policy(config, clock()):
        yield finding
    for role in Role:
        try:
            view = config.for_role(role)
        except AttestorError as error:
            yield Finding(f"credentials of {role}", ok=False, detail=error.sentence, remedy="as it says")
            continue
        yield Finding(f"credentials of {role}", ok=True, detail="readable, and by nobody else")
        async for finding in _of_role(config, view, clock):
            yield finding
    yield _disk(config)


async def _of_role(config: Config, view: RoleView, clock: Callable[[], datetime]) -> AsyncIterator[Finding]:
    yield await _database(view, clock)
    if view.role is Role.OWNER:
        yield await _schema(view)
    for served in view.listeners:
        if served.key is not None:
            yield _certificate(served, served.key, clock())
    if view.role is Role.SEQUENCER:
        async for finding in checklog.of_sequencer(config, view):
            yield finding
    if view.role is Role.SIGNER:
        async for finding in checklog.of_signer(config, view):
            yield finding
        for finding in await hsm(config, view, clock()):
            yield finding


def _policy(config: Config, now: datetime) -> Iterator[Finding]:
    governance = govern(config.policy, now)
    for tier in governance.tiers:
        able = f"{len(tier.able)} of {len(tier.operators)} operators can vote, {tier.threshold} must agree"
        short = len(tier.able) < tier.threshold
        remedy = "add or renew keys of its operators in the policy, and raise its serial" if short else None
        yield Finding(f"tier {tier.name}", not short, able, remedy)
    for warning in governance.warnings:
        yield Finding("policy", ok=True, detail=f"warning: {warning}")


async def _database(view: RoleView, clock: Callable[[], datetime]) -> Finding:
    part = f"database as {view.role}"

    async def look() -> Finding:
        async with connect(Settings(view.dsn.reveal(), connections=1)) as pool:
            skew = abs(await database_clock(pool) - clock())
        behind = f"answers; its clock and ours differ by {skew.total_seconds():.1f} s"
        if skew > MAX_CLOCK_SKEW:
            return Finding(part, ok=False, detail=behind, remedy="synchronise both hosts with NTP")
        return Finding(part, ok=True, detail=behind)

    return await tried(part, look, "start PostgreSQL, run attestor migrate, or correct [database]")


async def _schema(view: RoleView) -> Finding:
    async def look() -> Finding:
        missing = await pending(view.dsn.reveal())
        if missing:
            return Finding("schema", ok=False, detail=f"lacks {', '.join(missing)}", remedy="run attestor migrate")
        return Finding("schema", ok=True, detail="up to date")

    return await tried("schema", look, "run attestor migrate")


async def hsm(config: Config, view: RoleView, now: datetime) -> list[Finding]:
    """Each node, and on it each release key: login, type, and the certificate that it must have."""
    keys = signing_keys_of(config, view.passphrases)
    try:
        reports = await device_of(config).check(list(keys.values()))
    except AttestorError as error:
        return [Finding("hsm", ok=False, detail=error.sentence, remedy="put a NetHSM there that may be used")]
    return [finding for report in reports for finding in _node(config, report, now)]


def _node(config: Config, report: NodeReport, now: datetime) -> Iterator[Finding]:
    part = f"hsm {report.url}"
    if report.problem is not None:
        yield Finding(
            part, ok=False, detail=report.problem.sentence, remedy="see [[hsm.nodes]] and the device's network"
        )
        return
    operational = report.state == "Operational"
    remedy = None if operational else "unlock or provision it: attestor hsm provision"
    yield Finding(part, operational, f"{report.vendor} {report.product}, {report.state}", remedy)
    if operational:
        yield from (_key(config, part, key, now) for key in report.keys)


def _key(config: Config, part: str, report: KeyReport, now: datetime) -> Finding:
    part = f"{part} key {report.name}"
    section = config.signing_keys[report.name]
    if report.problem is not None:
        return Finding(part, ok=False, detail=report.problem.sentence, remedy=_key_remedy(report, section.passphrase))
    if report.certificate is None:
        return Finding(part, ok=False, detail="has no certificate", remedy="run attestor hsm provision")
    try:
        certificate = parse_certificate(report.certificate)
    except AttestorError as error:
        return Finding(part, ok=False, detail=error.sentence, remedy="replace the certificate on the device")
    pinned = section.certificate_fingerprint
    if certificate.algorithm is not section.algorithm or pinned not in (None, certificate.fingerprint):
        detail = f"has the certificate {certificate.fingerprint} ({certificate.algorithm}), not the one configured"
        return Finding(part, ok=False, detail=detail, remedy=f"compare [signing_keys.{report.name}] with the device")
    used = f"; used {report.operations} times" if report.operations is not None else ""
    named = f"{certificate.algorithm} {certificate.fingerprint} {certificate.user_id}{used}"
    if certificate.expires is not None and certificate.expires <= now + EXPIRES_SOON:
        named = f"warning: the certificate ends on {certificate.expires:%Y-%m-%d}; {named}"
    return Finding(part, ok=True, detail=named)


def _key_remedy(report: KeyReport, passphrase: str) -> str:
    if isinstance(report.problem, Unavailable):
        return "try again in a few seconds; then see the device's network and state"
    return "run attestor hsm provision" if report.login else f"correct the credential {passphrase}"


def _certificate(served: ServedListener, key: Path, now: datetime) -> Finding:
    part, path = f"listener {served.listener.address}", served.listener.certificate
    remedy = "attestor ca issue NAME --server-name HOST, or a new one of your CA"
    if path is None:
        return Finding(part, ok=False, detail="has a key and no certificate", remedy=remedy)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(path, key)
        ends = x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc
    except (OSError, ValueError) as error:
        return Finding(part, ok=False, detail=f"{path} and its key do not fit: {error}", remedy=remedy)
    if ends <= now:
        return Finding(part, ok=False, detail=f"{path} ended on {ends:%Y-%m-%d}", remedy=remedy)
    soon = "warning: " if ends <= now + _CERTIFICATE_ENDS_SOON else ""
    return Finding(part, ok=True, detail=f"{soon}certificate valid until {ends:%Y-%m-%d}")


def _disk(config: Config) -> Finding:
    spool = config.content.spool
    free = disk_usage(spool if spool.is_dir() else spool.parent).free if spool.parent.is_dir() else 0
    detail = f"{free >> 20} MiB free at {spool}"
    if free < config.content.max_bytes:
        need = config.content.max_bytes >> 20
        return Finding("disk", ok=False, detail=detail, remedy=f"free {need} MiB there, or lower content.max_bytes")
    return Finding("disk", ok=True, detail=detail)
