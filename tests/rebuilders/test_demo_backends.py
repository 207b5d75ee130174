"""The demo's backends make real formats, and the same bytes in any folder."""

import gzip
import hashlib
import importlib.util
import marshal
import os
import shutil
import struct
import subprocess
import sys

import pytest

from attestor.content.inspect import inspect
from attestor.core.contents import check_contents
from attestor.core.errors import Rejected
from attestor.core.naming import Kind, parse_release
from rebuilders.artifact import release_of

PACKAGE = "greeting-1.2-1-any.pkg.tar.zst"
DATABASE = "extra.db.tar.gz"
ISO = "archlinux-2025.10.01-x86_64.iso"
DISK = "archlinux-2025.10.01-x86_64.qcow2"


def _release(kind, name):
    if kind is Kind.DATABASE:
        return parse_release("database", "pkg:generic/arch/extra.db@7?arch=x86_64", name)
    return release_of(kind, name, None, "arch")


def _fill(folder, backend, package):
    folder.mkdir(parents=True)
    if backend == "pydatabase.py":
        shutil.copy(package, folder / package.name)
        return
    (folder / "readme.txt").write_text("hello\n" * 1000)
    (folder / "empty.txt").touch()
    (folder / "disk.raw").write_bytes(b"boot" * 128 + bytes(65536 * 3) + b"end!" * 128)


MADE = [
    ("pydatabase.py", Kind.DATABASE, DATABASE),
    ("pyimage.py", Kind.ISO, ISO),
    ("pyimage.py", Kind.VM, DISK),
]


def test_two_builds_of_a_package_in_different_folders_are_byte_identical(tmp_path, sources, built_by):
    made = []
    for number in range(4):
        folder = tmp_path / ("x" * number + "folder") / str(number)
        sources(folder / "source")
        made.append(built_by("pybuild.py", folder, PACKAGE).read_bytes())
    assert len({hashlib.sha256(one).digest() for one in made}) == 1


def test_a_build_that_embeds_the_time_differs_each_time(tmp_path, sources, built_by):
    made = []
    for number in range(2):
        sources(tmp_path / str(number) / "source", marker=True)
        made.append(built_by("pybuild.py", tmp_path / str(number), PACKAGE).read_bytes())
    assert made[0] != made[1]


def test_the_compiled_modules_are_hash_based_and_name_no_build_folder(package, tmp_path, tool):
    subprocess.run([tool("bsdtar"), "-xf", package, "-C", tmp_path], check=True)
    compiled = sorted(tmp_path.rglob("*.pyc"))
    assert [path.name for path in compiled] == [
        f"__init__.{sys.implementation.cache_tag}.pyc",
        f"more.{sys.implementation.cache_tag}.pyc",
    ]
    for path in compiled:
        content = path.read_bytes()
        source = path.parents[1] / f"{path.name.split('.')[0]}.py"
        assert content[:4] == importlib.util.MAGIC_NUMBER
        assert int.from_bytes(content[4:8], "little") == 0b11
        assert content[8:16] == importlib.util.source_hash(source.read_bytes())
        code = marshal.loads(content[16:])  # noqa: S302 - made by ourselves a moment ago
        assert code.co_filename == f"/{source.relative_to(tmp_path)}"


def test_pacman_reads_the_package(package, tool, tmp_path):
    (tmp_path / "pacman.conf").write_text("[options]\nArchitecture = auto\n")
    (tmp_path / "db").mkdir()
    shown = subprocess.run(
        [tool("pacman"), "--config", tmp_path / "pacman.conf", "--dbpath", tmp_path / "db", "-Qip", package],
        capture_output=True,
        text=True,
        check=True,
        env={"LC_ALL": "C", "PATH": os.environ["PATH"]},
    ).stdout
    said = dict(line.split(" : ", 1) for line in shown.splitlines() if " : " in line)
    said = {key.strip(): value for key, value in said.items()}
    assert (said["Name"], said["Version"], said["Architecture"]) == ("greeting", "1.2-1", "any")


def test_bsdtar_lists_the_package_as_roots_with_the_metadata_first(package, tool):
    shown = subprocess.run(
        [tool("bsdtar"), "-tvf", package, "--numeric-owner"], capture_output=True, text=True, check=True
    ).stdout
    lines = [line.split() for line in shown.splitlines()]
    assert [line[-1] for line in lines][:4] == [".BUILDINFO", ".PKGINFO", ".MTREE", "usr/"]
    assert {(line[2], line[3]) for line in lines} == {("0", "0")}
    assert [line[-1] for line in lines][3:] == sorted(line[-1] for line in lines[3:])


def test_the_mtree_is_true_to_the_package(package, tool, tmp_path):
    subprocess.run([tool("bsdtar"), "-xf", package, "-C", tmp_path], check=True)
    mtree = (tmp_path / ".MTREE").read_bytes()
    assert int.from_bytes(mtree[4:8], "little") == 0, "gzip's own time stands still"
    parsed = subprocess.run(
        [tool("bsdtar"), "-tf", tmp_path / ".MTREE"], capture_output=True, text=True, check=True
    ).stdout
    paths = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")} - {".MTREE"}
    assert {line.removeprefix("./").rstrip("/") for line in parsed.splitlines()} == paths
    files = {path for path in paths if (tmp_path / path).is_file()}
    listed = {}
    for line in gzip.decompress(mtree).decode().splitlines():
        if "sha256digest=" in line:
            name, *rest = line.split()
            listed[name.removeprefix("./")] = dict(word.split("=") for word in rest)["sha256digest"]
    assert listed == {name: hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() for name in files}


