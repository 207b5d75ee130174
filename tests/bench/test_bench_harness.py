"""The bench's smallest run: it works, and a number in it is one that was counted in the database."""

import subprocess
import sys

import msgspec
import pytest

from tests.bench.load import Load, Requests, load
from tests.bench.votes import write_lines


def test_the_smallest_run_measures_submissions_and_the_log_beside_the_machines_limits():
    words = (sys.executable, "-m", "tests.bench", "singles", "last", "log", "--tiny", "--json")
    done = subprocess.run(words, capture_output=True, timeout=120, check=False)

    # 1 says that a target was missed, which this machine may do; a count that is wrong ends with a traceback and no JSON.
    assert done.returncode in {0, 1}, done.stderr.decode()
    figures = {figure["name"]: figure for figure in msgspec.json.decode(done.stdout)}
    assert {
        "limit: bare aiohttp handler",
        "single submissions, plain HTTP",
        "single submissions, TLS 1.3",
        "last attestation answered to signature read, p50",
        "log appends from 2 processes",
        "200 log entries a second: committed to included, p99",
        "200 log entries a second: WAL of an entry",
        "log tiles over HTTP",
        "log bundles over HTTP",
    } <= set(figures)
    assert all(figure["value"] > 0 for figure in figures.values())
    assert figures["single submissions, plain HTTP"]["limit"] == figures["limit: bare aiohttp handler"]["value"]
    steps = list(figures["last attestation answered to signature read, p99"]["more"].values())
    assert steps == sorted(steps)
    assert len(steps) == 5


@pytest.mark.parametrize("lean", [False, True], ids=["wrk where present", "our own client"])
async def test_the_load_generator_counts_answers_that_are_not_good(aiohttp_server_of_every_second, tmp_path, lean):
    lines = write_lines(tmp_path / "lines", [b"%d" % number for number in range(100)])

    done = await load(aiohttp_server_of_every_second, Requests("POST", lines, 100, connections=4), lean=lean)

    assert (done.sent, done.good) == (100, 50)
    assert isinstance(done, Load)
    assert 0 < done.p50_ms <= done.p99_ms


@pytest.fixture
async def aiohttp_server_of_every_second():
    """A server that refuses every odd number."""
    from aiohttp import web

    async def answer(request):
        return web.Response(status=201 if int(await request.read()) % 2 == 0 else 503)

    runner = web.ServerRunner(web.Server(answer, access_log=None))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()
