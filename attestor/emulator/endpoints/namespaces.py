"""Namespaces: made and removed by Administrators outside of all namespaces."""

from attestor.emulator.calls import DONE, Answer, Call, answer_json
from attestor.emulator.errors import StatusError
from attestor.emulator.names import identifier


async def list_namespaces(call: Call) -> Answer:
    """GET /namespaces."""
    return answer_json([{"id": namespace} for namespace in sorted(call.device.memory.namespaces)])


async def add_namespace(call: Call) -> Answer:
    """PUT /namespaces/{NamespaceID}: from now on its users may act, and its own Administrators rule it."""
    namespace = identifier(call.path["namespace"])
    if call.device.namespace_exists(namespace):
        raise StatusError(400, f"Namespace {namespace} already exists")
    call.device.memory.namespaces.append(namespace)
    call.device.save()
    return DONE


async def delete_namespace(call: Call) -> Answer:
    """DELETE /namespaces/{NamespaceID}: its keys are deleted with it."""
    namespace = identifier(call.path["namespace"])
    if not call.device.namespace_exists(namespace):
        raise StatusError(404, "Namespace not found.")
    call.device.remove_namespace(namespace)
    return DONE
