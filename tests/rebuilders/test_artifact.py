"""Hashing in one pass, and the names of inputs."""

import hashlib
import os

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from attestor.core import predicates
from attestor.core.errors import Conflict, Missing, Rejected
from attestor.core.naming import Kind
from rebuilders.artifact import collect, input_name, measure, release_of

# Four of these percent-encoded stay within a name's 255 characters.
PATHS = st.text(min_size=1, max_size=5)


def test_a_file_is_measured_in_one_pass_with_progress(tmp_path):
    content = os.urandom(3_000_000)
    (tmp_path / "file").write_bytes(content)
    steps = []
    subject = measure(tmp_path / "file", "file", steps.append)
    assert (subject.size, sum(steps)) == (len(content), len(content))
    assert len(steps) > 1
    assert (subject.sha256, subject.sha512) == (hashlib.sha256(content).digest(), hashlib.sha512(content).digest())


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda path: path.write_bytes(b"y" * 3_000_000), id="other bytes of the same length"),
        pytest.param(lambda path: os.truncate(path, 100), id="fewer bytes"),
        pytest.param(lambda path: os.truncate(path, 4_000_000), id="more bytes"),
    ],
)
def test_a_file_that_changes_while_it_is_read_is_refused(change, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"x" * 3_000_000)
    os.utime(path, (1, 1))
    with pytest.raises(Conflict) as refusal:
        measure(path, "file", lambda _: change(path))
    assert refusal.value.code == "file-changed"


NO_FILES = [
    pytest.param(lambda path: path.symlink_to("/etc/passwd"), Rejected, id="a link"),
    pytest.param(lambda path: path.mkdir(), Rejected, id="a folder"),
    pytest.param(os.mkfifo, Rejected, id="a pipe that nobody writes"),
    pytest.param(lambda path: path, Missing, id="nothing"),
]


@pytest.mark.parametrize(("make", "error"), NO_FILES)
def test_what_is_no_plain_file_is_neither_measured_nor_collected(make, error, tmp_path):
    make(tmp_path / "file")
    with pytest.raises(error):
        measure(tmp_path / "file", "file")
    (tmp_path / "out").mkdir()
    with pytest.raises(error):
        collect(tmp_path / "file", tmp_path / "out" / "file", "file")
    assert list((tmp_path / "out").iterdir()) == []


def test_what_is_collected_is_what_was_hashed(tmp_path):
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "target").write_bytes(b"of the build before")
    subject = collect(tmp_path / "file", tmp_path / "target", "name")
    assert hashlib.sha256((tmp_path / "target").read_bytes()).digest() == subject.sha256
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "target"]


@given(PATHS, PATHS)
def test_two_paths_never_make_one_input_name(one, another):
    assert (input_name(one) == input_name(another)) == (one == another)


@given(st.lists(PATHS, min_size=1, max_size=4).map("/".join))
def test_an_input_name_is_a_plain_file_name_to_the_service(path):
    assume(path not in {".", ".."})
    assert predicates.file_name(input_name(path)) == input_name(path)


@pytest.mark.parametrize(
    ("kind", "name", "purl"),
    [
        (Kind.PACKAGE, "bash_5.2.15-2_amd64.deb", "pkg:deb/arch/bash@5.2.15-2?arch=amd64"),
        (Kind.PACKAGE, "bash-5.3.3-2-x86_64.pkg.tar.zst", "pkg:alpm/arch/bash@5.3.3-2?arch=x86_64"),
        (Kind.ISO, "archlinux-2025.10.01-x86_64.iso", "pkg:generic/arch/archlinux-iso@2025.10.01?arch=x86_64"),
        (Kind.VM, "arch-1-x86_64.qcow2", "pkg:generic/arch/arch-vm@1?arch=x86_64"),
    ],
    ids=str,
)
def test_a_namespace_and_a_file_name_make_the_release(kind, name, purl):
    assert release_of(kind, name, None, "arch").purl == purl
    assert release_of(kind, name, purl, None).id == release_of(kind, name, None, "arch").id
