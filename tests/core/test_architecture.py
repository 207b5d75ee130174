"""The house keeps its own rules: imports point down, and the rules of the gate are pure."""

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CORE = sorted((ROOT / "attestor/core").rglob("*.py"))
EMULATOR = sorted((ROOT / "attestor/emulator").rglob("*.py"))
CLOCKS = {"now", "utcnow", "today", "time", "time_ns", "monotonic", "perf_counter"}
DOORS = {"open", "print", "input", "eval", "exec", "__import__", "breakpoint"}


def nodes(path):
    return ast.walk(ast.parse(path.read_text("utf-8"), str(path)))


def name(path):
    return path.relative_to(ROOT).as_posix()


def test_the_import_contracts_hold():
    linter = shutil.which("lint-imports", path=str(Path(sys.executable).parent))
    assert linter, "import-linter is one of the development requirements"
    done = subprocess.run([linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", CORE, ids=name)
def test_core_never_waits(path):
    waits = (ast.AsyncFunctionDef, ast.Await, ast.AsyncFor, ast.AsyncWith)
    assert not [node.lineno for node in nodes(path) if isinstance(node, waits)]


@pytest.mark.parametrize("path", CORE, ids=name)
def test_core_never_reads_the_clock(path):
    calls = [node.func for node in nodes(path) if isinstance(node, ast.Call)]
    assert not [call.lineno for call in calls if isinstance(call, ast.Attribute) and call.attr in CLOCKS]


@pytest.mark.parametrize("path", CORE, ids=name)
def test_core_opens_no_door(path):
    calls = [node.func for node in nodes(path) if isinstance(node, ast.Call)]
    assert not [call.lineno for call in calls if isinstance(call, ast.Name) and call.id in DOORS]


@pytest.mark.parametrize("path", EMULATOR, ids=name)
def test_the_emulator_imports_nothing_of_ours_not_even_the_version(path):
    ours = []
    for node in nodes(path):
        if isinstance(node, ast.Import):
            ours += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            ours += [f"{node.module}.{alias.name}" for alias in node.names]
    assert not [
        module
        for module in ours
        if module.split(".")[0] in ("attestor", "rebuilders") and not module.startswith("attestor.emulator")
    ]


@pytest.mark.parametrize("room", sorted(path.parent for path in (ROOT / "attestor").glob("*/__init__.py")), ids=name)
def test_a_room_s_init_says_its_rule_and_holds_no_logic(room):
    tree = ast.parse((room / "__init__.py").read_text("utf-8"))
    assert ast.get_docstring(tree), "say the room's rule"
    # What a room shows of its files may be gathered here; whatever decides or acts has a file of its own.
    assert {type(node) for node in tree.body} <= {ast.Expr, ast.ImportFrom, ast.Assign}
