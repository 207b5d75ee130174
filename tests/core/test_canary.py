"""The canary's permit: nothing in it says what is signed, and only an entry of the signer's own makes one."""

import ast
import dataclasses
from datetime import UTC, datetime
from pathlib import Path

import pytest

from attestor.core.authorisation import evidence_notation
from attestor.core.canary import CANARY, CanaryPermit, LoggedCanary, announced_by, canary_notation, permit_canary
from attestor.core.entries import CanaryEntry
from attestor.core.entrybytes import encode_entry, outgoing, seal_entry
from attestor.core.errors import Halted, Rejected
from attestor.core.past import CanaryAnnounced, Forged, facts_of
from tests.logkeys import log_policy, seal

ROOT = Path(__file__).resolve().parents[2]
KEY, OTHER = "A" * 40, "B" * 40
ORIGIN, LOG = "attestor.example.org", "attestor.example.org/log"
ENTRY = CanaryEntry(instance="signer-1", key=KEY, created="2026-03-01T12:00:00Z", anchor="0" * 32)


def permit(entry=ENTRY, **changes):
    asked = {"key_fingerprint": KEY, "instance": "signer-1", "origin": ORIGIN, "log": LOG} | changes
    return permit_canary(LoggedCanary(7, entry), **asked)


def test_what_is_signed_is_one_constant_that_no_permit_names():
    assert CANARY == b"attestor canary v1\n"
    assert {field.name for field in dataclasses.fields(CanaryPermit)} == {"key_fingerprint", "created", "notation"}


def test_a_permit_says_when_and_under_which_entry():
    made = permit()
    assert (made.key_fingerprint, made.created) == (KEY, datetime(2026, 3, 1, 12, tzinfo=UTC))
    assert announced_by((made.notation,)) == (ORIGIN, LOG, 7)


@pytest.mark.parametrize("changes", [{"key_fingerprint": OTHER}, {"instance": "signer-2"}], ids=str)
def test_an_entry_of_another_key_or_signer_permits_nothing(changes):
    with pytest.raises(Halted, match="canary-differs"):
        permit(**changes)


@pytest.mark.parametrize(
    "notations",
    [
        pytest.param((), id="none"),
        pytest.param((evidence_notation(ORIGIN, LOG, 7),), id="a release's"),
        pytest.param((canary_notation(ORIGIN, LOG, 7), evidence_notation(ORIGIN, LOG, 7)), id="both"),
        pytest.param((("canary@x", "log -1"),), id="a negative index"),
        pytest.param((("canary@x", "7"),), id="no log"),
        pytest.param((("canary@x", "log ７"),), id="a digit of another script"),
    ],
)
def test_what_is_not_exactly_a_canarys_notation_is_no_canary(notations):
    with pytest.raises(Rejected, match="canary-notation"):
        announced_by(notations)


def test_an_entry_without_a_signers_seal_is_forged():
    seals = log_policy(ORIGIN).seals
    raw = encode_entry(ENTRY)
    assert outgoing(raw).kind == "canary"
    assert [type(fact) for fact in facts_of(0, raw, seals)] == [Forged]
    assert [type(fact) for fact in facts_of(0, seal_entry(ENTRY, seal()), seals)] == [CanaryAnnounced]
    assert [type(fact) for fact in facts_of(0, seal_entry(ENTRY, seal("other")), seals)] == [Forged]


@pytest.mark.parametrize(("made", "by"), [("CanaryPermit", "canary.py"), ("Authorisation", "authorisation.py")])
def test_only_one_function_makes_a_permit(made, by):
    makers = [
        path.name
        for path in (ROOT / "attestor").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call) and getattr(node.func, "id", getattr(node.func, "attr", None)) == made
    ]
    assert makers == [by]


def test_the_hsm_is_asked_for_a_signature_in_three_places_and_each_says_what_for():
    """Releases and canaries take a permit each; provisioning binds certificates (P1)."""
    found = {}
    for path in (ROOT / "attestor").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ClassDef | ast.AsyncFunctionDef | ast.FunctionDef):
                for call in ast.walk(node):
                    if isinstance(call, ast.Call) and ast.unparse(call.func) in {
                        "self.slot.sign",
                        "sdk.sign",
                        "slot.sign",
                    }:
                        found.setdefault(path.name, set()).add(node.name)
    assert found == {
        "release_key.py": {"ReleasePen", "CanaryUserPen", "sign"},
        "device.py": {"SigningSlot", "Device", "sign"},
        "provision.py": {"_Run", "_certificate"},
    }