async def test_the_content_rule_accepts_the_package(package):
    check_contents(_release(Kind.PACKAGE, PACKAGE), await inspect(package, deadline_seconds=20))


def test_a_source_that_makes_another_file_than_asked_fails(tmp_path, sources, built_by):
    sources(tmp_path / "source")
    asked = built_by("pybuild.py", tmp_path, "greeting-1.3-1-any.pkg.tar.zst", code=1)
    assert not asked.exists()


@pytest.mark.parametrize("made_by", MADE, ids=["database", "iso", "vm"])
async def test_single_builder_artifacts_are_identical_in_two_folders_and_accepted_as_their_kind_alone(
    made_by, tmp_path, package, built_by
):
    backend, kind, name = made_by
    made = []
    for number in ("one", "another"):
        _fill(tmp_path / number / "source", backend, package)
        made.append(built_by(backend, tmp_path / number, name))
    assert made[0].read_bytes() == made[1].read_bytes()
    facts = await inspect(made[0], deadline_seconds=20)
    for other, other_name in [(one, title) for _, one, title in MADE] + [(Kind.PACKAGE, PACKAGE)]:
        if other is kind:
            check_contents(_release(other, other_name), facts)
        else:
            with pytest.raises(Rejected):
                check_contents(_release(other, other_name), facts)


def test_pacman_finds_the_package_in_the_database(package, tmp_path, built_by, tool):
    _fill(tmp_path / "source", "pydatabase.py", package)
    database = built_by("pydatabase.py", tmp_path, DATABASE)
    (tmp_path / "db" / "sync").mkdir(parents=True)
    shutil.copy(database, tmp_path / "db" / "sync" / "extra.db")
    (tmp_path / "pacman.conf").write_text(
        "[options]\nArchitecture = auto\nSigLevel = Never\n[extra]\nServer = file:///nowhere\n"
    )
    shown = subprocess.run(
        [tool("pacman"), "--config", tmp_path / "pacman.conf", "--dbpath", tmp_path / "db", "-Si", "greeting"],
        capture_output=True,
        text=True,
        check=True,
        env={"LC_ALL": "C", "PATH": os.environ["PATH"]},
    ).stdout
    assert "Description     : Says hello" in shown
    assert "SHA-256 Sum" in shown


def test_bsdtar_reads_the_files_of_the_iso(tmp_path, package, built_by, tool):
    _fill(tmp_path / "source", "pyimage.py", package)
    image = built_by("pyimage.py", tmp_path, ISO)
    (tmp_path / "out").mkdir()
    subprocess.run([tool("bsdtar"), "-xf", image, "-C", tmp_path / "out"], check=True)
    found = {path.name.lower(): path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert found == {path.name: path.read_bytes() for path in (tmp_path / "source").iterdir()}


def test_the_qcow2_maps_exactly_the_disk_and_counts_each_cluster_once(tmp_path, package, built_by):
    """A reader by QEMU's docs/interop/qcow2, since qemu-img is seldom at hand."""
    _fill(tmp_path / "source", "pyimage.py", package)
    image = built_by("pyimage.py", tmp_path, DISK).read_bytes()
    magic, version, _, _, bits, size, crypt, l1_size, l1, table, table_clusters = struct.unpack_from(
        ">4sIQIIQIIQQI", image
    )
    assert (magic, version, bits, crypt, l1_size, table_clusters) == (b"QFI\xfb", 3, 16, 0, 1, 1)
    assert struct.unpack_from(">QQQII", image, 72) == (0, 0, 0, 4, 104)
    (block,) = struct.unpack_from(">Q", image, table)
    clusters = len(image) >> bits
    assert struct.unpack_from(f">{clusters + 1}H", image, block) == (1,) * clusters + (0,)
    offset = (1 << 56) - 512
    (l2,) = struct.unpack_from(">Q", image, l1)
    entries = struct.unpack_from(f">{-(-size >> bits)}Q", image, l2 & offset)
    disk = b"".join(image[e & offset : (e & offset) + (1 << bits)] if e else bytes(1 << bits) for e in entries)
    source = (tmp_path / "source" / "disk.raw").read_bytes()
    assert disk[:size] == source
    assert len([e for e in entries if e]) == 2, "clusters of zeros take no room"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        pytest.param("a-name-too-long.txt", b"x", id="a name that level 1 does not know"),
        pytest.param("é.txt", b"x", id="a name that is not ASCII"),
    ],
)
def test_an_iso_is_not_made_of_names_that_it_cannot_hold(name, content, tmp_path, built_by):
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / name).write_bytes(content)
    assert not built_by("pyimage.py", tmp_path, ISO, code=1).exists()
