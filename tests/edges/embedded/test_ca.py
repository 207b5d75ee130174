"""The private CA: what strict checkers accept, what a handshake proves, and what is never overwritten."""

import asyncio
import contextlib
import hashlib
import ipaddress
import ssl
import subprocess
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from attestor.core.errors import AttestorError, Conflict, Missing, Rejected
from attestor.core.tls import load_client_fingerprint
from attestor.embedded.ca import CertificateAuthority

NOW = datetime(2026, 3, 1, 12, 30, 15, 999, tzinfo=UTC)
ANSWER = b"HTTP/1.0 200 OK\r\n\r\nhello"
LOOPBACK = ipaddress.ip_address("127.0.0.1")


@pytest.fixture
def authority(tmp_path):
    return CertificateAuthority.create(tmp_path / "ca", name="test-authority", now=today())


def today():
    """Handshakes are checked against the real clock."""
    return datetime.now(UTC)  # noqa: TID251 - a test of TLS, whose clock is the system's


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def server(authority):
    return authority.issue(
        "server", server_names=["localhost"], ips=[LOOPBACK], client=False, valid_days=30, now=today()
    )


def client(authority, name="build-1"):
    return authority.issue(name, client=True, valid_days=30, now=today())


def context(protocol, authority, issued, folder):
    """TLS 1.3 only, the peer's certificate required and checked by the strict rules of RFC 5280."""
    made = ssl.SSLContext(protocol)
    made.minimum_version = ssl.TLSVersion.TLSv1_3
    made.verify_mode = ssl.CERT_REQUIRED
    made.verify_flags |= ssl.VERIFY_X509_STRICT
    made.load_verify_locations(cadata=authority.certificate_pem.decode())
    if issued:
        made.load_cert_chain(*issued.write(folder))
    return made


@contextlib.asynccontextmanager
async def listening(authority, issued, folder):
    """The port of a server that answers each accepted client, and the client certificates that it accepted."""
    accepted = []

    async def answer(_reader, writer):
        accepted.append(writer.get_extra_info("ssl_object").getpeercert(binary_form=True))
        writer.write(ANSWER)
        await writer.drain()
        writer.close()

    tls = context(ssl.PROTOCOL_TLS_SERVER, authority, issued, folder)
    async with await asyncio.start_server(answer, "127.0.0.1", 0, ssl=tls) as running:
        yield running.sockets[0].getsockname()[1], accepted


async def handshake(authority, ours, theirs, folder, name="localhost"):
    """What the client read, and the client certificates that the server accepted."""
    asking = context(ssl.PROTOCOL_TLS_CLIENT, authority, theirs, folder)
    async with listening(authority, ours, folder) as (port, accepted):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=asking, server_hostname=name)
        assert writer.get_extra_info("ssl_object").version() == "TLSv1.3"
        # In TLS 1.3 the client has finished before the server judges its certificate.
        read = b""
        with contextlib.suppress(ssl.SSLError, ConnectionError):
            read = await asyncio.wait_for(reader.read(), 5)
        writer.close()
        return read, accepted


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1"])
async def test_a_client_and_a_server_meet_over_mutual_tls_and_the_key_is_known_by_its_fingerprint(
    authority, tmp_path, name
):
    build = client(authority)
    read, accepted = await handshake(authority, server(authority), build, tmp_path / "issued", name)
    assert read == ANSWER
    assert [load_client_fingerprint(certificate) for certificate in accepted] == [build.client_fingerprint]


