"""``python -m tests.bench [NAME …] [--quick] [--json]``: the figures of design §13, beside the machine's own limits."""

import argparse
import os
import sys
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import uvloop

from attestor.app.telemetry import configure_logs
from tests.bench import appending, filling, intake, lanes, limits, starting, submitting, waiting
from tests.bench.figure import Figure, show
from tests.bench.stand import Stand, role, stand
from tests.bench.votes import package

NAMES = ("start", "singles", "batch", "last", "upload", "full", "intake", "log", "slow-hsm", "lanes")
_OF_A_SLOW_DEVICE = frozenset({"slow-hsm", "lanes"})
_OF_THE_LOG = frozenset({"intake", "log"})
_DEVICE = {"delay_ms": 20, "slots": 8}


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much of everything a run does."""

    singles: int = 40_000
    batch: int = 30_000
    releases: int = 200
    upload: int = 4 << 30
    claims: int = 100_000
    reads: int = 10_000
    slow: int = 600
    starts: int = 3
    bare: int = 40_000
    pairs: int = 4
    appends: int = 60_000
    writers: int = 8
    paced: int = 3000
    backlog: int = 20_000
    urgent: int = 20


QUICK = Sizes(
    singles=6000,
    batch=5000,
    releases=30,
    upload=256 << 20,
    claims=20_000,
    reads=3000,
    slow=100,
    starts=1,
    bare=5000,
    pairs=2,
    appends=16_000,
    paced=1000,
    backlog=2000,
    urgent=10,
)
TINY = Sizes(
    singles=300,
    batch=300,
    releases=2,
    upload=8 << 20,
    claims=600,
    reads=300,
    slow=8,
    starts=1,
    bare=300,
    pairs=1,
    appends=800,
    writers=2,
    paced=60,
    backlog=200,
    urgent=2,
)


@dataclass(frozen=True, slots=True)
class Run:
    names: frozenset[str]
    sizes: Sizes
    profile: Path | None

    async def figures(self, folder: Path) -> AsyncIterator[Figure]:
        async with stand(folder, _say) as place:
            bare = await limits.bare_handler(
                folder, self.sizes.bare, place.voters.envelope("alice", package("limit"), b"limit")
            )
            rows = await limits.inserts(place.config.database.dsn_owner)
            for figure in (bare, limits.ed25519(0.5), rows, limits.fsync(folder, 200)):
                yield figure
            if "start" in self.names:
                yield await starting.start_figure(place, self.sizes.starts)
            if self.names - _OF_THE_LOG - _OF_A_SLOW_DEVICE - {"start"}:
                async for figure in self._of_roles(place, bare.value, rows.value):
                    yield figure
            if self.names & _OF_THE_LOG:
                async for figure in self._of_the_log(place, bare.value):
                    yield figure
        for name in sorted(self.names & _OF_A_SLOW_DEVICE):
            (folder / name).mkdir()
            async for figure in self._of_a_slow_device(name, folder / name):
                yield figure

    async def _of_roles(self, place: Stand, bare: float, rows: float) -> AsyncIterator[Figure]:
        sizes = self.sizes
        program = ("attestor",) if self.profile is None else ("tests.bench.profiled", str(self.profile))
        async with role(place, "api", program=program) as api, role(place, "sequencer"), role(place, "signer"):
            if "upload" in self.names:
                for figure in await waiting.upload(place, sizes.upload, api=api):
                    yield figure
            if "last" in self.names:
                for figure in await waiting.last_attestation(place, sizes.releases):
                    yield figure
            if "singles" in self.names:
                async for figure in submitting.single_figures(place, sizes.singles, limit=bare, api=api):
                    yield figure
            if "batch" in self.names:
                yield await submitting.batch_figure(place, sizes.batch, limit=rows)
            if "full" in self.names:
                for figure in await filling.figures(place, sizes.claims, sizes.singles // 2, sizes.reads, limit=bare):
                    yield figure

    async def _of_the_log(self, place: Stand, bare: float) -> AsyncIterator[Figure]:
        sizes = self.sizes
        async with role(place, "sequencer"):
            if "intake" in self.names:
                async with role(place, "signer"):
                    for figure in await intake.figures(place, sizes.singles // 4, sizes.pairs):
                        yield figure
            if "log" in self.names:
                async for figure in appending.append_figures(place, sizes.appends, sizes.writers):
                    yield figure
                for figure in await appending.paced_figures(place, sizes.paced):
                    yield figure
                async with role(place, "api"):
                    for figure in await appending.tile_figures(place, sizes.reads, limit=bare):
                        yield figure

    async def _of_a_slow_device(self, name: str, folder: Path) -> AsyncIterator[Figure]:
        flags = (f"--sign-delay-ms={_DEVICE['delay_ms']}", f"--sign-slots={_DEVICE['slots']}")
        sizes = self.sizes
        async with stand(folder, _say, device_flags=flags) as place, role(place, "api"), role(place, "sequencer"):
            if name == "lanes":
                async for figure in lanes.figures(place, sizes.backlog, sizes.urgent):
                    yield figure
            else:
                async with role(place, "signer"):
                    yield await waiting.slow_device(place, sizes.slow, **_DEVICE)


def main(words: list[str] | None = None) -> int:
    """Measure and print; 1 when a figure misses its target."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[[], *NAMES], metavar="NAME", help=f"any of {', '.join(NAMES)}")
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.add_argument("--quick", action="store_true", help="a tenth of everything")
    parser.add_argument("--tiny", action="store_true", help="only enough to see that it runs and counts right")
    parser.add_argument("--claims", type=int, help="stored claims for `full` (100,000)")
    parser.add_argument(
        "--profile", type=Path, help="the API under cProfile, which slows it: where its time went, here"
    )
    given = parser.parse_args(words)
    sizes = TINY if given.tiny else QUICK if given.quick else Sizes()
    if given.claims:
        sizes = Sizes(**{name: getattr(sizes, name) for name in Sizes.__slots__} | {"claims": given.claims})
    run = Run(frozenset(given.names or NAMES), sizes, given.profile)
    figures = uvloop.run(_measured(run))
    show(figures, as_json=given.json)
    return 0 if all(figure.met is not False for figure in figures) else 1


async def _measured(run: Run) -> list[Figure]:
    configure_logs("error")
    with tempfile.TemporaryDirectory(prefix="attestor-bench-") as folder:
        figures = []
        async for figure in run.figures(Path(folder)):
            _say(f"{figure.name}: {figure.value:,.1f} {figure.unit}  [load {os.getloadavg()[0]:.1f}]  {figure.note}")
            figures.append(figure)
        return figures


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)  # noqa: T201 - this is the terminal


if __name__ == "__main__":
    sys.exit(main())
