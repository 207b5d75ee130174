"""Who may do what: every row of the URL table, by every role, in every state of the request, with every method.

What is expected is said here a second time and by another rule than the program's: a row that this page does not know
fails, and so does a status that differs. The service is the real one, over real TLS and a real socket, on one database.
"""

import asyncio
import base64
import hashlib
import ipaddress
import json
import os
import ssl
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

import aiohttp
import pytest
from prometheus_client import CollectorRegistry

from attestor.api import peer
from attestor.api.listeners import Listener, TlsFiles, serve
from attestor.api.routes import ROWS
from attestor.core.limits import Rate
from attestor.core.policyfile import parse_policy
from attestor.core.wire import Upload
from attestor.embedded.ca import CertificateAuthority
from tests.edges.store.emptying import tamper
from tests.service.approvers import REASON, approver_table, for_all, person, revocation
from tests.service.makers import CLIENT, asking, base64_of, make_policy, package, payload_digest, vote

GOOD = b"the package"
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS")
STATES = ("waiting", "queued", "claimed", "signed", "refused", "aside", "withdrawn", "absent")
SOMEBODY = UUID("11111111-2222-4333-8444-555555555555")
SIGNATURE = b"\x88\x00signature"

# --- What is expected --------------------------------------------------------------------------------------------------

LIVE = {"waiting", "queued", "claimed", "aside", "signed"}
ASKS = "/v1/signing-requests"
ONE = f"{ASKS}/{{requestId}}"
RELEASE = "/v1/releases/{releaseId}"
APPROVALS = "/v1/approvals"
REVOCATION = f"{APPROVALS}/{{approvalDigest}}/revocation"


def always(status):
    return dict.fromkeys(STATES, status)


def only(states, status, otherwise):
    """*status* in these states, else *otherwise*; a request that is absent is not found."""
    return {state: status if state in states else otherwise for state in STATES} | {"absent": 404}


EXPECTED = {
    ("POST", "/v1/attestations"): always(200),
    ("POST", "/v1/attestations:batch"): always(200),
    ("GET", "/v1/releases"): always(200),
    ("GET", RELEASE): always(200),
    ("GET", f"{RELEASE}/explanation"): always(200),
    ("GET", f"{RELEASE}/envelopes/{{operator}}/{{payloadDigest}}"): always(200),
    # Nothing here was really signed; tests/system reads bundles.
    ("GET", f"{RELEASE}/bundle"): dict.fromkeys(set(STATES) - {"signed"}, 404),
    ("GET", "/v1/suspects"): always(200),
    ("GET", "/log/checkpoint"): always(200),
    ("GET", "/log/tile/{tile}"): always(200),
    ("GET", "/openapi.json"): always(200),
    ("POST", ASKS): {state: 200 if state in LIVE else 201 for state in STATES},
    ("GET", ASKS): always(200),
    ("POST", APPROVALS): always(200),
    ("POST", REVOCATION): always(200),
    ("GET", APPROVALS): always(200),
    ("GET", f"{APPROVALS}/wanted"): always(200),
    ("GET", f"{APPROVALS}/{{approvalDigest}}"): always(200),
    ("GET", "/v1/tiers"): always(200),
    ("GET", ONE): only(STATES, 200, None),
    ("PUT", f"{ONE}/content"): only({"waiting", "queued", "claimed", "aside"}, 200, 409),
    ("GET", f"{ONE}/signature"): only({"signed"}, 200, 404),
    ("POST", f"{ONE}/withdraw"): only({"waiting", "queued"}, 200, 409),
    ("POST", f"{ONE}/retry"): only({"aside"}, 200, 409),
    ("GET", "/healthz"): always(200),
    ("GET", "/readyz"): always(200),
    ("GET", "/metrics"): always(200),
    ("GET", "/v1/canary"): always(200),
}
"""By row and state of the request: the answer to who may."""

AUDIENCE = {
    "/v1/attestations": "submit", "/v1/attestations:batch": "submit", "/v1/releases": "read", "/v1/suspects": "read", "/log/checkpoint": "read",
    "/log/tile/{tile}": "read", "/openapi.json": "read", "/healthz": None, "/readyz": "operate", "/metrics": "operate",
    REVOCATION: "submit", f"{APPROVALS}/{{approvalDigest}}": "read", f"{APPROVALS}/wanted": "read", "/v1/tiers": "read",
    "/v1/canary": "read",
}  # fmt: skip


