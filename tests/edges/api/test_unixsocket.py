"""A socket of this host: who may connect, whom the kernel names, and that no two services share it."""

import os
import pwd
import socket
import stat

import aiohttp
import pytest
import uvloop

from attestor.api import peer
from attestor.api.listeners import Listener, TlsFiles
from attestor.client.calls import AttestorClient
from attestor.core.errors import Forbidden, Rejected, Unavailable
from tests.edges.api.test_requests import ASK

LOCAL = frozenset({"request", "read", "submit"})
ME = pwd.getpwuid(os.geteuid()).pw_name


@pytest.fixture
def path(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir(mode=0o750)
    return folder / "relay.sock"


@pytest.fixture
async def relay(start, path):
    return await start(Listener(f"unix:{path}", LOCAL))


@pytest.fixture
async def local(relay, path):
    async with aiohttp.ClientSession("http://attestor", connector=aiohttp.UnixConnector(str(path))) as session:
        yield session


async def test_who_connects_is_the_user_that_the_kernel_names(local, gate):
    headers = {"X-Forwarded-For": "192.0.2.7", "X-Client-User": "root"}
    async with local.get("/v1/signing-requests/11111111-2222-4333-8444-555555555555", headers=headers) as answer:
        assert answer.status == 404
    [client] = gate.clients
    assert (client.fingerprint, client.address, client.user) == (None, "unix", ME)


async def test_the_same_under_the_loop_that_the_service_runs_on(gate, path):
    """uvloop's sockets are not Python's own."""
    from prometheus_client import CollectorRegistry

    from attestor.api.listeners import serve

    async def ask():
        running = await serve([Listener(f"unix:{path}", LOCAL)], gate, registry=CollectorRegistry())
        async with AttestorClient(f"unix:{path}", patience_seconds=0) as client:
            page = await client.requests()
        await running.stop()
        return page

    import asyncio

    assert (await asyncio.to_thread(uvloop.run, ask())).requests == ()
    assert [client.user for client in gate.clients] == [ME]
    assert not path.exists()


@pytest.mark.parametrize("uid", [peer._OVERFLOW_UID, 4_000_000_000])
async def test_a_user_without_a_name_is_nobody(uid):
    assert peer._name(uid) is None


async def test_submissions_are_counted_per_user(local, gate):
    async with local.post("/v1/attestations", data=b"{}", headers={"Content-Type": "application/json"}) as answer:
        assert answer.status == 201
    assert gate.peers == [f"unix:{os.geteuid()}"]


async def test_the_client_reaches_it_by_its_path(relay, path, gate):
    import msgspec

    from attestor.core.wire import SigningRequestAsk

    gate.ask = _refusing
    async with AttestorClient(f"unix:{path}", patience_seconds=0) as client:
        with pytest.raises(Forbidden) as refused:
            await client.ask(msgspec.convert(ASK, SigningRequestAsk))
    assert refused.value.code == f"as-{ME}"


async def _refusing(client, _asked):
    raise Forbidden(f"as-{client.user}", "No.")


async def test_owner_and_group_may_connect_and_nobody_else(relay, path):
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    assert relay.named == (f"unix:{path}",)


async def test_it_is_gone_when_the_service_has_stopped(start, path):
    running = await start(Listener(f"unix:{path}", LOCAL))
    await running.stop()
    assert not path.exists()


async def test_what_another_has_put_there_meanwhile_stays(start, path):
    running = await start(Listener(f"unix:{path}", LOCAL))
    path.unlink()
    path.write_text("another's")
    await running.stop()
    assert path.read_text() == "another's"


async def test_a_socket_that_a_crash_left_behind_is_replaced(start, path):
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    await start(Listener(f"unix:{path}", LOCAL))
    async with AttestorClient(f"unix:{path}", patience_seconds=0) as client:
        assert (await client.requests()).requests == ()


async def test_two_services_on_one_socket_are_one_too_many(relay, start, path):
    with pytest.raises(Unavailable) as refused:
        await start(Listener(f"unix:{path}", LOCAL))
    assert refused.value.code == "listener-in-use"
    async with AttestorClient(f"unix:{path}", patience_seconds=0) as client:
        assert (await client.requests()).requests == ()


async def test_the_socket_of_another_program_is_not_taken_away(start, path):
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()
        with pytest.raises(Unavailable) as refused:
            await start(Listener(f"unix:{path}", LOCAL))
    assert refused.value.code == "listener-in-use"
    assert path.exists()


def _open_to_all(path):
    path.parent.chmod(0o777)


def _sticky(path):
    path.parent.chmod(0o1777)


def _a_file(path):
    path.write_text("precious")


def _a_link(path):
    path.symlink_to("elsewhere")


def _no_folder(path):
    path.parent.rmdir()


@pytest.mark.parametrize("spoil", [_open_to_all, _sticky, _a_file, _a_link, _no_folder])
async def test_a_place_that_is_not_safe_is_refused(start, path, spoil):
    spoil(path)
    with pytest.raises(Rejected) as refused:
        await start(Listener(f"unix:{path}", LOCAL))
    assert refused.value.code == "listener-socket"
    if spoil is _a_file:
        assert path.read_text() == "precious"


@pytest.mark.parametrize(
    "address", ["unix:relay.sock", "unix:", "unix:/run/../etc/x", f"unix:/{'x' * 110}", "unix:/run/"]
)
async def test_an_address_must_be_a_whole_path(start, address):
    with pytest.raises(Rejected) as refused:
        await start(Listener(address, LOCAL))
    assert refused.value.code == "socket-path"


async def test_it_has_no_tls_and_no_proxies_and_no_metrics(start, path, keys):
    from ipaddress import ip_network

    for odd in (
        Listener(f"unix:{path}", LOCAL, TlsFiles(*keys.server)),
        Listener(f"unix:{path}", frozenset({"read"}), proxies=(ip_network("127.0.0.1"),)),
        Listener(f"unix:{path}", frozenset({"operate"})),
    ):
        with pytest.raises(Rejected) as refused:
            await start(odd)
        assert refused.value.code == "listener-socket"


async def test_without_its_own_listener_no_user_is_known(public, http, gate):
    async with http.post(f"{public}/v1/attestations", data=b"{}", headers={"Content-Type": "application/json"}):
        pass
    assert gate.peers == ["127.0.0.1"]
