"""The console script as people run it: a real process, against a server that checks what it gets as the service does."""

import asyncio
import hashlib
import json
import os
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from attestor.core.envelope import parse_envelope, verify
from attestor.core.keys import KeyRing
from attestor.core.naming import Kind
from attestor.core.statement import WithdrawalStatement, read_statement
from rebuilders.artifact import release_of
from rebuilders.keyfile import load_key, make_key

PACKAGE = "greeting-1.2-1-any.pkg.tar.zst"
PURL = "pkg:alpm/arch/greeting@1.2-1?arch=any"
BACKENDS = Path(__file__).parents[2] / "rebuilders" / "backends"


@pytest.fixture
def key(tmp_path):
    return make_key(tmp_path / "key.pem")


@pytest.fixture
def rebuilder(tmp_path, key):
    """`await rebuilder("attest", ...)` is exit code, standard output and standard error."""

    async def run(verb, *flags):
        common = () if verb == "keygen" else ("--key", tmp_path / "key.pem", "--state", tmp_path / "state")
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", "from rebuilders.cli import main; main()", verb, *map(str, (*flags, *common))),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=tmp_path,
            env=os.environ | {"COLUMNS": "250", "HOME": str(tmp_path)},
        )
        out, err = await process.communicate()
        return process.returncode, out.decode(), err.decode()

    return run


@pytest.fixture
def service(key):
    """A service that verifies each envelope under the rebuilder's key and keeps what it says; `troubles` come first."""

    @asynccontextmanager
    async def serving(*troubles):
        statements, bodies = [], []

        async def answer(request):
            bodies.append(await request.read())
            if len(bodies) <= len(troubles):
                return troubles[len(bodies) - 1]()
            verified = verify(parse_envelope(bodies[-1]), KeyRing([key.public_key]))
            statements.append(said := read_statement(verified))
            release = [] if isinstance(said, WithdrawalStatement) else [_entry(said.release)]
            replay = bodies[-1] in bodies[:-1]
            receipt = {"payloadDigest": verified.payload_digest.hex(), "replay": replay, "releases": release}
            return web.json_response(receipt, status=200 if replay else 201)

        app = web.Application()
        app.router.add_post("/v1/attestations", answer)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        try:
            yield f"http://127.0.0.1:{runner.addresses[0][1]}", statements, bodies
        finally:
            await runner.cleanup()

    return serving


def _entry(release):
    return {"id": release.id, "fileName": release.file_name, "state": "pending", "agreeing": ["berlin"], "missing": 1}


def _refused():
    body = {"type": "urn:attestor:problem:unknown-key", "title": "Unknown key", "detail": "Ask the operator."}
    return web.json_response(body, status=403, content_type="application/problem+json")


async def test_keygen_makes_a_key_and_prints_the_policy_lines(rebuilder, tmp_path):
    code, out, err = await rebuilder("keygen", tmp_path / "new.pem", "--operator", "berlin", "--days", "30")
    assert (code, err) == (0, "")
    assert out.startswith('[[operators."berlin".keys]]\n')
    assert load_key(tmp_path / "new.pem").public_key.fingerprint in out


async def test_keygen_refuses_a_name_that_could_be_more_than_a_name(rebuilder, tmp_path):
    code, _, err = await rebuilder("keygen", tmp_path / "new.pem", "--operator", 'x".keys]]\nsuspended')
    assert (code, "operator-name" in err, (tmp_path / "new.pem").exists()) == (1, True, False)


@pytest.mark.parametrize("naming", [("--purl", PURL), ("--namespace", "arch")], ids=["by purl", "by namespace"])
async def test_a_file_is_attested_with_both_digests_and_its_size(naming, rebuilder, service, package):
    async with service() as (url, statements, _):
        code, out, err = await rebuilder("attest", package, *naming, "--input", package, "--server", url)
    assert (code, err) == (0, "")
    (said,), content = statements, package.read_bytes()
    assert (said.release.purl, said.outcome, said.subject.size) == (PURL, "built", len(content))
    assert said.subject.sha256 == hashlib.sha256(content).digest()
    assert said.subject.sha512 == hashlib.sha512(content).digest()
    assert [one.name for one in said.inputs] == [PACKAGE]
    assert all(word in out for word in (PACKAGE, "pending", "berlin", said.release.id))