def audience_of(method, path):
    if path.startswith(ASKS):
        return "request"
    if path == APPROVALS:
        return "submit" if method == "POST" else "read"
    return "read" if path.startswith(RELEASE) else AUDIENCE[path]


def served(role, path):
    """The methods of a path that the role's listener knows at all."""
    rows = (method for method, other in EXPECTED if other == path)
    return {method for method in rows if audience_of(method, path) in {None, *role.audiences}}


@dataclass(frozen=True)
class Role:
    listener: str
    audiences: frozenset
    known: bool = False
    """As a requester of the policy."""
    may_ask: bool = False


PUBLIC = frozenset({"read", "submit"})
REQUEST = frozenset({"request", "read"})
LOCAL = frozenset({"request", "read", "submit"})
ROLES = {
    "nobody": Role("public", PUBLIC),
    "a client that no requester has": Role("request", REQUEST),
    "the requester of another tier": Role("request", REQUEST, known=True),
    "the right requester from a foreign network": Role("request", REQUEST, known=True),
    "the right requester": Role("request", REQUEST, known=True, may_ask=True),
    "the right requester at a listener for readers": Role("reading", frozenset({"read"})),
    "the right requester at the listener for operators": Role("operate", frozenset({"operate"})),
    "a user of the host that no requester has": Role("unix", LOCAL),
    "a user of the host that another tier has": Role("unix", LOCAL, known=True),
    "the right user of the host where its tier is not asked": Role("unix", LOCAL, known=True),
    "the right user of the host": Role("unix", LOCAL, known=True, may_ask=True),
}


def expected(role, method, path, state):
    """One status; ``None`` is: not asked here."""
    if not served(role, path):
        return 404
    row = ("GET" if method == "HEAD" else method, path)
    if row[0] not in served(role, path):
        return 405
    if audience_of(*row) != "request" or role.may_ask:
        return EXPECTED[row].get(state)
    if row == ("GET", ASKS) and role.known:
        return 200  # one's own, of whatever tier: none here
    return 404 if state == "absent" and role.known and row != ("POST", ASKS) else 403


def test_every_row_of_the_table_stands_on_this_page_and_none_besides():
    assert {(row.method, row.path) for row in ROWS} == set(EXPECTED)
    for row in ROWS:
        assert row.audience == (audience_of(row.method, row.path) or "any"), f"who serves {row.method} {row.path}"


# --- The service, and one release in each state ------------------------------------------------------------------------


def policy_with(keys, *, unix):
    """Packages: asked by `build-service` from 127.0.0.1, and by `relay` over the socket; debs: by `stranger` from the whole host."""
    networks = ["127.0.0.1/32", *(["unix"] if unix else [])]
    dora = approver_table("dora", person("dora").key, text=person("dora").line)
    text = (
        make_policy(rules={"approvals": "{ hours = 48, quota = 1 }"}, approvers=dora)
        .raw.decode()
        .replace(CLIENT, keys["right"].client_fingerprint)
        .replace("cd" * 32, keys["other"].client_fingerprint)
    )
    head, packages, rest = text.partition("[tiers.packages]")
    packages, mark, after = rest.partition("[tiers.debs]")
    packages = packages.replace('["192.0.2.0/24"]', json.dumps(networks)).replace(
        '["build-service"]', '["build-service", "relay"]'
    )
    after = after.replace('["build-service"]', '["stranger"]').replace('["192.0.2.0/24"]', '["127.0.0.0/8"]')
    users = '\n[requesters.relay]\nperson = "relay"\nusers = ["relay-user"]\n[requesters.elsewhere]\nusers = ["elsewhere-user"]\n'
    return parse_policy(f"{head}[tiers.packages]{packages}{mark}{after}{users}".encode(), "policy.toml")


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    folder = tmp_path_factory.mktemp("matrix")
    folder.chmod(0o700)
    now = datetime.now(UTC)  # noqa: TID251 - TLS has the system's clock
    authority = CertificateAuthority.create(folder / "ca", name="matrix", now=now)
    loopback = [ipaddress.ip_address("127.0.0.1")]
    made = {name: authority.issue(name, client=True, valid_days=9, now=now) for name in ("right", "other", "unlisted")}
    server = authority.issue("server", server_names=["localhost"], ips=loopback, client=False, valid_days=9, now=now)
    server.write(folder / "server")
    for name, one in made.items():
        one.write(folder / name)
    return {**made, "folder": folder}


_RESTORE = """UPDATE signing_requests SET state = $2, content_present = false,
    lease_until = CASE WHEN $2 = 'claimed' THEN now() + interval '1 day' END WHERE id = $1"""

