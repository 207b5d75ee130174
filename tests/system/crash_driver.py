"""Kills what takes part in a signature with SIGKILL, each time in a child of its own and each time a step later.

Started by test_crash.py as a program: `python -m tests.system.crash_driver PLAN`, with the plan as JSON. A signing child signs
one request while its own follower folds the log beside. The plan says who dies:

- `signer`: at every await of `sign_next`, so that every place where it, the store, the content's or the device's room
  really waits is one: when the wait has begun (what was asked is on its way), and when it is over and nothing has followed;
- `newcomer`: likewise of logging a policy that the log does not know, which comes before a first decision under it;
- `follower`: likewise of every `Past.follow` that finds something new: the decision's entry, and the signature's;
- `disk`: in those same folds, before each thing that the memory's writing thread does to a file;
- `rebuilder`: the same where an anchor is and no memory, which is then made from the whole log;
- `sequencer`: at every await of beginning a log and of appending what waits.

The plan says too at which step it begins, and every how many there is a death. Prints for each victim and moment the last step that
it died at.
"""

import asyncio
import gc
import importlib
import json
import os
import sys
from base64 import b64decode
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from ssl import SSLContext
from types import SimpleNamespace

import uvloop

from attestor.anchor.memory import FileMemory
from attestor.hsm.connection import NodeSettings
from attestor.service.conclude import Conclusions
from attestor.service.past import Past
from attestor.service.sequence import Sequencer
from attestor.store.listen import Listener
from attestor.store.log import PostgresLog, PostgresLogBook
from attestor.store.pool import Settings, connect
from attestor.store.queue import PostgresQueue
from tests.logkeys import log_signer, seal
from tests.service.loghouse import anchored
from tests.service.makers import ORIGIN, make_policy
from tests.service.signers import device_of, make_signing, release_keys, sign_next
from tests.system.dying import MOST, DiskSteps, Doom, Stepped, deaths

_POLICY = make_policy()
_WAITING = "SELECT EXISTS (SELECT FROM log_outbox)"
_ANOTHER = "SELECT count(*) > 1 FROM pg_stat_activity WHERE usename = current_user AND datname = current_database()"
_SOMETHING, _NOTHING = True, False
_SIGNED = "SELECT state = 'signed' FROM signing_requests WHERE id = $1"


class AnyPolicyQueue(PostgresQueue):
    """As if the API had decided every release under this very policy."""

    def __init__(self, pool, policy):
        super().__init__(pool, Listener())
        self._policy = policy

    async def evidence(self, job):
        return replace(await super().evidence(job), policy_digest=self._policy.digest)


class Newcomer(Conclusions):
    """Of a signer whose policy is new to the log."""

    def __init__(self, doom, *parts):
        super().__init__(*parts)
        self._doom = doom

    async def refuse_other_policy(self):
        return await Stepped(self._doom, super().refuse_other_policy())


class Follower:
    """Folds what has come; *driven* awaits each such fold."""

    def __init__(self, past, log, driven):
        self._past = past
        self._log = log
        self._driven = driven
        self._known = None
        self.folds = 0

    async def catch_up(self):
        self._known = await self._log.checkpoint()
        await self._past.follow()

    async def follow(self):
        while True:
            published = await self._log.checkpoint()
            if published == self._known:
                await asyncio.sleep(0.004)
                continue
            assert await self._driven(self._past.follow())
            self._known = published
            self.folds += 1


@asynccontextmanager
async def alone(dsn):
    """A pool of one connection, once those of children that died are gone."""
    async with connect(Settings(dsn, connections=1)) as pool:
        while await pool.fetchval(_ANOTHER):  # noqa: ASYNC110 - other processes
            await asyncio.sleep(0.001)
        yield pool


async def until(waiting, pool):
    """Once something waits for the log, or nothing any more."""
    while await pool.fetchval(_WAITING) is not waiting:  # noqa: ASYNC110 - other processes
        await asyncio.sleep(0.001)


