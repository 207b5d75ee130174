"""A signer over the real database, content and emulated device, as the signer's process puts it together."""

import dataclasses
import hashlib

from attestor.app.clock import now
from attestor.app.release_key import ReleaseKey
from attestor.content.artifacts import SPOOL, Artifacts
from attestor.content.roots import DirectoryRoot, PullRoots
from attestor.core.algorithm import Algorithm
from attestor.hsm.device import Device, DeviceSettings
from attestor.openpgp.approvers import Approvers
from attestor.openpgp.certificate import draft_certificate, parse_certificate
from attestor.openpgp.signature import verify_signature
from attestor.service.case import Signing
from attestor.service.conclude import Conclusions
from attestor.service.sign import bring_on
from attestor.store.queue import PostgresQueue
from tests.edges.hsm.nodes import NOW, count_nowhere, signing_key
from tests.logkeys import seal
from tests.plainoperations import PlainOperations
from tests.service.loghouse import past_over
from tests.service.makers import make_policy

ALGORITHMS = {"packages": Algorithm.ED25519, "debs": Algorithm.P256, "isos": Algorithm.P384}


def device_of(node, *, deadline=5.0, count=count_nowhere):
    return Device(DeviceSettings((node,), 4, deadline, production=False), count)


async def make_certificates(running):
    """An OpenPGP certificate for each signing key, bound by the device's own signature."""
    device, made = device_of(running.node()), {}
    for name, algorithm in ALGORITHMS.items():
        key = signing_key(algorithm)
        draft = draft_certificate(await device.public_key(key), algorithm, f"{name} <{name}@example.org>", NOW)
        made[name] = draft.seal(await device.sign(key, draft.digest))
    device.close()
    return made


def release_keys(device, certificates, operations=None):
    operations = operations or PlainOperations()
    return {
        name: ReleaseKey(device, signing_key(algorithm), parse_certificate(certificates[name]), operations)
        for name, algorithm in ALGORITHMS.items()
    }


def make_signing(pool, listener, device, certificates, folder, **changes):
    """Pull root `files`, the spool and the anchor lie below *folder*; somebody has to follow its `past`."""
    roots = {"files": DirectoryRoot(folder / "files"), SPOOL: DirectoryRoot(folder / "spool")}
    scratch = folder / "scratch"
    scratch.mkdir(mode=0o700, exist_ok=True)
    policy = changes.get("policy") or make_policy()
    queue = changes.get("queue") or PostgresQueue(pool, listener)
    past = changes.get("past") or past_over(pool, folder, policy)
    parts = {
        "queue": queue,
        "content": Artifacts(PullRoots(roots, scratch=scratch, max_bytes=1 << 20), scratch),
        "signers": changes.get("signers") or release_keys(device, certificates),
        "policy": policy,
        "verify_approval": Approvers().verify,
        "past": past,
        "conclusions": Conclusions(queue, past, policy, seal()),
        "now": now,
        "lease_seconds": 30.0,
        "tries": 3,
    }
    return Signing(**(parts | changes))


async def sign_next(signing):
    """Take the next due request and bring it to its next state, as a worker of the signer's process does; None when nothing is due."""
    job = await signing.queue.claim(signing.lease_seconds)
    if job is not None:
        await bring_on(signing, job)
    return job


def under(signing, policy):
    """The same signer once it has loaded another policy file, whose log is the same."""
    signing.past.load(policy, alone=True)
    conclusions = Conclusions(signing.queue, signing.past, policy, seal())
    return dataclasses.replace(signing, policy=policy, conclusions=conclusions)


def verified(certificates, name, signature, content):
    return verify_signature(parse_certificate(certificates[name]), signature, hashlib.sha512(content))
