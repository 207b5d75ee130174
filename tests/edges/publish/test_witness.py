"""What a witness answers, and what we make of it (C2SP tlog-witness v1.0.0): each status, and each way to get it wrong."""

import asyncio
import ssl
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from attestor.core.errors import Halted, Rejected, Unavailable
from attestor.core.tlog.checkpoint import Checkpoint, sign_checkpoint
from attestor.core.tlog.cosignature import cosign
from attestor.core.tlog.merkle import EMPTY_ROOT
from attestor.core.tlog.note import COSIGNATURE, NoteSigner
from attestor.core.tlog.proofs import consistency_proof
from attestor.core.tlog.tiles import tiles_for_consistency
from attestor.core.tlog.witnessing import encode_add_checkpoint
from attestor.publish.witness import MAX_ANSWER_BYTES, HttpWitness
from attestor.service.logports import WitnessAt
from tests.edges.publish import witness_server
from tests.edges.publish.witness_server import TIME, WitnessServer, serving
from tests.logkeys import witness_signer
from tests.memorylog import SIGNER, MemoryLog, words

OWN = witness_signer("w")
LOG = MemoryLog(words(300))
CHECKPOINT = LOG.checkpoint_at(300)
NOTE = sign_checkpoint(CHECKPOINT, SIGNER)
LINE = cosign(CHECKPOINT.text, OWN, TIME)
LATER = cosign(CHECKPOINT.text, OWN, TIME + 1)
FOREIGN = cosign(CHECKPOINT.text, NoteSigner.create("witness.example/x", bytes(32), COSIGNATURE), TIME)
SAME_NAME = cosign(CHECKPOINT.text, NoteSigner.create(OWN.verifier.name, bytes(32), COSIGNATURE), TIME)
ELSEWHERE = cosign(LOG.checkpoint_at(299).text, OWN, TIME)
BACKWARDS = witness_server.little_endian(OWN, CHECKPOINT.text)[0]
LOGS_OWN = SIGNER.sign(CHECKPOINT.text)


def lines(*texts):
    return "".join(f"{text}\n" for text in texts).encode()


@pytest.fixture
async def server():
    async with serving(WitnessServer(OWN, [SIGNER.verifier])) as witness:
        yield witness


@asynccontextmanager
async def client(url, deadline=30):
    async with HttpWitness("w", OWN.verifier, url, deadline_seconds=deadline) as witness:
        yield witness


async def proof(old, size):
    tiles = {tile: LOG.bytes_of(tile) for tile in tiles_for_consistency(old, size)}
    return consistency_proof(old, size, tiles)


async def ask(url, old=0, size=300, **options):
    note = sign_checkpoint(LOG.checkpoint_at(size), SIGNER)
    async with client(url, **options) as witness:
        return await witness.add_checkpoint(old, await proof(old, size), note)


async def refused(url, **options):
    with pytest.raises((Rejected, Halted, Unavailable)) as raised:
        await ask(url, **options)
    return raised.value


async def test_a_real_witness_follows_a_growing_log(server):
    sizes = [0, 1, 2, 2, 255, 256, 257, 300]
    for old, size in zip([0, *sizes], sizes, strict=False):
        line = await ask(server.url, old, size)
        assert line == cosign(LOG.checkpoint_at(size).text, OWN, TIME)
        assert server.known(SIGNER.verifier.name) == LOG.checkpoint_at(size)


async def test_what_a_real_witness_kept_it_keeps_over_a_restart(tmp_path):
    async with serving(WitnessServer(OWN, [SIGNER.verifier], tmp_path)) as witness:
        await ask(witness.url, 0, 7)
    async with serving(WitnessServer(OWN, [SIGNER.verifier], tmp_path)) as witness:
        assert await ask(witness.url, 0, 300) == WitnessAt(7)
        assert await ask(witness.url, 7, 300) == LINE


async def test_the_request_is_the_specifications_byte_for_byte(server):
    await ask(server.url, 0, 299)
    await ask(server.url, 299, 300)
    assert server.asked[0] == b"old 0\n\n" + sign_checkpoint(LOG.checkpoint_at(299), SIGNER)
    head, _, rest = server.asked[1].partition(b"\n\n")
    assert head.split(b"\n")[0] == b"old 299"
    assert len(head.split(b"\n")) == 1 + len(await proof(299, 300)) > 1
    assert rest == NOTE
    assert all(len(raw) < 10 << 10 for raw in server.asked)


@pytest.mark.parametrize(
    ("body", "line"),
    [
        pytest.param(lines(LINE), LINE, id="its own line"),
        pytest.param(lines(FOREIGN, LINE), LINE, id="its own line behind an unknown one"),
        pytest.param(lines(SAME_NAME, LINE), LINE, id="its own line behind one of another key of its name"),
        pytest.param(lines(LINE, LOGS_OWN), LINE, id="its own line and the log's"),
        pytest.param(lines(LINE, LATER), LINE, id="two lines of its own"),
    ],
)
async def test_of_the_lines_its_own_is_taken(server, body, line):
    server.canned = (200, "text/plain", body)
    assert await ask(server.url) == line


