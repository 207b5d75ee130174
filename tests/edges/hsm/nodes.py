"""The real emulator over TLS, set up through the vendor's SDK, and a small way to order its faults."""

import asyncio
import json
import ssl
import traceback
import urllib.request
from datetime import UTC, datetime

import nethsm

from attestor.core.algorithm import Algorithm
from attestor.core.secret import Secret
from attestor.hsm.connection import NodeSettings
from attestor.hsm.keys import ASKING, SigningKey

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ADMIN = "the passphrase of the admin"
UNLOCK = "the passphrase to unlock it"
OPERATOR = "the passphrase of an operator"
METRICS = "the passphrase for metrics"
SIGN = {"method": "POST", "path": "/keys/[^/]+/sign"}


class Running:
    """An emulated device with a key per algorithm in the root namespace."""

    def __init__(self, started):
        self.started = started
        self.url = started.url
        self.fingerprint = started.fingerprint
        self._trust = ssl.create_default_context(cafile=str(started.certificate_path))

    def node(self, **more):
        return NodeSettings(self.url, fingerprint=self.fingerprint, **more)

    def sdk(self, user=None, passphrase=None):
        auth = nethsm.Authentication(user, passphrase) if user else None
        host = self.url.removeprefix("https://")
        return nethsm.NetHSM(host, auth, ca_certs=str(self.started.certificate_path))

    def fault(self, action, match=None, **more):
        self._faults("POST", {"action": action, "match": match or SIGN} | more)

    def hold(self, count=1):
        """The next signatures that are asked wait until `clear`."""
        self.fault("delay", milliseconds=600_000, count=count)

    async def until_left(self, count=0):
        """Wait until all but that many of the ordered faults have befallen somebody."""
        async with asyncio.timeout(20):
            while sum(fault["count"] for fault in self.left()) > count:  # noqa: ASYNC110 - another process moves it
                await asyncio.sleep(0.01)

    def clear(self):
        self._faults("DELETE")

    def left(self):
        """The faults that have befallen nobody yet."""
        return json.loads(self._faults("GET"))

    def _faults(self, method, content=None):
        body = None if content is None else json.dumps(content).encode()
        request = urllib.request.Request(f"{self.url}/faults", body, method=method)  # noqa: S310 - the emulator's own URL
        with urllib.request.urlopen(request, context=self._trust, timeout=5) as answer:  # noqa: S310 - see above
            return answer.read()

    def answered(self, status):
        """How many answers had this status."""
        return self.sdk("metrics", METRICS).get_metrics().get(f"http response {status}", 0)

    def operations(self, algorithm=Algorithm.ED25519):
        return self.sdk("admin", ADMIN).get_key(f"key-{algorithm}").operations

    def set_up(self):
        self.sdk().provision(UNLOCK, ADMIN, NOW)
        admin = self.sdk("admin", ADMIN)
        admin.add_user("metrics", nethsm.Role.METRICS, METRICS, "metrics")
        for algorithm, asking in ASKING.items():
            length = 2048 if algorithm is Algorithm.RSA else 256
            admin.generate_key(asking.key_type, [asking.mechanism], length, f"key-{algorithm}")
            admin.add_user(f"operator {algorithm}", nethsm.Role.OPERATOR, OPERATOR, f"operator-{algorithm}")
        return self


def signing_key(algorithm=Algorithm.ED25519, **changes):
    values = {"name": f"release-{algorithm}", "key_id": f"key-{algorithm}", "user": f"operator-{algorithm}"}
    return SigningKey(**(values | {"passphrase": Secret(OPERATOR), "algorithm": algorithm} | changes))


async def count_nowhere(_place):
    """For tests of what is not about counting."""


def whole_text(error):
    """Everything that a log could show of an exception: its chain, local variables included."""
    seen, texts = set(), []
    pending = [error]
    while pending:
        each = pending.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        shown = traceback.TracebackException.from_exception(each, capture_locals=True)
        texts += [*shown.format(), repr(each), str(vars(each))]
        pending += [each.__cause__, each.__context__]
    return "\n".join(texts)
