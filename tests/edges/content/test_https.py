"""A pull root over HTTPS, against a real server with a real CA: the server is trusted with nothing but the bytes."""

import asyncio
import datetime as dt
import ipaddress
import os
import ssl

import psutil
import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from attestor.content.https import HttpsRoot
from attestor.content.measure import measure
from attestor.content.roots import PullRoots
from attestor.core.errors import AttestorError, Missing, Rejected, TooLarge

CONTENT = os.urandom(3 << 20)
LIMIT = 4 << 20
DAY = dt.timedelta(days=1)


def _usage(*, signs_certificates):
    others = ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "crl_sign")
    never = dict.fromkeys((*others, "encipher_only", "decipher_only"), False)
    return x509.KeyUsage(digital_signature=True, key_cert_sign=signs_certificates, **never)


def issue(folder, name, issuer=None):
    """A certificate and key in one PEM file; without issuer a CA."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime(2025, 1, 1, tzinfo=dt.UTC)
    signer_name, signer_key = issuer or (subject, key)
    builder = (
        x509.CertificateBuilder(signer_name, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + 3650 * DAY)
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        # Of Python 3.13 on, a verifier asks for what RFC 5280 says of a certificate, and not only for a chain.
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer_key.public_key()), critical=False)
        .add_extension(_usage(signs_certificates=issuer is None), critical=True)
    )
    pem = builder.sign(signer_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    pem += key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / f"{name}.pem").write_bytes(pem)
    return subject, key


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    folder = tmp_path_factory.mktemp("certificates")
    ca = issue(folder, "ca")
    issue(folder, "server", ca)
    issue(folder, "client", ca)
    issue(folder, "stranger")
    return folder


async def whole(_request):
    return web.Response(body=CONTENT)


async def path_as_sent(request):
    return web.Response(text=request.raw_path)


async def chunked(request):
    response = web.StreamResponse()
    response.enable_chunked_encoding()
    await response.prepare(request)
    for _ in range(64):
        await response.write(bytes(1 << 20))
        # asyncio's TLS transport takes writes after the peer has gone without ever giving way.
        await asyncio.sleep(0)
    return response


async def cut_off(request):
    response = web.StreamResponse(headers={"Content-Length": "1000"})
    await response.prepare(request)
    await response.write(bytes(100))
    request.transport.abort()
    return response


async def silent(_request):
    await asyncio.sleep(60)


async def labelled_gzip(_request):
    return web.Response(body=CONTENT, headers={"Content-Encoding": "gzip"})


def redirecting(target):
    async def answer(_request):
        return web.Response(status=302, headers={"Location": target} if target else {})

    return answer


def answering(status):
    async def answer(_request):
        return web.Response(status=status, body=CONTENT[:10])

    return answer


AWAY = web.AppKey("away", str)
ROUTES = {
    "/pool/whole": whole,
    "/pool/chunked": chunked,
    "/pool/cut-off": cut_off,
    "/pool/silent": silent,
    "/pool/gzip": labelled_gzip,
    "/pool/moved": redirecting("/pool/whole"),
    "/pool/circle": redirecting("circle"),
    "/pool/away": lambda request: web.Response(status=302, headers={"Location": request.app[AWAY]}),
    "/pool/plain": redirecting("http://127.0.0.1/whole"),
    "/pool/nowhere": redirecting(None),
    "/pool/forbidden": answering(403),
    "/pool/broken": answering(500),
    "/pool/partial": answering(206),
    "/pool/gone": answering(410),
    "/pool/big": lambda _request: web.Response(body=bytes(LIMIT + 1)),
    "/pool/echo/{rest:.*}": path_as_sent,
}


@pytest.fixture
async def serve(certificates):
    runners = []

    async def start(client_ca=None, away=""):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificates / "server.pem")
        if client_ca:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(certificates / client_ca)
        app = web.Application()
        app[AWAY] = away
        for path, answer in ROUTES.items():
            app.router.add_get(path, answer if asyncio.iscoroutinefunction(answer) else wrapped(answer))
        runners.append(web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True))
        await runners[-1].setup()
        site = web.TCPSite(runners[-1], "127.0.0.1", 0, ssl_context=context)
        await site.start()
        return f"https://127.0.0.1:{site._server.sockets[0].getsockname()[1]}/pool/"

    yield start
    for runner in runners:
        await runner.cleanup()


def wrapped(answer):
    async def respond(request):
        return answer(request)

    return respond


@pytest.fixture
def scratch(tmp_path):
    folder = tmp_path / "scratch"
    folder.mkdir(mode=0o700)
    return folder


@pytest.fixture
def pull(certificates, scratch):
    async def read(url, relative, ca="ca.pem", client=None, deadline=5):
        root = HttpsRoot(url, deadline, certificates / ca if ca else None, certificates / client if client else None)
        roots = PullRoots({"web": root}, scratch=scratch, max_bytes=LIMIT)
        async with roots.open("web", relative) as opened:
            measured = await measure(opened)
            return os.pread(opened.fd, measured.size, 0)

    return read


async def test_a_content_comes_whole(serve, pull, scratch):
    assert await pull(await serve(), "whole") == CONTENT
    assert list(scratch.iterdir()) == []


async def test_a_redirect_on_the_same_host_is_followed(serve, pull):
    assert await pull(await serve(), "moved") == CONTENT


async def test_bytes_are_taken_as_they_come_whatever_the_server_calls_them(serve, pull):
    assert await pull(await serve(), "gzip") == CONTENT


@pytest.mark.parametrize(
    ("relative", "sent"),
    [
        ("echo/a b?x#y", "/pool/echo/a%20b%3Fx%23y"),
        ("echo/50%2e%2e", "/pool/echo/50%252e%252e"),
        ("echo/größe:1+2@3", "/pool/echo/gr%C3%B6%C3%9Fe%3A1%2B2%403"),
    ],
    ids=["question mark and hash", "percent", "letters and signs"],
)
async def test_a_name_reaches_the_server_as_one_name(serve, pull, relative, sent):
    assert await pull(await serve(), relative) == sent.encode()


FAILURES = {
    "nothing there": ("missing", "content-missing"),
    "gone": ("gone", "content-missing"),
    "forbidden": ("forbidden", "content-unavailable"),
    "broken": ("broken", "content-unavailable"),
    "only a part": ("partial", "content-unavailable"),
    "a redirect to plain HTTP": ("plain", "content-unavailable"),
    "a redirect in a circle": ("circle", "content-unavailable"),
    "a redirect to nowhere": ("nowhere", "content-unavailable"),
    "larger than the limit": ("big", "content-too-large"),
    "larger than the limit, in chunks": ("chunked", "content-too-large"),
    "cut off": ("cut-off", "content-unavailable"),
    "a path upwards": ("../whole", "content-outside-root"),
}


@pytest.mark.parametrize(("relative", "code"), FAILURES.values(), ids=FAILURES)
async def test_an_answer_that_is_not_the_content_leaves_nothing(serve, pull, scratch, relative, code):
    url = await serve()
    before = psutil.Process().num_fds()
    with pytest.raises(AttestorError) as failure:
        await pull(url, relative)
    assert failure.value.code == code
    assert isinstance(failure.value, Missing) == (code == "content-missing")
    assert list(scratch.iterdir()) == []
    await asyncio.sleep(0.05)
    assert psutil.Process().num_fds() <= before + 1, "the server may hold its end of the connection a moment longer"


async def test_a_content_over_the_limit_is_refused_while_it_comes_and_not_only_when_it_is_measured(
    serve, scratch, certificates
):
    root = HttpsRoot(await serve(), 5, certificates / "ca.pem")
    with pytest.raises(TooLarge):
        async with PullRoots({"web": root}, scratch=scratch, max_bytes=LIMIT).open("web", "chunked"):
            pytest.fail("all of it was stored")


async def test_a_redirect_to_another_server_is_not_followed_though_it_has_the_content(serve, pull):
    other = await serve()
    assert await pull(other, "whole") == CONTENT
    with pytest.raises(AttestorError) as failure:
        await pull(await serve(away=f"{other}whole"), "away")
    assert failure.value.code == "content-unavailable"
    assert "another host" in failure.value.sentence


async def test_a_silent_server_is_left_at_the_deadline(serve, pull):
    with pytest.raises(AttestorError) as failure:
        await pull(await serve(), "silent", deadline=0.3)
    assert failure.value.code == "content-unavailable"


async def test_a_server_of_another_ca_is_not_asked(serve, pull):
    url = await serve()
    for ca in (None, "stranger.pem"):
        with pytest.raises(AttestorError) as failure:
            await pull(url, "whole", ca=ca)
        assert failure.value.code == "content-unavailable"


async def test_a_client_certificate_is_shown_where_the_server_asks_for_one(serve, pull):
    url = await serve(client_ca="ca.pem")
    assert await pull(url, "whole", client="client.pem") == CONTENT
    with pytest.raises(AttestorError) as failure:
        await pull(url, "whole")
    assert failure.value.code == "content-unavailable"


async def test_nobody_listening_is_an_outage(pull):
    with pytest.raises(AttestorError) as failure:
        await pull("https://127.0.0.1:1/", "whole")
    assert failure.value.code == "content-unavailable"


@pytest.mark.parametrize("url", ["http://example.org/", "https://example.org", "file:///etc/"])
def test_an_address_that_is_no_https_folder_is_refused(url):
    with pytest.raises(Rejected):
        HttpsRoot(url, 5)
