"""Set up the HSM as the deployment file says: namespaces, users, tags, keys, OpenPGP certificates; safe to repeat."""

from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime
from typing import Final

from attestor.anchor.operations import FileOperations
from attestor.config import Config, SigningKeySection
from attestor.core.errors import Halted
from attestor.core.secret import Secret
from attestor.embedded.files import own_folder, write_new
from attestor.hsm.connection import NodeSettings
from attestor.hsm.device import Count
from attestor.hsm.plan import CanaryPlan, Certificates, KeyPlan, NamespacePlan, Plan
from attestor.hsm.provision import Report, new_passphrase, provision
from attestor.openpgp.certificate import draft_certificate, parse_certificate

_ADMINISTRATOR: Final = "admin"


async def provision_hsm(config: Config, now: datetime) -> Report:
    """Provision the first node; the others of a cluster share its users and keys.

    The uses that certificates take are counted where the signer's anchor is here. Raises as
    :func:`attestor.hsm.provision.provision`, and ``Unavailable`` ``operations-unavailable``.
    """
    node = config.hsm.nodes[0]
    async with _counting(config) as count:
        return await provision(
            NodeSettings(url=node.url, fingerprint=node.fingerprint),
            _plan(config),
            Certificates(draft_certificate, parse_certificate),
            now=now,
            production=config.hsm.production,
            count=count,
        )


@asynccontextmanager
async def _counting(config: Config) -> AsyncIterator[Count | None]:
    """``None`` where the anchor is on another host, still to be made, or another user's: a person acknowledges the use then."""
    async with AsyncExitStack() as stack:
        try:
            operations = await stack.enter_async_context(FileOperations.opened(config.signer.anchor))
        except Halted:
            yield None
        else:
            yield operations.count


def _plan(config: Config) -> Plan:
    by_namespace: defaultdict[str, list[KeyPlan]] = defaultdict(list)
    for section in config.signing_keys.values():
        by_namespace[section.namespace].append(_key(config, section))
    return Plan(
        unlock=credential(config, config.hsm.unlock_passphrase),
        admin=credential(config, config.hsm.admin_passphrase),
        # A device that waits for an unlock passphrase after a power cut would stop all releases until someone comes.
        unattended_boot=True,
        namespaces=tuple(
            NamespacePlan(
                name=name,
                administrator=_ADMINISTRATOR,
                passphrase=credential(config, f"hsm-{name}-admin-passphrase"),
                keys=tuple(keys),
                canary=_canary(config),
            )
            for name, keys in by_namespace.items()
        ),
    )


def _canary(config: Config) -> CanaryPlan | None:
    if config.canary is None:
        return None
    return CanaryPlan(config.canary.user, credential(config, config.canary.passphrase))


def _key(config: Config, section: SigningKeySection) -> KeyPlan:
    return KeyPlan(
        key_id=section.key_id,
        algorithm=section.algorithm,
        operator=section.user,
        passphrase=credential(config, section.passphrase),
        tag=section.key_id,
        user_id=section.user_id,
        rsa_bits=section.rsa_bits,
    )


def credential(config: Config, name: str) -> Secret:
    """Read a credential, or make a passphrase of 256 bits and keep it as one."""
    store = config.credentials
    if not store.has(name) and store.folder is not None:
        write_new(own_folder(store.folder) / name, new_passphrase().reveal().encode())
    return store.secret(name)
