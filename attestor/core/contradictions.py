"""What two log entries cannot both say (design §8): whoever meets it signs nothing until a person has looked."""

from collections.abc import Collection

from attestor.core.entries import DecisionEntry, SignatureEntry
from attestor.core.errors import Halted
from attestor.core.past import CanaryAnnounced, Fact, LoggedSignature, PolicySeen, WasDecided, WasSigned


def refuse_other_signer(index: int, fact: Fact, *, anchor_id: str, since: int) -> None:
    """Refuse what a signer with another anchor sealed at *index*, when this anchor was there already (*since* entries).

    For a signer that is alone. Raises ``Halted`` ``other-signer``.
    """
    match fact:
        case WasDecided(entry) | WasSigned(entry) | CanaryAnnounced(entry):
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


def refuse_second_digest(
    index: int, entry: SignatureEntry, known: Collection[LoggedSignature], *, approved: bool
) -> None:
    """Refuse a signature over bytes that are new beside those *known* to be signed of the release, unless people *approved* these.

    Raises ``Halted`` ``release-signed-twice``.
    """
    others = [each for each in known if each.sha256.hex() != entry.sha256]
    if others and len(others) == len(known) and not approved:
        raise Halted(
            "release-signed-twice",
            f"Log entries {others[0].index} and {index} say that two digests of the release {entry.release} were signed: "
            f"{others[0].sha256.hex()} and {entry.sha256}. Nothing is signed. Find out which signer made the second one; the "
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


def re_signs(decision: DecisionEntry) -> bool:
    """Whether a decision rests on people's approval to sign other bytes of a release that is signed."""
    return any(spent.action == "re-sign" for spent in decision.approvals)
