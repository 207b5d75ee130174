"""The inspector is confined and bounded, and whatever it does but answer is a refusal or an outage."""

import asyncio
import contextlib
import gzip
import json
import os
import signal

import psutil
import pytest
import uvloop
import zstandard

from attestor.content import inspect as inspection
from attestor.content.inspect import Limits, inspect
from attestor.core.errors import AttestorError, Rejected, Unavailable

MIB = 1 << 20


@pytest.fixture
def content(tmp_path):
    def put(content):
        path = tmp_path / "content"
        path.write_bytes(content)
        return path

    return put


@pytest.fixture
def bomb(tar_of):
    """A tar.zst of a few kilobytes that unpacks to 16 GiB: one frame of zeros, said over and over."""
    header = bytearray(tar_of({"zeros": b""})[:512])
    header[124:136] = b"\x80" + (16 << 30).to_bytes(11, "big")
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return zstandard.compress(bytes(header)) + zstandard.compress(bytes(64 * MIB)) * 256


async def test_a_decompression_bomb_is_cut_at_the_limit_of_bytes(content, bomb, library):
    assert len(bomb) < MIB * 2
    facts = await inspect(content(bomb), deadline_seconds=30, library=library, limits=Limits(unpacked_bytes=64 * MIB))
    assert facts.trouble == f"more than {64 * MIB} bytes when unpacked"


async def test_a_decompression_bomb_is_stopped_by_the_limit_of_time(content, bomb, library):
    with pytest.raises(Rejected) as refusal:
        await inspect(
            content(bomb), deadline_seconds=60, library=library, limits=Limits(cpu_seconds=1, unpacked_bytes=1 << 40)
        )
    assert refusal.value.code == "content-unreadable"
    assert "CPU" in refusal.value.sentence


async def test_a_stream_that_wants_four_gibibytes_of_memory_gets_none(content, huge_xz, library):
    facts = await inspect(content(huge_xz), deadline_seconds=30, library=library)
    assert "memory" in facts.trouble
    assert facts.entries == ()


async def test_a_listing_is_cut_at_the_limit_of_entries(content, tar_of, library):
    many = tar_of({f"e{index}": b"" for index in range(101)})
    facts = await inspect(
        content(gzip.compress(many)), deadline_seconds=30, library=library, limits=Limits(entries=100)
    )
    assert facts.trouble == "more than 100 entries"


async def test_a_listing_longer_than_the_answer_may_be_is_refused(content, tar_of, library):
    many = tar_of({f"{index:0200}": b"" for index in range(1000)})
    with pytest.raises(Rejected) as refusal:
        await inspect(content(many), deadline_seconds=30, library=library, limits=Limits(answer_bytes=65536))
    assert refusal.value.code == "content-unreadable"


async def test_package_information_of_any_length_is_read_to_its_limit_only(content, package_of, library):
    facts = await inspect(content(package_of("x" * (65 << 10))), deadline_seconds=30, library=library)
    assert facts.trouble == f"a .PKGINFO of more than {64 << 10} bytes"
    assert not facts.package_info


@pytest.mark.parametrize("named", ["no-such-library.so", "libc.so.6"])
async def test_without_a_libarchive_the_content_is_not_judged(content, named):
    with pytest.raises(Unavailable) as outage:
        await inspect(content(b"x"), deadline_seconds=30, library=named)
    assert outage.value.code == "inspector-unavailable"


async def test_a_link_in_place_of_the_private_copy_is_not_followed(tmp_path):
    (tmp_path / "link").symlink_to("/etc/hostname")
    with pytest.raises(Unavailable):
        await inspect(tmp_path / "link", deadline_seconds=30)


def children():
    """Inspectors that run; other tests of this process may keep a server of their own."""
    return [child for child in psutil.Process().children() if _is_inspector(child)]


def _is_inspector(child):
    with contextlib.suppress(psutil.NoSuchProcess):
        # A child that was not collected has no command line any more, and is as bad.
        return child.status() == psutil.STATUS_ZOMBIE or any("inspector" in part for part in child.cmdline())
    return False


async def test_an_inspection_past_its_deadline_is_an_outage_and_leaves_no_process(content):
    with pytest.raises(Unavailable) as outage:
        await inspect(content(b"x"), deadline_seconds=0.01)
    assert outage.value.code == "inspection-slow"
    assert children() == []


async def test_a_cancelled_inspection_leaves_no_process(content):
    task = asyncio.create_task(inspect(content(b"x"), deadline_seconds=30))
    while not children():  # noqa: ASYNC110 - the kernel sets no event when a process is there
        await asyncio.sleep(0.001)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert children() == []


