"""Approvals over HTTP: what is decoded how, what is refused before it is looked at, and who is counted for it."""

import base64
import io
import json

import pytest

from tests.edges.api.standin import HEX, REQUEST

JSON = {"Content-Type": "application/json"}
GPG, SSH = "AB" * 20, "SHA256:" + "a" * 43


def base64_of(raw):
    return base64.b64encode(raw).decode()


def asked(**changes):
    whole = {"key": GPG, "document": base64_of(b"signed"), "signature": base64_of(b"by"), "reason": "why\nnot"}
    return {name: value for name, value in (whole | changes).items() if value is not None}


async def answered(http, method, url, body=None):
    raw = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    sent = io.BytesIO(raw) if raw is not None else None  # aiohttp warns of large bytes
    async with http.request(method, url, data=sent, headers=JSON if raw is not None else {}) as answer:
        return answer.status, await answer.json()


async def test_an_approval_is_handed_on_as_it_was_signed_and_is_new_once(public, http, gate):
    manifest = b'{"releases":[]}' * 100_000
    body = asked(manifest=base64_of(manifest))
    first, second = [await answered(http, "POST", f"{public}/v1/approvals", body) for _ in range(2)]
    assert (first[0], second[0]) == (201, 200)
    given, reason = gate.approved[0]
    assert (given.key, given.document, given.signature, given.manifest) == (GPG, b"signed", b"by", manifest)
    assert (reason, gate.peers) == ("why\nnot", ["127.0.0.1"] * 2)
    assert first[1]["digest"] == given.digest.hex()


REFUSED = {
    "no JSON": (b"{", 400, "not-json"),
    "a member that nobody knows": (asked(colour="blue"), 422, "ask-invalid"),
    "no reason": (asked(reason=None), 422, "ask-invalid"),
    "an empty reason": (asked(reason=""), 422, "ask-invalid"),
    "a short key id": (asked(key="AB" * 8), 422, "ask-invalid"),
    "a fingerprint in small letters": (asked(key="ab" * 20), 422, "ask-invalid"),
    "what is no base64": (asked(document="A==="), 422, "ask-invalid"),
    "base64 with a rest": (asked(document="AB=="), 400, "not-base64"),
    "a document that is too long": (asked(document=base64_of(bytes(4100))), 422, "ask-invalid"),
    "a signature that is too long": (asked(signature=base64_of(bytes(16400))), 422, "ask-invalid"),
    "a manifest that is too long": (asked(manifest=base64_of(bytes((2 << 20) + 10))), 422, "ask-invalid"),
    "a body that is too long": (b" " * ((3 << 20) + 1), 413, "body-too-large"),
    "of somebody unknown": (asked(key=SSH), 403, "approver-unknown"),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_what_does_not_fit_is_refused_before_anything_is_kept(public, http, gate, case):
    body, status, code = REFUSED[case]
    answer = await answered(http, "POST", f"{public}/v1/approvals", body)
    assert (answer[0], answer[1]["code"]) == (status, code)
    assert gate.approved == []


async def test_a_revocation_names_its_approval_by_the_address(public, http):
    body = asked(reason=None)
    assert (await answered(http, "POST", f"{public}/v1/approvals/{HEX}/revocation", body))[0] == 200
    spent = await answered(http, "POST", f"{public}/v1/approvals/{HEX}/revocation", body | {"key": SSH})
    assert (spent[0], spent[1]["code"]) == (409, "approval-spent")
    other = await answered(http, "POST", f"{public}/v1/approvals/{'00' * 32}/revocation", body)
    assert (other[0], other[1]["code"]) == (404, "approval-unknown")
    long = await answered(http, "POST", f"{public}/v1/approvals/{HEX}/revocation", b" " * 70_000)
    assert (long[0], long[1]["code"]) == (413, "body-too-large")


async def test_lists_are_asked_with_filters_that_are_known(public, http, gate):
    url = f"{public}/v1/approvals?tier=packages&approver=dora&release={HEX}&cursor={HEX}&limit=7"
    assert (await answered(http, "GET", url))[0] == 200
    assert gate.wanted_approvals == {"tier": "packages", "approver": "dora", "release": HEX, "cursor": HEX, "limit": 7}
    assert (await answered(http, "GET", f"{public}/v1/approvals/wanted?request={REQUEST}&limit=2"))[0] == 200
    assert gate.wanted_approvals == {"request": REQUEST, "cursor": None, "limit": 2}
    for query in ("request=1", "release=ab", "state=standing", "limit=0", "limit=501"):
        path = "/v1/approvals/wanted" if query.startswith("request") else "/v1/approvals"
        answer = await answered(http, "GET", f"{public}{path}?{query}")
        assert (answer[0], answer[1]["code"]) == (400, "query-invalid"), query
    assert (await answered(http, "GET", f"{public}/v1/approvals/{HEX}"))[1]["pairs"]
    assert (await answered(http, "GET", f"{public}/v1/tiers"))[1]["policyDigest"] == HEX
