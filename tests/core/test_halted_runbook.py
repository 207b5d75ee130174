"""Whoever is halted at night finds the code in the runbook, with what to do."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
RUNBOOK = (ROOT / "ops/runbooks/halted.md").read_text("utf-8")
RAISED = re.compile(r"\b(?:Halted|_halt)\(\s*\"([a-z-]+)\"")
CODES = sorted({code for path in (ROOT / "attestor").rglob("*.py") for code in RAISED.findall(path.read_text("utf-8"))})


def test_the_codes_are_found():
    assert {"log-rolled-back", "anchor-missing", "vote-withheld", "log-root", "policy-differs"} <= set(CODES)


@pytest.mark.parametrize("code", CODES)
def test_each_code_that_halts_has_its_place_in_the_runbook(code):
    assert f"`{code}`" in RUNBOOK


@pytest.mark.parametrize("linked", sorted(set(re.findall(r"`([a-z-]+\.(?:md|sql))`", RUNBOOK))))
def test_the_runbook_leads_to_runbooks_that_are_there(linked):
    assert (ROOT / "ops/runbooks" / linked).is_file()