_SIGN = """INSERT INTO signatures (release_id, key_fingerprint, request_id, sha256, signature)
    VALUES ($1, 'AB', $2, $3, $4)"""


class World:
    """The service on its listeners, and a release `package(state)` with a request in each state."""

    def __init__(self, ground, stack, keys, folder):
        self.ground = ground
        self.stack = stack
        self.folder = keys["folder"]
        self.socket = folder / "relay.sock"
        self.keys = keys
        self.ids = {"absent": SOMEBODY}
        self.ports = {}

    async def open(self, *, unix=True, **rates):
        policy = policy_with(self.keys, unix=unix)
        gate = await self.ground.gate(policy, **rates)
        self.approval, self.manifest = for_all(policy, "quota", [(package("nobodys"), GOOD)])
        self.revocation = revocation(self.approved)
        mutual = TlsFiles(
            self.folder / "server/server.pem", self.folder / "server/server.key", self.folder / "ca/ca.pem"
        )
        listeners = {
            "public": Listener("127.0.0.1:0", PUBLIC),
            "request": Listener("127.0.0.1:0", REQUEST, mutual),
            "reading": Listener("127.0.0.1:0", frozenset({"read"}), mutual),
            "operate": Listener("127.0.0.1:0", frozenset({"operate"}), mutual),
        }
        local = Listener(f"unix:{self.socket}", LOCAL)
        running = await serve([*listeners.values(), local], gate, registry=CollectorRegistry())
        self.stack.push_async_callback(running.stop)
        self.ports = {name: port for name, (_, port) in zip(listeners, running.addresses, strict=True)}

    @property
    def approved(self):
        """The digest of the one approval, of a release that nobody knows."""
        return hashlib.sha256(self.approval).hexdigest()

    async def session(self, name):
        role = ROLES[name]
        if role.listener == "unix":
            base, connector = "http://attestor", aiohttp.UnixConnector(str(self.socket))
        elif role.listener == "public":
            base, connector = f"http://127.0.0.1:{self.ports['public']}", aiohttp.TCPConnector()
        else:
            base = f"https://127.0.0.1:{self.ports[role.listener]}"
            source = ("127.0.0.9", 0) if "foreign" in name else ("127.0.0.1", 0)
            connector = aiohttp.TCPConnector(ssl=self._tls(name), local_addr=source)
        return await self.stack.enter_async_context(aiohttp.ClientSession(base, connector=connector))

    def _tls(self, name):
        who = "unlisted" if "no requester has" in name else "other" if "another tier" in name else "right"
        context = ssl.create_default_context(cafile=self.folder / "ca/ca.pem")
        context.load_cert_chain(self.folder / who / f"{who}.pem", self.folder / who / f"{who}.key")
        return context

    async def furnish(self, session):
        """One release in each state, asked for by the right requester, and then moved as the owner of the database can."""
        envelopes = b"\n".join(vote(package(state), GOOD, "alice") for state in STATES)
        await self._must(session["nobody"], "POST", "/v1/attestations:batch", envelopes, "application/x-ndjson")
        for path in (APPROVALS, REVOCATION.format(approvalDigest=self.approved)):
            await self._must(session["nobody"], "POST", path, *approving_body(self, path))
        for state in STATES[:-1]:
            asked = await self._must(session["the right requester"], "POST", ASKS, ask(state), "application/json")
            self.ids[state] = UUID(json.loads(asked)["id"])
        await self.restore()
        await self._sign()

    async def restore(self):
        """What a call has moved stands as before."""
        for state, identity in self.ids.items():
            await self.ground.sql(_RESTORE, identity, state)
        await self.ground.sql("DELETE FROM events WHERE request_id <> ALL ($1::uuid[])", list(self.ids.values()))
        await self.ground.sql("DELETE FROM signing_requests WHERE id <> ALL ($1::uuid[])", list(self.ids.values()))

    async def _sign(self):
        """A signature that a published entry unseals."""
        request, release = self.ids["signed"], bytes.fromhex(package("signed").id)
        sha256 = hashlib.sha256(GOOD).digest()
        await self.ground.sql("INSERT INTO signed_digests VALUES ($1, $2)", release, sha256)
        await self.ground.sql(_SIGN, release, request, sha256, SIGNATURE)
        while not await self.ground.owner.fetchval("SELECT published > 0 FROM log_state"):  # noqa: ASYNC110 - the sequencer works
            await asyncio.sleep(0.01)
        entry = json.dumps({"signature": hashlib.sha256(SIGNATURE).hexdigest()}).encode()
        update = "UPDATE log_entries SET kind = 'signature', subject = $1, entry = $2 WHERE idx = 0"
        await tamper(self.ground.owner, update, request, entry)

    async def _must(self, session, method, path, body, media_type):
        async with session.request(method, path, data=body, headers={"Content-Type": media_type}) as answer:
            assert answer.status in {200, 201}, await answer.text()
            return await answer.read()