async def test_attesting_again_sends_the_same_bytes_and_shows_the_replay(rebuilder, service, package):
    flags = ("attest", package, "--namespace", "arch", "--json", "--server")
    async with service() as (url, _, bodies):
        first = await rebuilder(*flags, url)
        second = await rebuilder(*flags, url)
    assert bodies[0] == bodies[1]
    assert [json.loads(one[1])["replay"] for one in (first, second)] == [False, True]


async def test_a_refused_attestation_prints_the_problems_detail_and_code(rebuilder, service, package):
    async with service(_refused) as (url, _, bodies):
        code, out, err = await rebuilder("attest", package, "--namespace", "arch", "--server", url)
    assert (code, out, err) == (1, "", "attestor-rebuilder: Ask the operator. [unknown-key]\n")
    assert len(bodies) == 1


async def test_an_envelope_can_be_written_instead_of_sent(rebuilder, key, package, tmp_path):
    code, _, err = await rebuilder("attest", package, "--namespace", "arch", "--out", tmp_path / "envelope.json")
    verified = verify(parse_envelope((tmp_path / "envelope.json").read_bytes()), KeyRing([key.public_key]))
    assert (code, verified.payload_digest.hex() in err) == (0, True)
    assert read_statement(verified).release == release_of(Kind.PACKAGE, PACKAGE, PURL, None)


async def test_a_failure_is_attested_by_its_inputs_and_needs_no_file(rebuilder, service, tmp_path):
    (tmp_path / "PKGBUILD").write_text("x")
    flags = ("attest", f"/nowhere/{PACKAGE}", "--namespace", "arch", "--outcome", "failed")
    async with service() as (url, statements, _):
        code, _, _ = await rebuilder(*flags, "--input", tmp_path / "PKGBUILD", "--server", url)
        without_inputs = await rebuilder(*flags, "--server", url)
    assert (code, statements[0].outcome, statements[0].inputs[0].name) == (0, "failed", "PKGBUILD")
    assert (without_inputs[0], "no-subject" in without_inputs[2], len(statements)) == (1, True, 1)


WRONG = [
    pytest.param(("--purl", PURL), "names-disagree", id="a purl of another file"),
    pytest.param(("--namespace", "Arch"), "release-unnamed", id="a namespace that is none"),
    pytest.param((), "release-unnamed", id="neither purl nor namespace"),
    pytest.param(("--kind", "database", "--namespace", "arch"), "release-unnamed", id="a database without purl"),
]


@pytest.mark.parametrize(("flags", "code"), WRONG)
async def test_a_release_that_is_not_named_rightly_is_refused_before_anything_is_kept(flags, code, rebuilder, tmp_path):
    file = tmp_path / "other-1-1-any.pkg.tar.zst"
    file.write_text("x")
    status, _, err = await rebuilder("attest", file, *flags, "--server", "http://127.0.0.1:9")
    assert (status, code in err, (tmp_path / "state").exists()) == (1, True, False)


async def test_a_damaged_state_is_refused_and_not_sent(rebuilder, package, tmp_path):
    await rebuilder("attest", package, "--namespace", "arch", "--out", tmp_path / "out")
    (kept,) = (tmp_path / "state").iterdir()
    kept.write_bytes(kept.read_bytes()[:-20])
    code, _, err = await rebuilder("attest", package, "--namespace", "arch", "--out", tmp_path / "again")
    assert (code, "state-unreadable" in err, (tmp_path / "again").exists()) == (1, True, False)


def _run_flags(tmp_path, url, *more):
    (tmp_path / "built").mkdir(exist_ok=True)
    backend = (
        "--backend",
        "command",
        "--command",
        sys.executable,
        "--argument=-I",
        "--argument",
        BACKENDS / "pybuild.py",
    )
    named = ("--release-file", PACKAGE, "--namespace", "arch", "--source-date-epoch", 1760286101)
    return (
        "run",
        *backend,
        *named,
        "--source",
        tmp_path / "source",
        "--output",
        tmp_path / "built",
        "--server",
        url,
        *more,
    )


