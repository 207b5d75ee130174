"""Who may do what: failed logins, namespaces, tags, users, and the order in which a request is refused."""

import threading
import time

import nethsm
import pytest

ED25519 = {"type": "Curve25519", "mechanisms": ["EdDSA_Signature"]}
HELLO = {"mode": "EdDSA", "message": "aGVsbG8="}
OCTETS = {"Content-Type": "application/octet-stream"}


def generate(emulator, key_id, by="admin", **more):
    reply = emulator.send("POST", "/keys/generate", by, ED25519 | {"id": key_id} | more)
    assert reply.status == 201
    assert reply.headers["Location"] == f"/api/v1/keys/{key_id}"


def sign(emulator, key_id, by="operator", **more):
    return emulator.send("POST", f"/keys/{key_id}/sign", by, HELLO, **more)


def test_anyone_can_see_that_this_is_an_emulator(emulator):
    info = emulator.sdk().get_info()
    assert "emulator" in info.vendor
    assert "emulator" in info.product
    assert "Nitrokey" not in info.vendor.split()[0]
    system = emulator.sdk("admin").get_system_info()
    assert "emulator" in system.hardware_version
    assert system.software_version == "4.0"


# Failed logins: per address and user, one second.


def test_one_wrong_passphrase_blocks_that_user_for_a_second_even_with_the_right_one(emulator):
    victim = emulator.add_user("victim", "Administrator")
    other = emulator.add_user("bystander", "Administrator")
    assert emulator.send("GET", "/users", victim).status == 200
    assert emulator.send("GET", "/users", victim, passphrase="a wrong passphrase").status == 401
    failed_at = time.monotonic()
    reply = emulator.send("GET", "/users", victim)
    assert (reply.status, reply.json) == (429, {"message": "Too many requests"})
    assert reply.headers["Retry-After"] is None
    assert emulator.send("GET", "/users", other).status == 200
    while emulator.send("GET", "/users", victim).status == 429:
        assert time.monotonic() - failed_at < 3
        time.sleep(0.05)
    assert time.monotonic() - failed_at >= 0.95
    assert emulator.send("GET", "/users", victim).status == 200


def test_a_user_that_does_not_exist_is_limited_like_any_other(emulator):
    assert emulator.send("GET", "/users", "ghost", passphrase="whatever it is").status == 401
    assert emulator.send("GET", "/users", "ghost", passphrase="whatever it is").status == 429


def test_a_wrong_unlock_passphrase_is_limited_too_and_a_short_one_counts(start):
    device = start().provision()
    assert device.send("POST", "/lock", "admin").status == 204
    assert device.sdk().get_state() == nethsm.State.LOCKED
    assert device.send("POST", "/unlock", content={"passphrase": "short"}).status == 400
    assert device.send("POST", "/unlock", content={"passphrase": "UnlockPassphrase"}).status == 429
    time.sleep(1.05)
    assert device.send("POST", "/unlock", content={"passphrase": "not the passphrase"}).status == 403
    assert device.send("POST", "/unlock", content={"passphrase": "UnlockPassphrase"}).status == 429
    time.sleep(1.05)
    device.sdk().unlock("UnlockPassphrase")
    device.sdk("admin").set_unlock_passphrase("another passphrase", "UnlockPassphrase")
    device.sdk("admin").lock()
    device.sdk().unlock("another passphrase")
    assert device.sdk().get_state() == nethsm.State.OPERATIONAL


@pytest.mark.parametrize(
    "header", ["Bearer abc", "Basic", "Basic !!!", "Basic YWRtaW4=", "basic YTpi", "Basic //79Og=="]
)
def test_an_authorization_header_that_cannot_be_read_is_401(emulator, header):
    assert emulator.send("GET", "/users", headers={"Authorization": header}).status == 401


# The order of checks on the way to a signature.


