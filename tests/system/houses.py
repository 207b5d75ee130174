"""A whole service as its operator runs it: a folder, `attestor serve` as a process, and its roles below it."""

import asyncio
import hashlib
import re
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from signal import SIGTERM, Signals

from attestor.app.house import rebuilder_folder
from attestor.client.calls import AttestorClient
from attestor.client.tls import client_tls
from attestor.core.envelope import IN_TOTO
from attestor.core.naming import parse_release
from attestor.core.statement import RebuildStatement, Subject, rebuild_payload
from attestor.core.wire import Artifact, ReleaseName
from rebuilders.keyfile import load_key

START_SECONDS = 60


@dataclass
class House:
    """One embedded deployment, started as `make serve` starts it."""

    folder: Path
    process: subprocess.Popen | None = None
    starts: int = 0
    _addresses: list[str] = field(default_factory=list)

    @property
    def log(self):
        return self.folder.parent / f"serve-{self.starts}.log"

    def start(self):
        self.starts += 1
        program = [sys.executable, "-m", "attestor", "serve", "--embedded", str(self.folder)]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(program, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
        self.await_log(r'"event": "serving"')
        self.await_log(r'"event": "signing"')
        ports = re.findall(
            r'^address = "127\.0\.0\.1:(\d+)"', (self.folder / "attestor.toml").read_text(), re.MULTILINE
        )
        self._addresses = [f"localhost:{port}" for port in ports]

    def await_log(self, pattern, times=1):
        deadline = time.monotonic() + START_SECONDS
        while len(re.findall(pattern, self.log.read_text())) < times:
            assert self.process.poll() is None, self.log.read_text()[-3000:]
            assert time.monotonic() < deadline, self.log.read_text()[-3000:]
            time.sleep(0.05)

    def stop(self, signal=SIGTERM):
        """Its exit code; whatever did not end by itself is ended."""
        if self.process is None:
            return None
        with suppress(ProcessLookupError):
            self.process.send_signal(Signals(signal))
        try:
            return self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()

    def roles(self):
        """Role to process id, as they run now."""
        found = {}
        for child in Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split():
            with suppress(FileNotFoundError):
                arguments = Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")
                if b"--role" in arguments:
                    found[arguments[arguments.index(b"--role") + 1].decode()] = int(child)
        return found

    @property
    def public(self):
        return f"https://{self._addresses[0]}"

    @property
    def requests(self):
        return f"https://{self._addresses[1]}"

    @property
    def ca(self):
        return self.folder / "ca" / "ca.pem"

    def tls(self, client="build-service"):
        """How *client* connects; `None` shows no certificate."""
        if client is None:
            return client_tls(ca=self.ca)
        return client_tls(ca=self.ca, certificate=self.folder / f"{client}.pem", key=self.folder / f"{client}.key")

    def client(self, name="build-service", **more):
        return AttestorClient(self.requests, tls=self.tls(name), **more)

    def submitter(self, **more):
        return AttestorClient(self.public, tls=self.tls(None), **more)

    def key(self, operator):
        return load_key(self.key_file(operator))

    def key_file(self, operator):
        return rebuilder_folder(self.folder, operator) / "key.pem"

    async def attest(self, name, content, *operators):
        """Each operator states that it built these bytes; the last receipt."""
        async with self.submitter() as submitter:
            receipts = [await submitter.submit(statement_of(self.key(one), name, content)) for one in operators]
        return receipts[-1]


def package(name, version="1.0-1"):
    return ReleaseName("package", f"pkg:alpm/arch/{name}@{version}?arch=any", f"{name}-{version}-any.pkg.tar.zst")


def debian(name):
    return ReleaseName("package", f"pkg:deb/debian/{name}@1.0-1?arch=amd64", f"{name}_1.0-1_amd64.deb")


def database(name, sequence=1):
    return ReleaseName("database", f"pkg:generic/arch/{name}.db@{sequence}?arch=x86_64", f"{name}.db.tar.gz")


def iso(name, version="2026.01.01"):
    return ReleaseName("iso", f"pkg:generic/arch/{name}-iso@{version}?arch=x86_64", f"{name}-{version}-x86_64.iso")


def vm(name, version="2026.01.01"):
    return ReleaseName("vm", f"pkg:generic/arch/{name}-vm@{version}?arch=x86_64", f"{name}-{version}-x86_64.qcow2")


def artifact_of(content):
    return Artifact(len(content), hashlib.sha256(content).hexdigest(), hashlib.sha512(content).hexdigest())


def statement_of(key, name, content):
    """The envelope in which the key's owner says that it built these bytes."""
    release = parse_release(name.kind, name.purl, name.file_name)
    digests = hashlib.sha256(content).digest(), hashlib.sha512(content).digest()
    subject = Subject(name.file_name, *digests, len(content))
    return key.envelope(IN_TOTO, rebuild_payload(RebuildStatement(release, "built", subject)))


async def until(look, holds, seconds=30):
    """What *look* gives once it *holds*."""
    async with asyncio.timeout(seconds):
        while not holds(seen := await look()):  # noqa: ASYNC110 - another process moves it
            await asyncio.sleep(0.1)
    return seen