async def sign(plan, signers, victim, doom):
    """Sign the next request, beside a follower."""
    stepped = partial(Stepped, doom)
    folder = Path(plan["folder"])
    async with AsyncExitStack() as stack:
        # A connection each: whether a statement was prepared there before changes how often one waits for it.
        first = await stack.enter_async_context(alone(plan["dsn"]))
        await until(_NOTHING, first)
        beside = PostgresLog(first)
        pool = await stack.enter_async_context(connect(Settings(plan["dsn"], connections=1)))
        source = SimpleNamespace(checkpoint=beside.checkpoint, entries=beside.entries, tile=PostgresLog(pool).tile)
        past = past_over(source, folder)
        driven = {"follower": stepped, "disk": DiskSteps(doom).during}.get(victim, asyncio.ensure_future)
        follower = Follower(past, beside, driven)
        await follower.catch_up()
        await beside.entries(0, 0)
        # The lease is longer than all children together: each takes a request of its own.
        parts = {"policy": _POLICY, "signers": signers, "past": past, "lease_seconds": 600.0}
        if victim == "newcomer":
            policy = make_policy(serial=(await past.policy())[0] + 1)
            queue = AnyPolicyQueue(pool, policy)
            past.load(policy, alone=True)
            conclusions = Newcomer(doom, queue, past, policy, seal())
            parts |= {"policy": policy, "queue": queue, "conclusions": conclusions}
        signing = make_signing(pool, Listener(), None, None, folder, **parts)
        following = asyncio.create_task(follower.follow())
        signed = sign_next(signing)
        job = await (stepped(signed) if victim == "signer" else signed)
        assert await pool.fetchval(_SIGNED, job.request.id)
        while victim in {"follower", "disk"} and follower.folds < 2:
            assert not following.done(), following.exception()
            await asyncio.sleep(0.001)
        following.cancel()
        await asyncio.wait({following})


async def rebuild(plan, doom):
    """Make the memory of an anchor; an heir finds what the dead one has left of it."""
    async with alone(plan["dsn"]) as pool:
        await until(_NOTHING, pool)
        folder = Path(plan["folder"])
        if not doom.spared:
            for file in anchored(folder).glob("memory*"):
                file.unlink()
        past = past_over(PostgresLog(pool), folder)
        await DiskSteps(doom).during(past.follow())
        await past.look_again()


async def sequence(plan, doom):
    """Append what waits."""
    async with alone(plan["dsn_sequencer"]) as pool:
        if not doom.spared:
            await until(_SOMETHING, pool)
        sequencer = Sequencer(PostgresLogBook(pool, Listener()), log_signer(ORIGIN), publish=True)
        await Stepped(doom, sequencer.begin())
        appended = await Stepped(doom, sequencer.sequence())
        assert appended or doom.spared
        while doom.spared and await pool.fetchval(_WAITING):
            await sequencer.sequence()


def past_over(source, folder):
    return Past(source, FileMemory(anchored(folder), _POLICY.log.key.name), _POLICY, alone=True)


def load_what_is_loaded_late(work):
    """The SDK imports as it is called, which would cost every child a second; found out by a child that is spared."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        before = set(sys.modules)
        uvloop.run(work(Doom("never", 0)))
        os.write(writer, "\n".join(set(sys.modules) - before).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as names:
        for name in names.read().split():
            importlib.import_module(name)
    os.waitpid(child, 0)


def main():
    plan = json.loads(Path(sys.argv[1]).read_text())
    device = device_of(NodeSettings(plan["url"], fingerprint=plan["fingerprint"]))
    signers = release_keys(device, {name: b64decode(raw) for name, raw in plan["certificates"].items()})
    works = {victim: partial(sign, plan, signers, victim) for victim in ("signer", "newcomer", "follower", "disk")}
    works |= {"rebuilder": partial(rebuild, plan), "sequencer": partial(sequence, plan)}
    sequencers = plan["deaths"][0][0] == "sequencer"
    load_what_is_loaded_late(works["sequencer" if sequencers else "signer"])
    # Each child is spared what costs much and says nothing here: a second walk over all objects, and the web's authorities,
    # which a connection loads even where it is a fingerprint that proves the device.
    gc.freeze()
    SSLContext.load_default_certs = lambda *_: None
    steps = range(plan["first"], MOST, plan["every"])
    died = {
        f"{victim} {moment}": deaths(works[victim], moment, heir=victim in {"rebuilder", "sequencer"}, steps=steps)
        for victim, moment in plan["deaths"]
    }
    sys.stdout.write(json.dumps(died))


if __name__ == "__main__":
    main()
