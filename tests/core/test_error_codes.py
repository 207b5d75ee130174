"""Stable codes are part of the interface: a new, renamed or lost one must be noticed.

Regenerate ``error_codes.txt`` after reading the difference::

    python tests/core/test_error_codes.py

Codes are read from the source: first argument of an error class, or of a function of ours that passes a parameter named
``code`` on to one; strings of a conditional expression and of code tuples; f-strings with a ``*`` where a value stands.
"""

import ast
import inspect
import re
import sys
from functools import cache
from pathlib import Path

import pytest

from attestor.core import errors

ROOT = Path(__file__).resolve().parents[2]
FROZEN = Path(__file__).with_name("error_codes.txt")
CLASSES = {name for name, item in vars(errors).items() if inspect.isclass(item)}
CODE = re.compile(r"[a-z*][a-z0-9*]*(?:-[a-z0-9*]+)*", re.ASCII)


def sources():
    # The emulator speaks the device's errors, not ours.
    for package in ("attestor", "rebuilders"):
        for path in sorted((ROOT / package).rglob("*.py")):
            if "emulator" not in path.relative_to(ROOT).parts:
                yield ast.parse(path.read_text("utf-8"), str(path))


def called(node):
    return getattr(node.func, "id", None) or getattr(node.func, "attr", None)


def spelled(node):
    """Every string that this expression may be."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.JoinedStr):
        yield "".join(part.value if isinstance(part, ast.Constant) else "*" for part in node.values)
    elif isinstance(node, ast.IfExp):
        yield from spelled(node.body)
        yield from spelled(node.orelse)


def code_parameters(trees):
    """Functions of ours with a parameter named ``code``, and where it stands."""
    for tree in trees:
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                names = [one.arg for one in node.args.posonlyargs + node.args.args if one.arg not in ("self", "cls")]
                if "code" in names:
                    yield node.name, names.index("code")


def named_code(tree):
    """Strings that a variable ``code`` is given, alone or first of a tuple, and reasons that a function returns as codes."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            target, values = node.targets[0], [node.value]
            if isinstance(target, ast.Tuple):
                chosen = [node.value.body, node.value.orelse] if isinstance(node.value, ast.IfExp) else [node.value]
                target, values = target.elts[0], [one.elts[0] for one in chosen if isinstance(one, ast.Tuple)]
            if isinstance(target, ast.Name) and target.id == "code":
                for value in values:
                    yield from spelled(value)
        elif isinstance(node, ast.FunctionDef) and re.match(r"refusal_of|_?why_", node.name):
            for returned in (one for one in ast.walk(node) if isinstance(one, ast.Return) and one.value):
                yield from spelled(returned.value)


@cache
def codes():
    trees = list(sources())
    # Two functions of one name may take it in different places.
    places = {(name, 0) for name in CLASSES} | set(code_parameters(trees))
    found = set()
    for tree in trees:
        found.update(named_code(tree))
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                for place, argument in enumerate(node.args):
                    if (called(node), place) in places:
                        found.update(spelled(argument))
            if isinstance(node, ast.keyword) and node.arg == "code":
                found.update(spelled(node.value))
    return sorted(code for code in found if CODE.fullmatch(code))


def test_the_codes_are_the_frozen_ones():
    frozen, now = set(FROZEN.read_text("ascii").split()), set(codes())
    assert frozen == now, (
        f"New codes: {sorted(now - frozen)}; lost codes: {sorted(frozen - now)}. Clients rely on them. If this is meant, run "
        "`python tests/core/test_error_codes.py`, say so in the CHANGELOG, and commit error_codes.txt."
    )


@pytest.mark.parametrize(
    "code",
    [
        "policy-invalid",
        "purl-not-canonical",
        "names-disagree",
        "request-state",
        "unknown-key",
        "no-tier",
        "key-revoked",
        "approver-key-revoked",
        "approval-by-requester",
        "name-fits-two-scopes",
        "withdrawn",
    ],
)
def test_the_reader_finds(code):
    assert code in codes()


def test_the_frozen_codes_are_sorted_and_wellformed():
    lines = FROZEN.read_text("ascii").splitlines()
    assert lines == sorted(set(lines))
    assert all(CODE.fullmatch(line) for line in lines)


if __name__ == "__main__":
    FROZEN.write_text("".join(f"{code}\n" for code in codes()), "ascii")
    sys.stdout.write(f"{FROZEN}: {len(codes())} codes\n")
