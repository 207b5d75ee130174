"""``attestor demo``: the whole job on embedded parts, in a page of terminal; fails when anything differs from what it says.

Rebuilders are processes with keys and folders of their own. Digests come from the finished files alone.
"""

import asyncio
import shutil
import signal
import sys
import tempfile
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import attestor
from attestor.app.demosources import go_back, lay_out, source_folder
from attestor.app.house import make_house, rebuilder_folder
from attestor.app.proof import Proof, proof_of
from attestor.app.serve import running, say
from attestor.app.telemetry import configure_logs
from attestor.client.calls import AttestorClient
from attestor.client.signing import Signing, sign_file, write_signature
from attestor.client.tls import client_tls
from attestor.config import Config, load_config
from attestor.core.errors import Rejected
from attestor.core.wire import Pull, ReleaseName

_EPOCH: Final = "1767225600"
_BACKENDS: Final = Path(attestor.__file__).parents[1] / "rebuilders" / "backends"
_START_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True)
class Item:
    """One thing that is built: its file, its purl, and the backend that makes it."""

    kind: str
    file_name: str
    purl: str
    backend: str

    @property
    def release(self) -> ReleaseName:
        return ReleaseName(kind=self.kind, purl=self.purl, file_name=self.file_name)


HELLO = Item("package", "hello-1.0-1-any.pkg.tar.zst", "pkg:alpm/arch/hello@1.0-1?arch=any", "pybuild.py")
CLOCK = Item("package", "clock-2.1-1-any.pkg.tar.zst", "pkg:alpm/arch/clock@2.1-1?arch=any", "pybuild.py")
NOTES = Item("package", "notes-0.3-1-any.pkg.tar.zst", "pkg:alpm/arch/notes@0.3-1?arch=any", "pybuild.py")
OLDER = Item("package", "hello-0.9-1-any.pkg.tar.zst", "pkg:alpm/arch/hello@0.9-1?arch=any", "pybuild.py")
EXTRA = Item("database", "extra.db.tar.gz", "pkg:generic/arch/extra.db@1?arch=any", "pydatabase.py")
MEDIA = Item("iso", "demo-2026.01.01-x86_64.iso", "pkg:generic/arch/demo-iso@2026.01.01?arch=x86_64", "pyimage.py")
DISK = Item("vm", "demo-2026.01.01-x86_64.qcow2", "pkg:generic/arch/demo-vm@2026.01.01?arch=x86_64", "pyimage.py")


def main(folder: Path | None) -> None:
    """Run the demo in *folder* (new), or in a temporary one that stays, so that one can look further."""
    place = folder.absolute() if folder else Path(tempfile.mkdtemp(prefix="attestor-demo-"))
    config_path = make_house(place / "service" if folder is None else place, say)
    config = load_config(config_path)
    configure_logs("error")
    # A terminal that is gone ends it as Ctrl-C does, so that no role stays behind.
    signal.signal(signal.SIGHUP, signal.default_int_handler)
    asyncio.run(_Demo(config).run())


