"""The device's own conformance tests, generated anew from its OpenAPI description.

Nitrokey generates curl tests from the annotations of nethsm-api.yaml: for each path, method and state the good answer, and
412 in a wrong state, 401 without credentials, 403 with another role's, 404 for a wrong parameter, 400 for wrong JSON, 501
for a wrong method. This is that algorithm, written from its description, for all that this emulator offers.
"""

import os
import re
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from attestor.emulator.table import NOT_EMULATED, ROWS

_DATA = Path(os.environ.get("ATTESTOR_DATA", Path(__file__).parents[3].parent / "shared/data"))
_FILE = _DATA / "nethsm/nethsm-api.yaml"
_METHODS = ("get", "put", "post", "delete")
_STATES = ("Unprovisioned", "Locked", "Operational")
_USER_OF_ROLE = {"Administrator": "admin", "Operator": "operator", "Metrics": "metrics", "Backup": "backup"}
_OTHER_USER = {"admin": "backup", "operator": "metrics", "metrics": "backup", "backup": "metrics"}
_OUR_NAME = {
    "{KeyID}": "{key}",
    "{UserID}": "{user}",
    "{NamespaceID}": "{namespace}",
    "{Tag}": "{tag}",
    "{MemberID}": "{member}",
}
_CREATES = {("put", "KeyID"), ("put", "UserID"), ("put", "NamespaceID"), ("put", "Tag")}
_CHANGE_STATE = {"/provision", "/lock", "/unlock"}
_TAG = "/keys/{KeyID}/restrictions/tags/{Tag}"


class Operation(NamedTuple):
    """One operation of the description, with its test values."""

    path: str
    method: str
    spec: dict[str, Any]
    example: tuple[str, Any] | None

    @property
    def states(self):
        return [state for state in self.spec["x-annotation-state"] if state in _STATES]

    @property
    def user(self):
        role = self.spec["x-annotation-role"][0]
        return None if role == "Public" else _USER_OF_ROLE[role]

    @property
    def values(self):
        return {
            key.removeprefix("x-test-value-"): value
            for key, value in self.spec.items()
            if key.startswith("x-test-value-")
        }

    @property
    def good(self):
        return next(int(code) for code in self.spec["responses"] if code.startswith("2"))

    def url(self, **wrong):
        path = self.path
        for name, value in (self.values | wrong).items():
            path = path.replace(f"{{{name}}}", value)
        return path

    def request(self, **changes):
        """Arguments for `send` that should be answered well, but for the changes."""
        arguments = {"method": self.method.upper(), "path": self.url(), "user": self.user}
        if self.example:
            media_type, content = self.example
            arguments |= {"content": content, "headers": {"Content-Type": media_type}}
        return arguments | changes


def _description():
    return yaml.load(_FILE.read_text(), yaml.CSafeLoader) if _FILE.exists() else {"paths": {}}


def _example(api, spec):
    for media_type, content in spec.get("requestBody", {}).get("content", {}).items():
        if media_type == "application/octet-stream":
            return media_type, b"some bytes"
        if media_type == "application/json":
            return media_type, api["components"]["schemas"][content["schema"]["$ref"].rpartition("/")[2]]["example"]
    return None


def _ours(path):
    for theirs, our in _OUR_NAME.items():
        path = path.replace(theirs, our)
    return path.replace("{KeyPrefix}*", "{key}")


API = _description()
OFFERED = {(row.path, row.method.lower()) for row in ROWS}
OPERATIONS = [
    Operation(path, method, spec, _example(API, spec))
    for path, methods in API["paths"].items()
    for method, spec in methods.items()
    if method in _METHODS and (_ours(path), method) in OFFERED
]


def table(make):
    """Parameters with ids that read like 'POST /lock, when Locked'."""
    cases = [
        (f"{one.method.upper()} {one.path}{words}", (one, *rest)) for one in OPERATIONS for words, *rest in make(one)
    ]
    return [pytest.param(*values, id=name) for name, values in cases]


needs_description = pytest.mark.skipif(not OPERATIONS, reason=f"no nethsm-api.yaml at {_FILE} (set ATTESTOR_DATA)")
pytestmark = needs_description


@pytest.fixture(scope="module")
def devices(start):
    """One device in each state."""
    fresh, locked, running = start(), start().provision(), start().provision()
    assert locked.send("POST", "/lock", "admin").status == 204
    key = {"type": "RSA", "length": 2048, "id": "myKey1", "mechanisms": ["RSA_Signature_PKCS1"]}
    assert running.send("POST", "/keys/generate", "admin", key).status == 201
    for tag in ("frankfurt", "berlin"):
        assert running.send("PUT", f"/users/operator/tags/{tag}", "admin").status == 204
    return {"Unprovisioned": fresh, "Locked": locked, "Operational": running}


def test_every_operation_of_the_device_is_either_offered_or_said_to_be_missing():
    described = {
        (_ours(path), method) for path, methods in API["paths"].items() for method in methods if method in _METHODS
    }
    assert described >= OFFERED
    assert {path for path, _ in described - OFFERED} | {"/config/ntp"} == set(NOT_EMULATED)