def test_a_signing_request_is_refused_in_the_devices_order(emulator):
    generate(emulator, "ordered", restrictions={"tags": ["order"]})
    text = {"Content-Type": "text/plain"}
    bad = {"mode": "EdDSA", "message": "***"}
    path, post = "/keys/ordered/sign", emulator.send
    assert post("PATCH", "/keys/bogus/sign", content=b"").status == 501
    assert post("POST", "/keys/" + "x" * 2000 + "/sign").status == 414
    assert post("GET", "/keys/bogus/sign").status == 405
    assert post("POST", "/keys/bogus/sign", content=b"", headers=text).status == 401
    assert post("POST", "/keys/bogus/sign", "admin", b"", text).status == 403
    assert post("POST", "/keys/bogus/sign", "operator", b"", text).status == 415
    assert post("POST", "/keys/bogus/sign", "operator", HELLO, {"Accept": "text/html"}).status == 406
    assert post("POST", "/keys/bogus/sign", "operator", {}).status == 404
    assert post("POST", "/keys/-/sign", "operator", {}).status == 400
    assert post("POST", path, "operator", {}).status == 400
    assert post("POST", path, "operator", bad).json == {"message": "tags restriction not met"}
    assert post("PUT", "/users/operator/tags/order", "admin").status == 204
    assert post("POST", path, "operator", bad).status == 400
    assert post("POST", path, "operator", HELLO).status == 200


@pytest.mark.parametrize(("path", "status"), [("/info", 200), ("/users", 401), ("/nowhere/else", 404), ("//", 404)])
def test_answers_name_their_content_type_bare_because_the_sdk_refuses_a_charset(emulator, path, status):
    reply = emulator.send("GET", path)
    assert (reply.status, reply.headers["Content-Type"]) == (status, "application/json")


def test_a_body_over_a_megabyte_is_413_except_to_sign(emulator):
    generate(emulator, "large")
    big = b"x" * (2**20 + 1)
    assert emulator.send("PUT", "/keys/large/cert", "admin", big, OCTETS).status == 413
    message = {"mode": "EdDSA", "message": "aGVs" * (2**19)}
    assert emulator.send("POST", "/keys/large/sign", "operator", message).status == 200


# Tags.


def test_a_key_with_tags_is_for_operators_who_share_one_and_readable_by_all(emulator):
    generate(emulator, "tagged")
    inside = emulator.add_user("inside", "Operator", tags=["red", "blue"])
    outside = emulator.add_user("outside", "Operator", tags=["green"])
    assert sign(emulator, "tagged", outside).status == 200
    for tag in ("red", "violet"):
        assert emulator.send("PUT", f"/keys/tagged/restrictions/tags/{tag}", "admin").status == 204
    assert sign(emulator, "tagged", inside).status == 200
    refused = sign(emulator, "tagged", outside)
    assert (refused.status, refused.json) == (403, {"message": "tags restriction not met"})
    key = emulator.sdk(outside).get_key("tagged")
    assert sorted(key.tags) == ["red", "violet"]
    assert key.operations == 2
    assert "tagged" in emulator.sdk(outside).list_keys()
    assert "tagged" not in emulator.sdk(outside).list_keys(filter="any")
    assert "tagged" in emulator.sdk(inside).list_keys(filter="any")
    emulator.sdk("admin").delete_operator_tag(inside, "red")
    assert sign(emulator, "tagged", inside).status == 403


def test_a_tag_added_again_is_304_without_a_body_and_the_connection_goes_on(emulator):
    emulator.add_user("again", "Operator", tags=["once"])
    generate(emulator, "again")
    assert emulator.send("PUT", "/keys/again/restrictions/tags/once", "admin").status == 204
    for path in ("/users/again/tags/once", "/keys/again/restrictions/tags/once"):
        reply = emulator.send("PUT", path, "admin")
        assert (reply.status, reply.body) == (304, b"")
        assert emulator.send("GET", "/info").status == 200
        assert emulator.send("DELETE", path, "admin").status == 204
        assert emulator.send("DELETE", path, "admin").status == 404


def test_only_operators_have_tags_and_a_tag_is_an_id(emulator):
    assert emulator.send("PUT", "/users/metrics/tags/any", "admin").status == 400
    assert emulator.send("GET", "/users/metrics/tags", "admin").status == 404
    assert emulator.send("PUT", "/users/operator/tags/a%20b", "admin").status == 400
    assert emulator.send("PUT", "/users/operator/tags/any", "operator").status == 403


# Namespaces.


