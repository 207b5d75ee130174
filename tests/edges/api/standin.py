"""A gate in memory, which answers as attestor.service.gate does, so that this room is tested by itself."""

import asyncio
import hashlib
from datetime import UTC, datetime

from attestor.core import approvalwire, wire
from attestor.core.envelope import parse_envelope
from attestor.core.errors import Conflict, Forbidden, Missing
from tests.memorylog import MemoryLog, words

HEX = "ab" * 32
REQUEST = "11111111-2222-4333-8444-555555555555"
NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def decision():
    return wire.DecisionView(
        state="pending", reason="missing", sentence="One more operator is needed.", tier="packages", threshold=2,
        missing=1, sha256=HEX, sha512=HEX * 2, size=5, agreeing=("one",), dissenting=(), equivocating=(), failed=(),
        missing_required=(), policy_serial=1, policy_digest=HEX,
    )  # fmt: skip


def receipt(raw=b"", *, replay=False):
    line = wire.ReleaseLine(
        id=HEX,
        kind="package",
        purl="pkg:alpm/arch/a@1-1?arch=any",
        file_name="a-1-1-any.pkg.tar.zst",
        decision=decision(),
    )
    return wire.Receipt(payload_digest=hashlib.sha256(raw).hexdigest(), replay=replay, releases=(line,))


def request_view(state="waiting", present=False, asked=None):
    return wire.SigningRequestView(
        id=REQUEST, state=state, reason="missing", sentence="One more.", release_id=HEX,
        release=asked.release if asked else wire.ReleaseName("package", "pkg:alpm/arch/a@1-1?arch=any", "a-1-1-any.pkg.tar.zst"),
        artifact=asked.artifact if asked else wire.Artifact(size=5, sha256=HEX, sha512=HEX * 2),
        content=asked.content if asked else wire.Upload(),
        content_present=present, requester="build", tier="packages", tries=0, created_at=NOW, updated_at=NOW,
    )  # fmt: skip


def approval_view(digest, reason):
    return approvalwire.ApprovalView(
        digest=digest, state="standing", why=None, approver="dora", key="AB" * 20, action="quota", tier="packages",
        reason=reason, request=REQUEST, release_id=HEX, sha256=HEX, manifest=None, pairs=1, spent=0, not_before=NOW,
        until=NOW, received_at=NOW, revoked_at=None,
    )  # fmt: skip


