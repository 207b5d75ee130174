"""The whole API on one screen: who may do what, in which state, with which content. Source: nethsm-api.yaml, version 4."""

from collections.abc import Collection
from typing import NamedTuple

from attestor.emulator.access import ADMINISTRATOR, METRICS, OPERATOR
from attestor.emulator.calls import BYTES, FORM, JSON, PEM, Endpoint
from attestor.emulator.device import State
from attestor.emulator.endpoints import keys, namespaces, system, users

ANY = frozenset(State)
FRESH, LOCKED, RUNS = ({State.UNPROVISIONED}, {State.LOCKED}, {State.OPERATIONAL})
NOT_RUNNING = ANY - RUNS
PUBLIC = None
ADMIN, READERS, SIGNERS, METERS = (ADMINISTRATOR,), (ADMINISTRATOR, OPERATOR), (OPERATOR,), (METRICS,)
ONLY_JSON, KEY_FILE, ONLY_BYTES = (JSON,), (JSON, FORM), (BYTES,)
EMPTY = ("", JSON, BYTES)  # a PUT without a body: the device takes both types, and octets where none is named
SMALL, LARGE = 2**20, 67 * 2**20


class Row(NamedTuple):
    """One operation. ``roles`` None: no authentication. ``accepts`` None: the content type is not looked at."""

    method: str
    path: str
    states: Collection[State]
    roles: Collection[str] | None
    endpoint: Endpoint
    accepts: Collection[str] | None = None
    provides: str = JSON
    root_only: bool = False
    limit: int = SMALL


# fmt: off
ROWS = (
    Row("GET",    "/info",                              ANY,         PUBLIC,  system.info),
    Row("GET",    "/health/alive",                      NOT_RUNNING, PUBLIC,  system.healthy),
    Row("GET",    "/health/ready",                      RUNS,        PUBLIC,  system.healthy),
    Row("GET",    "/health/state",                      ANY,         PUBLIC,  system.state),
    Row("POST",   "/provision",                         FRESH,       PUBLIC,  system.provision, ONLY_JSON),
    Row("POST",   "/unlock",                            LOCKED,      PUBLIC,  system.unlock, ONLY_JSON),
    Row("POST",   "/lock",                              RUNS,        ADMIN,   system.lock, root_only=True),
    Row("GET",    "/metrics",                           RUNS,        METERS,  system.metrics),
    Row("GET",    "/system/info",                       RUNS,        ADMIN,   system.system_info, root_only=True),
    Row("GET",    "/config/unattended-boot",            RUNS,        ADMIN,   system.get_unattended_boot, root_only=True),
    Row("PUT",    "/config/unattended-boot",            RUNS,        ADMIN,   system.set_unattended_boot, ONLY_JSON, root_only=True),
    Row("PUT",    "/config/unlock-passphrase",          RUNS,        ADMIN,   system.set_unlock_passphrase, ONLY_JSON, root_only=True),
    Row("GET",    "/namespaces",                        RUNS,        ADMIN,   namespaces.list_namespaces, root_only=True),
    Row("PUT",    "/namespaces/{namespace}",            RUNS,        ADMIN,   namespaces.add_namespace, EMPTY, root_only=True),
    Row("DELETE", "/namespaces/{namespace}",            RUNS,        ADMIN,   namespaces.delete_namespace, root_only=True),
    Row("GET",    "/users",                             RUNS,        ADMIN,   users.list_users),
    Row("POST",   "/users",                             RUNS,        ADMIN,   users.add_user, ONLY_JSON),
    Row("GET",    "/users/{user}",                      RUNS,        READERS, users.get_user),
    Row("PUT",    "/users/{user}",                      RUNS,        ADMIN,   users.add_named_user, ONLY_JSON),
    Row("POST",   "/users/{user}",                      RUNS,        ADMIN,   users.add_user_in_namespace, ONLY_JSON),
    Row("DELETE", "/users/{user}",                      RUNS,        ADMIN,   users.delete_user),
    Row("POST",   "/users/{user}/passphrase",           RUNS,        READERS, users.set_passphrase, ONLY_JSON),
    Row("GET",    "/users/{user}/tags",                 RUNS,        READERS, users.list_tags),
    Row("PUT",    "/users/{user}/tags/{tag}",           RUNS,        ADMIN,   users.add_tag, EMPTY),
    Row("DELETE", "/users/{user}/tags/{tag}",           RUNS,        ADMIN,   users.delete_tag),
    Row("GET",    "/keys",                              RUNS,        READERS, keys.list_keys),
    Row("POST",   "/keys",                              RUNS,        ADMIN,   keys.import_key, KEY_FILE),
    Row("POST",   "/keys/generate",                     RUNS,        ADMIN,   keys.generate_key, ONLY_JSON),
    Row("GET",    "/keys/{key}",                        RUNS,        READERS, keys.get_key),
    Row("PUT",    "/keys/{key}",                        RUNS,        ADMIN,   keys.import_named_key, KEY_FILE),
    Row("DELETE", "/keys/{key}",                        RUNS,        ADMIN,   keys.delete_key),
    Row("GET",    "/keys/{key}/public.pem",             RUNS,        READERS, keys.get_public_key, provides=PEM),
    Row("POST",   "/keys/{key}/sign",                   RUNS,        SIGNERS, keys.sign, ONLY_JSON, limit=LARGE),
    Row("GET",    "/keys/{key}/cert",                   RUNS,        READERS, keys.get_certificate, provides=BYTES),
    Row("PUT",    "/keys/{key}/cert",                   RUNS,        ADMIN,   keys.set_certificate, ONLY_BYTES),
    Row("DELETE", "/keys/{key}/cert",                   RUNS,        ADMIN,   keys.delete_certificate),
    Row("PUT",    "/keys/{key}/restrictions/tags/{tag}", RUNS,       ADMIN,   keys.add_tag, EMPTY),
    Row("DELETE", "/keys/{key}/restrictions/tags/{tag}", RUNS,       ADMIN,   keys.delete_tag),
)
# fmt: on

NOT_EMULATED = (
    *("/health/diagnose", "/random"),
    *(f"/keys/{{key}}/{name}" for name in ("label", "csr.pem", "decrypt", "encrypt", "move")),
    *("/cluster/force-new", "/cluster/join", "/cluster/members"),
    *("/cluster/members/{member}", "/cluster/members/{member}/promote"),
    *(f"/config/tls/{name}" for name in ("public.pem", "cert.pem", "csr.pem", "generate", "cluster-ca.pem")),
    *(f"/config/{name}" for name in ("network", "logging", "backup-passphrase", "time", "ntp")),
    *(f"/system/{name}" for name in ("reboot", "shutdown", "factory-reset", "backup", "restore")),
    *(f"/system/{name}" for name in ("update", "commit-update", "cancel-update")),
)
"""Paths of the device's API that answer 501 whatever is asked; the README lists them."""
