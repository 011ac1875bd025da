"""The source code of a package as syntax trees, for tests of its rules."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

MAX_FUNCTION, MAX_MODULE, MAX_FOLDER = 40, 350, 12
NO_FIRST_WORD = re.compile(
    r'"""(Give|Say|Tell|Name|What|How|Who|Whom|Whether|Where|Which|That)\b[^\n]*'
)
"""Docstrings that begin with neither an imperative verb nor a noun."""
_STATEMENT = re.compile(
    r"\s*(SELECT|INSERT|UPDATE|DELETE|WITH|COPY|LOCK|CREATE|ALTER|DROP|TRUNCATE|ANALYZE|SET) (?!-)"
)
ROOT = Path(__file__).parents[2]


class Module(NamedTuple):
    """One module; `name` is relative to its package."""

    name: str
    path: Path
    tree: ast.Module

    @property
    def functions(self) -> Mapping[str, int]:
        """The number of lines of each function."""
        return {
            f"{self.name}.{node.name}": (node.end_lineno or 0) - node.lineno + 1
            for node in ast.walk(self.tree)
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        }

    @property
    def imports(self) -> set[str]:
        """The names of all modules that it imports, also inside functions."""
        found = set[str]()
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        return found

    def uses(self, package: str) -> bool:
        """Return True if it imports the package or a part of it."""
        return any(each == package or each.startswith(f"{package}.") for each in self.imports)

    @property
    def attributes(self) -> set[str]:
        """All `name.attribute` expressions."""
        return {
            f"{node.value.id}.{node.attr}"
            for node in ast.walk(self.tree)
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
        }


def modules_of(package: str) -> list[Module]:
    """Return all modules of a package."""
    folder = ROOT / package
    return [
        Module(
            ".".join(path.relative_to(folder).with_suffix("").parts),
            path,
            ast.parse(path.read_text(encoding="utf-8")),
        )
        for path in sorted(folder.rglob("*.py"))
    ]


def oversized(modules: list[Module]) -> Mapping[str, int]:
    """Return functions, modules and folders that are larger than allowed, with their sizes."""
    folders = {module.path.parent for module in modules}
    sizes = [
        *((name, size, MAX_FUNCTION) for each in modules for name, size in each.functions.items()),
        *((each.name, len(each.path.read_text().splitlines()), MAX_MODULE) for each in modules),
        *((str(each), len(list(each.glob("[!_]*.py"))), MAX_FOLDER) for each in folders),
    ]
    return {name: size for name, size, most in sizes if size > most}


def unclear_docstrings(modules: list[Module]) -> list[str]:
    """Return docstrings whose first word says neither what is done nor what a thing is."""
    return [
        f"{module.name}: {found[0]}"
        for module in modules
        for found in NO_FIRST_WORD.finditer(module.path.read_text(encoding="utf-8"))
    ]


def share_of_short_functions(modules: list[Module]) -> float:
    """Return the part of the functions that have less than half of the allowed lines."""
    sizes = [size for module in modules for size in module.functions.values()]
    return sum(size < MAX_FUNCTION / 2 for size in sizes) / len(sizes)


def undocumented(modules: list[Module]) -> list[str]:
    """Return the modules without a docstring."""
    return [module.name for module in modules if not ast.get_docstring(module.tree)]


def statements_of_sql(module: Module) -> list[str]:
    """Return the texts in a module that are statements of SQL."""
    return [
        node.value
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and _STATEMENT.match(node.value)
    ]