def ask(state, name=None):
    asked = asking(package(name or state), GOOD, Upload())
    return json.dumps(
        {
            "release": {"kind": "package", "purl": asked.release.purl, "fileName": asked.release.file_name},
            "artifact": {"size": len(GOOD), "sha256": asked.artifact.sha256, "sha512": asked.artifact.sha512},
            "content": {"type": "upload"},
        }
    ).encode()


def spelled(world, path, state):
    return path.format(
        releaseId=package(state).id,
        requestId=world.ids[state],
        operator="alice",
        approvalDigest=world.approved,
        payloadDigest=payload_digest(package(state), GOOD).hex(),
        tile="0/000.p/1",
    )


def approving_body(world, path):
    """The body, and its media type."""
    signed, more = (world.revocation, {})
    if path == APPROVALS:
        signed, more = world.approval, {"manifest": base64_of(world.manifest), "reason": REASON}
    dora = person("dora")
    said = {"key": dora.key, "document": base64_of(signed), "signature": base64_of(dora.sign(signed))}
    return json.dumps(said | more).encode(), "application/json"


def body_of(world, method, path, state):
    if method in {"GET", "HEAD"}:
        return None, {}
    if path in {APPROVALS, REVOCATION}:
        body, media_type = approving_body(world, path)
        return body, {"Content-Type": media_type}
    if path == ASKS:
        return ask(state), {"Content-Type": "application/json"}
    if path == f"{ONE}/content":
        return GOOD, {"Content-Type": "application/octet-stream"}
    batch = path.endswith(":batch")
    return vote(package(state), GOOD, "alice"), {
        "Content-Type": "application/x-ndjson" if batch else "application/json"
    }


@pytest.fixture
async def world(ground, keys, tmp_path, monkeypatch):
    async with AsyncExitStack() as stack:
        made = World(ground, stack, keys, tmp_path)
        made.called = {"unix": "relay-user"}
        # The kernel's word is tested in tests/edges/api; which names these are is this page's.
        monkeypatch.setattr(peer, "_name", lambda uid: made.called["unix"] if uid == os.geteuid() else None)
        yield made


def user_of(name):
    if "no requester has" in name:
        return "mallory"
    return "elsewhere-user" if "another tier" in name else "relay-user"


def differs(path):
    """Whether the state of a request can make a difference."""
    return path.startswith((ASKS, RELEASE))


@pytest.mark.parametrize("name", ROLES)
async def test_each_row_in_each_state_with_each_method_answers(world, name):
    role, paths = ROLES[name], sorted({row.path for row in ROWS})
    await world.open(unix="where its tier is not asked" not in name)
    sessions = {each: await world.session(each) for each in {"nobody", "the right requester", name}}
    await world.furnish(sessions)
    world.called["unix"] = user_of(name)
    before, wrong, asked = await world.ground.rows(), [], 0
    for path in paths:
        for method in METHODS:
            known = ("GET" if method == "HEAD" else method, path) in EXPECTED
            for state in STATES if known and differs(path) else ("waiting",):
                wanted = expected(role, method, path, state)
                if wanted is None:
                    continue
                status, problem = await answered(sessions[name], world, method, path, state)
                asked += 1
                if status != wanted:
                    wrong.append(f"{method} {path} of one that is {state}: {status} {problem}, expected {wanted}")
                if method in {"POST", "PUT"} and status < 300:
                    await world.restore()
    assert not wrong, "\n".join(wrong)
    assert asked > 200
    after = await world.ground.rows()
    if role.may_ask:
        del before["events"], after["events"]
    assert before == after, "who may not leaves nothing, and the rest was put back"


async def answered(session, world, method, path, state):
    body, headers = body_of(world, method, path, state)
    async with session.request(method, spelled(world, path, state), data=body, headers=headers) as answer:
        raw = await answer.read()
        if answer.status < 400:
            return answer.status, None
        assert answer.content_type == "application/problem+json"
        if answer.status == 405:
            assert method not in answer.headers["Allow"].split(", ")
        return answer.status, None if method == "HEAD" else json.loads(raw)["code"]


