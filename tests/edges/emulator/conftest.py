"""The emulator as a real process, spoken to over TLS: by raw HTTP requests, and by the vendor's SDK."""

import base64
import contextlib
import http.client
import json
import ssl
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import nethsm
import pytest

PASSPHRASES = {
    "admin": "Administrator",
    "operator": "OperatorOperator",
    "metrics": "MetricsMetrics",
    "backup": "BackupBackup",
}


class Reply(NamedTuple):
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Running:
    """One emulator process; `send` is curl, `sdk` the vendor's client."""

    process: subprocess.Popen[bytes]
    url: str
    fingerprint: str
    certificate: str
    passphrases: dict[str, str] = field(default_factory=lambda: dict(PASSPHRASES))
    _open: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    _connection: http.client.HTTPSConnection | None = None

    @property
    def host(self) -> str:
        return self.url.removeprefix("https://")

    def connect(self) -> http.client.HTTPSConnection:
        context = ssl.create_default_context(cafile=self.certificate)
        context.verify_flags |= ssl.VERIFY_X509_STRICT  # the default from Python 3.13 on
        return self._open.enter_context(
            contextlib.closing(http.client.HTTPSConnection(self.host, timeout=20, context=context))
        )

    def send(self, method, path, user=None, content=None, headers=None, *, passphrase=None) -> Reply:
        """`content`: bytes as they stand, anything else as JSON; `path` after /api/v1, or whole if it begins with '//'."""
        self._connection = self._connection or self.connect()
        sent = {} if content is None or isinstance(content, bytes) else {"Content-Type": "application/json"}
        if user is not None:
            secret = self.passphrases.get(user) if passphrase is None else passphrase
            sent["Authorization"] = "Basic " + base64.b64encode(f"{user}:{secret}".encode()).decode()
        body = content if content is None or isinstance(content, bytes) else json.dumps(content).encode()
        whole = path[1:] if path.startswith("//") else "/api/v1" + path
        self._connection.request(method, whole, body, sent | (headers or {}))
        response = self._connection.getresponse()
        return Reply(response.status, response.headers, response.read())

    def sdk(self, user=None, passphrase=None) -> nethsm.NetHSM:
        auth = nethsm.Authentication(user, passphrase or self.passphrases[user]) if user else None
        client = nethsm.NetHSM(self.host, auth, ca_certs=self.certificate)
        self._open.callback(client.close)
        return client

    def add_user(self, name, role, passphrase=None, by="admin", tags=()) -> str:
        passphrase = passphrase or f"the passphrase of {name}"
        content = {"realName": name, "role": role, "passphrase": passphrase}
        assert self.send("PUT", f"/users/{name}", by, content).status == 201
        self.passphrases[name] = passphrase
        for tag in tags:
            assert self.send("PUT", f"/users/{name}/tags/{tag}", by).status == 204
        return name

    def provision(self) -> "Running":
        content = {"unlockPassphrase": "UnlockPassphrase", "adminPassphrase": "Administrator"}
        assert self.send("POST", "/provision", content=content | {"systemTime": "2018-10-30T11:20:50Z"}).status == 204
        for name in ("operator", "metrics", "backup"):
            self.add_user(name, name.capitalize(), PASSPHRASES[name])
        return self

    def stop(self) -> int:
        self._open.close()
        self.process.terminate()
        try:
            return self.process.wait(10)
        finally:
            self.process.kill()
            for pipe in filter(None, (self.process.stdin, self.process.stdout, self.process.stderr)):
                pipe.close()


def launch(state: Path, *flags: str) -> Running:
    ready = state.parent / f"{state.name}-ready.json"
    ready.unlink(missing_ok=True)
    program = [sys.executable, "-W", "error::DeprecationWarning", "-m", "attestor.emulator"]
    command = [*program, "--state", str(state), "--listen", "127.0.0.1:0"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen([*command, "--ready-file", str(ready), *flags], **pipes)
    deadline = time.monotonic() + 20
    while not ready.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            pytest.fail(f"the emulator did not start: {process.communicate()[1].decode()}")
        time.sleep(0.02)
    return Running(process, **json.loads(ready.read_bytes()))


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """Starts an emulator on a folder (a new one by default) with the flags given; all are stopped at the end."""
    with contextlib.ExitStack() as stack:

        def launched(*flags, state=None):
            running = launch(state or tmp_path_factory.mktemp("emulator") / "state", *flags)
            stack.callback(running.stop)
            return running

        yield launched


@pytest.fixture(scope="module")
def emulator(start):
    """One provisioned emulator per module, with admin, operator, metrics and backup."""
    return start().provision()
