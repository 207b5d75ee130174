"""Who the device is, before a passphrase is sent: against servers that write down every byte that reaches them."""

import contextlib
import datetime as dt
import ipaddress
import socket
import ssl
import threading
import time

import nethsm
import pytest
import urllib3
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from attestor.core.errors import Rejected, Unavailable
from attestor.core.secret import Secret
from attestor.hsm.connection import MAX_ANSWER, Connection, NodeSettings
from attestor.hsm.keys import Login

LOGIN = Login("ns~operator", Secret("the passphrase of an operator"))
JSON = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
CHUNKED = JSON + b'Transfer-Encoding: chunked\r\n\r\n5\r\n[{"id\r\n9\r\n":"key"}]\r\n0\r\n\r\n'
LIST = JSON + b'Content-Length: 14\r\n\r\n[{"id":"key"}]'


class Peer:
    """A TLS server that writes down what it is sent, and answers by `answer(connection)`."""

    def __init__(self, folder, answer):
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "peer")])
        born = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
        certificate = (
            x509.CertificateBuilder(name, name, key.public_key(), 1, born, born.replace(year=2099))
            .add_extension(
                x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
            )
            .sign(key, hashes.SHA256())
        )
        self.file = folder / "peer.pem"
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        self.file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM) + private)
        self.fingerprint = certificate.fingerprint(hashes.SHA256()).hex()
        self.received = b""
        self.connections = 0
        self._answer = answer
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(self.file)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"https://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self):
        while True:
            try:
                plain, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            plain.settimeout(1)
            with contextlib.suppress(OSError), self._context.wrap_socket(plain, server_side=True) as connection:
                while True:
                    piece = connection.recv(65536)
                    self.received += piece
                    if not piece:
                        break
                    self._answer(connection)

    def stop(self):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()


@pytest.fixture
def peer(tmp_path):
    with contextlib.ExitStack() as stack:

        def start(answer):
            answers = answer if callable(answer) else lambda connection: connection.sendall(answer)
            started = Peer(tmp_path, answers)
            stack.callback(started.stop)
            return started

        yield start


@pytest.fixture
def connect():
    with contextlib.ExitStack() as stack:

        def connection(url, **settings):
            made = Connection(NodeSettings(url, **settings))
            stack.callback(made.close)
            return made

        yield connection


@pytest.mark.parametrize("answer", [LIST, CHUNKED], ids=["with a length", "in chunks"])
def test_with_the_right_fingerprint_the_device_is_asked_with_the_login(peer, connect, answer):
    device = peer(answer)
    connection = connect(device.url, fingerprint=device.fingerprint)
    assert connection.call(LOGIN, lambda sdk: sdk.list_keys()) == ["key"]
    assert connection.call(LOGIN, lambda sdk: sdk.list_keys()) == ["key"]
    assert b"authorization: basic" in device.received.lower()
    assert device.connections == 1  # kept and used again


def test_with_a_wrong_fingerprint_no_byte_of_a_request_reaches_the_server(peer, connect):
    device = peer(LIST)
    wrong = connect(device.url, fingerprint="0" * 64)
    for work in (
        nethsm.NetHSM.list_keys,
        nethsm.NetHSM.get_info,
        lambda sdk: sdk.lock(),
        lambda sdk: sdk._request("GET", "x"),
    ):
        with pytest.raises(Unavailable, match="hsm-certificate"):
            wrong.call(LOGIN, work)
    assert device.connections == 4
    assert device.received == b""


def test_the_fingerprint_holds_beside_an_authority_too(peer, connect):
    device = peer(LIST)
    both = connect(device.url, fingerprint="0" * 64, ca_certs=device.file)
    with pytest.raises(Unavailable, match="hsm-certificate"):
        both.call(LOGIN, lambda sdk: sdk.list_keys())
    assert device.received == b""


def test_an_authority_alone_is_proof_and_another_authority_is_none(peer, connect, tmp_path):
    device = peer(LIST)
    assert connect(device.url, ca_certs=device.file).call(LOGIN, lambda sdk: sdk.list_keys()) == ["key"]
    (tmp_path / "other").mkdir()
    other = Peer(tmp_path / "other", lambda _: None)
    other.stop()
    received = device.received
    with pytest.raises(Unavailable, match="hsm-certificate"):
        connect(device.url, ca_certs=other.file).call(LOGIN, lambda sdk: sdk.list_keys())
    assert device.received == received


def test_an_sdk_whose_pool_cannot_be_found_is_refused_before_it_connects(peer, connect, monkeypatch):
    device = peer(LIST)
    connection = connect(device.url, fingerprint=device.fingerprint)
    create = nethsm.NetHSM.__init__

    def changed(self, *arguments, **more):
        create(self, *arguments, **more)
        del self.client.rest_client.pool_manager

    monkeypatch.setattr(nethsm.NetHSM, "__init__", changed)
    with pytest.raises(Rejected, match="hsm-sdk"):
        connection.call(LOGIN, lambda sdk: sdk.list_keys())
    assert device.connections == 0