class StandIn:
    """What a Gate is to this room: each method one coroutine, errors of the core."""

    def __init__(self):
        self.known = set()
        self.clients = []
        self.peers = []
        self.uploaded = hashlib.sha256()
        self.uploaded_bytes = 0
        self.lines = 0
        self.view = None
        self.waiting = asyncio.Event()
        self.hold = None
        self.approved = []
        self.log = MemoryLog(words(300))

    async def admit(self, raw, peer):
        self.peers.append(peer)
        if self.hold:
            await self.hold.wait()
        if raw == b"explode":
            raise RuntimeError("a secret detail")
        if not raw.startswith(b"{"):
            parse_envelope(raw)
        replay = raw in self.known
        self.known.add(raw)
        return receipt(raw, replay=replay)

    async def admit_batch(self, lines, peer):
        self.peers.append(peer)
        async for line in lines:
            self.lines += 1
            if b"forbidden" in line:
                yield Forbidden("unknown-key", "Nobody knows this key.")
            elif b"explode" in line:
                raise RuntimeError("a secret detail")
            else:
                yield receipt(line)

    async def release(self, release_id):
        if release_id != HEX:
            raise Missing("release-unknown", "Nobody has attested such a release here.")
        return wire.ReleaseView(
            id=HEX,
            kind="package",
            purl="pkg:alpm/arch/a@1-1?arch=any",
            file_name="a",
            decision=decision(),
            votes=(),
            requests=(),
        )

    async def explain(self, release_id):
        event = wire.EventView(at=NOW, request=None, what="vote", detail="")
        return wire.Explanation(release=await self.release(release_id), events=(event,))

    async def releases(self, **wanted):
        self.wanted = wanted
        return wire.ReleasePage(releases=receipt().releases, cursor=None)

    async def suspects(self, chosen, **wanted):
        self.wanted = {"chosen": chosen, **wanted}
        vote = wire.SuspectVoteView(operator="one", payload_digest=HEX, keys=(HEX,), received_at=NOW)
        line = wire.SuspectLine(
            id=HEX, kind="package", purl="pkg:alpm/arch/a@1-1?arch=any", file_name="a-1-1-any.pkg.tar.zst", sha256=HEX, decision=7,
            tier="packages", counted=("one", "two"), votes=(vote,), remaining=("two",), reached=False, sentence="It rests on it.",
        )  # fmt: skip
        return wire.SuspectPage(releases=(line,), cursor=None, policy_serial=2)

    async def envelope(self, release_id, payload_digest, operator):
        if (release_id, payload_digest, operator) != (HEX, HEX, "one"):
            raise Missing("envelope-unknown", "No such attestation.")
        return b'{"as":  "it came"}'

    async def bundle(self, release_id, digest=None):
        if release_id != HEX or digest not in {None, HEX}:
            raise Missing("not-signed", "No signature of this release can be read.")
        return b'{"type":"attestor-bundle"}'

    async def approve(self, given, reason, peer):
        self.peers.append(peer)
        if given.key.startswith("SHA256:"):
            raise Forbidden("approver-unknown", "The policy lists no approver with this key.")
        self.approved.append((given, reason))
        return approval_view(given.digest.hex(), reason), len(self.approved) == 1

    async def revoke_approval(self, digest, given, peer):
        self.peers.append(peer)
        if digest != HEX:
            raise Missing("approval-unknown", "No such approval was given here.")
        if given.key.startswith("SHA256:"):
            raise Conflict("approval-spent", "There is nothing to take back.")
        return approval_view(digest, "r")

    async def approval(self, digest):
        if digest != HEX:
            raise Missing("approval-unknown", "No such approval was given here.")
        pair = approvalwire.PairView(release_id=HEX, sha256=HEX, spent_at=None)
        return approvalwire.ApprovalDetail(
            approval=approval_view(digest, "r"), document="AA==", signature="AA==", pairs=(pair,)
        )

    async def approvals(self, **wanted):
        self.wanted_approvals = wanted
        return approvalwire.ApprovalPage(approvals=(approval_view(HEX, "r"),), cursor=None)

    async def awaiting_approval(self, **wanted):
        self.wanted_approvals = wanted
        return approvalwire.WantedPage(wanted=(), cursor=None)

    async def tiers(self):
        return approvalwire.TierPage(origin="here", policy_serial=1, policy_digest=HEX, tiers=())

    async def canaries(self):
        view = wire.CanaryView(key="AB" * 20, created=NOW, entry=7, signature=b"a signature")
        return wire.CanaryList(content=b"attestor canary v1\n", canaries=(view,))

    async def checkpoint(self):
        return await self.log.checkpoint()

    async def tile(self, tile):
        return await self.log.tile(tile)

    async def ask(self, client, asked):
        self.clients.append(client)
        if client.fingerprint is None and client.user is None:
            raise Forbidden("unknown-client", "Nobody knows this client.")
        opened = self.view is None
        self.view = self.view or request_view(asked=asked)
        return self.view, opened

    async def request(self, client, request_id):
        self.clients.append(client)
        if request_id != REQUEST or self.view is None:
            raise Missing("request-unknown", "There is no such request of yours.")
        return self.view

    async def wait(self, client, request_id, seconds):
        view = await self.request(client, request_id)
        self.waiting.set()
        if view.state == "waiting":
            await asyncio.sleep(seconds)
        return self.view

    async def requests(self, client, **wanted):
        self.clients.append(client)
        self.wanted = wanted
        return wire.SigningRequestPage(requests=(self.view,) if self.view else (), cursor=None)

    async def withdraw(self, client, request_id):
        view = await self.request(client, request_id)
        if view.state == "withdrawn":
            raise Conflict("request-state", "It is withdrawn already.")
        self.view = request_view("withdrawn")
        return self.view

    async def retry(self, client, request_id):
        await self.request(client, request_id)
        raise Conflict("request-state", "It is not set aside.")

    async def upload(self, client, request_id, chunks):
        await self.request(client, request_id)
        async for chunk in chunks:
            self.uploaded.update(chunk)
            self.uploaded_bytes += len(chunk)
        self.view = request_view("signed", present=True)
        return self.view

    async def signature(self, client, request_id):
        view = await self.request(client, request_id)
        if view.state != "signed":
            raise Missing("not-signed", "There is no signature yet.")
        return f"{view.release.file_name}.sig", b"\x88\x00signature"
