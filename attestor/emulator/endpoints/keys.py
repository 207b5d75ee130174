"""Keys: made, imported, listed, read, used, restricted, deleted; always in the caller's own namespace."""

import asyncio
from email.message import Message
from email.parser import BytesParser

from msgspec import field

from attestor.emulator import access, keys, signing
from attestor.emulator.access import ADMINISTRATOR
from attestor.emulator.calls import (
    BYTES,
    CREATED,
    DONE,
    FORM,
    PEM,
    UNCHANGED,
    Answer,
    Body,
    Call,
    answer_json,
    read_json,
)
from attestor.emulator.device import Key
from attestor.emulator.errors import StatusError
from attestor.emulator.names import fresh_identifier, identifier


class _Restrictions(Body):
    tags: list[str] = field(default_factory=list)


class _Generate(Body):
    mechanisms: list[str]
    type: str
    length: int = 0
    id: str = ""
    restrictions: _Restrictions = field(default_factory=_Restrictions)


class _Private(Body):
    mechanisms: list[str]
    type: str
    private: dict[str, str]
    restrictions: _Restrictions = field(default_factory=_Restrictions)


class _PrivatePem(Body):
    mechanisms: list[str]
    restrictions: _Restrictions = field(default_factory=_Restrictions)


class _Sign(Body):
    mode: str
    message: str


async def list_keys(call: Call) -> Answer:
    """GET /keys: with ``?filter`` only those that the caller may use."""
    return _list(call, "")


async def get_key(call: Call) -> Answer:
    """GET /keys/{KeyID}, not restricted by tags; and GET /keys/{KeyPrefix}*, which is a list."""
    if call.path["key"].endswith("*"):
        return _list(call, identifier(call.path["key"][:-1]))
    key_id, key = _found(call)
    return answer_json(
        {
            "mechanisms": key.mechanisms,
            "type": key.type,
            "restrictions": {"tags": key.tags},
            "public": keys.public_numbers(call.device.private_key(call.caller.namespace, key_id)),
            "operations": key.operations,
        }
    )


def _list(call: Call, prefix: str) -> Answer:
    everything = "filter" not in call.query or call.caller.role == ADMINISTRATOR
    found = call.device.keys_in(call.caller.namespace)
    shown = (
        key_id
        for key_id in sorted(found)
        if key_id.startswith(prefix) and (everything or access.may_use(call.device, call.caller, found[key_id]))
    )
    return answer_json([{"id": key_id} for key_id in shown])


def _found(call: Call) -> tuple[str, Key]:
    key_id = identifier(call.path["key"])
    return key_id, call.device.key(call.caller.namespace, key_id)


async def generate_key(call: Call) -> Answer:
    """POST /keys/generate."""
    asked = read_json(call.body, _Generate)
    keys.check_mechanisms(asked.type, asked.mechanisms)
    key_id = identifier(asked.id) if asked.id else fresh_identifier()
    tags = _tags(asked.restrictions)
    private = await asyncio.to_thread(keys.generate, asked.type, asked.length)
    _add(call, key_id, private, asked.mechanisms, tags)
    call.emulator.count("generate")
    return _created(key_id)


async def import_key(call: Call) -> Answer:
    """POST /keys: under an ID of the device's choice."""
    key_id = fresh_identifier()
    _import(call, key_id)
    return _created(key_id)


async def import_named_key(call: Call) -> Answer:
    """PUT /keys/{KeyID}."""
    _import(call, identifier(call.path["key"]))
    return DONE


def _created(key_id: str) -> Answer:
    return answer_json({"id": key_id}, 201, f"/api/v1/keys/{key_id}")


def _import(call: Call, key_id: str) -> None:
    if call.content_type.partition(";")[0].strip().lower() == FORM:
        arguments, pem = _form_parts(call)
        asked = read_json(arguments, _PrivatePem)
        private = keys.from_pem(pem)
        keys.check_mechanisms(keys.type_of(private), asked.mechanisms)
        _add(call, key_id, private, asked.mechanisms, _tags(asked.restrictions))
    else:
        numbers = read_json(call.body, _Private)
        keys.check_mechanisms(numbers.type, numbers.mechanisms)
        private = keys.from_numbers(numbers.type, numbers.private)
        _add(call, key_id, private, numbers.mechanisms, _tags(numbers.restrictions))


