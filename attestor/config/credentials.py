"""Secrets by name: from ``$CREDENTIALS_DIRECTORY`` (systemd), else from a file that only its owner may read."""

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from attestor.core.errors import Missing, Rejected
from attestor.core.secret import Secret

MAX_CREDENTIAL_BYTES: Final = 64 << 10


@dataclass(frozen=True, slots=True)
class CredentialStore:
    """Where credentials lie; ``handed`` is what systemd made for this one process."""

    handed: Path | None
    folder: Path | None

    @classmethod
    def of_process(cls, folder: Path | None) -> "CredentialStore":
        handed = os.environ.get("CREDENTIALS_DIRECTORY")
        return cls(Path(handed) if handed else None, folder)

    def path(self, name: str) -> Path:
        """The file of one credential, after a look at who may read it.

        Raises ``Missing`` ``credential-missing``, ``Rejected`` ``credential-open`` with path and mode.
        """
        path = self._find(name)
        found = path.lstat()
        mode = stat.S_IMODE(found.st_mode)
        if (
            not stat.S_ISREG(found.st_mode)
            or found.st_uid not in {os.geteuid(), 0}
            or mode & self._forbidden(path, found)
        ):
            raise Rejected(
                "credential-open",
                f"The credential {path} has mode {mode:04o} and owner {found.st_uid}; it must be a file that only its owner may read: chmod 600 {path}",
            )
        return path

    def secret(self, name: str) -> Secret:
        """The text of one credential, without the line's end. Raises as :meth:`path`, ``Rejected`` ``credential-unreadable``."""
        path = self.path(name)
        try:
            with path.open("rb") as file:
                text = file.read(MAX_CREDENTIAL_BYTES + 1).decode().removesuffix("\n").removesuffix("\r")
        except (OSError, UnicodeDecodeError):
            raise _unreadable(path) from None
        if not text or len(text) > MAX_CREDENTIAL_BYTES:
            raise _unreadable(path)
        return Secret(text)

    def has(self, name: str) -> bool:
        return any(_there(place / name) for place in self._places())

    def _find(self, name: str) -> Path:
        for place in self._places():
            if _there(place / name):
                return place / name
        places = " or ".join(map(str, self._places())) or "no place: [credentials] folder is not set"
        raise Missing("credential-missing", f"There is no credential {name!r} in {places}: put it there, mode 0600.")

    def _places(self) -> list[Path]:
        return [place for place in (self.handed, self.folder) if place is not None]

    def _forbidden(self, path: Path, found: os.stat_result) -> int:
        # systemd hands a root-owned file over by an ACL, whose mask stat shows as the group's bits (systemd.exec, Credentials).
        if path.parent == self.handed and found.st_uid == 0:
            return 0o027
        return 0o077


def _there(path: Path) -> bool:
    """Path.exists() raises where a unit hides the folder (InaccessiblePaths=)."""
    try:
        return path.exists()
    except PermissionError:
        return False


def _unreadable(path: Path) -> Rejected:
    return Rejected(
        "credential-unreadable",
        f"The credential {path} is empty, no text, over {MAX_CREDENTIAL_BYTES} bytes, or not yours to read.",
    )
