"""A peer on the network without any account: what it can tie up, and what it is told."""

import asyncio

import pytest

from attestor.api import queries
from attestor.api.bodies import chunks
from attestor.api.problems import TooSlow
from attestor.core.errors import Malformed, Missing
from tests.attacks.conftest import GOOD
from tests.service.makers import package, payload_digest, vote


class _Dripping:
    """A request whose client sends one byte now and again, for ever."""

    headers = {}  # noqa: RUF012 - read only

    def __init__(self, seconds):
        self.content = self
        self._seconds = seconds

    async def readany(self):
        await asyncio.sleep(self._seconds)
        return b"x"


async def test_a_batch_that_drips_byte_by_byte_is_given_up_when_all_patience_is_spent():
    came = []

    async def read():
        async for chunk in chunks(_Dripping(0.05), patience=0.3):
            came.append(chunk)  # noqa: PERF401 - what came before the end is looked at

    with pytest.raises(TooSlow):
        await asyncio.wait_for(read(), 5)
    assert 2 <= len(came) <= 6


@pytest.mark.parametrize("field", ["purl", "file", "tier", "cursor"])
@pytest.mark.parametrize("value", ["%00", "a%0A", "%E2%80%AE"], ids=["NUL", "newline", "turned text"])
async def test_a_query_that_the_database_could_choke_on_is_refused_before_it(field, value):
    with pytest.raises(Malformed) as caught:
        queries.read(f"{field}={value}", queries.ReleasesQuery)
    assert caught.value.code == "query-invalid"


async def test_an_envelope_is_read_alone_and_only_under_its_own_release_and_operator(gate):
    raw = vote(package(), GOOD, "alice")
    await gate.admit(raw)
    await gate.admit(vote(package("other"), GOOD, "bob"))
    digest = payload_digest(package(), GOOD).hex()
    assert await gate.envelope(package().id, digest, "alice") == raw
    for release, operator in ((package().id, "bob"), (package("other").id, "alice"), (package("none").id, "alice")):
        with pytest.raises(Missing):
            await gate.envelope(release, digest, operator)