class _Demo:
    def __init__(self, config: Config) -> None:
        self._config = config
        self._folder = config.path.parent
        self._public, self._request, self._operate = (listener.address for listener in config.listeners)
        self._client: AttestorClient
        self._signed: list[Path] = []

    async def run(self) -> None:
        async with AsyncExitStack() as stack:
            say(
                "starting: PostgreSQL, an emulated NetHSM (provisioned over TLS through the real SDK), API, sequencer, signer"
            )
            log_file = stack.enter_context((self._folder / "service.log").open("wb"))
            placed = await stack.enter_async_context(running(self._config, say, log_file=log_file))
            tls = client_tls(
                ca=self._folder / "ca" / "ca.pem",
                certificate=self._folder / "build-service.pem",
                key=self._folder / "build-service.key",
            )
            self._client = await stack.enter_async_context(AttestorClient(f"https://{self._request}", tls=tls))
            await self._started()
            lay_out(self._folder)
            await self._agreement()
            await self._dissent()
            await self._single_builders()
            await self._swapped()
            await self._went_back()
            proof = await proof_of(placed, self._folder / "certificates")
        self._verify(proof)
        self._look_further()

    async def _started(self) -> None:
        async with asyncio.timeout(_START_SECONDS):
            await self._client.releases(limit=1)

    async def _agreement(self) -> None:
        say("\n1. Two of three operators build hello, each from its own sources in its own folder")
        await asyncio.gather(self._rebuild("alice", HELLO), self._rebuild("bob", HELLO))
        await self._shown(HELLO, "reached")
        await self._sign(self._built("alice", HELLO), HELLO, "signed")

    async def _dissent(self) -> None:
        say("\n2. clock: carol's build embeds the time, so it differs from the others'")
        builders = ("alice", "bob", "carol")
        await asyncio.gather(*(self._rebuild(operator, CLOCK) for operator in builders))
        await self._shown(CLOCK, "disputed")
        await self._sign(self._built("alice", CLOCK), CLOCK, "waiting")

    async def _single_builders(self) -> None:
        say("\n3. A repository database, an ISO and a VM image: one builder, other rules, keys of their own")
        source = source_folder(self._folder, "release-host", "extra-database")
        shutil.copyfile(self._built("alice", HELLO), source / HELLO.file_name)
        for item in (EXTRA, MEDIA, DISK):
            await self._rebuild("release-host", item)
            await self._sign(self._built("release-host", item), item, "signed")

    async def _swapped(self) -> None:
        say("\n4. notes: agreed by two, then one byte of the file is changed before the signer pulls it")
        await asyncio.gather(self._rebuild("alice", NOTES), self._rebuild("bob", NOTES))
        await self._shown(NOTES, "reached")
        agreed = self._built("alice", NOTES)
        served = self._folder / "release" / NOTES.file_name
        changed = bytearray(agreed.read_bytes())
        changed[-1] ^= 1
        served.write_bytes(changed)
        await self._sign(agreed, NOTES, "refused", Pull(root="release", path=NOTES.file_name))

    async def _went_back(self) -> None:
        say("\n5. hello again, in an older version: two agree on it, and the tier lets versions only rise")
        for operator in ("alice", "bob"):
            go_back(self._folder, operator)
        await asyncio.gather(self._rebuild("alice", OLDER), self._rebuild("bob", OLDER))
        await self._shown(OLDER, "reached")
        await self._sign(self._built("alice", OLDER), OLDER, "refused")

    def _built(self, operator: str, item: Item) -> Path:
        return rebuilder_folder(self._folder, operator) / "output" / item.file_name

    async def _rebuild(self, operator: str, item: Item) -> None:
        home = rebuilder_folder(self._folder, operator)
        name = item.file_name.partition("-")[0].partition(".")[0]
        arguments = {
            "--command": sys.executable,
            "--source": str(home / "sources" / f"{name}-{item.kind}"),
            "--output": str(home / "output"),
            "--release-file": item.file_name,
            "--kind": item.kind,
            "--purl": item.purl,
            "--key": str(home / "key.pem"),
            "--server": f"https://{self._public}",
            "--ca": str(self._folder / "ca" / "ca.pem"),
            "--state": str(home / "state"),
            "--source-date-epoch": _EPOCH,
        }
        build = ("--argument=-I", f"--argument={_BACKENDS / item.backend}")
        await _run("-m", "rebuilders", "run", *build, *(part for pair in arguments.items() for part in pair))
        say(f"   {operator:<12} built and attested {item.file_name}")

    async def _shown(self, item: Item, expected: str) -> None:
        page = await self._client.releases(purl=item.purl)
        [line] = page.releases
        say(f"   {line.decision.state}: {line.decision.sentence}")
        _insist(line.decision.state == expected, f"{item.file_name} should be {expected}")

    async def _sign(self, file: Path, item: Item, expected: str, content: Pull | None = None) -> None:
        wait = 0.0 if expected == "waiting" else 30.0
        done: Signing = await sign_file(self._client, file, item.release, wait_seconds=wait, content=content)
        say(f"   {done.request.state:<12} {item.file_name}: {done.request.sentence}")
        _insist(done.request.state == expected, f"the request for {item.file_name} should be {expected}")
        if done.signature is not None:
            write_signature(file.with_name(f"{file.name}.sig"), done.signature)
            self._signed.append(file)

    def _verify(self, proof: Proof) -> None:
        say("\n6. Every signature, checked as its users will")
        for file in self._signed:
            say(f"   {proof.verify(file)}")
        _insist(len(self._signed) == 4, "four signatures were expected")

    def _look_further(self) -> None:
        say(
            f"\nEverything lies in {self._folder}\n"
            f"  its logs:         {self._folder}/service.log\n"
            f"  keep it running:  attestor serve --embedded {self._folder}\n"
            f"  then ask it:      curl --cacert {self._folder}/ca/ca.pem https://{self._public}/v1/releases\n"
            f"  done with it:     rm -r {self._folder}"
        )


async def _run(*arguments: str) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    _insist(process.returncode == 0, f"{' '.join(arguments[:3])} failed: {output.decode().strip()}")


def _insist(holds: bool, sentence: str) -> None:  # noqa: FBT001 - it reads as a sentence
    if not holds:
        raise Rejected("demo-differs", f"The demo did not go as it says: {sentence}.")
