"""Each fault that can be ordered, as the SDK and as a plain client meet it."""

import http.client
import json
import time
from concurrent.futures import ThreadPoolExecutor

import nethsm
import pytest
import urllib3

SIGN = {"method": "POST", "path": "/keys/[^/]+/sign"}
MESSAGE = nethsm.Base64.encode(b"hello")
HELLO = {"mode": "EdDSA", "message": "aGVsbG8="}


@pytest.fixture(scope="module")
def faulty(start):
    device = start("--faults").provision()
    for key_id in ("key", "other"):
        key = {"type": "Curve25519", "mechanisms": ["EdDSA_Signature"], "id": key_id}
        assert device.send("POST", "/keys/generate", "admin", key).status == 201
    return device


@pytest.fixture(autouse=True)
def _forget_faults(faulty):
    yield
    assert faulty.send("DELETE", "//faults").status == 204


@pytest.fixture
def operator(faulty):
    return faulty.sdk("operator")


def order(device, **fault):
    assert device.send("POST", "//faults", content={"match": SIGN} | fault).status == 204


def left(device):
    return [(fault["action"], fault["count"]) for fault in json.loads(device.send("GET", "//faults").body)]


def sign(client, key="key"):
    return client.sign(key, MESSAGE, nethsm.SignMode.EDDSA)


def test_a_delay_goes_on_as_usual_afterwards(faulty, operator):
    expected = sign(operator)
    order(faulty, action="delay", milliseconds=300)
    begun = time.monotonic()
    assert sign(operator) == expected
    assert time.monotonic() - begun >= 0.3
    assert left(faulty) == []


def test_what_is_delayed_goes_on_once_faults_are_forgotten(faulty, operator):
    expected = sign(operator)
    order(faulty, action="delay", milliseconds=600_000)
    with ThreadPoolExecutor() as threads:
        delayed = threads.submit(sign, operator)
        while left(faulty) and not delayed.done():
            time.sleep(0.01)
        assert not delayed.done()
        assert faulty.send("DELETE", "//faults").status == 204
        assert delayed.result(20) == expected


@pytest.mark.parametrize("status", [400, 401, 403, 404, 412, 429, 500, 502, 503])
def test_a_status_is_answered_and_nothing_is_done(faulty, operator, status):
    before = operator.get_key("key").operations
    order(faulty, action="status", status=status)
    with pytest.raises(nethsm.NetHSMError) as caught:
        sign(operator)
    assert caught.value.__context__.status == status
    assert operator.get_key("key").operations == before


def test_a_503_is_plain_text_as_when_an_exception_escapes(faulty):
    order(faulty, action="status")
    reply = faulty.send("POST", "/keys/key/sign", "operator", HELLO)
    assert (reply.status, reply.headers.get_content_type()) == (503, "text/plain")


def test_a_hang_never_answers_and_does_not_hold_up_others(faulty, operator):
    before = operator.get_key("key").operations
    order(faulty, action="hang")
    connection = faulty.connect()
    connection.timeout = 0.5
    with pytest.raises(TimeoutError):
        _post(connection, faulty)
    assert sign(operator)
    assert operator.get_key("key").operations == before + 1


def test_drop_after_sign_has_signed_and_says_nothing(faulty, operator):
    before = operator.get_key("key").operations
    order(faulty, action="drop-after-sign")
    with pytest.raises(urllib3.exceptions.ProtocolError):
        sign(operator)
    assert operator.get_key("key").operations == before + 1
    assert sign(operator)


def _post(connection, device):
    authorization = f"{'operator'}:{device.passphrases['operator']}"
    headers = urllib3.make_headers(basic_auth=authorization) | {"Content-Type": "application/json"}
    connection.request("POST", "/api/v1/keys/key/sign", json.dumps(HELLO), headers)
    return connection.getresponse()


def test_faults_are_used_up_in_order_and_only_by_what_they_match(faulty, operator):
    order(faulty, action="status", status=500, match=SIGN | {"path": "/keys/other/sign"})
    order(faulty, action="status", status=502, count=2)
    order(faulty, action="status", status=429)
    statuses = [faulty.send("POST", "/keys/key/sign", "operator", HELLO).status for _ in range(4)]
    assert statuses == [502, 502, 429, 200]
    assert left(faulty) == [("status", 1)]
    assert operator.get_key("other").operations == 0
    assert faulty.send("POST", "/keys/other/sign", "operator", HELLO).status == 500
    assert left(faulty) == []


def test_a_fault_without_a_match_befalls_anything(faulty):
    assert faulty.send("POST", "//faults", content={"action": "status", "status": 500}).status == 204
    assert faulty.send("GET", "/health/state").status == 500
    assert faulty.send("GET", "/health/state").status == 200


@pytest.mark.parametrize(
    "fault",
    [
        {},
        {"action": "explode"},
        {"action": "delay", "count": 0},
        {"action": "delay", "milliseconds": -1},
        {"action": "status", "status": 200},
        {"action": "hang", "match": {"path": "("}},
        {"action": "hang", "mach": {}},
        b"nonsense",
    ],
    ids=str,
)
def test_an_order_that_makes_no_sense_is_400(faulty, fault):
    assert faulty.send("POST", "//faults", content=fault).status == 400
    assert left(faulty) == []


def test_without_the_flag_there_is_no_such_endpoint(emulator):
    for method in ("GET", "POST", "DELETE"):
        assert emulator.send(method, "//faults", content={"action": "hang"}).status == 404
    assert emulator.send("GET", "/info").status == 200


def test_a_process_with_hanging_requests_still_ends_at_once(start, tmp_path):
    device = start("--faults", state=tmp_path / "state").provision()
    order(device, action="hang")
    connection = device.connect()
    connection.timeout = 0.3
    with pytest.raises(TimeoutError):
        _post(connection, device)
    begun = time.monotonic()
    device.process.terminate()
    assert device.process.wait(10) == 0
    assert time.monotonic() - begun < 3


def test_a_dropped_connection_is_no_answer_at_all(faulty):
    order(faulty, action="drop-after-sign")
    with pytest.raises((http.client.HTTPException, OSError)):
        _post(faulty.connect(), faulty)