@pytest.fixture(scope="module")
def spaced(emulator):
    """Two namespaces, each with its Administrator and an Operator, made in the order that the device asks for."""
    for space in ("one", "two"):
        chief = emulator.add_user(f"{space}~chief", "Administrator")
        assert emulator.send("GET", "/users", chief).status == 403, "users may not act before their namespace exists"
        emulator.sdk("admin").add_namespace(space)
        emulator.add_user(f"{space}~signer", "Operator", by=chief)
        generate(emulator, "same-name", chief)
    return emulator


def test_a_key_exists_in_its_own_namespace_only(spaced):
    generate(spaced, "only-in-one", "one~chief")
    assert sign(spaced, "only-in-one", "one~signer").status == 200
    for stranger in ("two~signer", "operator"):
        assert sign(spaced, "only-in-one", stranger).status == 404
        assert spaced.send("GET", "/keys/only-in-one", stranger).status == 404
        assert "only-in-one" not in spaced.sdk(stranger).list_keys()
    keys = {spaced.sdk(f"{space}~signer").get_key("same-name").public_key.data.data for space in ("one", "two")}
    assert len(keys) == 2


def test_a_created_namespace_is_managed_by_its_own_administrators_only(spaced):
    user = {"realName": "x", "role": "Operator", "passphrase": "a long passphrase"}
    new = {"passphrase": "another passphrase"}
    for stranger in ("admin", "two~chief"):
        assert spaced.send("PUT", "/users/one~new", stranger, user).status == 403
        assert spaced.send("DELETE", "/users/one~signer", stranger).status == 403
        assert spaced.send("PUT", "/users/one~signer/tags/t", stranger).status == 403
        assert spaced.send("POST", "/users/one~signer/passphrase", stranger, new).status == 403
    assert spaced.send("GET", "/users/one~signer", "admin").status == 200, "the root may look"
    assert spaced.send("GET", "/users/one~signer", "two~chief").status == 403
    assert spaced.send("PUT", "/users/one~new", "one~chief", user).status == 201
    assert spaced.send("DELETE", "/users/one~new", "one~chief").status == 204


def test_users_are_listed_within_the_callers_namespace(spaced):
    assert set(spaced.sdk("one~chief").list_users()) == {"one~chief", "one~signer"}
    assert {"admin", "one~signer", "two~signer"} <= set(spaced.sdk("admin").list_users())


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/lock"),
        ("GET", "/namespaces"),
        ("PUT", "/namespaces/three"),
        ("DELETE", "/namespaces/two"),
        ("GET", "/system/info"),
        ("GET", "/config/unattended-boot"),
    ],
)
def test_the_device_itself_is_for_administrators_outside_of_all_namespaces(spaced, method, path):
    assert spaced.send(method, path, "one~chief").status == 403


def test_a_deleted_namespace_takes_its_keys_with_it_and_disarms_its_users(spaced):
    chief = spaced.add_user("gone~chief", "Administrator")
    spaced.sdk("admin").add_namespace("gone")
    generate(spaced, "lost", chief)
    assert spaced.send("PUT", "/namespaces/gone", "admin").status == 400
    spaced.sdk("admin").delete_namespace("gone")
    assert "gone" not in spaced.sdk("admin").list_namespaces()
    assert spaced.send("GET", "/keys", chief).status == 403
    spaced.sdk("admin").add_namespace("gone")
    assert spaced.sdk(chief).list_keys() == []


# Users.


def test_an_operator_sees_and_changes_itself_and_nobody_else(emulator):
    one, new = emulator.add_user("self", "Operator"), {"passphrase": "another passphrase"}
    assert emulator.send("GET", "/users/self", one).json == {"realName": "self", "role": "Operator"}
    assert emulator.send("GET", "/users/admin", one).status == 403
    assert emulator.send("POST", "/users/admin/passphrase", one, new).status == 403
    assert emulator.send("GET", "/users/operator/tags", one).status == 403
    assert emulator.send("POST", "/users/self/passphrase", one, new).status == 204
    assert emulator.send("GET", "/users/self", one).status == 401
    time.sleep(1.05)
    assert emulator.send("GET", "/users/self", one, passphrase="another passphrase").status == 200