@pytest.mark.parametrize("path", NOT_EMULATED)
def test_what_is_not_emulated_answers_501_and_stands_in_the_readme(devices, path):
    assert f"`{path}`" in (Path(__file__).parents[3] / "attestor/emulator/README.md").read_text()
    for method in ("GET", "PUT", "POST"):
        assert devices["Operational"].send(method, re.sub(r"\{.*?\}", "myKey1", path), "admin").status == 501


def _wrong_states(one):
    return [(f", when {state}", state) for state in _STATES if state not in one.states]


@pytest.mark.parametrize(("one", "state"), table(_wrong_states))
def test_a_wrong_state_is_412_before_anything_else(devices, one, state):
    reply = devices[state].send(**one.request(user=None))
    assert reply.status == 412
    assert reply.json == {"message": "Service not available"} or one.path.startswith("/health")


def _in_good_states(one):
    return [(f", when {state}", state) for state in one.states]


@pytest.mark.parametrize(("one", "state"), table(_in_good_states))
def test_an_unknown_method_is_501(devices, one, state):
    assert devices[state].send(**one.request(method="PATCH")).status == 501


def _with_roles(one):
    return [("",)] if one.user else []


@pytest.mark.parametrize("one", table(_with_roles))
def test_no_credentials_is_401(devices, one):
    reply = devices["Operational"].send(**one.request(user=None))
    assert reply.status == 401
    assert reply.headers["WWW-Authenticate"].startswith("Basic ")
    assert reply.json["message"]


@pytest.mark.parametrize("one", table(_with_roles))
def test_another_role_is_403(devices, one):
    assert devices["Operational"].send(**one.request(user=_OTHER_USER[one.user])).status == 403


def _with_json(one):
    return [(f", when {state}", state) for state in one.states if one.example and one.example[0] == "application/json"]


@pytest.mark.parametrize(("one", "state"), table(_with_json))
@pytest.mark.parametrize("content", [b"{}}}", b"", b"[]", b'"', b'{"bogus": 1}', b"\xff\xfe"])
def test_wrong_json_is_400(devices, one, state, content):
    reply = devices[state].send(**one.request(content=content))
    if one.path == "/unlock" and reply.status == 429:
        pytest.fail("what cannot be parsed is refused before it counts as a failed unlock")
    assert reply.status == 400
    assert reply.json["message"]


@pytest.mark.parametrize(("one", "state"), table(_with_json))
def test_a_member_that_the_description_does_not_name_is_400(devices, one, state):
    assert devices[state].send(**one.request(content=one.example[1] | {"bogus": 1})).status == 400


@pytest.mark.parametrize(("one", "state"), table(_with_json))
def test_another_content_type_is_415(devices, one, state):
    assert devices[state].send(**one.request(headers={"Content-Type": "text/plain"})).status == 415


def _wrong_parameters(one):
    if one.path == "/keys/{KeyPrefix}*" or (one.path, one.method) == ("/users/{UserID}", "post"):
        return []
    last = one.path.rpartition("/")[2].strip("{}")
    return [(f", {name} bogus", name) for name in one.values if name != last or (one.method, name) not in _CREATES]


@pytest.mark.parametrize(("one", "name"), table(_wrong_parameters))
def test_a_wrong_parameter_is_404(devices, one, name):
    devices["Operational"].send("PUT", "/keys/myKey1/cert", "admin", b"a", {"Content-Type": "application/octet-stream"})
    assert devices["Operational"].send(**one.request(path=one.url(**{name: "bogus"}))).status == 404


PREPARE = {
    ("get", "/keys/{KeyID}/cert"): (
        "PUT",
        "/keys/myKey1/cert",
        "admin",
        b"a",
        {"Content-Type": "application/octet-stream"},
    ),
    ("put", "/keys/{KeyID}/cert"): ("DELETE", "/keys/myKey1/cert", "admin"),
    ("delete", "/keys/{KeyID}/cert"): (
        "PUT",
        "/keys/myKey1/cert",
        "admin",
        b"a",
        {"Content-Type": "application/octet-stream"},
    ),
    ("delete", _TAG): ("PUT", "/keys/myKey1/restrictions/tags/MyTag", "admin"),
    ("post", "/users/{UserID}"): ("DELETE", "/namespaces/namespace3", "admin"),
    ("delete", "/namespaces/{NamespaceID}"): ("PUT", "/namespaces/namespace1", "admin"),
}


def _good(one):
    return [(f", when {state}", state) for state in one.states if one.path not in _CHANGE_STATE]


def _deletes_last(parameter):
    one = parameter.values[0]
    return one.method == "delete", one.method == "put" and "restrictions" in one.path, -one.path.count("/")


@pytest.mark.parametrize(("one", "state"), sorted(table(_good), key=_deletes_last))
def test_a_good_request_is_answered_as_described(devices, one, state):
    if (one.method, one.path) in PREPARE:
        devices[state].send(*PREPARE[one.method, one.path])
    reply = devices[state].send(**one.request())
    assert reply.status == one.good
    described = one.spec["responses"][str(one.good)].get("content")
    if described and one.good == 200:
        assert reply.headers["Content-Type"] in described