@pytest.mark.parametrize(
    ("body", "code"),
    [
        pytest.param(b"", "witness-answer", id="nothing"),
        pytest.param(b"\n", "witness-answer", id="an empty line"),
        pytest.param(b"ok\n", "witness-answer", id="other text"),
        pytest.param(b"\xff\xfe\n", "witness-answer", id="no UTF-8"),
        pytest.param(lines(LINE)[:-1], "witness-answer", id="no newline at the end"),
        pytest.param(lines(LINE).replace(b"\n", b"\r\n"), "witness-answer", id="other line ends"),
        pytest.param(lines(LINE).replace("—".encode(), b"-"), "witness-answer", id="a hyphen for the dash"),
        pytest.param(NOTE + lines(LINE), "witness-answer", id="the whole note"),
        pytest.param(b"x\n\n" + lines(LINE), "witness-answer", id="lines of another text"),
        pytest.param(lines(*[LINE] * 500), "witness-answer", id="very many lines"),
        pytest.param(b" " * (MAX_ANSWER_BYTES + 1), "witness-answer", id="very many bytes"),
        pytest.param(lines(FOREIGN), "witness-silent", id="only an unknown key's line"),
        pytest.param(lines(SAME_NAME), "witness-silent", id="only a line of another key of its name"),
        pytest.param(lines(LOGS_OWN), "witness-silent", id="only the log's own line"),
        pytest.param(lines(ELSEWHERE), "cosignature", id="its line of another checkpoint"),
        pytest.param(lines(BACKWARDS), "cosignature", id="its line with the time little-endian"),
        pytest.param(lines(LINE, ELSEWHERE), "cosignature", id="its line, and one of another checkpoint"),
    ],
)
async def test_no_other_answer_is_a_cosignature(server, body, code):
    server.canned = (200, "text/plain", body)
    error = await refused(server.url)
    assert (type(error), error.code) == (Rejected, code)
    assert len(error.sentence) < 1000


@pytest.mark.parametrize(
    ("kind", "body", "size"),
    [
        ("text/x.tlog.size", b"7\n", 7),
        ("text/x.tlog.size", b"0\n", 0),
        ("text/x.tlog.size", b"301\n", 301),
        ("text/x.tlog.size", b"9223372036854775807\n", 2**63 - 1),
        ("text/x.tlog.size; charset=utf-8", b"7\n", 7),
    ],
)
async def test_a_conflict_with_a_size_is_where_the_witness_is(server, kind, body, size):
    server.canned = (409, kind, body)
    assert await ask(server.url, 5) == WitnessAt(size)


NO_SIZES = (
    b"",
    b"7",
    b"\n",
    b"07\n",
    b"+7\n",
    b"-1\n",
    b" 7\n",
    b"1_0\n",
    b"7\n\n",
    b"7\n8\n",
    b"7\r\n",
    "٣\n".encode(),
)


@pytest.mark.parametrize("body", [*NO_SIZES, b"9223372036854775808\n", b"1" * 5000 + b"\n"])
async def test_a_conflict_with_anything_else_for_a_size_is_refused(server, body):
    server.canned = (409, "text/x.tlog.size", body)
    error = await refused(server.url, old=5)
    assert (type(error), error.code) == (Rejected, "witness-answer")


@pytest.mark.parametrize(
    ("status", "kind", "body"),
    [
        pytest.param(422, "text/plain", b"bad proof\n", id="422"),
        pytest.param(409, "text/plain", b"", id="409 of another root"),
        pytest.param(409, "text/plain", b"7\n", id="409 with a size, of no type"),
        pytest.param(409, None, b"", id="409 without a type"),
        pytest.param(409, "text/x.tlog.size", b"300\n", id="409 with the very size that was asked from"),
    ],
)
async def test_another_tree_is_a_split_view_that_names_its_evidence(server, status, kind, body):
    server.canned = (status, kind, body)
    error = await refused(server.url, old=300)
    assert (type(error), error.code) == (Halted, "split-view")
    assert all(word in error.sentence for word in (SIGNER.verifier.name, "300 entries", "evidence", "witness w"))


@pytest.mark.parametrize(
    ("status", "kind", "code"),
    [
        (400, Rejected, "witness-request"),
        (403, Rejected, "witness-forbidden"),
        (404, Rejected, "witness-unknown-origin"),
        (301, Rejected, "witness-refused"),
        (401, Rejected, "witness-refused"),
        (405, Rejected, "witness-refused"),
        (413, Rejected, "witness-refused"),
        (408, Unavailable, "witness-unavailable"),
        (429, Unavailable, "witness-unavailable"),
        (500, Unavailable, "witness-unavailable"),
        (503, Unavailable, "witness-unavailable"),
        (204, Unavailable, "witness-unavailable"),
    ],
)
async def test_every_other_status_says_whether_asking_again_helps(server, status, kind, code):
    server.canned = (status, "text/plain", b"\x1b[31mno\n" * 100 if status != 204 else b"")
    error = await refused(server.url)
    assert (type(error), error.code) == (kind, code)
    assert error.sentence.isprintable()
    assert len(error.sentence) < 1000