def test_urllib3_goes_on_warning_others_of_unverified_connections(peer, connect):
    device = peer(LIST)
    connect(device.url, fingerprint=device.fingerprint).call(LOGIN, lambda sdk: sdk.list_keys())
    with (
        urllib3.PoolManager(cert_reqs="CERT_NONE") as careless,
        pytest.warns(urllib3.exceptions.InsecureRequestWarning),
    ):
        careless.request("GET", device.url)


def test_a_redirect_is_not_followed(peer, connect):
    device = peer(b"HTTP/1.1 302 Found\r\nLocation: /api/v1/elsewhere\r\nContent-Length: 0\r\n\r\n")
    with pytest.raises(Rejected, match="hsm-protocol"):
        connect(device.url, fingerprint=device.fingerprint).call(LOGIN, lambda sdk: sdk.list_keys())
    assert b"elsewhere" not in device.received


def test_a_url_outside_of_the_device_is_refused(connect, peer):
    device = peer(LIST)
    connection = connect(device.url, fingerprint=device.fingerprint)
    with pytest.raises(Rejected, match="hsm-sdk"):
        connection.call(LOGIN, lambda sdk: sdk.client.rest_client.request("GET", "https://127.0.0.1:1/api/v1/keys"))


def test_a_post_is_not_sent_again_when_the_connection_closes(peer, connect):
    device = peer(lambda connection: connection.close())
    message = nethsm.Base64.encode(b"digest")
    with pytest.raises(Unavailable, match="hsm-unreachable"):
        connect(device.url, fingerprint=device.fingerprint).call(
            LOGIN, lambda sdk: sdk.sign("key", message, nethsm.SignMode.EDDSA)
        )
    assert device.received.count(b"POST ") == 1


def drip(connection):
    connection.sendall(JSON + b"Content-Length: 1000\r\n\r\n")
    for _ in range(40):
        connection.sendall(b" ")
        time.sleep(0.05)


SLOW = {"never answers": lambda _: time.sleep(1.5), "drips": drip}


@pytest.mark.parametrize("name", SLOW)
def test_the_thread_is_free_after_the_answer_time_of_a_device_that(peer, connect, name):
    device = peer(SLOW[name])
    started = time.monotonic()
    with pytest.raises(Unavailable, match="hsm-unreachable"):
        connect(device.url, fingerprint=device.fingerprint, answer_seconds=0.4).call(LOGIN, lambda sdk: sdk.list_keys())
    assert 0.35 < time.monotonic() - started < 1.2


def test_an_answer_without_end_is_given_up(peer, connect):
    device = peer(JSON + b"Content-Length: 100000000\r\n\r\n" + b" " * (MAX_ANSWER + 70000))
    with pytest.raises(Unavailable, match="hsm-unreachable"):
        connect(device.url, fingerprint=device.fingerprint).call(LOGIN, lambda sdk: sdk.list_keys())


NONSENSE = {
    "another content type": b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 2\r\n\r\n[]",
    "no JSON": JSON + b"Content-Length: 2\r\n\r\n[}",
    "other JSON": JSON + b"Content-Length: 8\r\n\r\n[1, 2,3]",
    "a status out of nowhere": b"HTTP/1.1 418 Teapot\r\nContent-Length: 0\r\n\r\n",
}


@pytest.mark.parametrize("name", NONSENSE)
def test_an_answer_that_the_sdk_does_not_understand_is_an_error_of_ours(peer, connect, name):
    device = peer(NONSENSE[name])
    with pytest.raises(Rejected, match="hsm-protocol"):
        connect(device.url, fingerprint=device.fingerprint).call(LOGIN, lambda sdk: sdk.list_keys())


def test_the_device_s_words_are_short_and_printable(peer, connect):
    words = b'{"message":"\\u001b[31m' + b"x" * 5000 + b'"}'
    head = b"HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\n"
    device = peer(head + b"Content-Length: %d\r\n\r\n" % len(words) + words)
    with pytest.raises(Rejected, match="hsm-refused") as caught:
        connect(device.url, fingerprint=device.fingerprint).call(LOGIN, lambda sdk: sdk.list_keys())
    assert caught.value.sentence.isprintable()
    assert len(caught.value.sentence) < 400


BAD = {
    "plain HTTP": {"url": "http://device:8443", "fingerprint": "0" * 64},
    "no host": {"url": "https://", "fingerprint": "0" * 64},
    "a path": {"url": "https://device/api/v1", "fingerprint": "0" * 64},
    "a passphrase in the URL": {"url": "https://admin:passphrase@device", "fingerprint": "0" * 64},
    "neither fingerprint nor authority": {"url": "https://device"},
    "an MD5 fingerprint": {"url": "https://device", "fingerprint": "0" * 32},
    "an empty fingerprint": {"url": "https://device", "fingerprint": "", "ca_certs": "ca.pem"},
    "a fingerprint with colons": {"url": "https://device", "fingerprint": ":".join(["00"] * 32)},
}


@pytest.mark.parametrize("name", BAD)
def test_a_node_is_refused_that_is_configured_with(name):
    with pytest.raises(Rejected, match=r"hsm-url|hsm-fingerprint"):
        NodeSettings(**BAD[name])