# --- What comes before and beside roles --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["nobody", "the right requester", "the right user of the host"])
async def test_a_query_that_nobody_knows_is_malformed_on_every_row_that_is_there(world, name):
    role = ROLES[name]
    await world.open()
    session = await world.session(name)
    for row in ROWS:
        url = f"{spelled(world, row.path, 'absent')}?colour=blue"
        async with session.request(row.method, url, data=b"" if row.method != "GET" else None) as answer:
            there = served(role, row.path)
            assert (row.path, answer.status) == (row.path, 400 if row.method in there else 405 if there else 404)


@pytest.mark.parametrize(
    ("name", "status"),
    [("the right requester", 413), ("the right user of the host", 413), ("nobody", 404)],
)
async def test_an_ask_over_its_limit_is_too_large_for_whoever_finds_the_row(world, name, status):
    await world.open()
    session = await world.session(name)
    async with session.post(ASKS, data=b" " * 70_000, headers={"Content-Type": "application/json"}) as answer:
        assert answer.status == status


async def test_nobody_needs_to_say_who_they_are_and_no_condition_is_read(world):
    """So neither 401 nor 412 is ever answered: a header of HTTP authentication or of a condition changes nothing."""
    await world.open()
    session = await world.session("nobody")
    token = base64.b64encode(b"root:root").decode()
    for headers in (
        {"Authorization": f"Basic {token}"},
        {"If-Match": '"never"'},
        {"If-Unmodified-Since": "Thu, 01 Jan 1970 00:00:00 GMT"},
    ):
        async with session.get("/v1/releases", headers=headers) as answer:
            assert (answer.status, "WWW-Authenticate" in answer.headers) == (200, False)


async def test_over_a_limit_each_answer_is_429_with_a_time_and_the_same_call_succeeds_then(world):
    one = Rate(per_minute=60, burst=1)
    clock = {"now": 5 * 10**9}
    await world.open(requests=one, replays=one, payloads=one, ticks=lambda: clock["now"])
    requester, nobody = await world.session("the right requester"), await world.session("nobody")
    submit = {"Content-Type": "application/json"}
    calls = [
        ("requester-limit", requester, ASKS, ask("first"), ask("second"), 201),
        ("operator-limit", nobody, "/v1/attestations", vote(package("a"), GOOD, "alice"), vote(package("b"), GOOD, "alice"), 201),
        ("peer-limit", nobody, "/v1/attestations", vote(package("a"), GOOD, "alice"), vote(package("a"), GOOD, "alice"), 200),
    ]  # fmt: skip
    for code, session, path, first, second, success in calls:
        async with session.post(path, data=first, headers=submit) as answer:
            assert answer.status == success, await answer.text()
        before = await world.ground.rows()
        async with session.post(path, data=second, headers=submit) as answer:
            problem = await answer.json()
            assert (answer.status, problem["code"]) == (429, code)
            assert answer.headers["Retry-After"] == str(problem["retryAfter"])
            assert problem["detail"].endswith(f"in {problem['retryAfter']} s.")
        assert await world.ground.rows() == before
        clock["now"] += problem["retryAfter"] * 10**9
        async with session.post(path, data=second, headers=submit) as answer:
            assert answer.status == success
        clock["now"] += 60 * 10**9
    async with (await world.session("the right requester at the listener for operators")).get("/metrics") as answer:
        text = await answer.text()
    for code, *_ in calls:
        assert f'attestor_http_problems_total{{code="{code}"}} 1.0' in text


async def test_in_a_batch_the_line_over_a_limit_is_a_problem_with_a_time_and_is_counted(world):
    one = Rate(per_minute=60, burst=1)
    await world.open(payloads=one, ticks=lambda: 5 * 10**9)
    lines = b"\n".join(vote(package(name), GOOD, key) for name, key in (("a", "alice"), ("b", "alice"), ("c", "bob")))
    session = await world.session("nobody")
    async with session.post(
        "/v1/attestations:batch", data=lines, headers={"Content-Type": "application/x-ndjson"}
    ) as answer:
        answers = [json.loads(line) for line in (await answer.read()).splitlines()]
    assert [sorted(line) for line in answers] == [["line", "receipt"], ["line", "problem"], ["line", "receipt"]]
    assert (answers[1]["problem"]["status"], answers[1]["problem"]["retryAfter"]) == (429, 1)
    async with (await world.session("the right requester at the listener for operators")).get("/metrics") as answer:
        assert 'attestor_http_problems_total{code="operator-limit"} 1.0' in await answer.text()
