"""Who runs on this host: each role keeps a file in the deployment's run folder, and is reached by what it says there.

The file of a process that has ended is nobody's: a process counts as the one that wrote it only where the system says that
it began when the file says, and belongs to the file's owner. So no file leads to a signal for a stranger.
"""

import os
import re
import signal
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import msgspec
import structlog

from attestor.app.policyfile import PolicyFile
from attestor.config import Config
from attestor.core.errors import Forbidden, Unavailable
from attestor.core.policytables import MAX_POLICY_BYTES

log: Final = structlog.get_logger("attestor.presence")

_MAX_BYTES: Final = 1 << 16
_START_FIELD: Final = 19
"""Of those after the name in ``/proc/PID/stat``: field 22, ``starttime``, proc(5)."""

_USERS: Final = re.compile(rb"^Uid:\s+(\d+)", re.MULTILINE)


class Refusal(msgspec.Struct, frozen=True):
    """Why the policy file was refused last."""

    code: str
    sentence: str


class Present(msgspec.Struct, frozen=True):
    """What one process says of itself."""

    role: str
    pid: int
    began: int
    """Clock ticks after the boot."""
    policy_file: str
    serial: int
    digest: str
    looks: int
    """How often it has read the policy file again."""
    refusal: Refusal | None


class Role:
    """One running process, as its file says; the process is the one that wrote it, or it is gone."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._owner, raw = _read(place, _MAX_BYTES)
        self.present = msgspec.json.decode(raw, type=Present)

    @property
    def name(self) -> str:
        return f"{self.present.role} {self.present.pid}"

    @property
    def running(self) -> bool:
        return _began(self.present.pid, self._owner) == self.present.began

    def again(self) -> "Role":
        """As it says now. Raises ``OSError``, ``ValueError`` when the file is gone."""
        return Role(self._place)

    def policy_in_force(self) -> bytes:
        """The bytes of the policy file that it has loaded."""
        return _read(_policy_beside(self._place), MAX_POLICY_BYTES)[1]

    def ask_to_look(self) -> None:
        """Have it read its policy file again. Raises ``Unavailable`` ``role-gone``, ``Forbidden`` ``signal-not-allowed``."""
        try:
            descriptor = os.pidfd_open(self.present.pid)
        except OSError:
            raise self._gone() from None
        try:
            # Looked at once the descriptor holds the process, so that no other can come to have its number.
            if not self.running:
                raise self._gone()
            signal.pidfd_send_signal(descriptor, signal.SIGHUP)
        except ProcessLookupError:
            raise self._gone() from None
        except PermissionError:
            raise Forbidden(
                "signal-not-allowed", f"{self.name} belongs to another user: run this as that user, or as root."
            ) from None
        finally:
            os.close(descriptor)

    def _gone(self) -> Unavailable:
        return Unavailable("role-gone", f"{self.name} has ended meanwhile.")


@contextmanager
def present(config: Config, role: str, file: PolicyFile) -> Iterator[None]:
    """Say that this process runs, for as long as the context lasts, and after each look at the policy file what came of it.

    Raises ``Unavailable`` ``run-folder``. Without a run folder, or where the system tells no process's beginning, nothing is said.
    """
    began = _began(os.getpid(), os.getuid())
    if config.run is None or began is None:
        yield
        return
    folder = config.run.folder / role
    place = folder / f"{os.getpid()}.json"

    def tell() -> None:
        refusal = Refusal(file.refusal.code, file.refusal.sentence) if file.refusal else None
        said = Present(
            role=role,
            pid=os.getpid(),
            began=began,
            policy_file=_policy_file(config),
            serial=file.policy.serial,
            digest=file.policy.digest,
            looks=file.looks,
            refusal=refusal,
        )
        _write(_policy_beside(place), file.policy.raw)
        _write(place, msgspec.json.encode(said))

    def tell_again() -> None:
        try:
            tell()
        except OSError as error:
            log.warning("run folder", detail=f"{place} cannot be written: {error.strerror}.")

    try:
        folder.mkdir(parents=True, exist_ok=True)
        _sweep(folder)
        tell()
    except OSError as error:
        raise Unavailable(
            "run-folder", f"{place} cannot be written: {error.strerror}. Make [run] folder for this role's user."
        ) from None
    file.noted = tell_again
    try:
        yield
    finally:
        _remove(place)


def roles(config: Config) -> list[Role]:
    """The processes of this host that have loaded the deployment's policy file and still run, by role."""
    if config.run is None:
        return []
    found = []
    for place in sorted(config.run.folder.glob("*/*.json")):
        # One that ends right now takes its file along; what is no such file is nobody.
        with suppress(OSError, ValueError):
            role = Role(place)
            if role.running and role.present.policy_file == _policy_file(config):
                found.append(role)
    return found


def _policy_file(config: Config) -> str:
    """However its folder was spelled; the file itself may be a link that is turned to another one."""
    return str(config.policy_path.parent.resolve() / config.policy_path.name)


def _sweep(folder: Path) -> None:
    """Remove what processes left that were killed."""
    for place in folder.glob("*.json"):
        with suppress(OSError, ValueError):
            if not Role(place).running:
                _remove(place)


def _remove(place: Path) -> None:
    for each in (place, _policy_beside(place)):
        each.unlink(missing_ok=True)


def _policy_beside(place: Path) -> Path:
    return place.with_suffix(".policy.toml")


def _read(place: Path, limit: int) -> tuple[int, bytes]:
    """(owner, bytes) of an ordinary file; whoever may write here cannot have us wait, or read elsewhere."""
    with os.fdopen(os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
        status = os.fstat(file.fileno())
        raw = file.read(limit + 1) if stat.S_ISREG(status.st_mode) else b""
    if not raw or len(raw) > limit:
        raise ValueError(f"{place} is no file of ours")
    return status.st_uid, raw


def _write(place: Path, raw: bytes) -> None:
    temporary = place.with_suffix(".new")
    temporary.write_bytes(raw)
    temporary.replace(place)


def _began(pid: int, owner: int) -> int | None:
    """When a process of this user began; ``None`` where there is none, or the system does not tell."""
    # The folder /proc/PID itself is root's once a role has closed its memory, whoever the process belongs to.
    try:
        [users] = _USERS.findall(Path(f"/proc/{pid}/status").read_bytes())
        words = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        return int(words[_START_FIELD]) if int(users) == owner else None
    except (OSError, ValueError, IndexError):
        return None