def test_a_user_is_made_once_with_a_passphrase_of_10_to_200_characters(emulator):
    user = {"realName": "x", "role": "Operator"}
    for length, status in ((9, 400), (10, 201), (200, 409), (201, 400)):
        reply = emulator.send("PUT", "/users/lengthy", "admin", user | {"passphrase": "x" * length})
        assert reply.status == status
    reply = emulator.send("POST", "/users", "admin", user | {"passphrase": "x" * 10})
    assert reply.status == 201
    assert reply.headers["Location"] == f"/api/v1/users/{reply.json['id']}"
    for name in ("bad name", "a~", "~a", "a~b~c", "-a", "x" * 129):
        path = f"/users/{name.replace(' ', '%20')}"
        assert emulator.send("PUT", path, "admin", user | {"passphrase": "x" * 10}).status == 400
    assert emulator.send("DELETE", "/users/admin", "admin").status == 400
    assert emulator.send("DELETE", "/users/lengthy", "admin").status == 204


# Keys and certificates.


@pytest.mark.parametrize(
    "change",
    [
        {"type": "Generic"},
        {"type": "EC_P256"},
        {"mechanisms": []},
        {"mechanisms": ["ECDSA_Signature"]},
        {"mechanisms": ["Nonsense"]},
        {"id": "not an id"},
        {"restrictions": {"tags": ["not a tag"]}},
        {"restrictions": {"tag": []}},
        {"type": "RSA", "mechanisms": ["RSA_Signature_PKCS1"], "length": 1023},
        {"type": "RSA", "mechanisms": ["RSA_Signature_PKCS1"]},
        {"label": "labels came with version 5"},
        {"id": "taken"},
    ],
    ids=str,
)
def test_a_key_that_cannot_be_is_400(emulator, change):
    if emulator.send("GET", "/keys/taken", "admin").status == 404:
        generate(emulator, "taken")
    before = emulator.sdk("admin").list_keys()
    assert emulator.send("POST", "/keys/generate", "admin", ED25519 | {"id": "impossible"} | change).status == 400
    assert emulator.sdk("admin").list_keys() == before


@pytest.mark.parametrize("pem", ["", "nonsense", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"])
def test_a_pem_that_holds_no_key_is_400(emulator, pem):
    with pytest.raises(nethsm.NetHSMError) as caught:
        emulator.sdk("admin").add_key_pem("nothing", [nethsm.KeyMechanism.EDDSA_SIGNATURE], pem)
    assert caught.value.__context__.status == 400


def test_an_import_without_a_name_gets_one(emulator):
    admin = emulator.sdk("admin")
    seed = nethsm.GenericPrivateKey(nethsm.Base64.encode(bytes(range(32))))
    key_id = admin.add_key(None, nethsm.KeyType.CURVE25519, [nethsm.KeyMechanism.EDDSA_SIGNATURE], seed, tags=["t"])
    assert admin.get_key(key_id).tags == ["t"]
    admin.delete_key(key_id)
    assert emulator.send("GET", f"/keys/{key_id}", "admin").status == 404


def test_a_certificate_is_kept_byte_for_byte_and_not_overwritten(emulator):
    generate(emulator, "certified")
    admin, certificate = emulator.sdk("admin"), bytes(range(256)) * 16
    assert emulator.send("GET", "/keys/certified/cert", "operator").status == 404
    admin.set_key_certificate("certified", certificate)
    assert emulator.sdk("operator").get_key_certificate("certified") == certificate
    assert emulator.send("PUT", "/keys/certified/cert", "admin", b"new", OCTETS).status == 409
    assert emulator.send("PUT", "/keys/certified/cert", "operator", b"new", OCTETS).status == 403
    admin.delete_key_certificate("certified")
    assert emulator.send("DELETE", "/keys/certified/cert", "admin").status == 404


def test_keys_are_found_by_prefix(emulator):
    for name in ("prefix-1", "prefix-2", "other-1"):
        generate(emulator, name)
    assert emulator.sdk("operator").list_keys(prefix="prefix-") == ["prefix-1", "prefix-2"]


def test_sixteen_threads_share_one_client_and_every_signature_is_counted(emulator):
    generate(emulator, "busy")
    client, failures = emulator.sdk("operator"), []

    def work():
        try:
            for _ in range(10):
                client.sign("busy", nethsm.Base64.encode(b"x"), nethsm.SignMode.EDDSA)
        except Exception as error:  # noqa: BLE001 - reported by the assertion below
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert not failures
    assert client.get_key("busy").operations == 160
