"""Manifests by digest: read once, a few of them kept, and never another body than was named."""

import hashlib

from attestor.store.manifests import MAX_KEPT, Manifests, not_kept
from attestor.store.queue import PostgresQueue
from tests.edges.store.logmakers import decision, request_id
from tests.edges.store.seeds import SHA256, P, add_release, add_request, concluded, document

MANIFEST = b'{"releases":[]}'


def digest_of(body):
    return hashlib.sha256(body).digest()


class Shelf:
    """A database that gives out what lies there, whatever the digest."""

    def __init__(self, *bodies):
        self.bodies = list(bodies)
        self.asked = []

    async def fetch(self, _query, digests):
        self.asked += digests
        return [{"body": body} for body in self.bodies if digest_of(body) in digests or body == b"false"]


async def test_each_is_asked_for_once_and_what_is_not_there_each_time():
    shelf = Shelf(b"one", b"two")
    manifests = Manifests(shelf)
    one, two, three = map(digest_of, (b"one", b"two", b"three"))
    assert await manifests.of([None]) == {}
    assert await manifests.of([one, None, one]) == {one: b"one"}
    assert await manifests.of([one, two, three]) == {one: b"one", two: b"two"}
    assert await manifests.of([one, two, three]) == {one: b"one", two: b"two"}
    assert shelf.asked == [one, *sorted([two, three]), three]


async def test_a_body_of_another_digest_is_none_and_keeps_no_place():
    shelf = Shelf(b"false")
    manifests = Manifests(shelf)
    assert await manifests.of([digest_of(b"true")]) == {}
    shelf.bodies.append(b"true")
    assert await manifests.of([digest_of(b"true")]) == {digest_of(b"true"): b"true"}


async def test_only_the_last_few_that_were_asked_for_are_kept():
    bodies = [b"%d" % number for number in range(MAX_KEPT + 1)]
    shelf = Shelf(*bodies)
    manifests = Manifests(shelf)
    for body in (*bodies[:MAX_KEPT], bodies[0], bodies[MAX_KEPT], bodies[0]):
        await manifests.of([digest_of(body)])
    assert shelf.asked == [digest_of(body) for body in bodies]
    await manifests.of([digest_of(bodies[1])])
    assert shelf.asked[MAX_KEPT + 1 :] == [digest_of(bodies[1])]


async def test_evidence_has_each_approval_with_its_manifest(stand):
    await add_release(stand.owner)
    await add_request(stand.owner)
    queue = PostgresQueue(await stand.pool("signer"), await stand.listener("signer"))
    approval = """INSERT INTO approvals (document_sha256, approver, key, action, tier, document, signature, reason, manifest, until)
        VALUES (sha256($1), 'dora', 'k', 'quota', 't', $1, 's', 'r', $2, now() + interval '1 day')"""
    await stand.owner.execute("INSERT INTO approval_manifests VALUES (sha256($1::bytea), $1)", MANIFEST)
    for signed, named in ((b"a", digest_of(MANIFEST)), (b"b", None), (b"c", digest_of(MANIFEST))):
        await stand.owner.execute(approval, signed, named)
        pair = "INSERT INTO approval_pairs VALUES ($1, $2, $3)"
        await stand.owner.execute(pair, digest_of(signed), bytes.fromhex(P.id), SHA256)
    job = await queue.claim(60)
    approvals = (await queue.evidence(job)).approvals
    expected = {b"a": MANIFEST, b"b": None, b"c": MANIFEST}
    assert {given.document: given.manifest for given in approvals} == expected
    assert (await queue.evidence(job)).approvals == approvals


async def test_what_decisions_name_is_sent_once_where_it_is_large(stand):
    await add_release(stand.owner)
    await add_request(stand.owner)
    queue = PostgresQueue(await stand.pool("signer"), await stand.listener("signer"))
    job = await queue.claim(60)
    evidence = await queue.evidence(job)
    manifest, one, two = document(bytes(1 << 16)), document(b"one"), document(b"two")
    for number, documents in enumerate(([one, manifest], [manifest, two])):
        told = concluded(decision(request_id(1), number=number), documents, evidence, 0)
        await queue.decide(job, told)
        assert await not_kept(stand.owner, [*documents, document(b"more")]) == [document(b"more")]
    kept = {row["sha256"] for row in await stand.owner.fetch("SELECT sha256 FROM log_documents")}
    assert kept == {each.sha256 for each in (manifest, one, two)}
    assert await not_kept(stand.owner, [one]) == [one], "not worth a question"
