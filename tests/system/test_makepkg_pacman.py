"""makepkg builds, repo-add lists, the service signs both, and pacman with `SigLevel = Required DatabaseRequired` installs.

It needs root: for mount namespaces, and because pacman and pacman-key change roots and keyrings only as root.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.system.conftest import short_folder
from tests.system.houses import database, package

pytestmark = pytest.mark.required_in_ci
PROBE = package("probe")
REPOSITORY = database("probe")
# Two accounts that nobody has: the builds must not depend on who made them.
BUILDERS = {"alice": 65001, "bob": 65002}
EPOCH = "1767225600"
PKGBUILD = """pkgname=probe
pkgver=1.0
pkgrel=1
pkgdesc="A file to install"
arch=(any)
license=(Apache)
source=(words)
sha256sums=(SKIP)

package() {
  install -Dm644 words "$pkgdir/usr/share/probe/words"
}
"""
WORDS = "Built twice, by two operators.\n"
PACMAN_CONF = """[options]
RootDir = {root}
DBPath = {root}/db
CacheDir = {root}/cache
HookDir = {root}/hooks
LogFile = {root}/log
GPGDir = {keyring}
Architecture = x86_64
SigLevel = Required DatabaseRequired

[probe]
Server = file://{repository}
"""


def _run(*command, **more):
    return subprocess.run(
        [str(part) for part in command],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8", errors="replace",
        timeout=60, check=False, **more,
    )  # fmt: skip


@pytest.fixture(scope="module")
def root():
    if os.geteuid() != 0:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("mount namespaces and pacman need root")


@pytest.fixture(scope="module")
def place(root):
    """A folder that ordinary users may enter."""
    with short_folder() as folder:
        folder.chmod(0o755)
        yield folder


@pytest.fixture(scope="module")
def built(tool, place):
    """Operator to the package that makepkg built for it."""
    makepkg, unshare = tool("makepkg"), tool("unshare")
    tool("setpriv")
    (shared := place / "build").mkdir()
    script = Path(__file__).with_name("makepkg_in_own_mounts.sh")
    for operator, account in BUILDERS.items():
        (home := place / operator).mkdir()
        (home / "PKGBUILD").write_text(PKGBUILD)
        (home / "words").write_text(WORDS)
        for path in (home, *home.iterdir()):
            os.chown(path, account, account)
        environment = {
            "PATH": os.environ["PATH"], "LC_ALL": "C", "HOME": str(shared), "TMPDIR": "/tmp",
            "SOURCE_DATE_EPOCH": EPOCH, "PKGEXT": ".pkg.tar.zst",
        }  # fmt: skip
        done = _run(unshare, "--mount", "sh", script, home, shared, account, makepkg, env=environment)
        assert done.returncode == 0, done.stdout
    assert list(shared.iterdir()) == []  # what was mounted there was never seen outside
    return {operator: place / operator / PROBE.file_name for operator in BUILDERS}


def _attest(house, operator, file, *more):
    """As an operator does it, with its own program."""
    _ours(
        "rebuilders", "attest", file, "--key", house.key_file(operator), "--server", house.public, "--ca", house.ca,
        "--state", file.parent / "state", *more,
    )  # fmt: skip


def _signed(house, file, name):
    """As the build service does it: the signer pulls the file from the release folder, FILE.sig lies beside the file."""
    shutil.copy(file, house.folder / "release")
    _ours(
        "attestor", "request", file, "--kind", name.kind, "--purl", name.purl, "--pull", "release", file.name,
        "--wait", "--timeout", 30, "--server", house.requests, "--ca", house.ca,
        "--cert", house.folder / "build-service.pem", "--key", house.folder / "build-service.key",
    )  # fmt: skip


def _ours(*command):
    done = _run(sys.executable, "-m", *command)
    assert done.returncode == 0, done.stdout


@pytest.fixture(scope="module")
def repository(house, tool, place, built):
    """A folder as a mirror has it: the package, the database that repo-add made, and both signatures."""
    for operator, file in built.items():
        _attest(house, operator, file, "--namespace", "arch")
    (folder := place / "repository").mkdir()
    file = Path(shutil.copy(built["alice"], folder))
    _signed(house, file, PROBE)
    tables = folder / REPOSITORY.file_name
    done = _run(tool("repo-add"), tables, file)
    assert done.returncode == 0, done.stdout
    _attest(house, "release-host", tables, "--kind", "database", "--purl", REPOSITORY.purl)
    _signed(house, tables, REPOSITORY)
    (folder / "probe.db.sig").symlink_to(f"{tables.name}.sig")
    return folder


@pytest.fixture(scope="module")
def keyring(tool, place, certificates):
    """pacman's own, in which our two release keys are signed locally, as a distribution's keyring package does it."""
    pacman_key, gpg, gpgconf = tool("pacman-key"), tool("gpg"), tool("gpgconf")
    folder = place / "gnupg"
    try:
        assert _run(pacman_key, "--gpgdir", folder, "--init").returncode == 0
        for name in ("packages", "databases"):
            shown = _run(gpg, "--homedir", folder, "--with-colons", "--show-keys", certificates[name]).stdout
            fingerprint = next(line.split(":")[9] for line in shown.splitlines() if line.startswith("fpr:"))
            for step in (("--add", certificates[name]), ("--lsign-key", fingerprint)):
                done = _run(pacman_key, "--gpgdir", folder, *step)
                assert done.returncode == 0, done.stdout
        yield folder
    finally:
        _run(gpgconf, "--homedir", folder, "--kill", "all")


@pytest.fixture
def pacman(tool, keyring, repository, tmp_path):
    """`pacman("-Sy")` is its exit code and output; root, databases, cache and mirror are this test's own."""
    program = tool("pacman")
    mirror = shutil.copytree(repository, tmp_path / "mirror", symlinks=True)
    for name in ("db", "cache", "hooks"):
        (tmp_path / name).mkdir()
    conf = tmp_path / "pacman.conf"
    conf.write_text(PACMAN_CONF.format(root=tmp_path, keyring=keyring, repository=mirror))

    def run(*arguments):
        done = _run(program, "--config", conf, "--noconfirm", *arguments, env={**os.environ, "LC_ALL": "C"})
        return done.returncode, done.stdout

    return run


def _change_one_byte(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def test_two_operators_get_the_same_bytes_from_makepkg(built):
    assert built["alice"].read_bytes() == built["bob"].read_bytes()
    assert built["alice"].stat().st_uid != built["bob"].stat().st_uid


def test_pacman_syncs_and_installs_what_was_signed(pacman, tmp_path):
    code, output = pacman("-Sy")
    assert code == 0, output
    code, output = pacman("-S", "probe")
    assert code == 0, output
    assert (tmp_path / "usr/share/probe/words").read_text() == WORDS
    assert pacman("-Q", "probe") == (0, "probe 1.0-1\n")


def test_pacman_refuses_the_package_after_one_byte_is_changed(pacman, tmp_path):
    _change_one_byte(tmp_path / "mirror" / PROBE.file_name)
    assert pacman("-Sy")[0] == 0
    code, output = pacman("-S", "probe")
    assert (code, "invalid or corrupted package (PGP signature)" in output) == (1, True), output
    assert not (tmp_path / "usr").exists()


def test_pacman_refuses_the_database_after_one_byte_is_changed(pacman, tmp_path):
    _change_one_byte(tmp_path / "mirror" / REPOSITORY.file_name)
    code, output = pacman("-Sy")
    assert (code, "invalid or corrupted database (PGP signature)" in output) == (1, True), output
    assert pacman("-S", "probe")[0] == 1
