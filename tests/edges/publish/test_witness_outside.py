"""A witness that shares no code with ours takes our checkpoints, and we take what it answers.

``aics-witness`` (PyPI) needs Python 3.12 or newer; where it is installed its folder belongs on PATH.
"""

import asyncio
import shutil
import subprocess
from contextlib import asynccontextmanager

import pytest

from attestor.core.errors import Halted
from attestor.core.policy import LogPolicy, WitnessPolicy
from attestor.core.tlog.cosignature import cosignatures
from attestor.core.tlog.note import NoteSigner, parse_note, parse_vkey
from attestor.publish.witness import HttpWitness
from attestor.service.logports import WitnessAt
from attestor.service.witness import Cosigning
from tests.memorybook import MemoryBook
from tests.memorylog import SIGNER

SIZES = (0, 1, 2, 3, 255, 256, 257, 700)


@pytest.fixture
def aics_witness(tmp_path):
    program = shutil.which("aics-witness")
    if program is None:
        pytest.skip("aics-witness is not on PATH: it needs Python 3.12 or newer, pip install aics-witness")

    def run(*arguments):
        config = ("--config", str(tmp_path / "witness.json"))
        done = subprocess.run([program, *arguments, *config], capture_output=True, text=True, timeout=60, check=True)
        return done.stdout.strip()

    key = parse_vkey(run("init", "--name", "witness.example/aics"))
    run("add-log", "--origin", SIGNER.verifier.name, "--vkey", SIGNER.verifier.text)
    return program, tmp_path / "witness.json", key


@asynccontextmanager
async def serving(program, config, port):
    process = await asyncio.create_subprocess_exec(
        program, "serve", "--config", str(config), "--listen", f"127.0.0.1:{port}", stderr=asyncio.subprocess.PIPE
    )
    try:
        while b"listening on" not in (line := await process.stderr.readline()):
            assert line, "the witness ended"
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        await process.communicate()


async def test_a_witness_of_somebody_else_cosigns_and_refuses_as_ours_does(aics_witness, unused_tcp_port):
    program, config, key = aics_witness
    async with (
        serving(program, config, unused_tcp_port) as url,
        HttpWitness("aics", key, url, deadline_seconds=30) as witness,
    ):
        policy = LogPolicy(SIGNER.verifier, (), 1, (WitnessPolicy("aics", key, url),))
        book, heard = MemoryBook(), []
        cosigning = Cosigning(book, [witness], policy, heard.append)
        for size in SIZES:
            book.append(size - book.log.size)
            async with asyncio.timeout(30):
                while not await book.cosignatures(size) or book.published < size:
                    await cosigning.gather(0.01)
            (cosigned,) = cosignatures(parse_note(book.shown()), [key])
            assert cosigned.timestamp > 1_700_000_000
        assert [one.error for one in heard] == [None] * len(SIZES)
        # Stale, rolled back, forked, and of a key that it does not know.
        note = book.notes[700]
        assert await witness.add_checkpoint(0, (), note) == WitnessAt(700)
        with pytest.raises(Halted) as halted:
            await Cosigning(book.rolled_back(256), [witness], policy, heard.append).meet()
        assert halted.value.code == "log-rolled-back"
        forked = MemoryBook()
        forked.append(800, "forked")
        await Cosigning(forked, [witness], policy, heard.append).meet()
        stranger = MemoryBook(1, signer=NoteSigner.create(SIGNER.verifier.name, bytes(32)))
        unknown = MemoryBook(1, signer=NoteSigner.create("log.example/unknown", bytes(32)))
        for other in (stranger, unknown):
            other_policy = LogPolicy(other.log.key, (), 1, policy.witnesses)
            await Cosigning(other, [witness], other_policy, heard.append).meet()
        assert [one.error.code for one in heard[len(SIZES) :]] == [
            "split-view",
            "witness-forbidden",
            "witness-unknown-origin",
        ]
