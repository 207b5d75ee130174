"""The embedded parts of a deployment: started with it, ended with it; where they listen stands in one file for the roles."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

import msgspec

from attestor.config import Config, Database, HsmNode
from attestor.core.errors import Missing
from attestor.embedded.device import Emulator, emulator
from attestor.embedded.files import own_folder
from attestor.embedded.postgres import EmbeddedPostgres, postgres
from attestor.store.migrate import create_database

_DATABASE: Final = "attestor"
_ENDPOINTS: Final = "endpoints.json"


class _Endpoints(msgspec.Struct, frozen=True):
    """Where the running parts are; none of it is secret."""

    dsn_api: str
    dsn_sequencer: str
    dsn_signer: str
    dsn_owner: str
    hsm_url: str
    hsm_fingerprint: str


@asynccontextmanager
async def embedded_parts(config: Config, say: Callable[[str], None]) -> AsyncIterator[Config]:
    """Start the parts that the deployment embeds, and say where they are; a deployment without any is itself."""
    if config.embedded is None or not config.embedded.enabled:
        yield config
        return
    folder = own_folder(config.embedded.folder)
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(postgres(folder / "postgres", say=say))
        device = await stack.enter_async_context(emulator(folder / "nethsm"))
        await create_database(database.dsn(), _DATABASE)
        endpoints = _endpoints(database, device)
        place = folder / _ENDPOINTS
        place.write_bytes(msgspec.json.encode(endpoints))
        try:
            yield _at(config, endpoints)
        finally:
            place.unlink(missing_ok=True)


def resolved(config: Config) -> Config:
    """The deployment with its embedded parts' endpoints, for a role beside the process that started them.

    Raises ``Missing`` ``embedded-not-running``.
    """
    if config.embedded is None or not config.embedded.enabled:
        return config
    place: Path = config.embedded.folder / _ENDPOINTS
    try:
        return _at(config, msgspec.json.decode(place.read_bytes(), type=_Endpoints))
    except FileNotFoundError:
        raise Missing(
            "embedded-not-running", f"The embedded parts of {config.path} are not running: start attestor serve."
        ) from None


def _endpoints(database: EmbeddedPostgres, device: Emulator) -> _Endpoints:
    return _Endpoints(
        dsn_api=database.dsn("attestor_api", _DATABASE),
        dsn_sequencer=database.dsn("attestor_sequencer", _DATABASE),
        dsn_signer=database.dsn("attestor_signer", _DATABASE),
        dsn_owner=database.dsn("postgres", _DATABASE),
        hsm_url=device.url,
        hsm_fingerprint=device.fingerprint,
    )


def _at(config: Config, endpoints: _Endpoints) -> Config:
    node = HsmNode(url=endpoints.hsm_url, fingerprint=endpoints.hsm_fingerprint)
    return replace(
        config,
        database=Database(
            dsn_api=endpoints.dsn_api,
            dsn_sequencer=endpoints.dsn_sequencer,
            dsn_signer=endpoints.dsn_signer,
            dsn_owner=endpoints.dsn_owner,
        ),
        hsm=msgspec.structs.replace(config.hsm, nodes=(node,)),
    )