async def test_curl_asks_with_a_client_certificate_and_believes_the_server(authority, tmp_path, tool):
    certificate, key = client(authority).write(tmp_path / "issued")
    async with listening(authority, server(authority), tmp_path / "issued") as (port, accepted):
        asked = await asyncio.create_subprocess_exec(
            *(
                tool("curl"),
                "--silent",
                "--show-error",
                "--noproxy",
                "*",
                "--tlsv1.3",
                "--cacert",
                tmp_path / "ca/ca.pem",
            ),
            *("--cert", certificate, "--key", key, f"https://localhost:{port}/"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert await asked.communicate() == (b"hello", b"")
        assert len(accepted) == 1


async def test_a_client_without_certificate_reads_nothing(authority, tmp_path):
    assert await handshake(authority, server(authority), None, tmp_path / "issued") == (b"", [])


async def test_a_servers_certificate_does_not_make_a_client(authority, tmp_path):
    other = authority.issue("other", server_names=["other"], client=False, valid_days=1, now=today())
    assert await handshake(authority, server(authority), other, tmp_path / "issued") == (b"", [])


async def test_a_client_of_another_authority_reads_nothing(authority, tmp_path):
    stranger = CertificateAuthority.create(tmp_path / "other", name="test-authority", now=today())
    assert await handshake(authority, server(authority), client(stranger), tmp_path / "issued") == (b"", [])


async def test_a_client_certificate_does_not_make_a_server(authority, tmp_path):
    with pytest.raises(ssl.SSLCertVerificationError):
        await handshake(authority, client(authority, "false-server"), client(authority), tmp_path / "issued")


async def test_a_name_that_was_not_issued_is_refused_by_the_client(authority, tmp_path):
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        await handshake(authority, server(authority), client(authority), tmp_path / "issued", "elsewhere")


@pytest.mark.parametrize(("make", "purpose"), [(client, "sslclient"), (server, "sslserver")])
def test_openssl_verifies_it_by_its_strict_rules(authority, tmp_path, tool, make, purpose):
    certificate, _ = make(authority).write(tmp_path / "issued")
    command = [tool("openssl"), "verify", "-x509_strict", "-check_ss_sig", "-purpose", purpose]
    done = subprocess.run(
        [*command, "-CAfile", tmp_path / "ca" / "ca.pem", certificate], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_an_end_certificate_cannot_issue_another_one(authority, tmp_path, tool):
    certificate, key = client(authority).write(tmp_path / "issued")
    pem = certificate.read_bytes()
    leaf = CertificateAuthority(pem, x509.load_pem_x509_certificate(pem), load_pem_private_key(key.read_bytes(), None))
    false = leaf.issue("forged", client=True, valid_days=1, now=today())
    forged, _ = false.write(tmp_path / "issued")
    done = subprocess.run(
        [tool("openssl"), "verify", "-CAfile", tmp_path / "ca" / "ca.pem", "-untrusted", certificate, forged],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "invalid CA certificate" in done.stderr


def test_an_authority_lasts_ten_years_and_issues_end_certificates_only(authority, tmp_path):
    made = CertificateAuthority.create(tmp_path / "old", name="old", now=NOW)
    certificate = x509.load_pem_x509_certificate(made.certificate_pem)
    limits = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    assert (limits.critical, limits.value.ca, limits.value.path_length) == (True, True, 0)
    assert certificate.not_valid_after_utc == datetime(2036, 3, 1, 12, 30, 15, tzinfo=UTC)
    assert certificate.not_valid_before_utc == datetime(2026, 3, 1, 12, 25, 15, tzinfo=UTC)


def test_the_fingerprint_is_the_sha256_of_the_public_key(authority):
    issued = client(authority)
    key = x509.load_pem_x509_certificate(issued.certificate_pem).public_key()
    public = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert issued.client_fingerprint == hashlib.sha256(public).hexdigest()


def test_an_authority_that_is_loaded_again_issues_for_the_same_root(authority, tmp_path):
    again = CertificateAuthority.load(tmp_path / "ca")
    assert again.certificate_pem == authority.certificate_pem
    root = x509.load_pem_x509_certificate(authority.certificate_pem)
    x509.load_pem_x509_certificate(client(again).certificate_pem).verify_directly_issued_by(root)


def test_files_are_readable_by_their_owner_alone_and_keys_never_print(authority, tmp_path):
    issued = client(authority)
    paths = [*issued.write(tmp_path / "issued"), tmp_path / "ca" / "ca.pem", tmp_path / "ca" / "ca.key"]
    assert {oct(path.stat().st_mode & 0o7777) for path in paths} == {"0o600"}
    assert {oct(path.parent.stat().st_mode & 0o7777) for path in paths} == {"0o700"}
    assert names(tmp_path / "issued") == ["build-1.key", "build-1.pem"]
    assert "PRIVATE" not in repr(issued) + str(issued) + repr(authority)


def test_an_authority_is_never_made_twice_in_one_folder(authority, tmp_path):
    before = (tmp_path / "ca" / "ca.key").read_bytes()
    with pytest.raises(Conflict) as refusal:
        CertificateAuthority.create(tmp_path / "ca", name="again", now=NOW)
    assert refusal.value.code == "file-exists"
    assert (tmp_path / "ca" / "ca.key").read_bytes() == before


@pytest.mark.parametrize("there", ["build-1.key", "build-1.pem"])
def test_neither_key_nor_certificate_is_overwritten_and_no_half_is_left(authority, tmp_path, there):
    (tmp_path / "issued").mkdir(mode=0o700)
    (tmp_path / "issued" / there).write_bytes(b"precious")
    with pytest.raises(Conflict):
        client(authority).write(tmp_path / "issued")
    assert names(tmp_path / "issued") == [there]
    assert (tmp_path / "issued" / there).read_bytes() == b"precious"


@pytest.mark.parametrize(
    ("name", "asked", "code"),
    [
        pytest.param("", {}, "certificate-name", id="no name"),
        pytest.param("../evil", {}, "certificate-name", id="a name that leads out of its folder"),
        pytest.param(".hidden", {}, "certificate-name", id="a name with a leading dot"),
        pytest.param("a\n", {}, "certificate-name", id="a newline at the end"),
        pytest.param("a\0b", {}, "certificate-name", id="a NUL"),
        pytest.param("a" * 65, {}, "certificate-name", id="a long name"),
        pytest.param("ca", {}, "certificate-name", id="the authority's own file name"),
        pytest.param("A", {}, "certificate-name", id="upper case, one file on some file systems"),
        pytest.param("x", {"client": False}, "certificate-without-use", id="neither client nor server"),
        pytest.param("x", {"server_names": ["*.example"]}, "certificate-host-name", id="a wildcard"),
        pytest.param("x", {"server_names": ["a..b"]}, "certificate-host-name", id="an empty label"),
        pytest.param("x", {"server_names": ["a\0.b"]}, "certificate-host-name", id="a NUL in a host name"),
        pytest.param("x", {"server_names": ["127.0.0.1"]}, "certificate-host-name", id="an address as a name"),
        pytest.param("x", {"server_names": ["a." * 127 + "a"]}, "certificate-host-name", id="a long host name"),
        pytest.param("x", {"valid_days": 0}, "certificate-validity", id="no day"),
        pytest.param("x", {"valid_days": 4000}, "certificate-validity", id="longer than the authority"),
        pytest.param("x", {"now": NOW - timedelta(days=1)}, "certificate-validity", id="before the authority"),
    ],
)
def test_what_is_not_issued(tmp_path, name, asked, code):
    authority = CertificateAuthority.create(tmp_path / "ca", name="test", now=NOW)
    with pytest.raises(AttestorError) as refusal:
        authority.issue(name, **{"client": True, "valid_days": 30, "now": NOW} | asked)
    assert refusal.value.code == code


def test_a_folder_that_others_may_enter_is_refused_and_not_changed(authority, tmp_path):
    (tmp_path / "open").mkdir(mode=0o755)
    for write in (
        client(authority).write,
        lambda folder: CertificateAuthority.create(folder, name="x", now=NOW),
    ):
        with pytest.raises(Rejected) as refusal:
            write(tmp_path / "open")
        assert refusal.value.code == "folder-open"
    assert (names(tmp_path / "open"), (tmp_path / "open").stat().st_mode & 0o7777) == ([], 0o755)


def _open_key(folder):
    (folder / "ca.key").chmod(0o640)


def _open_folder(folder):
    folder.chmod(0o750)


def _another_key(folder):
    other = CertificateAuthority.create(folder.parent / "other", name="other", now=NOW)
    other.issue("x", client=True, valid_days=1, now=NOW)
    (folder / "ca.key").write_bytes((folder.parent / "other" / "ca.key").read_bytes())


def _truncated(folder):
    (folder / "ca.key").write_bytes((folder / "ca.key").read_bytes()[:60])


def _removed(folder):
    (folder / "ca.pem").unlink()


@pytest.mark.parametrize(
    ("change", "error", "code"),
    [
        pytest.param(_open_key, Rejected, "ca-open", id="a key that the group may read"),
        pytest.param(_open_folder, Rejected, "ca-open", id="a folder that the group may enter"),
        pytest.param(_another_key, Rejected, "ca-unreadable", id="the key of another certificate"),
        pytest.param(_truncated, Rejected, "ca-unreadable", id="half a key"),
        pytest.param(_removed, Missing, "ca-missing", id="no certificate"),
    ],
)
def test_an_authority_that_is_not_loaded(authority, tmp_path, change, error, code):
    change(tmp_path / "ca")
    with pytest.raises(error) as refusal:
        CertificateAuthority.load(tmp_path / "ca")
    assert refusal.value.code == code
