"""A small real witness (C2SP tlog-witness v1.0.0) on the loopback, which can also do each thing that witnesses get wrong.

``async with serving(WitnessServer(signer, [log_key])) as witness`` and it takes checkpoints below ``witness.url``.
"""

import asyncio
import json
from contextlib import asynccontextmanager

from aiohttp import web

from attestor.core.errors import Malformed, Rejected
from attestor.core.tlog.checkpoint import Checkpoint, parse_checkpoint_text
from attestor.core.tlog.cosignature import cosign
from attestor.core.tlog.merkle import EMPTY_ROOT, verify_consistency
from attestor.core.tlog.note import COSIGNATURE, NoteSigner, SignatureLine, cosigned_bytes, parse_note, verified_by
from attestor.core.tlog.witnessing import parse_add_checkpoint

TIME = 1_790_000_000
PLAIN = "text/plain"
SIZE = "text/x.tlog.size"


class WitnessServer:
    """Keeps size and root of each origin, in *folder* too where one is given, and answers by the specification.

    What it does otherwise: ``canned`` (status, content type, body) is its answer to everything; ``other_root`` the answer where
    the root differs at one size; ``cosign`` makes the lines; while ``held`` is cleared it answers nobody.
    """

    def __init__(self, signer, log_keys, folder=None):
        self.signer = signer
        self.log_keys = {key.name: key for key in log_keys}
        self.url = None
        self.asked = []
        self.canned = None
        self.other_root = (409, PLAIN, b"")
        self.cosign = honest
        self.held = asyncio.Event()
        self.held.set()
        self._file = folder / "witness.json" if folder else None
        self._known = {}
        if self._file is not None and self._file.exists():
            kept = json.loads(self._file.read_text())
            self._known = {
                origin: Checkpoint(origin, size, bytes.fromhex(root)) for origin, (size, root) in kept.items()
            }

    def known(self, origin):
        """The newest checkpoint that it accepted of this log."""
        return self._known.get(origin, Checkpoint(origin, 0, EMPTY_ROOT))

    def accept(self, checkpoint):
        """Know a checkpoint without having been asked."""
        self._known[checkpoint.origin] = checkpoint
        if self._file is not None:
            kept = {origin: (one.size, one.root.hex()) for origin, one in self._known.items()}
            self._file.write_text(json.dumps(kept))

    def answer(self, raw):
        """(status, content type, body): the checks of tlog-witness, in its order."""
        self.asked.append(raw)
        if self.canned is not None:
            return self.canned
        try:
            old_size, proof, checkpoint_raw = parse_add_checkpoint(raw)
            note = parse_note(checkpoint_raw)
            checkpoint = parse_checkpoint_text(note.text)
        except Malformed as error:
            return 400, PLAIN, error.code.encode()
        return self._judge(old_size, proof, note, checkpoint)

    def _judge(self, old_size, proof, note, checkpoint):
        key = self.log_keys.get(checkpoint.origin)
        if key is None:
            return 404, PLAIN, b"unknown log"
        try:
            verified_by(note, [key])
        except Rejected:
            return 403, PLAIN, b"invalid signature"
        if old_size > checkpoint.size:
            return 400, PLAIN, b"old size above the checkpoint's"
        return self._compare(old_size, proof, note, checkpoint)

    def _compare(self, old_size, proof, note, checkpoint):
        known = self.known(checkpoint.origin)
        if old_size != known.size:
            return 409, SIZE, f"{known.size}\n".encode()
        if checkpoint.size == known.size and checkpoint.root != known.root:
            return self.other_root
        try:
            verify_consistency(
                old_size=old_size, old_root=known.root, size=checkpoint.size, root=checkpoint.root, proof=proof
            )
        except Rejected:
            return 422, PLAIN, b"bad consistency proof"
        self.accept(checkpoint)
        return 200, PLAIN, b"".join(f"{line}\n".encode() for line in self.cosign(self.signer, note.text))


def honest(signer, text):
    return [cosign(text, signer, TIME)]


def foreign_key(signer, text):
    """Another key under the same name."""
    return [cosign(text, NoteSigner.create(signer.verifier.name, bytes(32), COSIGNATURE), TIME)]


def other_text(signer, text):
    """The right key over another checkpoint."""
    return [cosign(text.replace("\n", "x\n", 1), signer, TIME)]


def little_endian(signer, text):
    """As litewitness once wrote the time."""
    seed = signer._private
    signature = TIME.to_bytes(8, "little") + seed.sign(cosigned_bytes(text, TIME))
    return [SignatureLine(signer.verifier.name, signer.verifier.key_id, signature).text]


@asynccontextmanager
async def serving(witness):
    """Serve it on a free port of the loopback."""

    async def add_checkpoint(request):
        raw = await request.read()
        await witness.held.wait()
        status, kind, body = witness.answer(raw)
        headers = {} if kind is None else {"Content-Type": kind}
        return web.Response(status=status, headers=headers, body=body)

    application = web.Application()
    application.router.add_post("/witness/add-checkpoint", add_checkpoint)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        witness.url = f"http://{host}:{port}/witness"
        yield witness
    finally:
        witness.held.set()
        await runner.cleanup()
