"""The rooms of the house: which module may import which, and how large one may be."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import mailapi

PACKAGE = Path(mailapi.__file__).parent
MODULES = sorted(p.relative_to(PACKAGE) for p in PACKAGE.rglob("*.py"))

# Each floor imports from the floors below it.
FLOORS = [
    {"errors", "resources", "log", "loop", "metrics", "schemes"},
    {"addresses", "passwords", "keys", "files", "lmdbmap", "hook", "text", "caller", "settings"}
    | {"synclooks", "syncpresence"},
    {"fields", "config", "snapshot", "userdb", "database", "hooksocket", "notify"}
    | {"reach", "secretbox"},
    {"models", "entries", "live", "objects", "schema", "serverconfig"},
    {"render", "graph", "txn", "publish", "kick", "backup", "syncmodels"},
    {"rules", "whole", "rounds", "restore"},
    {"batch", "syncplans", "syncreports"},
    {"service"},
    {"apply", "local", "client"},
    {"syncdesk", "syncrunner"},
    {"api"},
    {"web"},
    {"app"},
    {"setup", "sandbox"},
    {"doctor"},
    {"cli"},
    {"__main__"},
]
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}


def room(module: Path) -> str:
    """`api` for all of its modules, else the module's own name."""
    return module.parts[0].removesuffix(".py")


def imports(module: Path) -> set[str]:
    """The rooms of ours that a module imports."""
    found = set()
    for node in ast.walk(ast.parse((PACKAGE / module).read_text(encoding="utf-8"))):
        if not isinstance(node, ast.ImportFrom):
            continue
        path = (node.module or "").split(".") if node.module else []
        if node.level == 0:
            if path[:1] != ["mailapi"]:
                continue
            path = path[1:]
        elif node.level < len(module.parts):  # inside its own room
            continue
        found |= {path[0]} if path else {alias.name for alias in node.names}
    return found & FLOOR.keys()


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_imports_go_down(module):
    """A module imports only rooms on lower floors."""
    here = room(module)
    if here == "__init__":
        return
    for other in imports(module) - {here}:
        assert FLOOR[other] < FLOOR[here], f"{here} imports {other}"


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_modules_stay_small(module):
    """No module has more than 300 lines, no function more than 40."""
    text = (PACKAGE / module).read_text(encoding="utf-8")
    assert text.count("\n") <= 300
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert (node.end_lineno or 0) - node.lineno < 40, node.name


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_modules_open_with_their_contract(module):
    """A module with code in it begins with a docstring."""
    tree = ast.parse((PACKAGE / module).read_text(encoding="utf-8"))
    assert not tree.body or ast.get_docstring(tree)
