"""OpenAPI 3.1, made from the URL table and the types that decode requests and encode answers."""

import re
from http import HTTPStatus
from typing import Any, Final

import msgspec

from attestor.api.problems import PROBLEM_TYPE
from attestor.api.routes import ANY, JSON, ROWS, SEGMENTS, Row
from attestor.core.wire import Problem

Json = dict[str, Any]
_REF: Final = "#/components/schemas/{name}"
_LAST_SUCCESS: Final = 399


def document(version: str) -> bytes:
    """The whole interface as JSON; equal for equal tables."""
    types = sorted({type_ for row in ROWS for type_ in _types(row)} | {Problem}, key=lambda type_: type_.__name__)
    schemas, components = msgspec.json.schema_components(types, ref_template=_REF)
    named = dict(zip(types, schemas, strict=True))
    paths: Json = {}
    for row in ROWS:
        paths.setdefault(row.path, {})[row.method.lower()] = _operation(row, named)
    whole = {
        "openapi": "3.1.0",
        "info": {
            "title": "attestor",
            "version": version,
            "summary": "A threshold gate for release signatures",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {"schemas": components},
    }
    return msgspec.json.encode(_portable(whole))


def _types(row: Row) -> list[type]:
    return [type_ for type_ in (row.ask, row.answer, row.query) if isinstance(type_, type)]


def _operation(row: Row, named: dict[type, Json]) -> Json:
    description = (row.endpoint.__doc__ or "").strip()
    audience = "every listener" if row.audience == ANY else row.audience
    operation: Json = {
        "operationId": f"{row.endpoint.__module__.rpartition('.')[2]}_{row.endpoint.__name__}",
        "summary": description,
        "tags": [audience],
        "parameters": [*_places(row), *_query(row)],
        "responses": {str(status): _response(row, status, named) for status in sorted(row.statuses)},
    }
    if row.ask:
        operation["requestBody"] = {"required": True, "content": _content(row.ask, named)}
    return operation


def _places(row: Row) -> list[Json]:
    names = re.findall(r"\{(\w+)\}", row.path)
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "pattern": f"^{SEGMENTS[name]}$"}}
        for name in names
    ]


def _query(row: Row) -> list[Json]:
    if row.query is None:
        return []
    _, components = msgspec.json.schema_components([row.query])
    return [
        {"name": name, "in": "query", "required": False, "schema": schema}
        for name, schema in components[row.query.__name__]["properties"].items()
    ]


def _response(row: Row, status: int, named: dict[type, Json]) -> Json:
    response: Json = {"description": HTTPStatus(status).phrase}
    if status == HTTPStatus.NOT_MODIFIED:
        return response
    readiness = row.path == "/readyz" and status == HTTPStatus.SERVICE_UNAVAILABLE
    if status <= _LAST_SUCCESS or readiness:
        response["content"] = _content(row.answer, named)
    else:
        response["content"] = {PROBLEM_TYPE: {"schema": named[Problem]}}
    return response


def _content(body: type | str, named: dict[type, Json]) -> Json:
    if isinstance(body, type):
        return {JSON: {"schema": named[body]}}
    # Bytes have no JSON schema: OpenAPI 3.1 §4.8.14 leaves it out.
    return {body: {"schema": {"type": "object"}} if body == JSON else {}}


def _portable(value: Any) -> Any:
    r"""Patterns in ECMA 262, which JSON Schema takes: ``\Z`` is Python's word for its ``$``."""
    if isinstance(value, dict):
        return {key: _portable(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_portable(inner) for inner in value]
    return re.sub(r"\\Z$", "$", value) if isinstance(value, str) else value