BROKEN = {
    "says nothing": ("", "content-unreadable"),
    "says no JSON": ("print('yes')", "content-unreadable"),
    "says too little": ("print('{\"size\": 1}')", "content-unreadable"),
    "says what was not asked": ("print(FACTS.replace('{', '{\"verdict\": \"good\",', 1))", "content-unreadable"),
    "says it twice": ("print(FACTS + FACTS)", "content-unreadable"),
    "fails after it answered": ("print(FACTS, flush=True); sys.exit(1)", "content-unreadable"),
    "crashes": ("os.abort()", "content-unreadable"),
    "crashes in memory": (f"os.kill(os.getpid(), {signal.SIGSEGV})", "content-unreadable"),
    "is killed": (f"os.kill(os.getpid(), {signal.SIGKILL})", "inspector-unavailable"),
    "never ends": ("time.sleep(600)", "inspection-slow"),
    "answers without end": ("while True: print('[' * 65536)", "content-unreadable"),
    "closes its answer and stays": ("os.close(1); time.sleep(600)", "inspection-slow"),
}
FACTS = (
    '{"size": 1, "head": "", "volume": "", "format": "", "filters": [], "entries": [], "package_info": "", '
    '"warnings": 0, "trouble": ""}'
)


@pytest.fixture
def replaced(tmp_path, monkeypatch):
    def put(program):
        path = tmp_path / "inspector.py"
        path.write_text(f"import json, os, sys, time\nFACTS = {FACTS!r}\n{program}\n")
        monkeypatch.setattr(inspection, "_INSPECTOR", path)

    return put


@pytest.mark.parametrize(("program", "code"), BROKEN.values(), ids=BROKEN)
async def test_an_inspector_taken_over_by_its_input_fails_closed(replaced, content, program, code):
    replaced(program)
    with pytest.raises(AttestorError) as failure:
        await inspect(content(b"x"), deadline_seconds=1.5)
    assert failure.value.code == code
    assert children() == []


async def test_the_child_sees_no_environment_and_no_other_descriptor(replaced, content, monkeypatch):
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", "/run/credentials/x")
    replaced(
        "facts = json.loads(FACTS)\n"
        "os.set_inheritable(0, True)\n"
        "facts['trouble'] = json.dumps([sorted(os.environ), len(os.listdir('/proc/self/fd')), os.getcwd(), sys.flags.isolated])\n"
        "print(json.dumps(facts))"
    )
    secret = os.open("/etc/hostname", os.O_RDONLY)
    os.set_inheritable(secret, True)
    try:
        facts = await inspect(content(b"x"), deadline_seconds=10)
    finally:
        os.close(secret)
    # Three standard ones, the content, and the listing itself.
    assert facts.trouble == '[["LC_ALL", "LIBARCHIVE"], 5, "/", 1]'


ESCAPES = f"""
import ctypes, importlib.util, resource, socket
spec = importlib.util.spec_from_file_location("real", {str(inspection._INSPECTOR)!r})
real = importlib.util.module_from_spec(spec)
spec.loader.exec_module(real)

def escape(walk):
    tried = []
    for attempt in (lambda: os.open("/etc/hostname", os.O_RDONLY), os.pipe, socket.socket):
        try:
            attempt()
            tried.append("could")
        except OSError as error:
            tried.append(error.strerror)
    limits = [resource.getrlimit(getattr(resource, "RLIMIT_" + name)) for name in ("FSIZE", "CORE", "NPROC", "AS", "CPU")]
    walk.trouble = json.dumps([tried, limits, ctypes.CDLL(None).prctl(39, 0, 0, 0, 0)])

real._Walk.run = escape
sys.exit(real.main(int(sys.argv[1]), json.loads(sys.argv[2])))
"""


async def test_while_it_reads_the_child_can_open_write_and_start_nothing(replaced, content, library):
    replaced(ESCAPES)
    facts = await inspect(content(b"x"), deadline_seconds=10, library=library, limits=Limits(cpu_seconds=7))
    tried, limits, no_new_privileges = json.loads(facts.trouble)
    assert tried == ["Too many open files"] * 3
    assert limits == [[0, 0], [0, 0], [0, 0], [1 << 30, 1 << 30], [7, 8]]
    assert no_new_privileges == 1


def test_the_inspector_works_under_uvloop_too(content, tar_of):
    path = content(tar_of({"x": b"x"}))

    async def run():
        return await inspect(path, deadline_seconds=30)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(run()).entries[0].path == "x"


def test_the_wheels_library_is_the_fallback(monkeypatch):
    monkeypatch.setattr(inspection, "find_library", lambda _name: None)
    assert inspection.libarchive.__wrapped__() == inspection.wheel_libarchive()
    monkeypatch.setattr(inspection, "wheel_libarchive", lambda: None)
    with pytest.raises(Unavailable):
        inspection.libarchive.__wrapped__()
