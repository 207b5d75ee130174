"""What two log entries cannot both say (design §8): whoever meets it signs nothing until a person has looked."""

from attestor.core.entries import SignatureEntry
from attestor.core.errors import Halted
from attestor.core.past import Fact, LoggedSignature, PolicySeen, WasDecided, WasSigned


def refuse_other_signer(index: int, fact: Fact, *, anchor_id: str, since: int) -> None:
    """Refuse what a signer with another anchor sealed at *index*, when this anchor was there already (*since* entries).

    For a signer that is alone. Raises ``Halted`` ``other-signer``.
    """
    match fact:
        case WasDecided(entry) | WasSigned(entry):
            author = entry.anchor
        case PolicySeen():
            author = fact.anchor
        case _:
            return
    if author != anchor_id and index >= since:
        raise Halted(
            "other-signer",
            f"Log entry {index} was sealed by a signer with the anchor {author}, and this one has {anchor_id}: two signers "
            "that do not know of each other can sign two digests of one release. Stop one of them: several signers need a "
            "shared anchor or a witness quorum.",
        )


def refuse_second_digest(index: int, entry: SignatureEntry, known: LoggedSignature | None) -> None:
    """Refuse a signature over other bytes than those of the release's first one. Raises ``Halted`` ``release-signed-twice``."""
    if known is not None and known.sha256.hex() != entry.sha256:
        raise Halted(
            "release-signed-twice",
            f"Log entries {known.index} and {index} say that two digests of the release {entry.release} were signed: "
            f"{known.sha256.hex()} and {entry.sha256}. Nothing is signed. Find out which signer made the second one; the "
            "log keeps both, so that going on needs a new log origin.",
        )


def refuse_forked_policy(index: int, seen: PolicySeen, known: str | None) -> None:
    """Refuse a second policy under one serial; *known* is the first one's digest. Raises ``Halted`` ``policy-forked``."""
    if known is not None and known != seen.digest:
        raise Halted(
            "policy-forked",
            f"Log entry {index} says that signers decide under two policies of the serial {seen.serial}: {known} and "
            f"{seen.digest}. Nothing is signed. Find out who loaded the second one; the log keeps both, so that going on "
            "needs a new log origin.",
        )