@pytest.mark.parametrize(
    ("spoil", "status"),
    [
        pytest.param(lambda raw: raw.replace(b"old 0", b"old 00"), 400, id="a leading zero"),
        pytest.param(lambda raw: raw.replace(b"old 0", b"old 301"), 400, id="an old size above the checkpoint's"),
        pytest.param(lambda raw: raw.replace(b"log.example/test\n", b"log.example/else\n"), 404, id="another origin"),
        pytest.param(lambda raw: raw[:-4] + b"AA=\n", 403, id="another signature"),
        pytest.param(lambda raw: raw.replace(b"\n300\n", b"\n301\n"), 403, id="another size"),
    ],
)
def test_the_tests_own_witness_answers_as_the_specification_says(spoil, status):
    witness = WitnessServer(OWN, [SIGNER.verifier])
    raw = encode_add_checkpoint(0, (), NOTE)
    assert spoil(raw) != raw
    assert witness.answer(spoil(raw))[0] == status
    assert witness.known(SIGNER.verifier.name).size == 0
    assert witness.answer(raw)[0] == 200


@pytest.mark.parametrize("old", [7, 300])
async def test_a_forked_log_is_told_from_a_stale_one(server, old):
    fork = MemoryLog(words(old, "forked"))
    server.accept(fork.checkpoint_at(old))
    assert await ask(server.url, 3 if old == 7 else 7) == WitnessAt(old)
    assert (await refused(server.url, old=old)).code == "split-view"
    assert server.known(SIGNER.verifier.name) == fork.checkpoint_at(old)


async def test_nobody_there(server, unused_tcp_port):
    error = await refused(f"http://127.0.0.1:{unused_tcp_port}")
    assert (type(error), error.code) == (Unavailable, "witness-unavailable")


async def test_a_silent_witness_is_left_at_the_deadline(server):
    server.held.clear()
    error = await refused(server.url, deadline=0.01)
    assert (type(error), error.code) == (Unavailable, "witness-unavailable")


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", b"SSH-2.0-x\r\n"])
async def test_a_broken_answer(answer):
    async def cut(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    async with await asyncio.start_server(cut, "127.0.0.1", 0) as listening:
        error = await refused(f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}")
    assert (type(error), error.code) == (Unavailable, "witness-unavailable")


async def test_an_endless_answer_is_left():
    async def endless(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
        with suppress(ConnectionError):
            while True:
                writer.write(bytes(1 << 16))
                await writer.drain()
        writer.close()

    async with await asyncio.start_server(endless, "127.0.0.1", 0) as listening:
        error = await refused(f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}", deadline=5)
    assert (type(error), error.code) == (Rejected, "witness-answer")
    assert str(MAX_ANSWER_BYTES) in error.sentence


async def test_nothing_is_told_to_whoever_a_witness_sends_us_to(server):
    async with serving(WitnessServer(OWN, [SIGNER.verifier])) as other:

        async def elsewhere(reader, writer):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(
                f"HTTP/1.1 307 T\r\nLocation: {other.url}/add-checkpoint\r\nContent-Length: 0\r\n\r\n".encode()
            )
            writer.close()

        async with await asyncio.start_server(elsewhere, "127.0.0.1", 0) as listening:
            error = await refused(f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}")
        assert (type(error), error.code, other.asked) == (Rejected, "witness-refused", [])


async def test_a_certificate_of_nobody_known_is_refused(tmp_path):
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    born = datetime(2026, 1, 1, tzinfo=UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, born, born + timedelta(days=36500))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path / "tls.pem"
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    file.write_bytes(certificate.public_bytes(Encoding.PEM) + secret)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(file)
    reached = []

    async def served(_reader, writer):
        reached.append(writer)
        writer.close()

    async with await asyncio.start_server(served, "localhost", 0, ssl=context) as listening:
        error = await refused(f"https://localhost:{listening.sockets[0].getsockname()[1]}")
    assert (type(error), error.code, reached) == (Unavailable, "witness-unavailable", [])
    assert "certificate" in error.sentence.lower()


def test_the_empty_trees_checkpoint_is_cosigned_too():
    witness = WitnessServer(OWN, [SIGNER.verifier])
    note = sign_checkpoint(Checkpoint(SIGNER.verifier.name, 0, EMPTY_ROOT), SIGNER)
    assert witness.answer(encode_add_checkpoint(0, (), note))[0] == 200
