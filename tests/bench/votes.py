"""Valid envelopes, signed beforehand: three operators over many releases, each envelope another payload."""

import hashlib
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

from attestor.app.house import rebuilder_folder
from attestor.core.envelope import IN_TOTO
from attestor.core.naming import Release, parse_release
from attestor.core.statement import RebuildStatement, Subject, rebuild_payload
from rebuilders.keyfile import SigningKey, load_key

OPERATORS = ("alice", "bob", "carol")
HOST = "release-host"
_START = datetime(2026, 1, 1, tzinfo=UTC)


class Voters:
    """The operators' keys of a house."""

    def __init__(self, house: Path) -> None:
        self._keys: dict[str, SigningKey] = {
            name: load_key(rebuilder_folder(house, name) / "key.pem") for name in (*OPERATORS, HOST)
        }

    def envelope(self, operator: str, release: Release, content: bytes) -> bytes:
        """What *operator* says about a file of these bytes."""
        sha256, sha512 = hashlib.sha256(content).digest(), hashlib.sha512(content).digest()
        started = _START + timedelta(seconds=[*self._keys].index(operator))
        statement = RebuildStatement(
            release,
            "built",
            Subject(release.file_name, sha256, sha512, len(content)),
            inputs=tuple(Subject(f"input-{number}", hashlib.sha256(bytes([number])).digest()) for number in range(3)),
            started_on=started,
            finished_on=started + timedelta(minutes=5),
        )
        return self._keys[operator].envelope(IN_TOTO, rebuild_payload(statement))

    def envelopes(self, prefix: str, count: int) -> list[bytes]:
        """*count* envelopes over a third as many releases, in an order in which independent builders would come."""
        places = [(operator, number) for number in range(-(-count // 3)) for operator in OPERATORS][:count]
        random.Random(1).shuffle(places)  # noqa: S311 - an order, the same in each run
        return [self.envelope(operator, package(f"{prefix}{number}"), b"%d" % number) for operator, number in places]


def package(name: str) -> Release:
    file_name = f"{name}-1.0-1-any.pkg.tar.zst"
    return parse_release("package", f"pkg:alpm/arch/{name}@1.0-1?arch=any", file_name)


def write_lines(path: Path, lines: list[bytes]) -> Path:
    path.write_bytes(b"\n".join(lines) + b"\n")
    return path
