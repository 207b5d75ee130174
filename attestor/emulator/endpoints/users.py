"""Users and the tags of Operators. Across namespaces the rules are those of ``x-annotation-target-namespace``."""

from typing import Literal

from attestor.emulator import access, passphrases
from attestor.emulator.access import OPERATOR
from attestor.emulator.calls import CREATED, DONE, UNCHANGED, Answer, Body, Call, answer_json, read_json
from attestor.emulator.device import User
from attestor.emulator.errors import StatusError
from attestor.emulator.names import Name, fresh_identifier, identifier, passphrase, user_name


class _User(Body):
    real_name: str
    role: Literal["Administrator", "Operator", "Metrics", "Backup"]
    passphrase: str


class _Passphrase(Body):
    passphrase: str


async def list_users(call: Call) -> Answer:
    """GET /users: of the caller's namespace; an Administrator outside of all namespaces sees all users."""
    prefix = f"{call.caller.namespace}~" if call.caller.namespace else ""
    return answer_json([{"user": name} for name in sorted(call.device.memory.users) if name.startswith(prefix)])


async def add_user(call: Call) -> Answer:
    """POST /users: in the caller's namespace, under an ID of the device's choice."""
    return _add_fresh(call, call.caller.namespace)


async def add_user_in_namespace(call: Call) -> Answer:
    """POST /users/{namespace}~: the same in the namespace named."""
    namespace, tilde, rest = call.path["user"].partition("~")
    if not tilde or rest:
        raise StatusError(400, "POST here expects a path that ends with a namespace and '~'.")
    return _add_fresh(call, identifier(namespace))


async def add_named_user(call: Call) -> Answer:
    """PUT /users/{UserID}."""
    name = user_name(call.path["user"])
    _add(call, name)
    return CREATED._replace(location=f"/api/v1/users/{name}")


def _add_fresh(call: Call, namespace: str) -> Answer:
    name = Name(namespace, fresh_identifier())
    _add(call, name)
    return answer_json({"id": str(name)}, 201, f"/api/v1/users/{name}")


def _add(call: Call, name: Name) -> None:
    asked = read_json(call.body, _User)
    passphrase(asked.passphrase, "passphrase")
    access.check_target(call.device, call.caller, name)
    if str(name) in call.device.memory.users:
        raise StatusError(409, "user already exists")
    call.device.memory.users[str(name)] = User(asked.real_name, asked.role, passphrases.of_user(asked.passphrase))
    call.device.save()


async def get_user(call: Call) -> Answer:
    """GET /users/{UserID}: an Operator sees only itself."""
    name = user_name(call.path["user"])
    access.check_self(call.caller, name)
    access.check_target(call.device, call.caller, name, root_may=True)
    user = call.device.user(name)
    return answer_json({"realName": user.real_name, "role": user.role})


async def delete_user(call: Call) -> Answer:
    """DELETE /users/{UserID}."""
    name = user_name(call.path["user"])
    access.check_target(call.device, call.caller, name)
    call.device.user(name)
    if name == call.caller.name:
        raise StatusError(400, "Users cannot delete themselves")
    del call.device.memory.users[str(name)]
    call.device.save()
    return DONE


async def set_passphrase(call: Call) -> Answer:
    """POST /users/{UserID}/passphrase: by an Administrator of the same namespace, or the Operator itself."""
    name = user_name(call.path["user"])
    access.check_self(call.caller, name)
    access.check_target(call.device, call.caller, name)
    user = call.device.user(name)
    new = passphrase(read_json(call.body, _Passphrase).passphrase, "passphrase")
    user.passphrase = passphrases.of_user(new)
    call.device.save()
    return DONE


async def list_tags(call: Call) -> Answer:
    """GET /users/{UserID}/tags: only Operators have tags."""
    name = user_name(call.path["user"])
    access.check_self(call.caller, name)
    access.check_target(call.device, call.caller, name, root_may=True)
    user = call.device.user(name)
    if user.role != OPERATOR:
        raise StatusError(404, "Only Operators have tags.")
    return answer_json(user.tags)


async def add_tag(call: Call) -> Answer:
    """PUT /users/{UserID}/tags/{Tag}."""
    user = _tagged(call)
    tag = identifier(call.path["tag"])
    if user.role != OPERATOR:
        raise StatusError(400, "tag operations only exist on operator users")
    if tag in user.tags:
        return UNCHANGED
    user.tags = sorted([*user.tags, tag])
    call.device.save()
    return DONE


async def delete_tag(call: Call) -> Answer:
    """DELETE /users/{UserID}/tags/{Tag}."""
    user = _tagged(call)
    tag = identifier(call.path["tag"])
    if tag not in user.tags:
        raise StatusError(404, "Tag not found.")
    user.tags.remove(tag)
    call.device.save()
    return DONE


def _tagged(call: Call) -> User:
    name = user_name(call.path["user"])
    access.check_target(call.device, call.caller, name)
    return call.device.user(name)