async def test_a_run_builds_and_attests_what_it_built_and_a_second_run_is_a_replay(
    rebuilder, service, sources, tmp_path, package
):
    sources(tmp_path / "source")
    async with service() as (url, statements, bodies):
        codes = [(await rebuilder(*_run_flags(tmp_path, url)))[0] for _ in range(2)]
    made = (tmp_path / "built" / PACKAGE).read_bytes()
    assert (codes, made) == ([0, 0], package.read_bytes())
    assert (statements[0].outcome, statements[0].subject.sha256) == ("built", hashlib.sha256(made).digest())
    assert {one.name for one in statements[0].inputs} == {"PACKAGE.toml", "__init__.py", "inner%2Fmore.py"}
    assert bodies[0] == bodies[1], "the second run's times are its own, and yet nothing new is said"
    log = (tmp_path / "built" / f"{PACKAGE}.log").read_bytes()
    assert statements[0].log_digest == hashlib.sha256(log).digest()


async def test_a_run_that_embeds_the_time_says_something_else_each_time(rebuilder, service, sources, tmp_path):
    sources(tmp_path / "source", marker=True)
    async with service() as (url, statements, _):
        for _ in range(2):
            assert (await rebuilder(*_run_flags(tmp_path, url)))[0] == 0
    assert statements[0].subject.sha256 != statements[1].subject.sha256


async def test_a_run_that_fails_attests_the_failure_and_exits_with_1(rebuilder, service, sources, tmp_path):
    (sources(tmp_path / "source") / "__init__.py").write_text("this is no Python")
    async with service(lambda: web.Response(status=503)) as (url, statements, bodies):
        code, out, err = await rebuilder(*_run_flags(tmp_path, url))
    assert (code, "exit code 1" in err, PACKAGE in out) == (1, True, True)
    assert (statements[0].outcome, statements[0].subject, len(bodies)) == ("failed", None, 2)
    assert "SyntaxError" in (tmp_path / "built" / f"{PACKAGE}.log").read_text()


async def test_a_run_whose_service_is_away_keeps_what_it_said_and_says_the_same_later(
    rebuilder, service, sources, tmp_path
):
    sources(tmp_path / "source")
    away = await rebuilder(*_run_flags(tmp_path, "http://127.0.0.1:9", "--deadline", "0.2"))
    assert (away[0], "server-unreachable" in away[2]) == (1, True)
    (kept,) = (tmp_path / "state").iterdir()
    async with service() as (url, _, bodies):
        assert (await rebuilder(*_run_flags(tmp_path, url)))[0] == 0
    assert bodies == [kept.read_bytes()]


async def test_withdrawing_sends_the_statement_and_forgets_the_kept_envelope(rebuilder, service, package, tmp_path):
    async with service() as (url, statements, _):
        _, out, _ = await rebuilder("attest", package, "--namespace", "arch", "--json", "--server", url)
        receipt = json.loads(out)
        release, digest = receipt["releases"][0]["id"], receipt["payloadDigest"]
        said = (
            "--release",
            release,
            "--payload-digest",
            digest,
            "--origin",
            "signing.example.org",
            "--reason",
            "bad disk",
        )
        code, _, err = await rebuilder("withdraw", *said, "--server", url)
    assert (code, err) == (0, "")
    assert statements[1] == WithdrawalStatement("signing.example.org", release, bytes.fromhex(digest), "bad disk")
    assert list((tmp_path / "state").iterdir()) == []


@pytest.mark.parametrize("verb", ["keygen", "attest", "withdraw", "run"])
async def test_every_flag_has_help(verb, rebuilder):
    import typer.main

    from rebuilders.cli import cli

    command = typer.main.get_command(cli).commands[verb]
    assert command.help
    assert [one.name for one in command.params if not getattr(one, "help", None)] == []
