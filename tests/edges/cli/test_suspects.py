"""``attestor status --resting-on-revoked``: every page is followed, and the exit code says whether one would not be signed."""

import asyncio
import json
from datetime import UTC, datetime

import pytest

from attestor.cli.output import Exit
from attestor.cli.suspects import Wanted, listing, show
from attestor.core.wire import SuspectLine, SuspectPage, SuspectVoteView

RECEIVED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def line(name, *operators, reached=False):
    votes = tuple(
        SuspectVoteView(operator=operator, payload_digest="cd" * 32, keys=("ab" * 32,), received_at=RECEIVED)
        for operator in operators
    )
    return SuspectLine(
        id=name * 64, kind="package", purl=f"pkg:alpm/arch/{name}@1-1?arch=any", file_name=f"{name}-1-1-any.pkg.tar.zst",
        sha256="ef" * 32, decision=7, tier="packages", counted=("alice", "bob"), votes=votes, remaining=(), reached=reached,
        sentence="Have it rebuilt.",
    )  # fmt: skip


class Client:
    """Answers three pages, the first of which shows nothing."""

    def __init__(self):
        self.asked = []
        self.pages = [SuspectPage(releases=shown, cursor=cursor, policy_serial=2) for shown, cursor in (
            ((), "first"), ((line("a", "alice"),), "second"), ((line("b", "alice"),), None),
        )]  # fmt: skip

    async def suspects(self, **wanted):
        self.asked.append(wanted)
        return self.pages[len(self.asked) - 1]


def test_every_page_is_followed_also_behind_an_empty_one():
    client = Client()
    found = asyncio.run(listing(Wanted("alice", datetime(2026, 1, 2, 3, 4, 5)))(client))  # noqa: DTZ001 - as typer reads it
    assert [one.file_name[0] for one in found] == ["a", "b"]
    assert [asked.pop("cursor") for asked in client.asked] == [None, "first", "second"]
    assert client.asked == [{"operator": "alice", "since": "2026-01-02T03:04:05Z"}] * 3


@pytest.mark.parametrize(
    ("found", "code", "said"),
    [
        ([], Exit.YES, "No signed release rests on a revoked key alone."),
        ([line("a", "alice", reached=True)], Exit.YES, "2026-01-02 03:04:05Z"),
        (
            [line("a", "alice", reached=True), line("b", "alice")],
            Exit.REFUSED,
            "b-1-1-any.pkg.tar.zst: Have it rebuilt.",
        ),
    ],
    ids=["none", "agreed without it", "one that is not"],
)
def test_what_is_shown(found, code, said, capsys):
    assert show(found, as_json=False) == code
    shown = capsys.readouterr()
    assert said in shown.out + shown.err
    assert show(found, as_json=True) == code
    assert [one["reached"] for one in json.loads(capsys.readouterr().out)] == [one.reached for one in found]


def test_each_vote_has_a_row_with_its_key(capsys):
    show([line("a", "alice", "bob")], as_json=False)
    rows = [row for row in capsys.readouterr().out.splitlines() if "a" * 64 in row]
    assert [("alice " in row.partition("alice, bob")[2], "abab" in row) for row in rows] == [
        (True, True),
        (False, True),
    ]


@pytest.mark.parametrize(
    "arguments",
    [("--operator", "alice"), ("--since", "2026-01-01"), ("some-file", "--resting-on-revoked"), ("--resting-on-revoked", "--state", "reached")],
    ids=["operator alone", "since alone", "with a subject", "with a state"],
)  # fmt: skip
def test_choices_that_do_not_go_together_are_refused(program, arguments):
    said = program("attestor", "status", "--server", "https://localhost:1", *arguments)
    assert (said.code, "resting-on-revoked" in said.err) == (Exit.ERROR, True)


def test_the_service_is_asked(program, service):
    said = program("attestor", "status", *service.reader, "--resting-on-revoked", "--since", "2026-01-01T00:00:00Z")
    assert (said.code, said.err) == (Exit.YES, "No signed release rests on a revoked key alone.\n")
    said = program("attestor", "status", *service.reader, "--resting-on-revoked", "--operator", "nobody")
    assert (said.code, "operator-unknown" in said.err) == (Exit.ERROR, True)