def _add(call: Call, key_id: str, private: keys.PrivateKey, mechanisms: list[str], tags: list[str]) -> None:
    key = Key(keys.type_of(private), sorted(set(mechanisms)), keys.to_der(private), tags)
    call.device.add_key(call.caller.namespace, key_id, key)


def _tags(restrictions: _Restrictions) -> list[str]:
    return sorted({identifier(tag) for tag in restrictions.tags})


def _form_parts(call: Call) -> tuple[bytes, bytes]:
    """The parts ``arguments`` and ``key_file`` of a multipart form (RFC 7578), else 400."""
    header = f"Content-Type: {call.content_type}\r\n\r\n".encode()
    parts = BytesParser().parsebytes(header + call.body).get_payload()
    named: dict[object, bytes] = {}
    for part in parts if isinstance(parts, list) else []:
        if isinstance(part, Message):
            content = part.get_payload(decode=True)
            named[part.get_param("name", header="Content-Disposition")] = content if isinstance(content, bytes) else b""
    if set(named) != {"arguments", "key_file"}:
        raise StatusError(400, "A multipart request must have exactly the parts arguments and key_file.")
    return named["arguments"], named["key_file"]


async def get_public_key(call: Call) -> Answer:
    """GET /keys/{KeyID}/public.pem."""
    key_id, _ = _found(call)
    return Answer(200, keys.public_pem(call.device.private_key(call.caller.namespace, key_id)), PEM)


async def delete_key(call: Call) -> Answer:
    """DELETE /keys/{KeyID}."""
    key_id, _ = _found(call)
    call.device.remove_key(call.caller.namespace, key_id)
    return DONE


async def sign(call: Call) -> Answer:
    """POST /keys/{KeyID}/sign, in the device's order: 404, 400 body, 403 tags, 400 base64, mechanism, mode, length."""
    key_id, key = _found(call)
    asked = read_json(call.body, _Sign)
    mechanism = signing.mechanism_of(asked.mode)
    access.check_tags(call.device, call.caller, key)
    message = keys.decode_base64(asked.message, "message")
    if mechanism not in key.mechanisms:
        raise StatusError(400, "Key mechanisms do not allow requested signing.")
    async with call.emulator.sign_slots:
        signature = signing.sign(call.device.private_key(call.caller.namespace, key_id), asked.mode, message)
    call.device.count_operation(key)
    call.emulator.count("sign")
    return answer_json({"signature": keys.encode_base64(signature)})


async def get_certificate(call: Call) -> Answer:
    """GET /keys/{KeyID}/cert: the very bytes that were stored."""
    _, key = _found(call)
    if key.certificate is None:
        raise StatusError(404, "There is no certificate for this KeyID.")
    return Answer(200, key.certificate, BYTES)


async def set_certificate(call: Call) -> Answer:
    """PUT /keys/{KeyID}/cert."""
    _, key = _found(call)
    if key.certificate is not None:
        raise StatusError(409, "Key already contains a certificate")
    key.certificate = call.body
    call.device.save()
    return CREATED


async def delete_certificate(call: Call) -> Answer:
    """DELETE /keys/{KeyID}/cert."""
    _, key = _found(call)
    if key.certificate is None:
        raise StatusError(404, "There is no certificate for this KeyID.")
    key.certificate = None
    call.device.save()
    return DONE


async def add_tag(call: Call) -> Answer:
    """PUT /keys/{KeyID}/restrictions/tags/{Tag}."""
    _, key = _found(call)
    tag = identifier(call.path["tag"])
    if tag in key.tags:
        return UNCHANGED
    key.tags = sorted([*key.tags, tag])
    call.device.save()
    return DONE


async def delete_tag(call: Call) -> Answer:
    """DELETE /keys/{KeyID}/restrictions/tags/{Tag}."""
    _, key = _found(call)
    tag = identifier(call.path["tag"])
    if tag not in key.tags:
        raise StatusError(404, "Tag not found.")
    key.tags.remove(tag)
    call.device.save()
    return DONE
